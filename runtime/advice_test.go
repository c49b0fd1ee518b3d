package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/models/modelstest"
	"github.com/plimsoll-oci/plimsoll/verify/gpu"
)

// publishedSums are the sums of the published model, which package modelset computes from
// its headers.
func publishedSums(checkpoint string) []manifests.TensorSums {
	return []manifests.TensorSums{
		{Path: "Maker--Small-Edit/text_encoder", Bytes: 16_584_333_312, Repeated: 14_401_329_152, Block: 466_115_584, Lookup: 1_089_994_752, Width: 3584},
		{Path: "Maker--Small-Edit/vae", Bytes: 253_785_062, Repeated: 240_000_000, Block: 40_000_000, Width: 96},
		{Path: checkpoint, Bytes: 12_653_943_936, Repeated: 12_572_897_280, Block: 209_548_288, Packed: 6_794_772_480, Width: 3072},
	}
}

// largeModel has the published model's sums for "fast" and none for "plain".
func largeModel(t testing.TB) *manifests.ModelConfig {
	t.Helper()
	c := modelstest.Write(t, t.TempDir())
	c.Tensors, c.Serve.PixelArea = publishedSums(modelstest.Fast), gpu.DefaultArea
	c.Checkpoints[1].Precision = "nvfp4"
	c.Checkpoints[1].Path = "quantised/svdq-fp4_r16.safetensors"
	return c
}

func TestDevicesAdvise(t *testing.T) {
	model := needsOf(largeModel(t))
	list := deviceList{SchemaVersion: 2, CUDA: "13.0", Model: model}
	for i, d := range []cuda.Device{
		{Name: "H100", Capability: cuda.Capability{Major: 9}, TotalMemory: 85_029_158_912},
		{Name: "L40S", Capability: cuda.Capability{Major: 8, Minor: 9}, TotalMemory: 47_696_576_512},
		{Name: "5090 D", Capability: cuda.Capability{Major: 12}, TotalMemory: 25_757_220_864},
		{Name: "V100", Capability: cuda.Capability{Major: 7}, TotalMemory: 34_000_000_000},
		{Name: "3050", Capability: cuda.Capability{Major: 8, Minor: 6}, TotalMemory: 4_000_000_000},
	} {
		d.Ordinal = i
		list.Devices = append(list.Devices, deviceStatus{Device: d, Checkpoints: model.advise(d), FreeMemory: new(int64)})
	}
	text := list.text()
	for _, want := range []string{
		"\nsmall-edit (INT4 runs on compute capability 8.0 and later, measured on 9.0 alone; NVFP4 does not run)\n",
		"CHECKPOINT  MODE           MEMORY, ESTIMATED FOR 1048576 PIXELS  HOST'S PAGE CACHE\n",
		"fast        resident-int8  38.03 GB                              -\n",
		"fast        resident       31.85 GB                              -\n",
		"fast        streamed       4.81 GB or more                       up to 27.98 GB\n",
		"plain       -              NVFP4 does not run                    -\n",
		"\n✓ GPU 0, fast: INT4 rank 16 on sm_90: runs, measured; int8 tensor cores, weights in 8 bits, or bf16 tensor cores, 4-bit weights unpacked; nunchaku refuses this GPU, which has no tensor cores for 4-bit integers; mode resident-int8, 38.03 GB\n",
		"\n✗ GPU 0, plain: this file is NVFP4 (needs sm_120 or sm_121); your GPU is sm_90; the INT4 twin is svdq-int4_r16.safetensors\n  hint: take svdq-int4_r16.safetensors\n",
		"\n- GPU 1, fast: INT4 rank 16 on sm_89: runs, unmeasured on such a GPU; bf16 tensor cores, 4-bit weights unpacked; mode resident, 31.85 GB\n",
		"\n- GPU 2, fast: INT4 rank 16 on sm_120: runs, unmeasured on such a GPU; bf16 tensor cores, 4-bit weights unpacked; nunchaku takes NVFP4 files only on this GPU; " +
			"what does not fit, about 7.03 GB of weights, streams from the host for each picture: let its page cache have room for that; mode streamed, 4.81 GB or more\n",
		"\n⚠ GPU 2, plain: NVFP4 rank 16 fits sm_120, but this runtime does not run it there",
		"\n⚠ GPU 3, fast: nothing is known about sm_70",
		"\n✗ GPU 4, fast: INT4 rank 16 needs about 4.81 GB of memory (streamed); your GPU has 4.00 GB\n  hint: use a GPU with more memory\n",
	} {
		require.Contains(t, text, want)
	}
	require.Equal(t, 1, strings.Count(text, "✓"), "for what was measured alone")

	data, err := json.Marshal(list)
	require.NoError(t, err)
	var back struct {
		Model struct {
			Checkpoints []struct {
				Name   string
				Memory []struct {
					Mode             string
					Bytes, HostBytes int64
				}
			}
		}
		Devices []struct {
			Checkpoints []struct {
				Checkpoint, Verdict, Mode, Message string
				HostBytes                          int64
				Route                              *struct{ Measured bool }
			}
		}
	}
	require.NoError(t, json.Unmarshal(data, &back))
	memory := back.Model.Checkpoints[0].Memory
	require.Len(t, memory, 3)
	require.Equal(t, "resident-int8", memory[0].Mode)
	require.Equal(t, "streamed", memory[2].Mode)
	require.Zero(t, memory[1].HostBytes)
	require.Equal(t, "wrong-precision", back.Devices[1].Checkpoints[1].Verdict)
	require.Equal(t, "runs", back.Devices[0].Checkpoints[0].Verdict)
	require.True(t, back.Devices[0].Checkpoints[0].Route.Measured)
	require.False(t, back.Devices[1].Checkpoints[0].Route.Measured)
	small := back.Devices[2].Checkpoints[0]
	require.Equal(t, []string{"runs", "streamed"}, []string{small.Verdict, small.Mode})
	require.Equal(t, memory[2].Bytes+memory[2].HostBytes, small.HostBytes+25_757_220_864)
	require.Equal(t, "too-small", back.Devices[4].Checkpoints[0].Verdict)

	c := largeModel(t)
	c.Tensors = nil
	require.Contains(t, needsOf(c).text(), "fast        -     unknown: model.json has no sums of tensors  -\n")
}

