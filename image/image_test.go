package image_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// bytesFile is a file in memory that counts how often it is opened.
type bytesFile struct {
	*bytes.Reader
}

func (bytesFile) Close() error { return nil }

func openBytes(data []byte, opens *int) image.Opener {
	return func() (image.File, error) {
		*opens++
		return bytesFile{bytes.NewReader(data)}, nil
	}
}

// fixture is a small model of two files, one of them cut into parts.
type fixture struct {
	spec  image.Spec
	data  map[string][]byte // by image path
	opens int
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{data: map[string][]byte{}}
	m := &manifests.Manifest{Name: "tiny", Title: "Tiny", Runtime: manifests.RuntimePlimsoll}
	c := &manifests.ModelConfig{
		SchemaVersion: 1, Name: "tiny", Title: "Tiny", Variant: "default", ModelsDir: "/app/models",
		Sources: []manifests.ModelSource{{Name: "base", Title: "Base", Role: manifests.RoleBase, Repo: "o/r", Commit: "c0ffee", License: "Apache-2.0", Path: "base"}},
	}
	rng := rand.NewChaCha8([32]byte{1})
	for _, file := range []struct {
		name string
		size int
		cut  []int64
	}{{"config.json", 1000, nil}, {"weights.safetensors", 5 << 20, []int64{3 << 20, 2 << 20}}} {
		data := make([]byte, file.size)
		rng.Read(data)
		path := manifests.ModelsDir + "/base/" + file.name
		f.data[path] = data
		sum := sha256.Sum256(data)
		d := manifests.Decision{Source: "base", Keep: true, ImagePath: path, File: manifests.File{Path: file.name, Size: int64(file.size), SHA256: hex.EncodeToString(sum[:])}}
		c.Files = append(c.Files, manifests.ModelFile{Path: "base/" + file.name, Source: "base", Size: d.Size, SHA256: d.SHA256, Parts: file.cut})
		f.spec.Files = append(f.spec.Files, f.model(t, d, file.cut))
	}
	f.spec.Manifest, f.spec.Model = m, c
	f.spec.Base, f.spec.BaseName = []byte("base layer"), "libc6 1"
	f.spec.Runtime = []archive.File{archive.Regular(image.RuntimePath, 0o755, []byte("binary"))}
	f.spec.Licences = []archive.File{archive.Regular("usr/share/doc/plimsoll/NOTICE", 0o644, []byte("notice"))}
	return f
}

// model describes a file, cut where told, with digests taken the long way.
func (f *fixture) model(t *testing.T, d manifests.Decision, cut []int64) image.ModelFile {
	t.Helper()
	parts := []pack.Part{{Name: d.ImagePath, Count: 1, Length: d.Size}}
	if len(cut) > 0 {
		parts = nil
		offset := int64(0)
		for i, n := range cut {
			parts = append(parts, pack.Part{Name: pack.PartName(d.ImagePath, i, len(cut)), Index: i, Count: len(cut), Offset: offset, Length: n})
			offset += n
		}
	}
	data := f.data[d.ImagePath]
	out := image.ModelFile{Decision: d, Parts: parts, Open: openBytes(data, &f.opens)}
	for _, p := range parts {
		layer := layerBytes(t, p, data)
		out.Digests = append(out.Digests, fmt.Sprintf("sha256:%x", sha256.Sum256(layer)))
	}
	return out
}

func layerBytes(t *testing.T, p pack.Part, data []byte) []byte {
	t.Helper()
	prefix, err := pack.Prefix(p)
	require.NoError(t, err)
	layer := append(prefix, data[p.Offset:p.Offset+p.Length]...)
	return append(layer, make([]byte, pack.SuffixLen(p.Length))...)
}

func TestBuildIsDeterministicAndReadsNothing(t *testing.T) {
	f := newFixture(t)
	a, err := image.Build(f.spec)
	require.NoError(t, err)
	b, err := image.Build(f.spec)
	require.NoError(t, err)
	da, err := a.Digest()
	require.NoError(t, err)
	db, err := b.Digest()
	require.NoError(t, err)
	require.Equal(t, da, db)
	require.Zero(t, f.opens, "building opens no model file")
}

