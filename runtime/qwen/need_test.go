package qwen

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/verify/gpu"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// described is the published model's description, as far as package gpu reads it.
func described(t *testing.T) *manifests.ModelConfig {
	t.Helper()
	base, err := modelsettest.Base(modelsettest.Real())
	require.NoError(t, err)
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Real())
	require.NoError(t, err)
	set := modelset.Map{plainFile: checkpoints[plainFile].Content}
	for name, f := range base {
		set["base/"+name] = f.Content
	}
	c := &manifests.ModelConfig{
		Sources:     []manifests.ModelSource{{Name: "base", Role: manifests.RoleBase, Path: "base"}},
		Checkpoints: []manifests.ModelCheckpoint{{Path: plainFile, Checkpoint: manifests.Checkpoint{Precision: "int4"}}},
		Serve:       &manifests.Serve{},
	}
	c.Tensors, err = modelset.Sum(set)
	require.NoError(t, err)
	unused, err := modelset.Unused(set)
	require.NoError(t, err)
	for _, u := range unused {
		c.Unused = append(c.Unused, manifests.ModelUnused{Path: u.Path, Part: u.Group, Bytes: u.Bytes, Reason: u.Reason})
	}
	return c
}

// TestNeedsAreThePlans: what labels, reports and the list of devices say that the published
// model takes of a GPU, from sums of tensors alone, is what its code is planned to take.
func TestNeedsAreThePlans(t *testing.T) {
	c := described(t)
	m, planFor := published(t)
	for mode, holding := range map[gpu.Mode]plan.Holding{gpu.Resident: plan.Packed, gpu.ResidentInt8: plan.Int8} {
		planFor(plan.Options{SVDQ: holding, Temporaries: true})
		for _, request := range []struct{ area, steps int }{{1 << 18, 8}, {1 << 20, 8}, {1 << 20, 50}, {1 << 21, 8}} {
			m.areas.PixelArea, c.Serve.PixelArea, c.Checkpoints[0].Steps = request.area, request.area, request.steps
			e := m.Sample()
			e.Steps = request.steps
			j, err := m.prepare(e)
			require.NoError(t, err)
			need, err := m.count(t.Context(), j)
			require.NoError(t, err)

			estimate, ok := gpu.Checkpoints(c)[0].Need(mode)
			require.True(t, ok)
			require.InDelta(t, need.WeightBytes+need.Total.ArenaPeak, estimate-gpu.Reserve-gpu.Context, 80e6,
				"%s, %v: planned are %d and %d", mode, request, need.WeightBytes, need.Total.ArenaPeak)
		}
	}
}