// TestDevicesReadModelJSON: a model.json is read where there is one, and a broken one is not
// taken for none.
func TestDevicesReadModelJSON(t *testing.T) {
	refuse := func() (*cuda.Driver, error) {
		return nil, fault.Wrap(fault.Resource, "", fmt.Errorf("%w: libcuda.so.1: not found", cuda.ErrNoDriver))
	}
	c := modelstest.Write(t, t.TempDir())
	path := filepath.Join(t.TempDir(), "model.json")
	require.NoError(t, os.WriteFile(path, c.Encode(), 0o644))
	model, err := optionalNeeds(path)
	require.NoError(t, err)
	require.Len(t, model.Checkpoints, 2)
	var out bytes.Buffer
	require.ErrorIs(t, (&program{stdout: &out}).listDevices(true, refuse, model, nil), cuda.ErrNoDriver)
	require.Contains(t, out.String(), `"status": "INT4 runs`, "what a model needs is known without a GPU")

	got := runProgram(t, nil, "devices", "-config="+path+".not")
	require.Equal(t, 2, got.code)
	require.Contains(t, got.stderr, "loading model.json")
	require.NoError(t, os.WriteFile(path, []byte("{}"), 0o644))
	require.Equal(t, 5, runProgram(t, nil, "devices", "-config="+path).code)

	c.Checkpoints = nil
	require.Nil(t, needsOf(c))
	require.Empty(t, (*modelNeeds)(nil).text())
	require.Empty(t, (*modelNeeds)(nil).advise(cuda.Device{}))
}
