// Package referrers packs documents about an image as OCI artifacts that refer to it
// (image-spec 1.1, manifest.md: subject), and keeps them beside the image's layout.
//
//	document + image --New--> Artifact: one manifest, one layer, an empty config
//	artifacts --Save--> referrers/ in the layout's folder --Open--> artifacts
//
// An artifact is a function of its document and of the image's manifest, so one image and
// one document have one digest.
//
// They lie in a layout of their own, in the folder referrers of the image's layout, because
// there is no good place for them in that layout itself: tools that are given a layout
// without a name (skopeo's oci:DIR among them) refuse an index that lists more than one
// manifest, and a manifest that the index does not list is found by nobody. The image-layout
// specification allows further files in the folder. The inner layout is an ordinary one,
// with one manifest for each artifact.
package referrers

import (
	"bytes"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/plimsoll-oci/plimsoll/image/attest"
)

// Annotations of artifacts.
const (
	titleKey       = "org.opencontainers.image.title"
	descriptionKey = "org.opencontainers.image.description"
	// PredicateKey is where BuildKit puts the predicate type of a statement.
	PredicateKey = "in-toto.io/predicate-type"
)

// emptyType and empty are the config of an artifact that has none (image-spec 1.1,
// manifest.md, "Guidance for an Empty Descriptor").
const emptyType types.MediaType = "application/vnd.oci.empty.v1+json"

var empty = []byte("{}")

// Blob is bytes with their descriptor.
type Blob struct {
	Descriptor v1.Descriptor
	Data       []byte
}

// Artifact is a document that refers to an image. It does not change.
type Artifact struct {
	// Manifest is the artifact's manifest; its descriptor has the artifact type and the
	// annotations, as an index or a registry lists it.
	Manifest Blob
	// Config and Document are the manifest's blobs.
	Config, Document Blob
	// Subject is the image's manifest.
	Subject v1.Descriptor
	// Name is the document's, as a file.
	Name string
}

// New packs a document about the image whose manifest subject describes.
func New(subject v1.Descriptor, d attest.Document) (*Artifact, error) {
	a := &Artifact{Subject: v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest}, Name: d.Name}
	annotations := map[string]string{titleKey: d.Name, descriptionKey: d.Title}
	if d.Predicate != "" {
		annotations[PredicateKey] = d.Predicate
	}
	a.Config = blob(emptyType, empty)
	a.Document = blob(types.MediaType(d.MediaType), d.Data)
	a.Document.Descriptor.Annotations = annotations
	raw, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: d.MediaType,
		Config: a.Config.Descriptor, Layers: []v1.Descriptor{a.Document.Descriptor},
		Subject: &a.Subject, Annotations: annotations,
	})
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", d.Name, err)
	}
	a.Manifest = blob(types.OCIManifestSchema1, raw)
	a.Manifest.Descriptor.ArtifactType, a.Manifest.Descriptor.Annotations = d.MediaType, annotations
	return a, nil
}

func blob(mediaType types.MediaType, data []byte) Blob {
	hash, size, _ := v1.SHA256(bytes.NewReader(data)) // of bytes in memory: never fails
	return Blob{Descriptor: v1.Descriptor{MediaType: mediaType, Size: size, Digest: hash}, Data: data}
}

// RawManifest returns the manifest's bytes.
func (a *Artifact) RawManifest() ([]byte, error) { return a.Manifest.Data, nil }

// MediaType is that of the manifest.
func (a *Artifact) MediaType() (types.MediaType, error) {
	return a.Manifest.Descriptor.MediaType, nil
}

// Digest is the sha256 of the manifest.
func (a *Artifact) Digest() (v1.Hash, error) { return a.Manifest.Descriptor.Digest, nil }

// Size is the size of the manifest in bytes.
func (a *Artifact) Size() (int64, error) { return a.Manifest.Descriptor.Size, nil }
