// Package contents reads a built image back as the files that it is made of, so that they
// can be verified where they lie: in an OCI layout, thin or full, or in a registry.
//
// The lock says which files the image should hold and which layers hold them; the image's
// own annotations only say where to look. A model layer is what package pack writes, tar
// header | file bytes | zeros, and is read once, from its first byte to its last:
//
//	blob ── sha256 of the layer ── header compared ── file bytes ──> modelfiles.Verify
//	                            └─ zeros compared
//
// So header and padding are compared byte by byte with what pack would write, the layer's
// digest with the manifest's, the manifest's with the lock's and with the config's diff id,
// and the parts of a file arrive as one file, whose sha256 is taken on the other side. A
// blob is hashed twice for that, once as a layer and once as a share of a file: verifying an
// image costs two sums a byte, where the files alone cost one. Values, where they are asked
// for, are judged in that same read: no place has to be read at any offset for it.
//
// A model layer without a blob, in a thin layout, is a view of a file in the cache. There
// the lock already proves the digest: it is a function of the file's sha256 and of the pack
// version. Only where the lock does not know it is the view itself hashed.
//
// All other layers (base, runtime, configuration) are small: their digests are taken, their
// archives walked, and model.json is read on the way.
//
// Nothing is stored, and memory does not grow with the size of a layer.
package contents

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// Codes of the findings about layers; their objects are the layers' titles.
const (
	CodeMissing = "layer-missing" // the image has no such layer, or its blob is not there
	CodeExtra   = "layer-extra"   // a model layer that the lock does not know
	CodeForm    = "layer-form"    // descriptor: size, media type, diff id
	CodeDigest  = "layer-digest"  // the digest is not the manifest's, or that not the lock's
	CodeFraming = "layer-framing" // the archive around the file is not what pack writes
	CodeModel   = "model-config"  // model.json is absent or unreadable
)

// KindConfig is the kind of the layer that holds model.json.
const KindConfig = string(image.KindConfig)

// titleKey is the annotation with the name of a layer's file.
const titleKey = "org.opencontainers.image.title"

// Image is a manifest and a config, checked against their digests, and a way to the blobs.
type Image struct {
	Digest v1.Hash
	// Size is that of the manifest, in bytes.
	Size     int64
	Manifest *v1.Manifest
	Config   *v1.ConfigFile
	blobs    blobs
}

