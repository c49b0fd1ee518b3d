package models_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/models/modelstest"
)

// TestCacheUnderModelJSON: a Hugging Face cache in the place of the image's folder serves the
// snapshots that model.json names, with all sums checked, and no others.
func TestCacheUnderModelJSON(t *testing.T) {
	dir := t.TempDir()
	c := modelstest.Write(t, dir)
	modelstest.Join(t, c, modelstest.Fast)
	for _, s := range c.Sources {
		snapshots := filepath.Join(dir, "models--"+strings.ReplaceAll(s.Repo, "/", "--"), "snapshots")
		require.NoError(t, os.MkdirAll(snapshots, 0o777))
		require.NoError(t, os.Rename(filepath.Join(dir, s.Path), filepath.Join(snapshots, s.Commit)))
	}
	r, err := models.New(dir, c).Verify(t.Context(), models.Options{})
	require.NoError(t, err)
	require.NoError(t, r.Err())
	require.Empty(t, r.Warnings)
	require.Equal(t, models.New(dir, c).Total(), r.Bytes())

	vae := filepath.Join(dir, "models--Maker--Small-Edit", "snapshots", c.Sources[0].Commit, "vae", "model.safetensors")
	data, err := os.ReadFile(vae)
	require.NoError(t, err)
	data[len(data)-1] ^= 1
	require.NoError(t, os.WriteFile(vae, data, 0o666))
	r, err = models.New(dir, c).Verify(t.Context(), models.Options{})
	require.NoError(t, err)
	require.ErrorContains(t, r.Err(), "1 of 4 files is wrong")

	c.Sources[1].Commit = strings.Repeat("e", 40)
	r, err = models.New(dir, c).Verify(t.Context(), models.Options{Structure: true})
	require.NoError(t, err)
	require.ErrorContains(t, r.Err(), "2 of 4 files are wrong")
	require.Equal(t, fault.Invalid, fault.KindOf(r.Err()))
	require.Equal(t, "the cache has packer/Quantised, but not the commit "+c.Sources[1].Commit+" that model.json names: download that revision", fault.HintOf(r.Err()))
}

// TestDiscoverLinks: repositories and folders of them may be links; one that leads back up is
// passed over.
func TestDiscoverLinks(t *testing.T) {
	store, dir := t.TempDir(), t.TempDir()
	base, checkpoints := tinySet(t)
	for name, f := range base {
		save(t, filepath.Join(store, "base", name), f)
	}
	save(t, filepath.Join(store, "quantised", lightning), checkpoints[lightning])
	require.NoError(t, os.Rename(filepath.Join(store, "base", "vae"), filepath.Join(store, "vae")))
	require.NoError(t, os.Symlink(filepath.Join(store, "vae"), filepath.Join(store, "base", "vae")))
	require.NoError(t, os.Symlink(store, filepath.Join(store, "vae", "up")))
	require.NoError(t, os.Symlink(filepath.Join(store, "base"), filepath.Join(dir, "Qwen--Qwen-Image-Edit")))
	require.NoError(t, os.Symlink(filepath.Join(store, "quantised"), filepath.Join(dir, "nunchaku-qwen-image-edit")))
	folder, c, err := models.Discover(dir, realManifest(t))
	require.NoError(t, err)
	require.Len(t, c.Checkpoints, 1)
	r, err := folder.Verify(t.Context(), models.Options{Structure: true})
	require.NoError(t, err)
	require.NoError(t, r.Err())
}

// TestDiscoverIncomplete: what is not a whole model is said to be none, with the way out of
// somebody who has no image.
func TestDiscoverIncomplete(t *testing.T) {
	base, checkpoints := tinySet(t)
	dir := t.TempDir()
	save(t, filepath.Join(dir, "nunchaku-qwen-image-edit", lightning), checkpoints[lightning])
	_, _, err := models.Discover(dir, realManifest(t))
	require.ErrorContains(t, err, "for Qwen/Qwen-Image-Edit: there is none of the folders Qwen--Qwen-Image-Edit, Qwen-Image-Edit and models--Qwen--Qwen-Image-Edit")
	require.Equal(t, fault.Usage, fault.KindOf(err))

	for name, f := range base {
		if !strings.HasPrefix(name, "vae/diffusion") {
			save(t, filepath.Join(dir, "Qwen--Qwen-Image-Edit", name), f)
		}
	}
	folder, _, err := models.Discover(dir, realManifest(t))
	require.NoError(t, err)
	r, err := folder.Verify(t.Context(), models.Options{Structure: true})
	require.NoError(t, err)
	require.ErrorContains(t, r.Err(), "do not fit together")
	require.Contains(t, fault.HintOf(r.Err()), "download the repository again")

	file := filepath.Join(dir, "nunchaku-qwen-image-edit", lightning)
	for name, want := range map[string]string{file: "is no folder", filepath.Join(dir, "nowhere"): "no such file"} {
		_, _, err = models.Discover(name, realManifest(t))
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.Usage, fault.KindOf(err))
		require.Contains(t, fault.HintOf(err), "HF_HOME")
	}
}
