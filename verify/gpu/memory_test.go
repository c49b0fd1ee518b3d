package gpu_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify/gpu"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// realModel describes the published base with the published checkpoints of a rank, from
// the headers of files at full size.
func realModel(t testing.TB, rank int) *manifests.ModelConfig {
	t.Helper()
	if described[rank] == nil {
		data, err := json.Marshal(describe(t, rank))
		require.NoError(t, err)
		described[rank] = data
	}
	c := &manifests.ModelConfig{}
	require.NoError(t, json.Unmarshal(described[rank], c))
	return c
}

// described holds descriptions by rank: headers at full size take their time.
var described = map[int][]byte{}

func describe(t testing.TB, rank int) *manifests.ModelConfig {
	t.Helper()
	c := &manifests.ModelConfig{Sources: []manifests.ModelSource{
		{Name: "base", Role: manifests.RoleBase, Path: "base"},
		{Name: "checkpoints", Role: manifests.RoleCheckpoints, Path: "checkpoints"},
	}}
	base, err := modelsettest.Base(modelsettest.Real())
	require.NoError(t, err)
	set := modelset.Map{}
	for name, f := range base {
		set[name] = f.Content
	}
	unused, err := modelset.Unused(set)
	require.NoError(t, err)
	for _, u := range unused {
		c.Unused = append(c.Unused, manifests.ModelUnused{Path: "base/" + u.Path, Part: u.Group, Bytes: u.Bytes, Reason: u.Reason})
	}
	sum(t, c, "base/", set)
	checkpoints := modelset.Map{}
	for _, p := range []struct{ precision, word string }{{svdqtest.Int4, "int4"}, {svdqtest.NVFP4, "fp4"}} {
		f, err := svdqtest.New(svdqtest.Real(p.precision, rank))
		require.NoError(t, err)
		name := fmt.Sprintf("svdq-%s_r%d-qwen-image-edit.safetensors", p.word, rank)
		checkpoints[name] = f
		c.Checkpoints = append(c.Checkpoints, manifests.ModelCheckpoint{
			Path: "checkpoints/" + name, Checkpoint: manifests.Checkpoint{Name: p.word, Precision: p.precision, Rank: rank, Steps: 8},
		})
	}
	sum(t, c, "checkpoints/", checkpoints)
	return c
}

func sum(t testing.TB, c *manifests.ModelConfig, folder string, set modelset.Map) {
	t.Helper()
	sums, err := modelset.Sum(set)
	require.NoError(t, err)
	for _, s := range sums {
		s.Path = folder + s.Path
		c.Tensors = append(c.Tensors, s)
	}
}

// need is a mode's bytes in units of 10^9.
func need(t testing.TB, c gpu.Checkpoint, m gpu.Mode) float64 {
	t.Helper()
	n, ok := c.Need(m)
	require.True(t, ok, m)
	return float64(n.Bytes) / 1e9
}

// TestRealModelAgainstMeasurements: what a process took of an H100 with driver 580.159.04,
// for an edit in 8 steps at 1024 by 1024 with one reference (runtime/kernels/README.md), less
// that its arena had room for three such edits: 2.4 GB, of which one takes 0.79.
func TestRealModelAgainstMeasurements(t *testing.T) {
	const unneeded = 2.4 - 0.79
	c := gpu.Checkpoints(realModel(t, 128))
	require.Len(t, c, 2)
	int4, nvfp4 := c[0], c[1]
	require.Equal(t, []string{"svdq-int4_r128-qwen-image-edit.safetensors", "int4", "int4"}, []string{int4.File, int4.Name, int4.Precision})
	require.InEpsilon(t, 31.7-unneeded, need(t, int4, gpu.Resident), 0.02)

	// 17.5 GB of transformer in place of 12.65: a byte more for two codes, 0.42 GB of scales and
	// 1.51 GB of low rank less.
	require.InDelta(t, 17.51-12.65, need(t, int4, gpu.ResidentInt8)-need(t, int4, gpu.Resident), 0.01)
	require.InEpsilon(t, 36.7-unneeded, need(t, int4, gpu.ResidentInt8), 0.02)

	require.Empty(t, nvfp4.Needs, "it does not run")
	require.True(t, int4.Runs())
	require.False(t, nvfp4.Runs())
	r32 := gpu.Checkpoints(realModel(t, 32))[0]
	require.InDelta(t, 96*11_796_480/1e9, need(t, int4, gpu.Resident)-need(t, r32, gpu.Resident), 1e-9)
	require.InDelta(t, need(t, int4, gpu.ResidentInt8), need(t, r32, gpu.ResidentInt8), 1e-9, "low rank is worked into the 8 bits")
	require.InDelta(t, need(t, int4, gpu.Streamed), need(t, r32, gpu.Streamed), 1e-9, "low rank is of the blocks, which stream")
}

