package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// TestBench: on the CPU, with a small model, every stage of the edits that were asked for is
// there with its time and, where the device works, its operations and its floor.
func TestBench(t *testing.T) {
	args := []string{"bench", "-device=cpu", "-models=" + writeSet(t), "-model=demo", "-runs=3", "-steps=2"}
	code, stdout, stderr := call(t, append(args, "-json")...)
	require.Equal(t, 0, code, stderr)
	require.Contains(t, stderr, "edit 3 of 3: ")
	var r benchResult
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.Equal(t, 1, r.SchemaVersion)
	require.WithinDuration(t, time.Now(), r.Date, time.Minute)
	require.False(t, r.Device.GPU)
	require.Empty(t, r.Weights)

	require.Equal(t, "lightning", r.Edit.Checkpoint)
	require.Equal(t, 2, r.Edit.Steps)
	require.False(t, r.Edit.Guided)
	require.Equal(t, r.Edit.Width*r.Edit.Height/256, r.Edit.TargetTokens)
	require.Equal(t, r.Edit.TargetTokens, r.Edit.ReferencesTokens)
	require.Positive(t, r.Edit.TextTokens)

	tiny := modelsettest.Tiny()
	require.Len(t, r.Load, 4)
	names := map[string]int64{}
	for _, l := range r.Load {
		names[l.Name] = l.Bytes
		require.Positive(t, l.Seconds)
		require.Less(t, l.Seconds, r.LoadTime)
	}
	require.Equal(t, names["lightning"], names["plain"])
	require.Greater(t, names["text encoder"], int64(2*tiny.Text.Hidden))
	require.Positive(t, names["VAE"])

	checkStages(t, r)
	require.Greater(t, r.Memory.Weights, names["lightning"])
	require.GreaterOrEqual(t, r.Memory.Arena, r.Memory.Activations)
	require.Positive(t, r.Memory.Activations)
	require.Zero(t, r.Memory.Device)

	code, stdout, stderr = call(t, append(args, "-runs=1", "-checkpoint=plain", "-prompt=a longer prompt than that")...)
	require.Equal(t, 0, code, stderr)
	require.Regexp(t, `checkpoint plain, \d+×\d+: .* 2 steps of two forwards\n`, stdout)
	require.Regexp(t, `(?m)^transformer, a step +2 `, stdout)
	require.Regexp(t, `(?m)^VAE +0\.00 GB `, stdout)
}

// checkStages holds the stages' times and floors against each other.
func checkStages(t *testing.T, r benchResult) {
	t.Helper()
	var names []string
	var least, floor float64
	var flops int64
	for _, s := range r.Stages {
		names = append(names, s.Name)
		require.LessOrEqual(t, s.Min, s.Median)
		require.LessOrEqual(t, s.Median, s.Max)
		require.Positive(t, s.Min, s.Name)
		count, times := 3, 1
		if s.Name == stageStep {
			count, times = 6, 2
		}
		require.Equal(t, count, s.Count, s.Name)
		if s.Name != stageWhole {
			least, floor, flops = least+float64(times)*s.Min, floor+float64(times)*s.Floor, flops+int64(times)*s.FLOPs
		}
		if s.FLOPs > 0 {
			require.InDelta(t, s.Floor/s.Median, s.Share, 1e-9)
			require.InDelta(t, float64(s.FLOPs)/s.Median, s.Rate, 1e-3*s.Rate)
		}
		if s.Name != stageWhole {
			require.GreaterOrEqual(t, s.Floor, (1-1e-12)*float64(s.FLOPs)/r.Ceilings.FLOPs)
		}
	}
	require.Equal(t, []string{
		"reading the picture", "preparing", "text encoder", "VAE encoder", "modulations", stageStep, "VAE decoder", "writing the picture", stageWhole,
	}, names)
	whole := r.Stages[len(r.Stages)-1]
	require.GreaterOrEqual(t, whole.Max, least, "the stages are the edit")
	require.InDelta(t, whole.Floor, floor, 1e-9)
	require.LessOrEqual(t, flops, whole.FLOPs)
	require.InEpsilon(t, whole.FLOPs, flops, 0.02, "what the stages leave out is small")
	require.Positive(t, r.FirstEdit)
	require.Equal(t, 3, r.Runs)
}

// TestBenchFloor: the slower of the two ceilings is the floor.
func TestBenchFloor(t *testing.T) {
	c := ceilings{FLOPs: 100, Bytes: 10}
	require.InDelta(t, 2.0, c.floor(work{flops: 200, svdq: 150, bytes: 19}), 0)
	require.InDelta(t, 3.0, c.floor(work{flops: 200, svdq: 150, bytes: 30}), 0)
	c.Int8 = 300
	require.InDelta(t, 1.0, c.floor(work{flops: 200, svdq: 150, bytes: 9}), 0)
}

// TestBenchWork: a branch of low rank is read and not computed.
func TestBenchWork(t *testing.T) {
	all := []plan.Operation{
		{Name: "svdq", Work: plan.Work{FLOPs: 100, WeightBytes: 1, ActivationBytes: 2}},
		{Name: "lowRank", Work: plan.Work{FLOPs: 30, WeightBytes: 4}},
		{Name: "awq", Work: plan.Work{FLOPs: 7, WeightBytes: 8}},
	}
	require.Equal(t, work{flops: 107, svdq: 100, bytes: 15}, workOf(all...))
	require.Equal(t, work{flops: 7, bytes: 8}, workOf(only(all, "awq")...))
	require.Equal(t, work{flops: 100, svdq: 100, bytes: 7}, workOf(all...).minus(workOf(only(all, "awq")...)))
}

// TestBenchRows: the median of an even number of times lies between the two in the middle.
func TestBenchRows(t *testing.T) {
	r := benchResult{Ceilings: ceilings{FLOPs: 1000, Bytes: 1000}}
	r.add("x", []time.Duration{4 * time.Second, time.Second, 2 * time.Second, 10 * time.Second}, work{flops: 1500})
	require.Equal(t, benchStage{Name: "x", Count: 4, Median: 3, Min: 1, Max: 10, FLOPs: 1500, Rate: 500, Floor: 1.5, Share: 0.5}, r.Stages[0])
	r.add("host", []time.Duration{time.Second}, work{})
	require.Equal(t, benchStage{Name: "host", Count: 1, Median: 1, Min: 1, Max: 1}, r.Stages[1])
}

// TestBenchRefuses: what is wrong with a command line is said before anything is measured.
func TestBenchRefuses(t *testing.T) {
	for flag, text := range map[string]string{"-runs=0": "runs is 0", "-device=tpu": `device is "tpu"`, "-weights=fp4": `weights is "fp4"`, "-gpuMemory=much": `gpuMemory is "much"`} {
		code, stdout, stderr := call(t, "bench", flag)
		require.Equal(t, 2, code)
		require.Empty(t, stdout)
		require.Contains(t, stderr, text)
	}
}
