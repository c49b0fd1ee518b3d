package gpu_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/gpu"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

func capability(t testing.TB, name string) gpu.Capability {
	t.Helper()
	c, err := gpu.ParseCapability(name)
	require.NoError(t, err)
	return c
}

func TestCapabilities(t *testing.T) {
	for name, want := range map[string]gpu.Capability{"sm_75": {Major: 7, Minor: 5}, "sm_90": {Major: 9}, "sm_121": {Major: 12, Minor: 1}} {
		c := capability(t, name)
		require.Equal(t, want, c)
		require.Equal(t, name, c.String())
		text, err := json.Marshal(c)
		require.NoError(t, err)
		require.Equal(t, `"`+name+`"`, string(text))
	}
	for _, name := range []string{"", "sm_", "sm_9", "sm_9a", "89", "sm_-80", "sm_08", "sm_99999"} {
		_, err := gpu.ParseCapability(name)
		require.ErrorContains(t, err, "is not of the form sm_89", name)
	}
}

// TestRoutes holds the table against the facts that it must state.
func TestRoutes(t *testing.T) {
	names := func(precision string, which func(gpu.Route) bool) (out []string) {
		for _, r := range gpu.Routes(precision) {
			if which(r) {
				out = append(out, r.Capability.String())
			}
		}
		return out
	}
	runs := func(r gpu.Route) bool { return r.Runs }
	measured := func(r gpu.Route) bool { return r.Measured }
	nunchaku := func(r gpu.Route) bool { return r.Nunchaku }
	require.Equal(t, []string{"sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_103", "sm_110", "sm_120", "sm_121"}, names(svdq.Int4, runs))
	require.Equal(t, []string{"sm_87", "sm_110", "sm_121"}, names(svdq.Int4, func(r gpu.Route) bool { return r.ARM }))
	require.Equal(t, []string{"sm_121"}, names(svdq.NVFP4, func(r gpu.Route) bool { return r.ARM }))
	require.Equal(t, []string{"sm_75", "sm_80", "sm_86", "sm_89"}, names(svdq.Int4, nunchaku))
	require.Equal(t, []string{"sm_90"}, names(svdq.Int4, measured))
	require.Equal(t, []string{"sm_90"}, names(svdq.Int4, func(r gpu.Route) bool { return r.Method == gpu.Int8 }), "Hopper alone has 8 bits")
	require.Empty(t, names(svdq.NVFP4, runs))
	require.Empty(t, names(svdq.NVFP4, measured))
	require.Equal(t, []string{"sm_120", "sm_121"}, names(svdq.NVFP4, nunchaku))
	require.Empty(t, gpu.Routes("fp8"))
	for _, precision := range []string{svdq.Int4, svdq.NVFP4} {
		for _, r := range gpu.Routes(precision) {
			ours := r.Method == gpu.BF16 || r.Method == gpu.Int8
			require.Equal(t, r.Runs, ours, "%v: nothing here multiplies 4 bits", r.Capability)
			found, ok := gpu.Find(precision, r.Capability)
			require.True(t, ok)
			require.Equal(t, r, found, "a pair is there once")
		}
	}
}

