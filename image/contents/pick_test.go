package contents_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/contents"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// TestPickEnds: a few small indexes that list each other hundreds of times would be read for
// years.
func TestPickEnds(t *testing.T) {
	dir := t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	require.NoError(t, os.MkdirAll(blobs, 0o755))
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	for range 3 {
		data, err := json.Marshal(index)
		require.NoError(t, err)
		sum := sha256.Sum256(data)
		d := v1.Descriptor{MediaType: types.OCIImageIndex, Size: int64(len(data)), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}}
		require.NoError(t, os.WriteFile(filepath.Join(blobs, d.Digest.Hex), data, 0o644))
		index.Manifests = nil
		for range 500 {
			index.Manifests = append(index.Manifests, d)
		}
	}
	data, err := json.Marshal(index)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), data, 0o644))
	_, err = contents.Pick(dir, contents.Options{})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, "more than 1000 indexes")
}

// TestPickWaitsForNobody: a pipe in the place of a file is refused, not opened.
func TestPickWaitsForNobody(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "index.json"), 0o644))
	_, err := contents.Pick(dir, contents.Options{})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, "not a regular file")
}
