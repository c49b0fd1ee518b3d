package qwen

import (
	"fmt"
	"os"
	"strings"
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
		Checkpoints: []manifests.ModelCheckpoint{{Path: plainFile, Checkpoint: manifests.Checkpoint{Precision: "int4", Rank: 128}}},
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

// near is what estimates may be off by. Those of weights are too large by the last block's text
// stream behind its attention, which nothing reads.
const near = 60_000_000

// TestNeedsAreThePlans: what labels, reports and the list of devices say that the published
// model takes of a GPU, from sums of tensors alone, is what its code is planned to take.
func TestNeedsAreThePlans(t *testing.T) {
	c := described(t)
	m, planFor := published(t)
	modes := map[gpu.Mode]struct {
		holding plan.Holding
		weights func(plan.Result) (device, host int64)
	}{
		gpu.ResidentInt8: {plan.Int8, allOnDevice},
		gpu.Resident:     {plan.Packed, allOnDevice},
		gpu.Streamed:     {plan.Packed, leastOnDevice},
	}
	for mode, tc := range modes {
		planFor(plan.Options{SVDQ: tc.holding, Temporaries: true})
		for _, request := range []struct{ area, steps int }{{1 << 18, 8}, {1 << 20, 8}, {1 << 20, 50}, {1 << 21, 8}} {
			m.areas.PixelArea, c.Serve.PixelArea, c.Checkpoints[0].Steps = request.area, request.area, request.steps
			e := m.Sample()
			e.Steps = request.steps
			need := counted(t, m, e)
			device, host := tc.weights(need)

			estimate, ok := gpu.Checkpoints(c)[0].Need(mode)
			require.True(t, ok)
			require.InDelta(t, device+need.Total.ArenaPeak, estimate.Bytes-gpu.Reserve-gpu.Context, near,
				"%s, %v: planned are %d and %d", mode, request, device, need.Total.ArenaPeak)
			require.InDelta(t, host, estimate.HostBytes, near, "%s, %v", mode, request)
		}
	}
}

// counted plans an edit.
func counted(t *testing.T, m *Model, e Edit) plan.Result {
	t.Helper()
	j, err := m.outline(e)
	require.NoError(t, err)
	need, err := m.count(t.Context(), m.blank(j))
	require.NoError(t, err)
	return need
}

func allOnDevice(r plan.Result) (device, host int64) { return r.WeightBytes, 0 }

func leastOnDevice(r plan.Result) (device, host int64) {
	s, _ := r.Stream(0)
	return s.HeldBytes, s.HostBytes
}

// TestAdviceIsThePlan: what advice says that stays on the host is what the plan has stream, by
// two groups of weights.
func TestAdviceIsThePlan(t *testing.T) {
	c := described(t)
	c.Checkpoints[0].Steps = 8
	m, planFor := published(t)
	planFor(plan.Options{Temporaries: true})
	need := counted(t, m, unguided(m))
	const group = 466_115_584
	ada := gpu.Capability{Major: 8, Minor: 9}
	for _, memory := range []int64{4e9, 6e9, 8e9, 12e9, 16e9, 20e9, 24e9, 25_757_220_864, 30e9} {
		s, ok := need.Stream(memory - gpu.Context - gpu.Reserve - need.Total.ArenaPeak)
		require.True(t, ok)
		a := gpu.Checkpoints(c)[0].Advise(ada, memory)
		require.Equal(t, gpu.Streamed, a.Mode)
		require.InDelta(t, s.HostBytes, a.HostBytes, 2*group, "%d: %s", memory, a.Message)
	}
	least, _ := gpu.Checkpoints(c)[0].Need(gpu.Streamed)
	for _, short := range []int64{least.Bytes - 1, 1e9} {
		require.Equal(t, gpu.TooSmall, gpu.Checkpoints(c)[0].Advise(ada, short).Verdict)
		_, ok := need.Stream(short - near - gpu.Context - gpu.Reserve - need.Total.ArenaPeak)
		require.False(t, ok)
	}
}

// unguided is an edit in 8 steps without guidance.
func unguided(m *Model) Edit {
	e := m.Sample()
	e.Steps, e.TrueCFGScale, e.Negative = 8, 1, nil
	return e
}

// TestReadmeStreams: the README's figures of modes, and of what streams under a limit, are the
// code's, with the arena that a start gives the model.
func TestReadmeStreams(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	says := func(row string) { require.True(t, strings.Contains(string(readme), row), "the README has no %q", row) } // not all of it
	c := described(t)
	c.Checkpoints[0].Steps = 8
	for _, n := range gpu.Checkpoints(c)[0].Needs {
		says(fmt.Sprintf("| `%s` | %.1f GB", n.Mode, float64(n.Bytes)/1e9))
	}
	m, planFor := published(t)
	planFor(plan.Options{Temporaries: true})
	need := counted(t, m, unguided(m))
	peak := need.Total.ArenaPeak
	for _, limit := range []float64{24, 16, 12, 8, 3.6} {
		room := int64(limit*1e9) - gpu.Context - gpu.Reserve
		s, ok := need.Stream(room - peak - peak/4)
		if !ok {
			s, ok = need.Stream(room - peak)
		}
		require.True(t, ok, limit)
		says(fmt.Sprintf("| %gGB | %.1f GB | %.1f GB | %.1f GB |",
			limit, float64(need.WeightBytes-s.HostBytes)/1e9, float64(s.HostBytes)/1e9, float64(s.RunBytes)/1e9))
	}
}
