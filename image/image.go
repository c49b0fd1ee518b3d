// Package image turns verified files into an OCI image without copying them.
//
//	Build     manifest, lock and files become an Image: digests and descriptors, no bytes
//	Save      writes the thin layout: index, manifest, config and the small layers
//	Open      reads a layout back, thin or full
//	Export    completes a layout with the model layers, for tools that want all blobs
//
// A model file is a layer of its own, or several when it is cut into parts. Such a layer
// is a view, tar header | file bytes | zeros, over the file in the cache: it is never
// stored a second time, any offset of it can be produced again, and it is uncompressed
// because packed weights do not compress. Its digest is a function of the file's sha256
// and of the pack version, so an image can be described without the bytes at all.
//
// Layers are ordered by how rarely they change: model files lowest (base components, then
// checkpoints), then the base's libraries, then the runtime, then the model's
// configuration. A container runtime re-unpacks everything above a changed layer, so a new
// libc or runtime must never lie under 30 GB of weights.
//
// Every byte that Build decides is a function of its input: no clock, user, host or map
// order enters, so two builds anywhere give one digest.
package image

import (
	"bytes"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Kind says what a layer holds.
type Kind string

// The kinds of layers, from the lowest to the highest.
const (
	KindModel   Kind = "model"
	KindBase    Kind = "base"
	KindRuntime Kind = "runtime"
	KindConfig  Kind = "config"
)

// Annotations that plimsoll puts on layer descriptors. With them a manifest alone says
// which file a layer holds, so that a layout without the blob can find its bytes.
const (
	annotation = "io.github.plimsoll-oci."
	// AnnotationKind holds the layer's Kind.
	AnnotationKind = annotation + "kind"
	// AnnotationSource names the manifest's source of a model layer.
	AnnotationSource = annotation + "source"
	// AnnotationFile is the file's path in the image, without the part's suffix.
	AnnotationFile = annotation + "file"
	// AnnotationFileSize and AnnotationFileSHA256 describe the whole file.
	AnnotationFileSize   = annotation + "file.size"
	AnnotationFileSHA256 = annotation + "file.sha256"
	// AnnotationPart is "1/3" for the first of three parts; absent for a whole file. Parts
	// are read as one file by plimsoll's own runtime only.
	AnnotationPart = annotation + "part"
	// AnnotationPartOffset and AnnotationPartLength select bytes of the file.
	AnnotationPartOffset = annotation + "part.offset"
	AnnotationPartLength = annotation + "part.length"
	// AnnotationPack is the version of the layer format.
	AnnotationPack = annotation + "pack"
)

// Image is an OCI image whose layers may be views of files or not be here at all. It
// implements v1.Image and is safe for concurrent use.
type Image struct {
	manifest  *v1.Manifest
	config    *v1.ConfigFile
	rawConfig []byte
	raw       []byte
	layers    []v1.Layer
}

var _ v1.Image = (*Image)(nil)

// newImage seals config and layers into an image. descriptors and layers are parallel.
func newImage(config *v1.ConfigFile, descriptors []v1.Descriptor, layers []v1.Layer, annotations map[string]string) (*Image, error) {
	rawConfig, err := encode(config)
	if err != nil {
		return nil, fmt.Errorf("encoding image config: %w", err)
	}
	hash, size, err := v1.SHA256(bytes.NewReader(rawConfig))
	if err != nil {
		return nil, err
	}
	m := &v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        v1.Descriptor{MediaType: types.OCIConfigJSON, Size: size, Digest: hash},
		Layers:        descriptors,
		Annotations:   annotations,
	}
	raw, err := encode(m)
	if err != nil {
		return nil, fmt.Errorf("encoding image manifest: %w", err)
	}
	return &Image{manifest: m, config: config, rawConfig: rawConfig, raw: raw, layers: layers}, nil
}

// encode marshals without HTML escapes and without a final newline; maps are sorted.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// Layers returns the layers, lowest first.
func (i *Image) Layers() ([]v1.Layer, error) { return i.layers, nil }

// MediaType is that of an OCI manifest.
func (i *Image) MediaType() (types.MediaType, error) { return i.manifest.MediaType, nil }

// Size is the size of the manifest in bytes.
func (i *Image) Size() (int64, error) { return int64(len(i.raw)), nil }

// ConfigName is the digest of the config.
func (i *Image) ConfigName() (v1.Hash, error) { return i.manifest.Config.Digest, nil }

// ConfigFile returns a copy of the config.
func (i *Image) ConfigFile() (*v1.ConfigFile, error) { return i.config.DeepCopy(), nil }

// RawConfigFile returns the config's bytes.
func (i *Image) RawConfigFile() ([]byte, error) { return i.rawConfig, nil }

// Digest is the sha256 of the manifest.
func (i *Image) Digest() (v1.Hash, error) {
	hash, _, err := v1.SHA256(bytes.NewReader(i.raw))
	return hash, err
}

// Manifest returns a copy of the manifest.
func (i *Image) Manifest() (*v1.Manifest, error) { return i.manifest.DeepCopy(), nil }

// RawManifest returns the manifest's bytes.
func (i *Image) RawManifest() ([]byte, error) { return i.raw, nil }

// LayerByDigest returns the layer, or the config, with the given digest.
func (i *Image) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	if h == i.manifest.Config.Digest {
		return partial.ConfigLayer(i)
	}
	for n, d := range i.manifest.Layers {
		if d.Digest == h {
			return i.layers[n], nil
		}
	}
	return nil, fmt.Errorf("looking up layer %s: the image has no such layer", h)
}

// LayerByDiffID returns the layer with the given uncompressed digest.
func (i *Image) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	for n, diffID := range i.config.RootFS.DiffIDs {
		if diffID == h && n < len(i.layers) {
			return i.layers[n], nil
		}
	}
	return nil, fmt.Errorf("looking up layer with diff id %s: the image has no such layer", h)
}
