package flow

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/image/attest"
	"github.com/plimsoll-oci/plimsoll/image/gobinary"
	"github.com/plimsoll-oci/plimsoll/image/referrers"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// attest makes the documents about an image, and about the image of its weights alone. That
// is done by the build, which has manifest, lock and program at hand: by the time of a
// publication they may be others.
func (j *Job) attest(ctx context.Context, a *assembly, verified *VerifyResult) (out []*referrers.Artifact, err error) {
	in, err := j.attested(ctx, a, verified)
	if err != nil {
		return nil, fmt.Errorf("describing %s: %w", j.Manifest.Name, err)
	}
	about, err := documents(in, a.image)
	if err != nil {
		return nil, err
	}
	if in.Verification.Method == methodLock {
		defer func() { j.keepProof(out) }()
	}
	weights, err := a.image.Weights()
	if err != nil || weights == a.image {
		return about, err
	}
	digest, err := weights.Digest()
	if err != nil {
		return nil, err
	}
	layers, err := attestedLayers(weights)
	if err != nil {
		return nil, err
	}
	more, err := documents(in.Weights(digest.String(), layers), weights)
	return append(about, more...), err
}

// keepProof puts verifications that lie beside the layout in the place of new ones that rest
// on the lock alone: an earlier run, such as one that streamed, may have read the bytes of
// the same image, which stays true.
func (j *Job) keepProof(list []*referrers.Artifact) {
	before, err := referrers.Open(j.Layout())
	if err != nil {
		return // a broken folder is written anew
	}
	for i, a := range list {
		for _, old := range referrers.About(before, a.Subject.Digest) {
			if a.Name == attest.NameVerification && old.Name == a.Name {
				list[i] = old
			}
		}
	}
}

// documents packs the documents about one image.
func documents(in attest.Input, img *image.Image) (out []*referrers.Artifact, err error) {
	list, err := attest.Documents(in)
	if err != nil {
		return nil, err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	subject := v1.Descriptor{Size: int64(len(raw))}
	if subject.Digest, err = img.Digest(); err != nil {
		return nil, err
	}
	if subject.MediaType, err = img.MediaType(); err != nil {
		return nil, err
	}
	for _, d := range list {
		a, err := referrers.New(subject, d)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// attested collects what is said about the image.
func (j *Job) attested(ctx context.Context, a *assembly, verified *VerifyResult) (attest.Input, error) {
	in := attest.Input{
		Title: j.Manifest.Title, Runtime: j.Manifest.Runtime, Model: a.spec.Model, ModelSHA256: sum256(a.spec.Model.Encode()),
		ManifestName: filepath.Base(j.Path), PartSize: int64(j.Manifest.PartSize), Pack: pack.Version,
	}
	digest, err := a.image.Digest()
	if err != nil {
		return in, err
	}
	in.Digest = digest.String()
	if in.Layers, err = attestedLayers(a.image); err != nil {
		return in, err
	}
	manifest, err := os.ReadFile(j.Path)
	if err != nil {
		return in, err
	}
	in.ManifestSHA256 = sum256(manifest)
	if a.spec.Base != nil {
		in.Packages, in.OS = a.lock.Packages, osOf(a.spec.Base)
	}
	if in.Source, err = gobinary.Source(ctx, j.runtimeSource()); err != nil {
		return in, err
	}
	if in.Program, err = a.program(); err != nil {
		return in, err
	}
	in.Verification, err = j.evidence(ctx, a, verified)
	return in, err
}

// osOf reads what the base layer says of its system.
func osOf(layer []byte) attest.OS {
	archive := tar.NewReader(bytes.NewReader(layer))
	for {
		head, err := archive.Next()
		if err != nil {
			return attest.OS{} // a base of packages that say nothing
		}
		if head.Name == "usr/lib/os-release" {
			text, _ := io.ReadAll(archive) // of bytes in memory
			return attest.ParseOS(text)
		}
	}
}

func sum256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// attestedLayers lists an image's layers.
func attestedLayers(img *image.Image) (out []attest.Layer, err error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	for _, d := range m.Layers {
		out = append(out, attest.Layer{
			Title: d.Annotations[titleKey], Digest: d.Digest.String(), Size: d.Size, File: d.Annotations[image.AnnotationFile],
		})
	}
	return out, nil
}

// program describes the runtime aboard by what its toolchain wrote into it; nil for none.
func (a *assembly) program() (*attest.Program, error) {
	i := a.runtime()
	if i == nil {
		return nil, nil
	}
	info, err := buildinfo.Read(bytes.NewReader(i.Data))
	if err != nil {
		return nil, fmt.Errorf("reading the build information of %s: %w", i.Name, err)
	}
	p := &attest.Program{Path: i.Name, SHA256: sum256(i.Data), Info: info}
	for _, t := range a.licences {
		p.Licences = append(p.Licences, attest.Licence{Module: t.Module, Path: licencePath(t), Text: t.Text})
	}
	return p, nil
}

// runtime is the runtime's binary; nil for none.
func (a *assembly) runtime() *archive.File {
	for i, f := range a.spec.Runtime {
		if f.Name == image.RuntimePath {
			return &a.spec.Runtime[i]
		}
	}
	return nil
}

// carry copies the documents of a layout to another.
func carry(from, to string) error {
	if filepath.Clean(from) == filepath.Clean(to) {
		return nil
	}
	artifacts, err := referrers.Open(from)
	if err != nil || artifacts == nil {
		return err
	}
	return referrers.Save(to, artifacts)
}

// kept pairs the selection's kept files with their paths in the cache.
func (j *Job) kept(a *assembly) (map[string]manifests.Decision, error) {
	listings, out := a.lock.Listings(), map[string]manifests.Decision{}
	for _, d := range a.selection.Kept() {
		path, err := j.blob(listings[d.Source].Repo, d.File)
		if err != nil {
			return nil, err
		}
		out[path] = d
	}
	return out, nil
}
