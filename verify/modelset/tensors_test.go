package modelset_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
)

// TestSumOfTheRealModel is gated by published numbers: parameters of two bytes each, and
// the bytes of INT4 checkpoints, 11,143,994,496 + 11,796,480 a rank.
func TestSumOfTheRealModel(t *testing.T) {
	sums, err := modelset.Sum(base(t, modelsettest.Real()))
	require.NoError(t, err)
	require.Equal(t, []manifests.TensorSums{
		{
			Path: "text_encoder", Bytes: 2 * 8_292_166_656,
			// All but embedding, head, the last norm, the patches and the merger's norm.
			Repeated: 2 * (8_292_166_656 - 2*544_997_376 - 3584 - 1280*1176 - 1280),
			Block:    2 * 233_057_792, Lookup: 2 * 544_997_376, Width: 3584,
		},
		{
			Path: "transformer", Bytes: 2 * 20_430_401_088, Repeated: 2 * 60 * 339_831_296, Block: 2 * 339_831_296, Width: 3072,
		},
		{Path: "vae", Bytes: 2 * 126_892_531, Repeated: sums[2].Repeated, Block: sums[2].Block, Width: 96},
	}, sums)

	checkpoints, err := modelsettest.Checkpoints(modelsettest.Real())
	require.NoError(t, err)
	const name = "svdq-int4_r128-qwen-image-edit.safetensors"
	sums, err = modelset.Sum(modelset.Map{name: checkpoints[name].Content, "deep/other.safetensors": checkpoints["svdq-fp4_r32-qwen-image-edit.safetensors"].Content})
	require.NoError(t, err)
	require.Len(t, sums, 2)
	require.Equal(t, "deep/other.safetensors", sums[0].Path)
	require.Equal(t, manifests.TensorSums{
		Path: name, Bytes: 12_653_943_936, Repeated: 12_572_897_280, Block: 209_548_288,
		// Two codes a byte: per block 4 linears of 3·h², h² twice over both streams, 4·h² four times.
		Packed: 60 * (2*3 + 2 + 4*4) * 3072 * 3072 / 2, Width: 3072,
	}, sums[1])
}

func TestSumFindsNumberedParts(t *testing.T) {
	tensor := func(name string, n int64) safetensorstest.Tensor {
		return safetensorstest.Tensor{Spec: safetensors.Spec{Name: name, DType: safetensors.BF16, Shape: []int64{n}}, Fill: safetensorstest.Normal(0, 1)}
	}
	f, err := safetensorstest.New(nil, []safetensorstest.Tensor{
		tensor("a.0.x", 1), tensor("a.0.0.y", 2), tensor("a.10.x", 4), tensor("b.0.x", 8), tensor("0", 16), tensor("a..x", 32), tensor("a0.1x", 64),
	}, 1)
	require.NoError(t, err)
	sums, err := modelset.Sum(modelset.Map{"x.safetensors": f, "other.txt": section("no weights")})
	require.NoError(t, err)
	require.Equal(t, []manifests.TensorSums{{Path: "x.safetensors", Bytes: 2 * 127, Repeated: 2 * 31, Block: 2 * 16}}, sums)
}

func TestSumNeedsReadableFiles(t *testing.T) {
	m := base(t, modelsettest.Tiny())
	m["vae/diffusion_pytorch_model.safetensors"] = section("short")
	_, err := modelset.Sum(m)
	require.ErrorContains(t, err, "vae/diffusion_pytorch_model.safetensors")
	m["model_index.json"] = section("{")
	_, err = modelset.Sum(m)
	require.ErrorContains(t, err, "model_index.json")
	sums, err := modelset.Sum(modelset.Map{})
	require.NoError(t, err)
	require.Empty(t, sums)
}
