package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// Resolver finds the bytes of a model file by its sha256. Its Opener may fail with
// ErrAbsent.
type Resolver func(file string, sha256 string) Opener

// maxJSON bounds index, manifest and config of a layout: registries take manifests of 4 MiB.
const maxJSON = 4 << 20

// Save writes the thin layout to dir: everything but the model layers, which the OCI
// image-layout specification allows to be missing. A layout that is there already is
// replaced; blobs of it that still belong to the image stay, others are removed. The index
// is written last, so that a cut leaves the old image or the new one.
func (i *Image) Save(dir string) error {
	if err := i.save(dir); err != nil {
		return fmt.Errorf("writing layout %s: %w", dir, err)
	}
	return nil
}

func (i *Image) save(dir string) error {
	if err := os.MkdirAll(blobDir(dir), 0o755); err != nil {
		return err
	}
	for n, layer := range i.layers {
		if d := i.manifest.Layers[n]; d.Annotations[AnnotationKind] == string(KindModel) {
			continue
		} else if err := saveLayer(dir, d.Digest, layer); err != nil {
			return err
		}
	}
	digest, err := i.Digest()
	if err != nil {
		return err
	}
	index, err := encode(i.index(digest))
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path string
		data []byte
	}{
		{blobPath(dir, i.manifest.Config.Digest), i.rawConfig},
		{blobPath(dir, digest), i.raw},
		{filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{filepath.Join(dir, "index.json"), index},
	} {
		if err := manifests.WriteFile(f.path, f.data); err != nil {
			return err
		}
	}
	return i.sweep(dir, digest)
}

// index is the layout's index of one image.
func (i *Image) index(digest v1.Hash) v1.IndexManifest {
	return v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: i.manifest.MediaType, Size: int64(len(i.raw)), Digest: digest,
			Platform:    &v1.Platform{OS: OS, Architecture: Architecture},
			Annotations: i.indexAnnotations(),
		}},
	}
}

// indexAnnotations are those of the manifest, for whoever reads no further than the index,
// and the name by which tools that load a layout look an image up.
func (i *Image) indexAnnotations() map[string]string {
	out := maps.Clone(i.manifest.Annotations)
	if out == nil {
		out = map[string]string{}
	}
	out["org.opencontainers.image.ref.name"] = "latest"
	return out
}

func saveLayer(dir string, digest v1.Hash, layer v1.Layer) error {
	r, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return manifests.WriteFile(blobPath(dir, digest), data)
}

// sweep removes blobs that do not belong to the image.
func (i *Image) sweep(dir string, digest v1.Hash) error {
	keep := map[string]bool{digest.Hex: true, i.manifest.Config.Digest.Hex: true}
	for _, d := range i.manifest.Layers {
		keep[d.Digest.Hex] = true
	}
	entries, err := os.ReadDir(blobDir(dir))
	for _, e := range entries {
		if !keep[e.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(blobDir(dir), e.Name())))
		}
	}
	return err
}

func blobDir(dir string) string { return filepath.Join(dir, "blobs", "sha256") }

func blobPath(dir string, h v1.Hash) string { return filepath.Join(blobDir(dir), h.Hex) }

// Open reads the layout at dir. A layer whose blob is there is read from it; of the
// others, model layers are views of the files that resolve finds. resolve may be nil.
// Errors are of kind fault.Invalid, a missing layout of kind fault.Usage.
func Open(dir string, resolve Resolver) (*Image, error) {
	i, err := open(dir, resolve)
	if err != nil {
		return nil, layoutError(dir, err)
	}
	return i, nil
}

// layoutError tells a layout that is not there from one that is broken.
func layoutError(dir string, err error) error {
	kind, hint := fault.Invalid, "run the build target again"
	if errors.Is(err, fs.ErrNotExist) {
		kind, hint = fault.Usage, "run the build target first"
	}
	return fault.Wrap(kind, hint, fmt.Errorf("reading layout %s: %w", dir, err))
}

// Describe reads the manifest and the config of the layout at dir, checked against their
// digests. It looks at no layer. Errors are Open's.
func Describe(dir string) (*v1.Manifest, *v1.ConfigFile, v1.Hash, error) {
	i, err := describe(dir)
	if err != nil {
		return nil, nil, v1.Hash{}, layoutError(dir, err)
	}
	digest, err := i.Digest()
	return i.manifest, i.config, digest, err
}

