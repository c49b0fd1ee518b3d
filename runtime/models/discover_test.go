package models_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// realManifest is the published model's manifest, whose names a tiny set has.
func realManifest(t *testing.T) *manifests.Manifest {
	t.Helper()
	data, ok := manifests.Embedded("qwen-image-edit")
	require.True(t, ok)
	m, err := manifests.Parse(data)
	require.NoError(t, err)
	return m
}

const lightning = "svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors"

// tinySet is a whole model: the base repository and one of the checkpoints.
func tinySet(t *testing.T) (base, checkpoints map[string]modelsettest.File) {
	t.Helper()
	base, err := modelsettest.Base(modelsettest.Tiny())
	require.NoError(t, err)
	all, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(t, err)
	return base, map[string]modelsettest.File{lightning: all[lightning]}
}

func save(t *testing.T, name string, f modelsettest.File) (sum string) {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(f.Content, 0, f.Content.Size()))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
	require.NoError(t, os.WriteFile(name, data, 0o666))
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// TestDiscoverPredecessor: the predecessor's folder is found with the checkpoint that it
// has, and files that nobody needs don't matter.
func TestDiscoverPredecessor(t *testing.T) {
	dir := t.TempDir()
	base, checkpoints := tinySet(t)
	for name, f := range base {
		save(t, filepath.Join(dir, "Qwen--Qwen-Image-Edit", name), f)
	}
	save(t, filepath.Join(dir, "nunchaku-qwen-image-edit", lightning), checkpoints[lightning])
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nunchaku-qwen-image-edit", "notes.bin"), []byte("x"), 0o666))

	folder, c, err := models.Discover(dir, realManifest(t))
	require.NoError(t, err)
	require.Len(t, c.Checkpoints, 1)
	require.Equal(t, "lightning", c.Checkpoints[0].Name)
	r, err := folder.Verify(t.Context(), models.Options{Structure: true})
	require.NoError(t, err)
	require.NoError(t, r.Err())
	require.Empty(t, r.Warnings)
	for _, f := range c.Files {
		require.NotContains(t, f.Path, "/transformer/")
		require.NotContains(t, f.Path, "notes.bin")
	}
}

// TestDiscoverCache: in a Hugging Face cache the snapshot of refs/main counts, and weights'
// sums are their blobs' names.
func TestDiscoverCache(t *testing.T) {
	dir := t.TempDir()
	base, checkpoints := tinySet(t)
	commit := strings.Repeat("c", 40)
	for repo, files := range map[string]map[string]modelsettest.File{"Qwen--Qwen-Image-Edit": base, "nunchaku-ai--nunchaku-qwen-image-edit": checkpoints} {
		root := filepath.Join(dir, "models--"+repo)
		for name, f := range files {
			blob := filepath.Join(root, "blobs", "new")
			sum := save(t, blob, f)
			if !f.LFS {
				sum = sum[:40]
			}
			require.NoError(t, os.Rename(blob, filepath.Join(root, "blobs", sum)))
			link := filepath.Join(root, "snapshots", commit, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o777))
			require.NoError(t, os.Symlink(filepath.Join(root, "blobs", sum), link))
		}
		require.NoError(t, os.MkdirAll(filepath.Join(root, "snapshots", strings.Repeat("d", 40)), 0o777))
		require.NoError(t, os.MkdirAll(filepath.Join(root, "refs"), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(root, "refs", "main"), []byte(commit), 0o666))
	}
	folder, c, err := models.Discover(dir, realManifest(t))
	require.NoError(t, err)
	require.Equal(t, commit, c.Sources[0].Commit)
	sums := 0
	for _, f := range c.Files {
		if strings.HasSuffix(f.Path, ".safetensors") {
			require.Len(t, f.SHA256, 64, f.Path)
			sums++
		}
	}
	require.Equal(t, 6, sums)
	r, err := folder.Verify(t.Context(), models.Options{})
	require.NoError(t, err)
	require.NoError(t, r.Err())
	for i, f := range r.Files {
		proven := c.Files[i].SHA256 != ""
		require.Equal(t, proven, f.SHA256 != "", f.Path)
		require.Equal(t, proven, len(f.Findings) == 0, "%v", f.Findings)
	}

	require.NoError(t, os.Remove(filepath.Join(dir, "models--Qwen--Qwen-Image-Edit", "refs", "main")))
	_, _, err = models.Discover(dir, realManifest(t))
	require.ErrorContains(t, err, "there are 2 and refs/main names none of them")
}

// TestDiscoverNothing: a folder without a checkpoint is no model.
func TestDiscoverNothing(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "Qwen-Image-Edit"), 0o777))
	_, _, err := models.Discover(dir, realManifest(t))
	require.ErrorContains(t, err, "none of the checkpoints is there: "+lightning)
	require.Equal(t, fault.Usage, fault.KindOf(err))
	require.NotEmpty(t, fault.HintOf(err))
}
