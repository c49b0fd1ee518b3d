package main

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// startHub serves the tiny model under the published names.
func startHub(t *testing.T) *hubtest.Hub {
	t.Helper()
	base, err := modelsettest.Base(modelsettest.Tiny())
	require.NoError(t, err)
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(t, err)
	hub := hubtest.New()
	for name, files := range map[string]map[string]modelsettest.File{"Qwen/Qwen-Image-Edit": base, "nunchaku-ai/nunchaku-qwen-image-edit": checkpoints} {
		served := map[string]hubtest.File{}
		for path, f := range files {
			served[path] = hubtest.File{Content: f.Content, LFS: f.LFS}
		}
		_, err := hub.Add(hubtest.Repo{Name: name, License: "apache-2.0", Files: served})
		require.NoError(t, err)
	}
	_, err = hub.Start()
	require.NoError(t, err)
	t.Cleanup(func() { hub.Close() })
	return hub
}

// TestServeFromTheHub: where the priority list comes to the Hub and may go on to it, a folder
// without a model becomes a cache with what the first checkpoint needs; the next start needs no
// Hub.
func TestServeFromTheHub(t *testing.T) {
	hub, dir := startHub(t), t.TempDir()
	env := map[string]string{"PLIMSOLL_HUB_DOWNLOAD": "1", "HF_ENDPOINT": hub.URL(), "HF_HOME": t.TempDir()}
	data, err := os.ReadFile(writePicture(t))
	require.NoError(t, err)
	wish := map[string]any{"image": base64.StdEncoding.EncodeToString(data), "prompt": "a red hat", "seed": 5}

	s := startService(t, env, "-models="+dir, "-model=demo", "-verify=full")
	s.log.find(t, `"msg":"(serving)"`)
	require.Contains(t, s.log.String(), "the model comes from the Hub")
	code, first := s.edit(t, wish)
	require.Equal(t, http.StatusOK, code, "%v", first)
	require.Equal(t, 0, s.stop())
	for _, name := range []string{"models--Qwen--Qwen-Image-Edit", "models--nunchaku-ai--nunchaku-qwen-image-edit"} {
		require.DirExists(t, filepath.Join(dir, name))
	}
	files, err := filepath.Glob(filepath.Join(dir, "models--nunchaku-ai--nunchaku-qwen-image-edit", "snapshots", "*", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1, "the last resort is one checkpoint")
	require.Equal(t, lightningFile, filepath.Base(files[0]))

	hub.Close()
	s = startService(t, nil, "-models="+dir, "-model=demo")
	s.log.find(t, `"msg":"(serving)"`)
	code, second := s.edit(t, wish)
	require.Equal(t, http.StatusOK, code, "%v", second)
	require.Equal(t, first["edited_image"], second["edited_image"])
	require.Equal(t, 0, s.stop())
}

// TestServePassesTheHubOver: unless it is switched on nothing is asked of the Hub, and the log
// and the error say what is missing.
func TestServePassesTheHubOver(t *testing.T) {
	hub, dir := startHub(t), t.TempDir()
	r := runProgram(t, map[string]string{"HF_ENDPOINT": hub.URL(), envState: t.TempDir()}, "serve", "-device=cpu", "-models="+dir, "-model=demo")
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "the Hub is passed over: PLIMSOLL_HUB_DOWNLOAD=1")
	require.Contains(t, r.stderr, "there is none of the folders Qwen--Qwen-Image-Edit")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// TestServeWithOneOfTwo: the priority list takes what is there.
func TestServeWithOneOfTwo(t *testing.T) {
	dir := writeSet(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "nunchaku-qwen-image-edit", lightningFile)))
	s := startService(t, nil, "-models="+dir, "-model=demo")
	s.log.find(t, `"msg":"(serving)"`)
	_, body := s.get(t, "/model-info")
	require.Contains(t, body, "plain")
	require.Equal(t, 0, s.stop())
}
