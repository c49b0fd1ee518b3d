package flow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/image/base"
	"github.com/plimsoll-oci/plimsoll/image/gobinary"
	"github.com/plimsoll-oci/plimsoll/image/referrers"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// BuildResult describes the image that was put together.
type BuildResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Model         string `json:"model"`
	Variant       string `json:"variant"`
	// Layout is the folder of the OCI layout; a thin one holds no model layers.
	Layout string `json:"layout"`
	Full   bool   `json:"full"`
	// Digest is the image's: the sha256 of its manifest.
	Digest string       `json:"digest"`
	Layers []BuiltLayer `json:"layers"`
	// Bytes is the size of all layers; Overhead is everything that is no model file.
	Bytes    int64 `json:"bytes"`
	Overhead int64 `json:"overhead"`
	// Base describes the base layer, "none" where there is none.
	Base string `json:"base"`
}

// BuiltLayer is one layer, lowest first.
type BuiltLayer struct {
	Kind   string `json:"kind"`
	Title  string `json:"title"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// Build puts the image together and writes its thin layout. It reads no model file whose
// layers the lock knows; then the files need not even be on this machine. Where the lock
// does not know them, the files must be in the cache, verified, and are read once.
//
// Beside the layout it writes the documents about the image: see package attest. Where all
// files are known to be right by their sums, they are checked further for that, and a model
// that is wrong is not built; elsewhere the documents say that no byte was read.
func Build(ctx context.Context, j *Job) (*BuildResult, error) { return j.build(ctx, nil) }

// build is Build after a verification, nil for none.
func (j *Job) build(ctx context.Context, verified *VerifyResult) (*BuildResult, error) {
	a, err := j.assemble(ctx)
	if err != nil {
		return nil, err
	}
	documents, err := j.attest(ctx, a, verified)
	if err != nil {
		return nil, err
	}
	if err := a.image.Save(j.Layout()); err != nil {
		return nil, err
	}
	if err := referrers.Save(j.Layout(), documents); err != nil {
		return nil, err
	}
	return j.built(a.image, j.Layout(), false)
}

// Make is the whole job up to the image: it locks where there is no lock yet (not in CI),
// fetches, verifies and builds. Where the lock knows every layer and files are not here,
// nothing is downloaded: the layers' digests are proven, and publish gets the bytes itself
// if a registry turns out to lack them.
func Make(ctx context.Context, j *Job) (*BuildResult, error) {
	l, s, err := j.selected(ctx)
	if err != nil {
		return nil, err
	}
	missing, err := j.missing(l, s)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 && l.Complete(j.Manifest, s) {
		j.note("note: %d model files are not in the cache and not needed: the lock knows their layers", len(missing))
		return Build(ctx, j)
	}
	if _, err := Fetch(ctx, j); err != nil {
		return nil, err
	}
	r, err := Verify(ctx, j, false)
	if err != nil {
		return nil, err
	}
	if err := r.Findings.Err(); err != nil {
		return nil, fmt.Errorf("verifying %s: %w", j.Manifest.Name, err)
	}
	return j.build(ctx, r)
}

// missing lists the kept files that are not in the cache.
func (j *Job) missing(l *manifests.Lock, s manifests.Selection) ([]string, error) {
	listings := l.Listings()
	var out []string
	for _, d := range s.Kept() {
		path, err := j.blob(listings[d.Source].Repo, d.File)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			out = append(out, d.Path)
		}
	}
	return out, nil
}

// assembly is an image with what it was made of.
type assembly struct {
	lock      *manifests.Lock
	selection manifests.Selection
	spec      image.Spec
	// licences are the texts that the image carries for the runtime.
	licences []gobinary.License
	image    *image.Image
}

// assemble describes the image.
func (j *Job) assemble(ctx context.Context) (*assembly, error) {
	l, s, err := j.selected(ctx)
	if err != nil {
		return nil, err
	}
	if !l.Complete(j.Manifest, s) {
		if l, err = j.derive(ctx, l, s); err != nil {
			return nil, err
		}
	}
	a := &assembly{lock: l, selection: s, spec: image.Spec{Manifest: j.Manifest}}
	spec := &a.spec
	if spec.Model, err = manifests.NewModelConfig(j.Manifest, l, s, l.Unused); err != nil {
		return nil, err
	}
	if spec.Files, err = j.modelFiles(l, s); err != nil {
		return nil, err
	}
	spec.Licences = licences(spec.Model)
	if err := j.addRuntime(ctx, a); err != nil {
		return nil, err
	}
	a.image, err = image.Build(a.spec)
	return a, err
}

// derive completes the lock from the bytes: Fetch knows how, and with everything in the
// cache it asks nobody. Files that are not there are an error, since build downloads
// nothing.
func (j *Job) derive(ctx context.Context, l *manifests.Lock, s manifests.Selection) (*manifests.Lock, error) {
	missing, err := j.missing(l, s)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, fault.Wrap(fault.Usage, "run the fetch target first, or commit a lock with layer lines", fmt.Errorf(
			"building %s: the lock does not know the layers of %s, and the file is not in the cache", j.Manifest.Name, missing[0]))
	}
	if _, err := Fetch(ctx, j); err != nil {
		return nil, err
	}
	return j.lock()
}

// modelFiles describes the kept files with the lock's digests.
func (j *Job) modelFiles(l *manifests.Lock, s manifests.Selection) ([]image.ModelFile, error) {
	var out []image.ModelFile
	listings := l.Listings()
	for _, d := range s.Kept() {
		parts, err := pack.Parts(d.ImagePath, d.Size, int64(j.Manifest.PartSize))
		if err != nil {
			return nil, err
		}
		f := image.ModelFile{Decision: d, Parts: parts}
		for _, p := range parts {
			line, ok := l.Layer(d.Source, d.Path, p)
			if !ok {
				return nil, fmt.Errorf("building %s: the lock does not know layer %s", j.Manifest.Name, p.Name)
			}
			f.Digests = append(f.Digests, line.Digest)
		}
		if f.Open, err = j.openFile(listings[d.Source].Repo, d.File); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// openFile returns an opener of a cached file. Where the memo of checked files has been
// opened and knows the file, it is an image.Proven one.
func (j *Job) openFile(repo string, file manifests.File) (image.Opener, error) {
	path, err := j.blob(repo, file)
	if err != nil {
		return nil, err
	}
	memo, want := j.memo, verify.Want{Size: file.Size, SHA256: file.SHA256}
	return func() (image.File, error) {
		f, err := j.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("opening %s: %w", file.Path, image.ErrAbsent)
		}
		if file, ok := f.(*os.File); ok && err == nil {
			if p, ok := memo.Prove(file, want); ok {
				return p, nil
			}
		}
		return f, err
	}, nil
}

// addRuntime adds base and runtime to the image.
func (j *Job) addRuntime(ctx context.Context, a *assembly) error {
	if j.Manifest.Runtime != manifests.RuntimePlimsoll {
		return nil
	}
	if err := j.addBase(ctx, a.lock, &a.spec); err != nil {
		return err
	}
	o := j.runtimeSource()
	if err := os.MkdirAll(filepath.Dir(o.Out), 0o755); err != nil {
		return inOut(fmt.Errorf("building the runtime: %w", err))
	}
	p, err := j.Program(ctx, o)
	if err != nil {
		return err
	}
	a.licences = p.Licences
	a.spec.Runtime = append(a.spec.Runtime, archive.Regular(image.RuntimePath, 0o755, p.Binary))
	for _, t := range a.licences {
		a.spec.Runtime = append(a.spec.Runtime, archive.Regular(licencePath(t), 0o644, []byte(t.Text)))
	}
	return nil
}

// Program is the image's program as it is shipped.
type Program struct {
	Binary   []byte
	Licences []gobinary.License
}

// BuildProgram builds the program from its source.
func BuildProgram(ctx context.Context, o gobinary.Options) (*Program, error) {
	if _, err := gobinary.Build(ctx, o); err != nil {
		return nil, err
	}
	binary, err := os.ReadFile(o.Out)
	if err != nil {
		return nil, fmt.Errorf("building the runtime: %w", err)
	}
	licences, err := gobinary.Licenses(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Program{binary, licences}, nil
}

// runtimeSource says what the runtime is built from.
func (j *Job) runtimeSource() gobinary.Options {
	return gobinary.Options{Dir: j.Root, Package: "./runtime", Out: filepath.Join(j.Out, ".build", "plimsoll-runtime")}
}

// licencePath is where the image holds a licence text of the runtime.
func licencePath(t gobinary.License) string {
	return "usr/share/doc/plimsoll-runtime/licenses/" + t.Module + "/" + t.Name
}

// inOut adds the way out where the folder of results cannot be written.
func inOut(err error) error {
	if !fault.Local(err) {
		return err
	}
	return fault.Wrap(0, "free some space, or set PLIMSOLL_OUT to a folder that can be written", err)
}

// addBase adds the base layer, if the manifest has one.
func (j *Job) addBase(ctx context.Context, l *manifests.Lock, spec *image.Spec) error {
	if j.Manifest.Image.Base == nil {
		return nil
	}
	debs, err := base.Fetch(ctx, j.baseOptions(), l.Packages)
	if err != nil {
		return err
	}
	if spec.Base, err = base.Layer(debs, nil); err != nil {
		return err
	}
	var names []string
	for _, p := range l.Packages {
		names = append(names, p.Name+" "+p.Version)
	}
	spec.BaseName = "Debian " + j.Manifest.Image.Base.Suite + ": " + strings.Join(names, ", ")
	return nil
}

// built describes the image that lies in a layout.
func (j *Job) built(img *image.Image, layout string, full bool) (*BuildResult, error) {
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	c, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	r := &BuildResult{SchemaVersion: SchemaVersion, Model: j.Manifest.Name, Variant: j.variant(), Layout: layout, Full: full, Digest: digest.String(), Base: "none"}
	for _, d := range m.Layers {
		kind := d.Annotations[image.AnnotationKind]
		r.Layers = append(r.Layers, BuiltLayer{Kind: kind, Title: d.Annotations["org.opencontainers.image.title"], Digest: d.Digest.String(), Size: d.Size})
		r.Bytes += d.Size
		if kind != string(image.KindModel) {
			r.Overhead += d.Size
		}
	}
	if name := c.Config.Labels[image.LabelBase]; name != "" {
		r.Base = name
	}
	return r, nil
}
