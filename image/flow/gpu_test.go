package flow_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

// labels are the image's, out of the job's layout.
func labels(t *testing.T, r *flow.BuildResult) map[string]string {
	t.Helper()
	p, err := layout.FromPath(r.Layout)
	require.NoError(t, err)
	digest, err := v1.NewHash(r.Digest)
	require.NoError(t, err)
	img, err := p.Image(digest)
	require.NoError(t, err)
	c, err := img.ConfigFile()
	require.NoError(t, err)
	return c.Config.Labels
}

// TestGPULabelsFollowFromTheLock: fetch writes the sums of tensors into the lock, and build
// turns them into labels without a look at a model file; a lock of an older plimsoll, with
// layers and without sums, is completed by the next fetch.
func TestGPULabelsFollowFromTheLock(t *testing.T) {
	w := newWorld(t)
	first, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	got := labels(t, first)
	require.Contains(t, got[image.LabelGPU], "sm_80,sm_86,sm_89,sm_90")
	for _, mode := range []string{"resident-int8", "resident", "streamed"} {
		require.Regexp(t, "^[1-9][0-9]+$", got[image.LabelGPUMemory+mode], mode)
	}

	path := filepath.Join(w.dir, "demo.lock")
	complete, err := os.ReadFile(path)
	require.NoError(t, err)
	l, err := manifests.DecodeLock(complete)
	require.NoError(t, err)
	var paths []string
	for _, s := range l.Tensors {
		paths = append(paths, s.Path)
		require.Positive(t, s.Width, s.Path)
	}
	require.Equal(t, []string{
		"text_encoder", "vae", "svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors", "svdq-int4_r128-qwen-image-edit.safetensors",
	}, paths)

	w.read.Store(0)
	again, err := flow.Build(t.Context(), w.job())
	require.NoError(t, err)
	require.Equal(t, first.Digest, again.Digest)
	require.Zero(t, w.read.Load())

	l.Tensors = nil
	require.NoError(t, l.Save(path))
	old, err := flow.Build(t.Context(), w.job())
	require.NoError(t, err)
	require.NotContains(t, labels(t, old), image.LabelGPUMemory+"resident", "what the lock does not know is not guessed")
	_, err = flow.Fetch(t.Context(), w.job())
	require.NoError(t, err)
	refreshed, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(complete, refreshed), "the same facts come back")
}