// TestAdvice: wrong choices are answered with both sides and the file to take.
func TestAdvice(t *testing.T) {
	c := gpu.Checkpoints(realModel(t, 128))
	int4, nvfp4 := c[0], c[1]
	gb := int64(1e9)
	cases := map[string]struct {
		checkpoint gpu.Checkpoint
		gpu        string
		memory     int64
		verdict    gpu.Verdict
		mode       gpu.Mode
		message    string
		hint       string
	}{
		"nvfp4 on Ada": {
			nvfp4, "sm_89", 24 * gb, gpu.WrongPrecision, "",
			"this file is NVFP4 (needs sm_120 or sm_121); your GPU is sm_89; the INT4 twin is svdq-int4_r128-qwen-image-edit.safetensors",
			"take svdq-int4_r128-qwen-image-edit.safetensors",
		},
		"nvfp4 on Hopper": {nvfp4, "sm_90", 80 * gb, gpu.WrongPrecision, "", "your GPU is sm_90; the INT4 twin is svdq-int4_r128", "take svdq-int4"},
		"nvfp4 on Blackwell": {
			nvfp4, "sm_120", 32 * gb, gpu.OtherRuntime, "",
			"NVFP4 rank 128 fits sm_120, but this runtime does not run it there: nunchaku needs CUDA 12.8 or later", "take svdq-int4_r128-qwen-image-edit.safetensors",
		},
		"int4 on Blackwell": {int4, "sm_120", 34 * gb, gpu.Runs, gpu.Resident, "runs, unmeasured on such a GPU; bf16 tensor cores, 4-bit weights unpacked; nunchaku takes NVFP4 files only on this GPU", ""},
		"int4 on Hopper": {
			int4, "sm_90", 80 * gb, gpu.Runs, gpu.ResidentInt8,
			"INT4 rank 128 on sm_90: runs, measured; int8 tensor cores, weights in 8 bits, or bf16 tensor cores, 4-bit weights unpacked; nunchaku refuses this GPU", "",
		},
		"int4 on a slice of Hopper": {int4, "sm_90", 33 * gb, gpu.Runs, gpu.Resident, "runs, measured", ""},
		"int4 on an A100":           {int4, "sm_80", 80 * gb, gpu.Runs, gpu.Resident, "runs, unmeasured on such a GPU; bf16 tensor cores", ""},
		"int4 on a 4090": {
			int4, "sm_89", 25_757_220_864, gpu.Runs, gpu.Streamed,
			"runs, unmeasured on such a GPU; bf16 tensor cores, 4-bit weights unpacked; " +
				"what does not fit, about 5.77 GB of weights, streams from the host for each picture: let its page cache have room for that", "",
		},
		"int4 on a smaller slice": {int4, "sm_90", 20 * gb, gpu.Runs, gpu.Streamed, "what does not fit, about 11.53 GB of weights, streams from the host", ""},
		"int4 on a small card":    {int4, "sm_86", 4 * gb, gpu.Runs, gpu.Streamed, "what does not fit, about 27.53 GB of weights, streams from the host", ""},
		"int4 on less": {
			int4, "sm_86", 2 * gb, gpu.TooSmall, "", "INT4 rank 128 needs about 3.55 GB of memory (streamed); your GPU has 2.00 GB",
			"use a GPU with more memory",
		},
		"int4 on Orin": {
			int4, "sm_87", 64 * gb, gpu.Runs, gpu.Resident,
			"runs, unmeasured on such a GPU; bf16 tensor cores, 4-bit weights unpacked; nunchaku refuses this GPU; " +
				"it shares the memory of an ARM host, for which the program has to be built: the image is for amd64", "",
		},
		"int4 on Thor":     {int4, "sm_110", 120 * gb, gpu.Runs, gpu.Resident, "runs, unmeasured on such a GPU", ""},
		"memory not known": {int4, "sm_86", 0, gpu.Runs, "", "runs, unmeasured on such a GPU", ""},
		"int4 on Turing":   {int4, "sm_75", 11 * gb, gpu.OtherRuntime, "", "no bf16, and nunchaku fails there with this model family", ""},
		"nvfp4 on Turing":  {nvfp4, "sm_75", 11 * gb, gpu.WrongPrecision, "", "your GPU is sm_75", "take svdq-int4"},
		"Volta":            {int4, "sm_70", 32 * gb, gpu.Unknown, "", "nothing is known about sm_70: INT4 files are for sm_75, sm_80,", ""},
		"nvfp4 on Thor":    {nvfp4, "sm_110", 32 * gb, gpu.WrongPrecision, "", "your GPU is sm_110", "take svdq-int4"},
		"not listed":       {nvfp4, "sm_130", 32 * gb, gpu.Unknown, "", "nothing is known about sm_130: NVFP4 files are for sm_120 or sm_121", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := tc.checkpoint.Advise(capability(t, tc.gpu), tc.memory)
			require.Equal(t, tc.verdict, a.Verdict)
			require.Equal(t, tc.mode, a.Mode)
			require.Contains(t, a.Message, tc.message)
			if tc.hint == "" {
				require.Empty(t, a.Hint)
			}
			require.Contains(t, a.Hint, tc.hint)
			n, _ := tc.checkpoint.Need(tc.mode)
			require.Equal(t, n.Bytes, a.Bytes)
			require.LessOrEqual(t, a.Bytes, tc.memory)
			require.LessOrEqual(t, a.HostBytes, n.HostBytes)
			require.Equal(t, tc.mode == gpu.Streamed, a.HostBytes > 0)
			require.Equal(t, tc.verdict == gpu.WrongPrecision || tc.verdict == gpu.Unknown, a.Route == nil)
		})
	}
}

// TestStreamedFillsTheGap: with any memory from the least on it runs, and what more the GPU has
// the host need not keep.
func TestStreamedFillsTheGap(t *testing.T) {
	c := gpu.Checkpoints(realModel(t, 128))[0]
	ada := capability(t, "sm_89")
	least, _ := c.Need(gpu.Streamed)
	resident, _ := c.Need(gpu.Resident)
	require.Equal(t, gpu.TooSmall, c.Advise(ada, least.Bytes-1).Verdict)
	require.Equal(t, least.HostBytes, c.Advise(ada, least.Bytes).HostBytes)
	for memory := least.Bytes; memory < resident.Bytes; memory += 1e9 {
		a := c.Advise(ada, memory)
		require.Equal(t, gpu.Runs, a.Verdict)
		require.Equal(t, gpu.Streamed, a.Mode)
		require.Equal(t, least.HostBytes+least.Bytes, a.HostBytes+memory)
	}
	require.Equal(t, gpu.Streamed, c.Advise(ada, resident.Bytes-1).Mode)
	require.Equal(t, gpu.Resident, c.Advise(ada, resident.Bytes).Mode)
}

// TestTwins: the twin's name follows from the publisher's, or is described.
func TestTwins(t *testing.T) {
	for file, want := range map[string]string{
		"svdq-fp4_r32-qwen-image.safetensors":  "svdq-int4_r32-qwen-image.safetensors",
		"Model-nvfp4.safetensors":              "Model-int4.safetensors",
		"model.safetensors":                    "a file of the same model and rank 32 in INT4",
		"svdq-int4_r32-qwen-image.safetensors": "a file of the same model and rank 32 in INT4",
	} {
		c := gpu.Checkpoint{File: file, Precision: svdq.NVFP4, Rank: 32}
		require.Equal(t, "take "+want, c.Advise(capability(t, "sm_80"), 0).Hint, file)
	}
}