// blobs is where the layers of an image lie. It is safe for concurrent use.
type blobs interface {
	// has reports whether the blob may be there. Only a thin layout knows that it is not.
	has(d v1.Descriptor) bool
	// open streams a blob, whatever size it really has. An error that wraps fs.ErrNotExist
	// says that it is not there.
	open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// File is a model file as the lock expects it in an image.
type File struct {
	// Path is the file's name in the model's description.
	Path string
	// Parts are the entries of its layers.
	Parts []pack.Part
	// Digests are those of the layers, "sha256:…", parallel to Parts; "" where the lock
	// does not know one.
	Digests []string
}

// Files are the files of an image, as a lock expects them. It is a Place, safe for
// concurrent use.
type Files struct {
	image *Image
	want  map[string]File
	// layers finds a model layer by its title, which is the name of its part.
	layers map[string]int
	// expected holds the indices of the layers that files are made of.
	expected map[int]bool
	cache    modelfiles.Place
}

var _ modelfiles.Place = (*Files)(nil)

// Files binds the image to what a lock expects. cache holds the files behind layers that a
// thin layout leaves out; nil where there are none.
func (i *Image) Files(want []File, cache modelfiles.Place) *Files {
	f := &Files{image: i, want: map[string]File{}, layers: map[string]int{}, expected: map[int]bool{}, cache: cache}
	for n, d := range i.Manifest.Layers {
		title := d.Annotations[titleKey]
		if _, twice := f.layers[title]; !twice && isModel(d) {
			f.layers[title] = n
		}
	}
	for _, file := range want {
		f.want[file.Path] = file
		for _, p := range file.Parts {
			if n, ok := f.layers[p.Name]; ok {
				f.expected[n] = true
			}
		}
	}
	return f
}

// Digest is that of the image's manifest.
func (f *Files) Digest() v1.Hash { return f.image.Digest }

func isModel(d v1.Descriptor) bool {
	return d.Annotations[image.AnnotationKind] == string(image.KindModel)
}

// Open implements modelfiles.Place.
func (f *Files) Open(ctx context.Context, file manifests.ModelFile) (*modelfiles.Content, verify.Findings, error) {
	want, ok := f.want[file.Path]
	if !ok {
		return nil, nil, fmt.Errorf("opening %s: nothing says which layers hold it", file.Path)
	}
	numbers, found := f.find(want)
	if found.Worst() == verify.Error {
		return nil, found, nil
	}
	r := &reader{ctx: ctx, parts: want.Parts}
	proven := f.compare(want, numbers, &r.found)
	inCache := f.inCache(numbers)
	var cached *modelfiles.Content
	if inCache > 0 && f.cache != nil {
		c, found, err := f.cache.Open(ctx, file)
		if c == nil {
			return nil, found, err
		}
		if inCache == len(numbers) && proven {
			c.Around = func() verify.Findings { return r.found }
			return c, nil, nil
		}
		cached = c
	}
	return f.stream(r, numbers, cached)
}

// stream opens the layers one after the other.
func (f *Files) stream(r *reader, numbers []int, cached *modelfiles.Content) (*modelfiles.Content, verify.Findings, error) {
	r.cached = cached
	for i, n := range numbers {
		d := f.image.Manifest.Layers[n]
		r.layers = append(r.layers, d)
		if cached != nil && !f.image.blobs.has(d) {
			part := r.parts[i]
			r.open = append(r.open, func() (io.ReadCloser, error) { return view(part, cached.Section) })
		} else {
			r.open = append(r.open, func() (io.ReadCloser, error) { return f.image.blobs.open(r.ctx, d) })
		}
	}
	if r.err = r.next(); r.err != nil && r.err != io.EOF {
		r.Close()
		if isAbsent(r.err) {
			return nil, r.found, nil
		}
		return nil, r.found, r.err
	}
	return &modelfiles.Content{ReadCloser: r, Parts: len(numbers), Around: func() verify.Findings { return r.found }}, nil, nil
}

// find looks for the layers of a file. What it finds wrong leaves nothing to read.
func (f *Files) find(want File) (numbers []int, found verify.Findings) {
	for _, p := range want.Parts {
		n, ok := f.layers[p.Name]
		if !ok {
			found.Add(verify.Error, CodeMissing, p.Name, "the image has no layer for it")
			continue
		}
		switch d := f.image.Manifest.Layers[n]; {
		case !uncompressed(d.MediaType):
			found.Add(verify.Error, CodeForm, p.Name, "the layer's media type is %s, model layers are not compressed", d.MediaType)
		case d.Size != p.LayerSize():
			found.Add(verify.Error, CodeForm, p.Name, "the layer has %d bytes, by the lock it has %d", d.Size, p.LayerSize())
		}
		numbers = append(numbers, n)
	}
	return numbers, found
}

func uncompressed(t types.MediaType) bool {
	return t == types.OCIUncompressedLayer || t == types.DockerUncompressedLayer
}

// compare holds the digests of manifest, lock and config against each other. proven says
// that the lock knows all of them and the manifest agrees.
func (f *Files) compare(want File, numbers []int, found *verify.Findings) (proven bool) {
	proven = true
	for i, n := range numbers {
		d := f.image.Manifest.Layers[n]
		if locked := want.Digests[i]; locked != d.Digest.String() {
			proven = false
			if locked != "" {
				found.Add(verify.Error, CodeDigest, want.Parts[i].Name, "the manifest says %s, the lock says %s", d.Digest, locked)
			}
		}
		f.image.compareDiffID(n, want.Parts[i].Name, found)
	}
	return proven
}

// compareDiffID holds a layer that is not compressed against the config.
func (i *Image) compareDiffID(n int, title string, found *verify.Findings) {
	d, ids := i.Manifest.Layers[n], i.Config.RootFS.DiffIDs
	switch {
	case !uncompressed(d.MediaType):
	case n >= len(ids):
		found.Add(verify.Error, CodeForm, title, "the config has no diff id for layer %d", n)
	case ids[n] != d.Digest:
		found.Add(verify.Error, CodeForm, title, "the config's diff id is %s, the manifest says %s", ids[n], d.Digest)
	}
}

// inCache counts the layers without a blob.
func (f *Files) inCache(numbers []int) int {
	count := 0
	for _, n := range numbers {
		if !f.image.blobs.has(f.image.Manifest.Layers[n]) {
			count++
		}
	}
	return count
}