func TestBuildOrderAndConfig(t *testing.T) {
	f := newFixture(t)
	img, err := image.Build(f.spec)
	require.NoError(t, err)
	m, err := img.Manifest()
	require.NoError(t, err)
	var kinds []string
	for _, d := range m.Layers {
		kinds = append(kinds, d.Annotations[image.AnnotationKind])
		require.Equal(t, types.OCIUncompressedLayer, d.MediaType)
	}
	require.Equal(t, []string{"model", "model", "model", "base", "runtime", "config"}, kinds)
	c, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "65532:65532", c.Config.User)
	require.Contains(t, c.Config.Env, "NVIDIA_DRIVER_CAPABILITIES=compute,utility")
	require.Len(t, c.RootFS.DiffIDs, 6)
	require.Len(t, c.History, 6)
	require.Zero(t, c.Created.Unix(), "a time of creation would make two builds differ")
	require.Equal(t, "o/r@c0ffee", c.Config.Labels["io.github.plimsoll-oci.source.base"])
	require.Contains(t, c.Config.Labels, "io.github.plimsoll-oci.parts")
}

func TestBuildRefusesMissingDigests(t *testing.T) {
	f := newFixture(t)
	f.spec.Files[1].Digests = f.spec.Files[1].Digests[:1]
	_, err := image.Build(f.spec)
	require.ErrorContains(t, err, "2 parts, 1 digests")
	f.spec.Files[1].Digests = []string{"sha256:short", "sha256:short"}
	_, err = image.Build(f.spec)
	require.Error(t, err)
}

func TestImageWithoutRuntime(t *testing.T) {
	f := newFixture(t)
	f.spec.Manifest.Runtime = manifests.RuntimeNone
	f.spec.Base, f.spec.BaseName, f.spec.Runtime = nil, "", nil
	img, err := image.Build(f.spec)
	require.NoError(t, err)
	c, err := img.ConfigFile()
	require.NoError(t, err)
	require.Empty(t, c.Config.Entrypoint)
	require.Empty(t, c.Config.User)
	require.Len(t, c.RootFS.DiffIDs, 4)
}

func TestLayersAreTarViews(t *testing.T) {
	f := newFixture(t)
	img, err := image.Build(f.spec)
	require.NoError(t, err)
	layers, err := img.Layers()
	require.NoError(t, err)
	var joined []byte
	for _, l := range layers[1:3] {
		r, err := l.Uncompressed()
		require.NoError(t, err)
		archive := tar.NewReader(r)
		_, err = archive.Next()
		require.NoError(t, err)
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		joined = append(joined, content...)
		require.NoError(t, r.Close())
		digest, err := l.Digest()
		require.NoError(t, err)
		got, err := partial.BlobDescriptor(img, digest)
		require.NoError(t, err)
		require.Equal(t, digest, got.Digest)
	}
	require.Equal(t, f.data["app/models/base/weights.safetensors"], joined)
}

func TestViewReadsAtAnyOffset(t *testing.T) {
	data := bytes.Repeat([]byte("plimsoll"), 100)
	part := pack.Part{Name: "app/models/" + string(bytes.Repeat([]byte("n"), 120)), Count: 1, Length: int64(len(data))}
	opens := 0
	l, err := image.NewLayer(part, fmt.Sprintf("sha256:%x", sha256.Sum256(nil)), nil, openBytes(data, &opens))
	require.NoError(t, err)
	v, err := l.View()
	require.NoError(t, err)
	require.NoError(t, iotest.TestReader(io.NewSectionReader(v, 0, v.Size()), layerBytes(t, part, data)))
}

// TestNewView: a view needs no digest, and shows the same bytes.
func TestNewView(t *testing.T) {
	part := pack.Part{Name: "app/w.part-01-of-02", Index: 1, Count: 2, Offset: 3, Length: 600}
	file := bytesFile{bytes.NewReader(bytes.Repeat([]byte("0123456789"), 70))}
	l, err := image.NewLayer(part, "sha256:"+strings.Repeat("0", 64), nil, func() (image.File, error) { return file, nil })
	require.NoError(t, err)
	want, err := l.View()
	require.NoError(t, err)
	got, err := image.NewView(part, file)
	require.NoError(t, err)
	require.Equal(t, readView(t, want), readView(t, got))
	require.NoError(t, got.Close())
	_, err = image.NewView(pack.Part{Name: "../w"}, file)
	require.Error(t, err)
}

