package flow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/contents"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// form is a kind of place where a model can lie.
type form string

// The forms that verify knows.
const (
	formCache    form = "cache"     // the download cache
	formDir      form = "dir:"      // a folder in the image's layout
	formOCI      form = "oci:"      // an image of an OCI layout, thin or full
	formRegistry form = "docker://" // an image in a registry
)

// formsHint lists the forms.
const formsHint = "write -in=cache, -in=dir:PATH, -in=oci:PATH, -in=oci:PATH:NAME or -in=docker://REGISTRY/REPOSITORY:TAG"

// input is a place as a flag names it.
type input struct {
	form form
	// value is a path or a reference, "" for the cache.
	value string
}

// parseInput reads a place; "" is the cache. Errors are of kind fault.Usage.
func parseInput(text string) (input, error) {
	if text == "" || text == string(formCache) {
		return input{form: formCache}, nil
	}
	for _, f := range []form{formDir, formOCI, formRegistry} {
		if value, ok := strings.CutPrefix(text, string(f)); ok && value != "" {
			return input{form: f, value: value}, nil
		}
	}
	return input{}, fault.Wrap(fault.Usage, formsHint, fmt.Errorf("reading -in=%s: it is none of the known forms", text))
}

// String is the form that parseInput reads.
func (i input) String() string { return string(i.form) + i.value }

// placeHints are the ways out of findings about files, by form.
var placeHints = map[form]map[string]string{
	formCache: hintsFor("run the fetch target: it replaces what is missing or broken",
		"missing", "not-regular", "size", "sha256", "container"),
	formDir: hintsFor("copy the file again from where it is right: -in=cache checks the download cache",
		"missing", "not-regular", "size", "sha256", "container"),
	formOCI: join(
		hintsFor("run the build target again, and export where a full layout is needed: -in=cache checks what it takes the files from",
			"not-regular", "size", "sha256", "container", contents.CodeMissing, contents.CodeForm, contents.CodeDigest, contents.CodeFraming),
		// Only a thin layout misses files: it takes them from the cache.
		hintsFor("this layout is thin and the cache lacks the files: run the fetch target, or verify what export writes", "missing"),
		hintsFor(otherVariantHint, contents.CodeExtra)),
	formRegistry: join(
		hintsFor("delete the tag and run publish again: the registry does not have what the lock describes; for another variant pass -variant",
			"size", "sha256", "container", contents.CodeMissing, contents.CodeForm, contents.CodeDigest, contents.CodeFraming),
		hintsFor(otherVariantHint, contents.CodeExtra)),
}

// otherVariantHint is the way out where an image holds more or other files than it should.
const otherVariantHint = "pass -model and -variant as the image was built with, or build it again"

// join makes one table of several.
func join(tables ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, t := range tables {
		maps.Copy(out, t)
	}
	return out
}

func hintsFor(hint string, codes ...string) map[string]string {
	out := map[string]string{}
	for _, c := range codes {
		out[c] = hint
	}
	return out
}

// open makes the place ready. files is nil where it is no image.
func (j *Job) openInput(ctx context.Context, in input, m *subject, memo *verify.Memo) (modelfiles.Place, *contents.Files, error) {
	cache, err := j.cachePlace(m, memo)
	if err != nil {
		return nil, nil, err
	}
	var img *contents.Image
	switch in.form {
	case formCache:
		return cache, nil, nil
	case formDir:
		if err := checkFolder(in.value); err != nil {
			return nil, nil, err
		}
		return modelfiles.Folder(in.value, memo), nil, nil
	case formOCI:
		img, err = contents.Pick(in.value, contents.Options{})
	default:
		img, err = contents.Registry(ctx, in.value, contents.Options{})
		cache = nil
	}
	if err != nil {
		return nil, nil, err
	}
	files, err := m.in(img, cache)
	return files, files, err
}

const folderHint = "name the folder that holds the folders of the sources, such as /app/models"

// checkFolder tells a folder that is not there from one that lacks every file.
func checkFolder(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(fault.Usage, folderHint, fmt.Errorf("reading -in=dir:%s: there is no such folder", path))
	case err == nil && !info.IsDir():
		return fault.Wrap(fault.Usage, folderHint, fmt.Errorf("reading -in=dir:%s: it is a file, not a folder", path))
	case err != nil:
		return fault.Wrap(fault.Resource, "", fmt.Errorf("reading -in=dir:%s: %w", path, err))
	}
	return nil
}

// cachePlace is the kept files in the download cache.
func (j *Job) cachePlace(m *subject, memo *verify.Memo) (modelfiles.Place, error) {
	listings := m.lock.Listings()
	paths := map[string]string{}
	for i, d := range m.selection.Kept() {
		path, err := j.blob(listings[d.Source].Repo, d.File)
		if err != nil {
			return nil, err
		}
		paths[m.config.Files[i].Path] = path
	}
	return modelfiles.Disk{Memo: memo, Pieces: func(f manifests.ModelFile) []modelfiles.Piece {
		return []modelfiles.Piece{{Name: f.Path, Path: paths[f.Path], Size: f.Size}}
	}}, nil
}

// subject is the model that is verified: what the lock says about it.
type subject struct {
	manifest  *manifests.Manifest
	lock      *manifests.Lock
	selection manifests.Selection
	// config describes the kept files, in the order of the selection.
	config *manifests.ModelConfig
}

func (j *Job) subject() (*subject, error) {
	l, err := j.lock()
	if err != nil {
		return nil, err
	}
	s, err := j.Manifest.Select(j.Variant, l.Listings())
	if err != nil {
		return nil, err
	}
	c, err := manifests.NewModelConfig(j.Manifest, l, s, l.Unused)
	return &subject{manifest: j.Manifest, lock: l, selection: s, config: c}, err
}

// in binds an image to what the lock says about its layers. cache may be nil.
func (m *subject) in(img *contents.Image, cache modelfiles.Place) (*contents.Files, error) {
	var want []contents.File
	for i, d := range m.selection.Kept() {
		parts, err := pack.Parts(d.ImagePath, d.Size, int64(m.manifest.PartSize))
		if err != nil {
			return nil, err
		}
		f := contents.File{Path: m.config.Files[i].Path, Parts: parts}
		for _, p := range parts {
			line, _ := m.lock.Layer(d.Source, d.Path, p)
			f.Digests = append(f.Digests, line.Digest)
		}
		want = append(want, f)
	}
	return img.Files(want, cache), nil
}