// TestStreamedTakesWhatNeverStreams: of weights the least is what is of no group, 262 MB of the
// published model, and two layers of the text encoder; the rest lies on the host.
func TestStreamedTakesWhatNeverStreams(t *testing.T) {
	int4 := gpu.Checkpoints(realModel(t, 128))[0]
	streamed, ok := int4.Need(gpu.Streamed)
	require.True(t, ok)
	resident, _ := int4.Need(gpu.Resident)
	const (
		layer       = 2 * 233_057_792
		patches     = 2 * 1280 * 1176
		merger      = 2 * 5120 * (5120 + 3584)
		norms       = 2 * (3584 + 1280)
		transformer = 12_653_943_936 - 12_572_897_280
		vae         = 253_785_062 - 4_649_088 - 159_936_768
		all         = 12_653_943_936 + 2*(8_292_166_656-544_997_376) + vae // without the head
		never       = patches + merger + norms + transformer + vae
	)
	require.InDelta(t, 262.4e6, never, 0.1e6)
	require.InDelta(t, all-never, streamed.HostBytes, 0.1e6, "biases of the merger are in no sum")
	require.Equal(t, resident.Bytes-streamed.HostBytes+2*layer, streamed.Bytes)
	require.Zero(t, resident.HostBytes)
}

// TestStreamedSavesNothing: where two of the largest groups are more than all groups, streaming
// would take more than it gives, and is not counted.
func TestStreamedSavesNothing(t *testing.T) {
	for name, change := range map[string]func(s *manifests.TensorSums){
		"no numbered parts": func(s *manifests.TensorSums) { s.Repeated, s.Block, s.Lookup = 0, 0, 0 },
		"one layer":         func(s *manifests.TensorSums) { s.Block, s.Lookup = s.Repeated, 0 },
	} {
		c := realModel(t, 128)
		for i := range c.Tensors {
			change(&c.Tensors[i])
		}
		n := gpu.Checkpoints(c)[0].Needs
		require.Equal(t, gpu.Need{Mode: gpu.Streamed, Bytes: n[1].Bytes}, n[2], name)
	}
}

// TestNeedsFollowTheSteps: the modulations of a step are 12 rows of 3072 in fp32 for each of
// 60 blocks.
func TestNeedsFollowTheSteps(t *testing.T) {
	m := realModel(t, 128)
	eight := gpu.Checkpoints(m)[0]
	m.Checkpoints[0].Steps = 50
	fifty := gpu.Checkpoints(m)[0]
	for _, n := range fifty.Needs {
		before, _ := eight.Need(n.Mode)
		require.Equal(t, int64(42*60*12*3072*4), n.Bytes-before.Bytes, n.Mode)
	}
}

func TestNeedsFollowTheArea(t *testing.T) {
	m := realModel(t, 128)
	at := func(area int) gpu.Checkpoint {
		m.Serve = &manifests.Serve{PixelArea: area}
		return gpu.Checkpoints(m)[0]
	}
	require.Equal(t, gpu.Picture{Area: gpu.DefaultArea, References: 1}, gpu.PictureOf(&manifests.ModelConfig{Serve: &manifests.Serve{}}))
	require.Equal(t, gpu.Checkpoints(realModel(t, 128))[0], at(gpu.DefaultArea))
	half, whole, double := at(gpu.DefaultArea/2), at(gpu.DefaultArea), at(2*gpu.DefaultArea)
	for _, n := range whole.Needs {
		require.Less(t, need(t, half, n.Mode), need(t, whole, n.Mode), n.Mode)
		require.Less(t, need(t, whole, n.Mode), need(t, double, n.Mode), n.Mode)
	}
}

// TestNeedsAreOrdered: advice takes the first mode that fits, and names the last.
func TestNeedsAreOrdered(t *testing.T) {
	needs := gpu.Checkpoints(realModel(t, 64))[0].Needs
	require.Len(t, needs, 3)
	require.Equal(t, []gpu.Mode{gpu.ResidentInt8, gpu.Resident, gpu.Streamed}, []gpu.Mode{needs[0].Mode, needs[1].Mode, needs[2].Mode})
	require.Less(t, needs[1].Bytes, needs[0].Bytes)
	require.Less(t, needs[2].Bytes, needs[1].Bytes)
}

// TestNeedsAreNotGuessed: with a fact missing there is no figure.
func TestNeedsAreNotGuessed(t *testing.T) {
	cases := map[string]func(c *manifests.ModelConfig){
		"no sums":        func(c *manifests.ModelConfig) { c.Tensors = nil },
		"no base":        func(c *manifests.ModelConfig) { c.Sources[0].Role = manifests.RoleCheckpoints },
		"no checkpoint":  func(c *manifests.ModelConfig) { c.Checkpoints[0].Path = "checkpoints/other.safetensors" },
		"no width":       func(c *manifests.ModelConfig) { c.Tensors[0].Width = 0 },
		"unused is more": func(c *manifests.ModelConfig) { c.Unused[0].Bytes = c.Tensors[0].Bytes + 1 },
	}
	for name, change := range cases {
		c := realModel(t, 128)
		change(c)
		got := gpu.Checkpoints(c)[0]
		require.Empty(t, got.Needs, name)
		_, ok := got.Need(gpu.Resident)
		require.False(t, ok, name)
		require.Empty(t, got.Advise(gpu.Capability{Major: 8, Minor: 9}, 1).Mode, name)
		require.Equal(t, gpu.Runs, got.Advise(gpu.Capability{Major: 8, Minor: 9}, 1).Verdict, name)
	}
}
