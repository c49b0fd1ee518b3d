package referrers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Folder is the folder of the artifacts in the folder of the image's layout.
const Folder = "referrers"

// Limits of what Open reads. The SBOM of the default model has 60 kB.
const (
	maxBlob      = 4 << 20
	maxArtifacts = 100
)

// Save replaces the artifacts beside the layout at dir. The index is written last: a cut
// leaves the old ones or the new ones listed. Errors are of kind fault.Resource.
func Save(dir string, artifacts []*Artifact) error {
	if err := save(filepath.Join(dir, Folder), artifacts); err != nil {
		return fault.Wrap(fault.Resource, "", fmt.Errorf("writing referrers of layout %s: %w", dir, err))
	}
	return nil
}

func save(dir string, artifacts []*Artifact) error {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	keep := map[string]bool{}
	for _, a := range artifacts {
		for _, b := range []Blob{a.Config, a.Document, a.Manifest} {
			keep[b.Descriptor.Digest.Hex] = true
			if err := manifests.WriteFile(blobPath(dir, b.Descriptor.Digest), b.Data); err != nil {
				return err
			}
		}
		index.Manifests = append(index.Manifests, a.Manifest.Descriptor)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := manifests.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := manifests.WriteFile(filepath.Join(dir, "index.json"), raw); err != nil {
		return err
	}
	return sweep(dir, keep)
}

// sweep removes blobs of artifacts that were replaced.
func sweep(dir string, keep map[string]bool) error {
	entries, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	for _, e := range entries {
		if !keep[e.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(dir, "blobs", "sha256", e.Name())))
		}
	}
	return err
}

func blobPath(dir string, h v1.Hash) string { return filepath.Join(dir, "blobs", "sha256", h.Hex) }

// Open reads the artifacts beside the layout at dir, each blob held against its digest; none
// where there is no such folder. Errors are of kind fault.Invalid.
func Open(dir string) ([]*Artifact, error) {
	out, err := open(filepath.Join(dir, Folder))
	if errors.Is(err, errNone) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "run the build target again, or remove the folder "+Folder, fmt.Errorf("reading referrers of layout %s: %w", dir, err))
	}
	return out, nil
}

// errNone says that there is no folder of artifacts.
var errNone = errors.New("no referrers")

func open(dir string) (out []*Artifact, err error) {
	raw, err := manifests.ReadFile(filepath.Join(dir, "index.json"), maxBlob)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNone
	}
	if err != nil {
		return nil, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("parsing index.json: %w", err)
	}
	if len(index.Manifests) > maxArtifacts {
		return nil, fmt.Errorf("the index lists %d artifacts, at most %d are allowed", len(index.Manifests), maxArtifacts)
	}
	for _, d := range index.Manifests {
		a, err := read(dir, d)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// read reads one artifact.
func read(dir string, d v1.Descriptor) (*Artifact, error) {
	raw, err := readBlob(dir, d)
	if err != nil {
		return nil, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw.Data, &m); err != nil {
		return nil, fmt.Errorf("parsing manifest %s: %w", d.Digest, err)
	}
	if m.Subject == nil || m.MediaType != types.OCIManifestSchema1 || m.ArtifactType == "" || len(m.Layers) != 1 {
		return nil, fmt.Errorf("reading manifest %s: it is no artifact of one document that refers to an image", d.Digest)
	}
	a := &Artifact{Manifest: raw, Subject: *m.Subject, Name: m.Layers[0].Annotations[titleKey]}
	a.Manifest.Descriptor.MediaType, a.Manifest.Descriptor.ArtifactType, a.Manifest.Descriptor.Annotations = m.MediaType, m.ArtifactType, m.Annotations
	if a.Config, err = readBlob(dir, m.Config); err != nil {
		return nil, err
	}
	a.Document, err = readBlob(dir, m.Layers[0])
	return a, err
}

// readBlob reads a blob and holds it against its descriptor.
func readBlob(dir string, d v1.Descriptor) (Blob, error) {
	if _, err := v1.NewHash(d.Digest.String()); err != nil || d.Digest.Algorithm != "sha256" {
		return Blob{}, fmt.Errorf("reading a blob: its digest is %q, want a sha256", d.Digest)
	}
	data, err := manifests.ReadFile(blobPath(dir, d.Digest), maxBlob)
	if err != nil {
		return Blob{}, err
	}
	if got := blob(d.MediaType, data).Descriptor; got.Digest != d.Digest || got.Size != d.Size {
		return Blob{}, fmt.Errorf("reading blob %s of %d bytes: it has %d, and its digest is %s", d.Digest, d.Size, got.Size, got.Digest)
	}
	return Blob{Descriptor: d, Data: data}, nil
}

// About keeps the artifacts that refer to an image.
func About(artifacts []*Artifact, image v1.Hash) (out []*Artifact) {
	for _, a := range artifacts {
		if a.Subject.Digest == image {
			out = append(out, a)
		}
	}
	return out
}