// describe returns the image without its layers.
func describe(dir string) (*Image, error) {
	var index v1.IndexManifest
	if err := readJSON(filepath.Join(dir, "index.json"), &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) != 1 {
		return nil, fmt.Errorf("the index lists %d images, want 1", len(index.Manifests))
	}
	i := &Image{manifest: &v1.Manifest{}, config: &v1.ConfigFile{}}
	var err error
	if i.raw, err = readBlob(dir, index.Manifests[0], i.manifest); err != nil {
		return nil, err
	}
	i.rawConfig, err = readBlob(dir, i.manifest.Config, i.config)
	return i, err
}

func open(dir string, resolve Resolver) (*Image, error) {
	i, err := describe(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range i.manifest.Layers {
		layer, err := openLayer(dir, d, resolve)
		if err != nil {
			return nil, err
		}
		i.layers = append(i.layers, layer)
	}
	return i, nil
}

func readJSON(path string, v any) error {
	data, err := manifests.ReadFile(path, maxJSON)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("parsing %s: %w", filepath.Base(path), err)
	}
	return nil
}

// readBlob reads a JSON blob and checks its digest.
func readBlob(dir string, d v1.Descriptor, v any) ([]byte, error) {
	if err := checkHash(d.Digest); err != nil {
		return nil, err
	}
	data, err := manifests.ReadFile(blobPath(dir, d.Digest), maxJSON)
	if err != nil {
		return nil, err
	}
	got, _, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if got != d.Digest {
		return nil, fmt.Errorf("reading blob %s: its digest is %s", d.Digest, got)
	}
	return data, json.Unmarshal(data, v)
}

// checkHash refuses digests that are not a plain sha256, since they name files.
func checkHash(h v1.Hash) error {
	if h.Algorithm != "sha256" {
		return fmt.Errorf("digest %s is not a sha256", h)
	}
	_, err := v1.NewHash(h.String())
	return err
}

// openLayer returns the layer of a descriptor: its blob, or a view of a model file.
func openLayer(dir string, d v1.Descriptor, resolve Resolver) (v1.Layer, error) {
	if err := checkHash(d.Digest); err != nil {
		return nil, err
	}
	if info, err := os.Stat(blobPath(dir, d.Digest)); err == nil && info.Mode().IsRegular() && info.Size() == d.Size {
		return &blobLayer{desc: d, path: blobPath(dir, d.Digest)}, nil
	}
	if Kind(d.Annotations[AnnotationKind]) != KindModel {
		return nil, fmt.Errorf("blob %s of the %s layer is missing or has another size than %d", d.Digest, d.Annotations[AnnotationKind], d.Size)
	}
	if v := d.Annotations[AnnotationPack]; v != fmt.Sprint(pack.Version) {
		return nil, fmt.Errorf("layer %s has pack version %s, this plimsoll writes %d", d.Digest, v, pack.Version)
	}
	file, sum, part, err := partOf(d)
	if err != nil {
		return nil, err
	}
	return NewLayer(part, d.Digest.String(), d.Annotations, opener(resolve, file, sum))
}

// opener asks resolve, or says that there are no bytes.
func opener(resolve Resolver, file, sum string) Opener {
	if resolve == nil {
		return func() (File, error) { return nil, fmt.Errorf("opening %s: %w", file, ErrAbsent) }
	}
	return resolve(file, sum)
}

// blobLayer is a layer whose blob lies in a layout.
type blobLayer struct {
	desc v1.Descriptor
	path string
}

func (l *blobLayer) Descriptor() (*v1.Descriptor, error)  { return l.desc.DeepCopy(), nil }
func (l *blobLayer) Digest() (v1.Hash, error)             { return l.desc.Digest, nil }
func (l *blobLayer) DiffID() (v1.Hash, error)             { return l.desc.Digest, nil }
func (l *blobLayer) Size() (int64, error)                 { return l.desc.Size, nil }
func (l *blobLayer) MediaType() (types.MediaType, error)  { return l.desc.MediaType, nil }
func (l *blobLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l *blobLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }

// Export writes the image to dir as a full layout, every layer a blob. dir may be the thin
// layout itself, which it completes; layers that are there are not written again. Each
// blob is hashed while it is copied and takes its name only when the digest is right.
// progress, which may be nil, is called with the number of bytes just written.
func (i *Image) Export(ctx context.Context, dir string, progress func(n int64)) error {
	if err := os.MkdirAll(blobDir(dir), 0o755); err != nil {
		return fmt.Errorf("exporting to %s: %w", dir, err)
	}
	for n, layer := range i.layers {
		if err := exportLayer(ctx, dir, i.manifest.Layers[n], layer, progress); err != nil {
			return fmt.Errorf("exporting to %s: %w", dir, err)
		}
	}
	return i.Save(dir)
}
