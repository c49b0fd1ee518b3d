package contents

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// memory is one blob in memory, whatever is asked for.
type memory []byte

func (m memory) has(v1.Descriptor) bool { return true }

func (m memory) open(context.Context, v1.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(iotest.HalfReader(bytes.NewReader(m))), nil
}

// describe is an image of one layer, whose blob may be another.
func describeBlob(kind image.Kind, title string, layer, blob []byte) *Image {
	sum := sha256.Sum256(layer)
	hash := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	return &Image{
		Config: &v1.ConfigFile{RootFS: v1.RootFS{DiffIDs: []v1.Hash{hash}}},
		Manifest: &v1.Manifest{Layers: []v1.Descriptor{{
			MediaType: types.OCIUncompressedLayer, Size: int64(len(layer)), Digest: hash,
			Annotations: map[string]string{titleKey: title, image.AnnotationKind: string(kind)},
		}}},
		blobs: memory(blob),
	}
}

// FuzzModelLayer: a model layer is right exactly if it is the one that pack writes, and the
// file's share never grows.
func FuzzModelLayer(f *testing.F) {
	content := []byte("the bytes of a file")
	part := pack.Part{Name: "app/models/m/f", Count: 1, Length: int64(len(content))}
	prefix, err := pack.Prefix(part)
	require.NoError(f, err)
	layer := append(append(prefix, content...), make([]byte, pack.SuffixLen(part.Length))...)
	for _, n := range []int{0, 100, 512, 520, len(layer) - 1, len(layer)} {
		f.Add(layer[:n])
	}
	f.Add(append(bytes.Clone(layer), 0))
	f.Fuzz(func(t *testing.T, blob []byte) {
		img := describeBlob(image.KindModel, part.Name, layer, blob)
		files := img.Files([]File{{Path: "m/f", Parts: []pack.Part{part}, Digests: []string{img.Manifest.Layers[0].Digest.String()}}}, nil)
		c, found, err := files.Open(t.Context(), manifests.ModelFile{Path: "m/f"})
		require.NoError(t, err)
		require.Empty(t, found)
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.LessOrEqual(t, len(got), len(content))
		require.Equal(t, bytes.Equal(blob, layer), len(c.Around()) == 0)
		require.NoError(t, c.Close())
	})
}

// zeros is a blob of zeros, made while it is read.
type zeros int64

func (z zeros) has(v1.Descriptor) bool { return true }

func (z zeros) open(context.Context, v1.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(zeroReader{}, int64(z))), nil
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestMemoryIsFlat: what is allocated does not grow with a layer.
func TestMemoryIsFlat(t *testing.T) {
	used := func(n int64) uint64 {
		part := pack.Part{Name: "m/f", Count: 1, Length: n}
		img := describeBlob(image.KindModel, part.Name, nil, nil)
		img.blobs, img.Manifest.Layers[0].Size = zeros(part.LayerSize()), part.LayerSize()
		files := img.Files([]File{{Path: "m/f", Parts: []pack.Part{part}, Digests: []string{""}}}, nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, _, err := files.Open(t.Context(), manifests.ModelFile{Path: "m/f"})
		require.NoError(t, err)
		read, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, c, make([]byte, 1<<20))
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		require.Equal(t, n, read)
		require.Len(t, c.Around(), 2, "zeros are no header, and have another digest")
		return after.TotalAlloc - before.TotalAlloc
	}
	small, large := used(1<<20), used(300<<20)
	require.Less(t, large, small+1<<20)
}

// FuzzOtherLayer: a layer is right exactly if it has the manifest's digest, and whatever
// its archive holds, reading it ends.
func FuzzOtherLayer(f *testing.F) {
	var a archive.Archive
	require.NoError(f, a.Add(archive.Regular(manifests.ModelConfigPath, 0o644, []byte("{}"))))
	layer, err := a.Bytes()
	require.NoError(f, err)
	f.Add(layer)
	f.Add(layer[:len(layer)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, blob []byte) {
		img := describeBlob(image.KindBase, "base", layer, blob)
		reports, _, err := img.Files(nil, nil).Layers(t.Context(), nil)
		require.NoError(t, err)
		for _, f := range reports[0].Findings {
			if bytes.Equal(blob, layer) {
				require.Equal(t, CodeModel, f.Code)
			}
		}
		require.True(t, bytes.Equal(blob, layer) || !reports[0].OK)
	})
}
