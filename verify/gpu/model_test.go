package gpu_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify/gpu"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

// names lists the capabilities of the generations that are such ones.
func names(m *gpu.Model, which func(gpu.Generation) bool) (out []string) {
	for _, g := range m.Generations {
		if which(g) {
			out = append(out, g.Capability.String())
		}
	}
	return out
}

func TestDescribe(t *testing.T) {
	require.Nil(t, gpu.Describe(&manifests.ModelConfig{}), "weights without a checkpoint")
	all := func(gpu.Generation) bool { return true }
	runs := func(g gpu.Generation) bool { return g.Runs }
	measured := func(g gpu.Generation) bool { return g.Measured }
	nunchaku := func(g gpu.Generation) bool { return g.Nunchaku }

	c := realModel(t, 128)
	both := gpu.Describe(c)
	require.Equal(t, gpu.Status, both.Status)
	require.Equal(t, gpu.PictureOf(c), both.Picture)
	require.Equal(t, gpu.Checkpoints(c), both.Checkpoints)
	require.Equal(t, []string{"sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_103", "sm_110", "sm_120", "sm_121"}, names(both, all))
	require.Empty(t, names(both, runs), "no GPU is for both files")
	require.Empty(t, names(both, measured))
	require.Empty(t, names(both, nunchaku))
	last := both.Generations[len(both.Generations)-1]
	require.Len(t, last.Routes, 2, "one for each precision aboard")

	c.Checkpoints = c.Checkpoints[:1]
	int4 := gpu.Describe(c)
	require.Equal(t, []string{"sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_103", "sm_110", "sm_120", "sm_121"}, names(int4, runs))
	require.Equal(t, []string{"sm_90"}, names(int4, measured))
	require.Equal(t, []string{"sm_75", "sm_80", "sm_86", "sm_89"}, names(int4, nunchaku))
	require.Equal(t, int4.Checkpoints[0].Needs, int4.Memory, "one checkpoint is the neediest")
	for _, g := range int4.Generations {
		require.Len(t, g.Routes, 1)
	}
}

// TestMemoryOfTheNeediest: a mode that one checkpoint lacks is none of the model's, and what
// is not known is not guessed.
func TestMemoryOfTheNeediest(t *testing.T) {
	c := realModel(t, 128)
	m := gpu.Describe(c)
	require.Empty(t, m.Memory, "NVFP4 does not run")
	c.Checkpoints[1].Precision, c.Checkpoints[1].Steps = svdq.Int4, 50
	m = gpu.Describe(c)
	require.Len(t, m.Memory, 3)
	for _, n := range m.Memory {
		int4, _ := m.Checkpoints[0].Need(n.Mode)
		fp4, ok := m.Checkpoints[1].Need(n.Mode)
		require.True(t, ok)
		require.Greater(t, fp4.Bytes, int4.Bytes, "more scales, and more steps")
		require.Equal(t, fp4, n)
	}
	c.Tensors = slices.DeleteFunc(c.Tensors, func(s manifests.TensorSums) bool { return s.Path == c.Checkpoints[1].Path })
	require.Empty(t, gpu.Describe(c).Memory)
}

// TestModelAsJSON pins the names that programs rely on; lists are lists.
func TestModelAsJSON(t *testing.T) {
	c := &manifests.ModelConfig{Checkpoints: []manifests.ModelCheckpoint{
		{Path: "checkpoints/a.safetensors", Checkpoint: manifests.Checkpoint{Name: "a", Precision: "nvfp4", Rank: 32}},
	}}
	b, err := json.Marshal(gpu.Describe(c))
	require.NoError(t, err)
	note := func(cuda string) string {
		return `"note":"nunchaku needs CUDA ` + cuda + ` or later for it"`
	}
	generation := func(name, cuda, arm string) string {
		return `{"capability":"` + name + `","runs":false,"measured":false,"nunchaku":true,"routes":[{"precision":"nvfp4","capability":"` + name +
			`","method":"native 4-bit tensor cores","nunchaku":true,"runs":false,"measured":false,` + arm + note(cuda) + `}]}`
	}
	require.JSONEq(t, `{"status":"`+gpu.Status+`","picture":{"area":1048576,"references":1},
		"checkpoints":[{"name":"a","file":"a.safetensors","precision":"nvfp4","rank":32}],
		"generations":[`+generation("sm_120", "12.8", "")+`,`+generation("sm_121", "13.0", `"arm":true,`)+`],"memory":[]}`, string(b))
}

// FuzzParseCapability: what is accepted is what String writes.
func FuzzParseCapability(f *testing.F) {
	for _, s := range []string{"sm_75", "sm_121", "sm_", "sm_08", "sm_9a", "sm_99999", "89"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := gpu.ParseCapability(s); err == nil {
			require.Equal(t, s, c.String())
		}
	})
}