func readView(t *testing.T, v *image.View) []byte {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(v, 0, v.Size()))
	require.NoError(t, err)
	return data
}

func TestViewOfShortFile(t *testing.T) {
	part := pack.Part{Name: "f", Count: 1, Length: 100}
	opens := 0
	l, err := image.NewLayer(part, fmt.Sprintf("sha256:%x", sha256.Sum256(nil)), nil, openBytes([]byte("short"), &opens))
	require.NoError(t, err)
	r, err := l.Compressed()
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestThinLayoutAndExport(t *testing.T) {
	f := newFixture(t)
	img, err := image.Build(f.spec)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", "stranger"), nil, 0o644))
	require.NoError(t, img.Save(dir))
	require.NoFileExists(t, filepath.Join(dir, "blobs", "sha256", "stranger"))
	require.Len(t, blobs(t, dir), 5, "config, manifest, base, runtime, configuration")

	back, err := image.Open(dir, nil)
	require.NoError(t, err)
	err = back.Export(t.Context(), t.TempDir(), nil)
	require.ErrorIs(t, err, image.ErrAbsent)

	full, err := image.Open(dir, f.resolve)
	require.NoError(t, err)
	var written int64
	require.NoError(t, full.Export(t.Context(), dir, func(n int64) { written += n }))
	require.Len(t, blobs(t, dir), 8)
	require.Equal(t, total(t, img), written)
	again, err := image.Open(dir, nil)
	require.NoError(t, err)
	f.opens = 0
	require.NoError(t, again.Export(t.Context(), t.TempDir(), nil), "a full layout needs no cache")
	require.Zero(t, f.opens)
}

// TestSaveFails: a layout whose new manifest cannot be written still is the old image's.
func TestSaveFails(t *testing.T) {
	img, err := image.Build(newFixture(t).spec)
	require.NoError(t, err)
	old, err := img.Weights()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, old.Save(dir))
	digest, err := img.Digest()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "blobs", "sha256", digest.Hex, "in the way"), 0o755))
	require.Error(t, img.Save(dir))
	_, _, got, err := image.Describe(dir)
	require.NoError(t, err)
	want, err := old.Digest()
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func (f *fixture) resolve(file, sum string) image.Opener {
	if got := sha256.Sum256(f.data[file]); hex.EncodeToString(got[:]) != sum {
		return func() (image.File, error) { return nil, image.ErrAbsent }
	}
	return openBytes(f.data[file], &f.opens)
}

func total(t *testing.T, img *image.Image) (n int64) {
	t.Helper()
	m, err := img.Manifest()
	require.NoError(t, err)
	for _, d := range m.Layers {
		n += d.Size
	}
	return n
}

func blobs(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	require.NoError(t, err)
	return entries
}

func TestExportRefusesChangedFile(t *testing.T) {
	f := newFixture(t)
	img, err := image.Build(f.spec)
	require.NoError(t, err)
	f.data["app/models/base/weights.safetensors"][4<<20] ^= 1
	dir := t.TempDir()
	err = img.Export(t.Context(), dir, nil)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, "its digest is sha256:")
	require.Len(t, blobs(t, dir), 2, "only whole layers have a name")
	require.NoFileExists(t, filepath.Join(dir, "index.json"))
}

func TestLookups(t *testing.T) {
	f := newFixture(t)
	img, err := image.Build(f.spec)
	require.NoError(t, err)
	c, err := img.ConfigFile()
	require.NoError(t, err)
	l, err := img.LayerByDiffID(c.RootFS.DiffIDs[0])
	require.NoError(t, err)
	exists, err := partial.Exists(l)
	require.NoError(t, err)
	require.True(t, exists)
	_, err = img.LayerByDigest(c.RootFS.DiffIDs[0])
	require.NoError(t, err)
	name, err := img.ConfigName()
	require.NoError(t, err)
	_, err = img.LayerByDigest(name)
	require.NoError(t, err)
	name.Hex = "00"
	_, err = img.LayerByDigest(name)
	require.Error(t, err)
	require.False(t, errors.Is(err, image.ErrAbsent))
}
