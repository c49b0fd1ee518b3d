package contents

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Limits of a layout that somebody else made.
const (
	maxJSON   = 4 << 20 // of one index, manifest or config; registries take manifests of 4 MiB
	maxNested = 4       // indexes within indexes
	maxImages = 1000    // that one layout lists, and indexes that lead to them
)

// refName is the annotation with an image's name in a layout's index.
const refName = "org.opencontainers.image.ref.name"

// Pick describes one image of an OCI layout that any tool may have made, with as many images
// and platforms as it likes. place is the layout's folder, or the folder with :NAME behind
// it, the name that the index gives the image, or with @sha256:…, the digest of a manifest.
// Of several platforms it takes Options.Platform. Errors are of kind fault.Usage where there
// is no such layout or image, or more than one; of kind fault.Invalid where index, manifest
// or config are broken.
func Pick(place string, o Options) (*Image, error) {
	dir, want := splitPlace(place)
	l := picker{layout: layout(dir)}
	var index v1.IndexManifest
	data, err := readJSON(filepath.Join(dir, "index.json"), &index)
	if err == nil {
		err = checkIndex(data)
	}
	if err == nil {
		err = l.collect(index, "", 0)
	}
	if err != nil {
		return nil, placeError(place, err)
	}
	found, err := l.choose(want, o.platform())
	if err != nil {
		return nil, fmt.Errorf("reading layout %s: %w", place, err)
	}
	img, err := l.describe(found)
	if err != nil {
		return nil, placeError(place, err)
	}
	return img, nil
}

// splitPlace cuts a name or digest off, unless the whole is a folder.
func splitPlace(place string) (dir, want string) {
	if info, err := os.Stat(place); err == nil && info.IsDir() {
		return place, ""
	}
	if dir, digest, ok := strings.Cut(place, "@sha256:"); ok {
		return dir, "sha256:" + digest
	}
	if at := strings.LastIndexByte(place, ':'); at > strings.LastIndexByte(place, '/') && at > 0 {
		return place[:at], place[at+1:]
	}
	return place, ""
}

// placeError tells a layout that is not there from one that is broken.
func placeError(place string, err error) error {
	kind, hint := fault.Invalid, ""
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		kind, hint = fault.Usage, "name the folder of an OCI layout, the one that holds index.json"
	}
	if fault.KindOf(err) != fault.Internal {
		kind = 0
	}
	return fault.Wrap(kind, hint, fmt.Errorf("reading layout %s: %w", place, err))
}

