package models_test

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// BenchmarkStructure is the check at a start, of the published model with both checkpoints:
// 42 GB, of which 2 MB of headers and 16 MB of documents are read. Data are holes, which take
// no place on a disk and which nobody reads.
func BenchmarkStructure(b *testing.B) {
	dir := b.TempDir()
	writeHoles(b, dir, modelsettest.Real())
	data, ok := manifests.Embedded("qwen-image-edit")
	require.True(b, ok)
	m, err := manifests.Parse(data)
	require.NoError(b, err)
	for b.Loop() {
		folder, _, err := models.Discover(dir, m)
		require.NoError(b, err)
		r, err := folder.Verify(b.Context(), models.Options{Structure: true})
		require.NoError(b, err)
		require.NoError(b, r.Err())
	}
}

// writeHoles writes a model of these dimensions, in the layout of an image, with holes for the
// data of weights.
func writeHoles(tb testing.TB, dir string, p modelsettest.Params) {
	tb.Helper()
	base, err := modelsettest.Base(p)
	require.NoError(tb, err)
	quantised, err := modelsettest.Checkpoints(p)
	require.NoError(tb, err)
	for name, f := range base {
		if !strings.HasPrefix(name, "transformer/") {
			writeHole(tb, filepath.Join(dir, "Qwen--Qwen-Image-Edit", name), f)
		}
	}
	for name, f := range quantised {
		if strings.Contains(name, "int4_r128") {
			writeHole(tb, filepath.Join(dir, "nunchaku-qwen-image-edit", name), f)
		}
	}
}

// writeHole writes a document whole and of a container the header.
func writeHole(tb testing.TB, name string, f modelsettest.File) {
	tb.Helper()
	n := f.Content.Size()
	if filepath.Ext(name) == ".safetensors" {
		var length [8]byte
		_, err := f.Content.ReadAt(length[:], 0)
		require.NoError(tb, err)
		n = 8 + int64(binary.LittleEndian.Uint64(length[:]))
	}
	require.NoError(tb, os.MkdirAll(filepath.Dir(name), 0o777))
	out, err := os.Create(name)
	require.NoError(tb, err)
	_, err = io.Copy(out, io.NewSectionReader(f.Content, 0, n))
	require.NoError(tb, err)
	require.NoError(tb, out.Truncate(f.Content.Size()))
	require.NoError(tb, out.Close())
}
