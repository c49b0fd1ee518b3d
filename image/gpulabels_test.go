package image_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

// labelsOf builds the fixture's image with checkpoints of these precisions, whose tensors
// are known if sums are given, and returns its labels about GPUs.
func labelsOf(t *testing.T, sums bool, precisions ...string) map[string]string {
	t.Helper()
	f := newFixture(t)
	m := f.spec.Model
	for i, p := range precisions {
		c := manifests.ModelCheckpoint{Path: m.Files[i].Path, Checkpoint: manifests.Checkpoint{Name: p, Precision: p, Rank: 16}}
		m.Checkpoints = append(m.Checkpoints, c)
		if sums {
			m.Tensors = append(m.Tensors, manifests.TensorSums{Path: c.Path, Bytes: int64(1000 * (i + 1)), Packed: 320, Width: 64})
		}
	}
	if sums {
		m.Tensors = append(m.Tensors,
			manifests.TensorSums{Path: "base/text_encoder", Bytes: 5000, Width: 64},
			manifests.TensorSums{Path: "base/vae", Bytes: 2000, Width: 8})
	}
	img, err := image.Build(f.spec)
	require.NoError(t, err)
	require.Zero(t, f.opens, "labels follow from the description, not from files")
	c, err := img.ConfigFile()
	require.NoError(t, err)
	out := map[string]string{}
	for k, v := range c.Config.Labels {
		if name, ok := strings.CutPrefix(k, image.LabelGPU); ok {
			out[name] = v
		}
	}
	return out
}

func TestGPULabels(t *testing.T) {
	require.Empty(t, labelsOf(t, false), "weights without a checkpoint")

	got := labelsOf(t, false, "int4")
	require.Equal(t, map[string]string{
		"":        "sm_80,sm_86,sm_89,sm_90,sm_100,sm_103,sm_120",
		".status": "INT4 runs on compute capability 8.0 and later, measured on 9.0 alone; NVFP4 does not run",
	}, got, "memory is not guessed")

	one, two := labelsOf(t, true, "int4"), labelsOf(t, true, "int4", "int4")
	for _, mode := range []string{"resident-int8", "resident", "streamed"} {
		require.Regexp(t, "^[0-9]+$", two[".memory."+mode])
	}
	require.Equal(t, "estimated for 1048576 pixels with 1 reference", two[".memory.picture"])
	require.Len(t, two, 6, "and nothing else, such as a mode that is not there")
	// The VAE leads here: two buffers of 8 channels in bf16, the picture, and its attention's
	// scores and values. Beside it lies the prompt with the picture, 1466 tokens in two widths of 64.
	const activations = 2*16<<20 + 12<<20 + 256<<20 + 2*4*8<<14 + 2*(64+64)*1466
	require.Equal(t, fmt.Sprint(1000+5000+2000+activations+1<<30+500_000_000), one[".memory.resident"], "weights, activations, reserve, context")
	require.Equal(t, fmt.Sprint(2000+5000+2000+activations+1<<30+500_000_000), two[".memory.resident"], "the neediest checkpoint counts")
	require.Equal(t, one[".memory.resident"], one[".memory.streamed"], "these have no layers that could stream")

	mixed := labelsOf(t, true, "int4", "nvfp4")
	require.Equal(t, "none", mixed[""], "no GPU is for both")
	require.NotContains(t, mixed, ".memory.resident", "NVFP4 does not run")
}
