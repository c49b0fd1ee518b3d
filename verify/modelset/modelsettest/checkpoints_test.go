package modelsettest

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// publishedCheckpoints are the weight files of nunchaku-ai/nunchaku-qwen-image-edit.
const publishedCheckpoints = `svdq-int4_r32-qwen-image-edit.safetensors
svdq-int4_r32-qwen-image-edit-lightningv1.0-4steps.safetensors
svdq-int4_r32-qwen-image-edit-lightningv1.0-8steps.safetensors
svdq-int4_r128-qwen-image-edit.safetensors
svdq-int4_r128-qwen-image-edit-lightningv1.0-4steps.safetensors
svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors
svdq-fp4_r32-qwen-image-edit.safetensors
svdq-fp4_r32-qwen-image-edit-lightningv1.0-4steps.safetensors
svdq-fp4_r32-qwen-image-edit-lightningv1.0-8steps.safetensors
svdq-fp4_r128-qwen-image-edit.safetensors
svdq-fp4_r128-qwen-image-edit-lightningv1.0-4steps.safetensors
svdq-fp4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors`

func TestCheckpointNamesArePublished(t *testing.T) {
	files, err := Checkpoints(Demo())
	require.NoError(t, err)
	require.ElementsMatch(t, strings.Fields(publishedCheckpoints), slices.Collect(maps.Keys(files)))
	var total int64
	for name, f := range files {
		require.True(t, f.LFS, name)
		total += f.Content.Size()
	}
	require.Less(t, total, int64(160e6), "the demo must stay small")
}

// TestCheckpointsDiffer: a variant that had the bytes of another would be no variant.
func TestCheckpointsDiffer(t *testing.T) {
	files, err := Checkpoints(Tiny())
	require.NoError(t, err)
	sums := map[[32]byte]string{}
	for name, f := range files {
		sum := sha256.Sum256(read(t, f))
		require.NotContains(t, sums, sum, "%s equals %s", name, sums[sum])
		sums[sum] = name
	}
	again, err := Checkpoints(Tiny())
	require.NoError(t, err)
	for sum, name := range sums {
		require.Equal(t, sum, sha256.Sum256(read(t, again[name])))
	}
}

// TestRealCheckpointSizes compares with the published size of int4 r128, which differs by
// the text of the metadata alone.
func TestRealCheckpointSizes(t *testing.T) {
	files, err := Checkpoints(Real())
	require.NoError(t, err)
	require.InDelta(t, 12_654_443_144, files["svdq-int4_r128-qwen-image-edit.safetensors"].Content.Size(), 1000)
	require.InDelta(t, 11_521_979_944, files["svdq-int4_r32-qwen-image-edit.safetensors"].Content.Size(), 1000)
}

func TestCheckpointsNeedAWidth(t *testing.T) {
	p := Tiny()
	p.Transformer.Heads = 3
	_, err := Checkpoints(p)
	require.ErrorContains(t, err, "making svdq-")
	p.Transformer.HeadDim = 8
	_, err = Checkpoints(p)
	require.ErrorContains(t, err, "making a model set")
}
