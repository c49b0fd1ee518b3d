package image

import (
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// ModelFile is one model file to ship.
type ModelFile struct {
	manifests.Decision
	// Parts cuts the file into layers, and Digests are theirs, "sha256:…", in order.
	Parts   []pack.Part
	Digests []string
	// Open opens the file's bytes, or fails with ErrAbsent.
	Open Opener
}

// Spec is everything that an image is made of.
type Spec struct {
	Manifest *manifests.Manifest
	// Model is the content of model.json.
	Model *manifests.ModelConfig
	// Files are the model files, lowest layer first.
	Files []ModelFile
	// Base is the base layer as a tar; nil for none.
	Base []byte
	// BaseName describes the base in a label, such as "libc6 2.41-12 (trixie)".
	BaseName string
	// Runtime is the runtime's binary with its licence texts; empty for none.
	Runtime []archive.File
	// Licences are texts that belong to the model files.
	Licences []archive.File
}

// RuntimePath is where the runtime's binary lies in the image, without the leading slash:
// outside of the models folder, so that a volume mounted there never hides the program.
const RuntimePath = "usr/bin/plimsoll-runtime"

// Build describes the image. It reads no model file: the digests are given.
func Build(spec Spec) (*Image, error) {
	var b builder
	for _, f := range spec.Files {
		if err := b.addModel(f); err != nil {
			return nil, fmt.Errorf("building %s: %w", spec.Manifest.Name, err)
		}
	}
	if spec.Base != nil {
		b.addSmall(KindBase, "base: "+spec.BaseName, spec.Base)
	}
	if err := b.addArchive(KindRuntime, "plimsoll runtime", spec.Runtime); err != nil {
		return nil, fmt.Errorf("building %s: %w", spec.Manifest.Name, err)
	}
	config := append(slices.Clone(spec.Licences), archive.Regular(manifests.ModelConfigPath, 0o644, spec.Model.Encode()))
	if err := b.addArchive(KindConfig, "model configuration", config); err != nil {
		return nil, fmt.Errorf("building %s: %w", spec.Manifest.Name, err)
	}
	return b.seal(configFile(spec))
}

// builder collects layers, lowest first.
type builder struct {
	descriptors []v1.Descriptor
	layers      []v1.Layer
	history     []v1.History
}

// addModel adds one file, part by part.
func (b *builder) addModel(f ModelFile) error {
	if len(f.Parts) == 0 || len(f.Parts) != len(f.Digests) {
		return fmt.Errorf("adding %s: %d parts, %d digests", f.ImagePath, len(f.Parts), len(f.Digests))
	}
	for i, part := range f.Parts {
		a := Annotations(f.Source, f.ImagePath, f.Size, f.SHA256, part)
		layer, err := NewLayer(part, f.Digests[i], a, f.Open)
		if err != nil {
			return err
		}
		b.push(layer, layer.desc, part.Name)
	}
	return nil
}

// addArchive adds a small layer; no files add none.
func (b *builder) addArchive(kind Kind, title string, files []archive.File) error {
	if len(files) == 0 {
		return nil
	}
	var a archive.Archive
	if err := a.Add(files...); err != nil {
		return fmt.Errorf("adding %s: %w", title, err)
	}
	data, err := a.Bytes()
	if err != nil {
		return fmt.Errorf("adding %s: %w", title, err)
	}
	b.addSmall(kind, title, data)
	return nil
}

func (b *builder) addSmall(kind Kind, title string, data []byte) {
	layer := static.NewLayer(data, types.OCIUncompressedLayer)
	hash, _ := layer.Digest() // of bytes in memory: never fails
	desc := v1.Descriptor{
		MediaType: types.OCIUncompressedLayer, Size: int64(len(data)), Digest: hash,
		Annotations: map[string]string{AnnotationKind: string(kind), ociTitle: title},
	}
	b.push(layer, desc, title)
}

func (b *builder) push(layer v1.Layer, desc v1.Descriptor, title string) {
	b.layers = append(b.layers, layer)
	b.descriptors = append(b.descriptors, desc)
	b.history = append(b.history, v1.History{Created: epoch, CreatedBy: "plimsoll: " + title})
}

// seal completes a config with the collected layers and writes the manifest over them. The
// manifest's annotations are the config's labels.
func (b *builder) seal(config *v1.ConfigFile) (*Image, error) {
	config.History = b.history
	for _, d := range b.descriptors {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d.Digest)
	}
	return newImage(config, b.descriptors, b.layers, config.Config.Labels)
}