// checkIndex refuses JSON that is no index: every JSON object can be read as an empty one.
func checkIndex(data []byte) error {
	var probe struct {
		Manifests *[]json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(data, &probe); err != nil || probe.Manifests == nil {
		return errors.Join(err, errors.New("index.json lists no manifests"))
	}
	return nil
}

// picker collects the images of a layout.
type picker struct {
	layout  layout
	images  []candidate
	indexes int // that were read: few can lead to each other many times over
}

// candidate is one image of a layout.
type candidate struct {
	v1.Descriptor
	name string
}

// collect walks an index. name is that of the index, for images without one.
func (p *picker) collect(index v1.IndexManifest, name string, depth int) error {
	if depth > maxNested {
		return fmt.Errorf("more than %d indexes lie within each other", maxNested)
	}
	for _, d := range index.Manifests {
		c := candidate{Descriptor: d, name: d.Annotations[refName]}
		if c.name == "" {
			c.name = name
		}
		if isAttestation(d) || slices.ContainsFunc(p.images, c.equal) {
			continue
		}
		if !d.MediaType.IsIndex() {
			if p.images = append(p.images, c); len(p.images) > maxImages {
				return fmt.Errorf("it lists more than %d images", maxImages)
			}
			continue
		}
		if p.indexes++; p.indexes > maxImages {
			return fmt.Errorf("its indexes lead to more than %d indexes", maxImages)
		}
		var inner v1.IndexManifest
		if _, err := p.layout.readJSON(d, &inner); err != nil {
			return err
		}
		if err := p.collect(inner, c.name, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c candidate) equal(o candidate) bool { return c.Digest == o.Digest && c.name == o.name }

// isAttestation reports whether a manifest belongs to an image instead of being one:
// BuildKit puts provenance beside the images of an index.
func isAttestation(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] != "" ||
		d.Platform != nil && d.Platform.OS == "unknown" && d.Platform.Architecture == "unknown"
}

// choose finds the one image of a name and platform.
func (p *picker) choose(want string, platform v1.Platform) (candidate, error) {
	found := slices.Clone(p.images)
	if want != "" {
		found = slices.DeleteFunc(found, func(c candidate) bool { return c.name != want && c.Digest.String() != want })
	}
	if distinctDigests(found) > 1 {
		found = slices.DeleteFunc(found, func(c candidate) bool { return c.Platform == nil || !c.Platform.Satisfies(platform) })
	}
	switch distinctDigests(found) {
	case 1:
		return found[0], nil
	case 0:
		return candidate{}, fault.Wrap(fault.Usage, p.hint(), fmt.Errorf("no image is called %q and is for %s", want, platform.String()))
	}
	return candidate{}, fault.Wrap(fault.Usage, p.hint(), fmt.Errorf("%d images are called %q and are for %s", len(found), want, platform.String()))
}

func distinctDigests(list []candidate) int {
	seen := map[v1.Hash]bool{}
	for _, c := range list {
		seen[c.Digest] = true
	}
	return len(seen)
}

// hint lists what can be chosen.
func (p *picker) hint() string {
	var out []string
	for _, c := range p.images {
		text := fmt.Sprintf("%q", c.name)
		if c.name == "" {
			text = "@" + c.Digest.String()
		}
		if c.Platform != nil {
			text += " for " + c.Platform.String()
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return "the layout lists no image"
	}
	more := ""
	if len(out) > 10 {
		out, more = out[:10], " and others"
	}
	return "the layout holds " + strings.Join(out, ", ") + more + ": write oci:DIR:NAME or oci:DIR@sha256:…, and -platform=OS/ARCH where there are several"
}

// describe reads manifest and config.
func (p *picker) describe(c candidate) (*Image, error) {
	i := &Image{Digest: c.Digest, Manifest: &v1.Manifest{}, Config: &v1.ConfigFile{}, blobs: p.layout}
	data, err := p.layout.readJSON(c.Descriptor, i.Manifest)
	if err != nil {
		return nil, err
	}
	i.Size = int64(len(data))
	if i.Manifest.Config.Digest.Hex == "" {
		return nil, fmt.Errorf("manifest %s names no config: it is no image of Docker's schema 2 or of OCI", c.Digest)
	}
	for n, d := range i.Manifest.Layers {
		if err := checkHash(d.Digest); err != nil {
			return nil, fmt.Errorf("layer %d: %w", n, err)
		}
	}
	if i.Manifest.Config.MediaType.IsConfig() {
		_, err = p.layout.readJSON(i.Manifest.Config, i.Config)
	}
	return i, err
}

// readJSON reads a blob of JSON and checks its digest.
func (l layout) readJSON(d v1.Descriptor, v any) ([]byte, error) {
	if err := checkHash(d.Digest); err != nil {
		return nil, err
	}
	data, err := readJSON(l.path(d), v)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s is not there", d.Digest)
	}
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", d.Digest, err)
	}
	if got, _, err := v1.SHA256(bytes.NewReader(data)); err != nil || got != d.Digest {
		return nil, errors.Join(err, fmt.Errorf("reading blob %s: its digest is %s", d.Digest, got))
	}
	return data, nil
}

// readJSON reads a file of at most maxJSON bytes.
func readJSON(path string, v any) ([]byte, error) {
	data, err := manifests.ReadFile(path, maxJSON)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("parsing %s: %w", filepath.Base(path), err)
	}
	return data, nil
}

// checkHash refuses digests that are not a plain sha256, since they name files.
func checkHash(h v1.Hash) error {
	if _, err := v1.NewHash(h.String()); err != nil || h.Algorithm != "sha256" || len(h.Hex) != 64 {
		return fmt.Errorf("digest %q is not a sha256", h.String())
	}
	return nil
}
