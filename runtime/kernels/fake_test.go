package kernels_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
)

// The devices of cudatest: the first is a Hopper, the second none.
const hopper, ada = 0, 1

// fakeBackend is a backend on a device of a library that computes nothing, so that what
// happens before and between the kernels can be tested anywhere.
func fakeBackend(t *testing.T, l *cudatest.Library, device int, o kernels.Options) (*kernels.Backend, error) {
	t.Helper()
	l.Machine.Limit = 1 << 30
	driver, err := cuda.OpenLibrary(l.Load())
	require.NoError(t, err)
	devices, err := driver.Devices()
	require.NoError(t, err)
	return kernels.New(driver, devices[device], o)
}

func openFake(t *testing.T, l *cudatest.Library, device int) *kernels.Backend {
	t.Helper()
	b, err := fakeBackend(t, l, device, kernels.Options{ArenaBytes: 64 << 20, Poison: true})
	require.NoError(t, err)
	return b
}

func TestRefusals(t *testing.T) {
	computetest.Refuse(t, func(t *testing.T) compute.Backend { return openFake(t, cudatest.TwoDevices(), hopper) })
}

// operations calls each of them, in shapes that take every kernel that a model can ask for.
func operations(t *testing.T, b *kernels.Backend) {
	t.Helper()
	p := &pair{T: t, gpu: b, ref: b, rng: rand.New(rand.NewPCG(5, 6))}
	alloc := func(k compute.Kind, rows, cols int) compute.Tensor { return b.Alloc(k, rows, cols) }
	act, f32 := func(r, c int) compute.Tensor { return alloc(compute.Act, r, c) }, func(r, c int) compute.Tensor { return alloc(compute.F32, r, c) }
	vector, err := b.LoadVector(p.weight("v", 1, 64))
	require.NoError(t, err)
	table, err := b.LoadTable(p.weight("t", 1, 9, 64))
	require.NoError(t, err)
	for _, pre := range []compute.PreKind{
		compute.None, compute.SiLU, compute.GELUTanh, compute.RMSNorm, compute.LayerNorm, compute.ChannelNorm, compute.ChannelNormSiLU,
	} {
		b.Apply(f32(5, 64), act(5, 64), compute.Pre{Kind: pre, Weight: vector})
		b.Apply(act(5, 64), f32(5, 64), compute.Pre{Kind: pre, Weight: vector})
	}
	b.Apply(act(5, 7), act(5, 14), compute.Pre{Kind: compute.SwiGLU})
	b.Embed(act(2, 64), table, []int32{8, 0})
	b.Gather(f32(2, 7), f32(3, 7), []int32{2, 2})
	b.Copy(f32(2, 7), act(7, 2))
	b.Copy(act(2, 7), act(7, 2))
	b.Euler(f32(2, 7), act(2, 7), 1)
	b.Guide(act(2, 7), f32(2, 7), f32(2, 7), 1)
	b.Finite(act(2, 7), "x")
	b.Heads(compute.Split{X: act(5, 64), Q: act(5, 32), K: act(5, 16), V: act(5, 16), Dim: 16})
	b.Heads(compute.Split{X: act(5, 4*64), Q: act(5, 128), K: act(5, 64), V: act(5, 64), Dim: 64, NormQ: vector})
	for _, rows := range []int{3, 200, 2500, 9000} {
		for _, s := range []compute.LinearSpec{
			compute.Dense{Weights: []compute.Weight{p.weight("w", 1, 512, 64), p.weight("w", 1, 512, 64)}},
			computetest.NewSVDQ(p.rng, 128, 1024, 32, true).Spec,
		} {
			mark := b.Mark()
			l, err := b.LoadLinear(s)
			require.NoError(t, err)
			b.Linear(act(rows, 1024), l, act(rows, l.In()), compute.Pre{Kind: compute.SiLU}, compute.Post{Kind: compute.StoreGELU})
			b.Linear(f32(7, 1024), l, f32(7, l.In()), compute.Pre{}, compute.Post{})
			b.Reset(mark)
		}
	}
	p.manyAttentions(b)
	p.manyConvolutions(b)
}

func (p *pair) manyAttentions(b *kernels.Backend) {
	for _, dim := range []int{16, 64, 80, 128, 384} {
		for _, a := range []compute.Attention{{}, {Causal: true}, {Windows: []int32{30, 200}}} {
			mark := b.Mark()
			a.Heads, a.KVHeads, a.Dim = 1, 1, dim
			q, k, v := b.Alloc(compute.Act, 200, dim), b.Alloc(compute.Act, 200, dim), b.Alloc(compute.Act, 200, dim)
			b.Attention(b.Alloc(compute.Act, 200, dim), q, k, v, a)
			b.Reset(mark)
		}
	}
}

func (p *pair) manyConvolutions(b *kernels.Backend) {
	for _, c := range [][2]int64{{3, 96}, {96, 3}} {
		spec := compute.ConvSpec{Weight: p.weight("w", 1, c[1], c[0], 3, 3), Bias: p.weight("b", 1, c[1]), Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1}
		conv, err := b.LoadConv(spec)
		require.NoError(p, err)
		x, y := b.Alloc(compute.Act, 20, int(c[0])), b.Alloc(compute.Act, 20, int(c[1]))
		gate := compute.Mod{Table: b.Alloc(compute.F32, 1, int(c[1]))}
		gate.Until = 3
		b.Convolve(y, conv, x, 4, 5, compute.Pre{}, compute.Post{Kind: compute.GateAdd, Residual: y, Mod: gate})
		b.Convolve(y, conv, x, 4, 5, compute.Pre{}, compute.Post{Kind: compute.Add, Residual: y})
	}
}

// Every operation launches kernels that there are, with as many parameters as they take; on
// Hopper its own where they pay.
func TestEveryOperationLaunches(t *testing.T) {
	for device, want := range map[int][]string{
		hopper: {"gemm_bf16_hopper", "gemm_bf16_64x64", "attention_bf16_128_hopper", "attention_bf16_128"},
		ada:    {"gemm_bf16_128x256", "gemm_bf16_128x128", "gemm_bf16_64x64", "attention_bf16_128"},
	} {
		l := cudatest.TwoDevices()
		b := openFake(t, l, device)
		operations(t, b)
		require.NoError(t, b.Sync())
		require.NoError(t, b.Close())
		for _, name := range append(want,
			"svdq_weights", "svdq_shift", "svdq_vector", "svdq_lowrank", "linear_fh", "attend_any", "softmax_rows", "transpose_bf16",
			"attention_bf16_64", "attention_bf16_80", "conv_bf16_128x96", "conv_bf16_128x32", "conv_weights", "pad_columns", "finish",
			"map_hf8", "map_fh8", "norm_fh8", "swiglu_hh1", "rows_hh8", "rows_ff1", "euler_h", "guide_fh", "finite_h", "heads_hh", "heads_hh8",
		) {
			require.Positive(t, l.Machine.Launches[name], "%d: %s", device, name)
		}
		require.Empty(t, l.Machine.Live, "memory that was not given back")
	}
}

// Whatever call of the driver fails, it is an error that sticks, and nothing crashes.
func TestEveryCallThatFails(t *testing.T) {
	for call, fromTheStart := range map[string]bool{
		"cuLinkCreate_v2": true, "cuLinkAddData_v2": true, "cuLinkComplete": true, "cuModuleLoadData": true,
		"cuModuleGetFunction": true, "cuFuncSetAttribute": true, "cuLaunchKernel": false, "cuTensorMapEncodeTiled": false,
		"cuMemcpyHtoDAsync_v2": false, "cuMemcpyDtoHAsync_v2": false, "cuMemcpyDtoDAsync_v2": false, "cuMemsetD8Async": false,
		"cuEventRecord": false, "cuEventSynchronize": false, "cuStreamSynchronize": false,
	} {
		t.Run(call, func(t *testing.T) {
			l := cudatest.TwoDevices()
			if fromTheStart {
				l.Fail.Set(call, 2)
			}
			b := openFake(t, l, hopper)
			w := (&pair{rng: rand.New(rand.NewPCG(1, 1))}).weight("w", 1, 5120, 64)
			linear, err := b.LoadLinear(compute.Dense{Weights: []compute.Weight{w}})
			require.NoError(t, err)
			x, y := b.Alloc(compute.Act, 300, 64), b.Alloc(compute.Act, 300, 5120)
			require.NoError(t, b.Sync())
			l.Fail.Set(call, 2)
			b.Upload(x, make([]float32, x.Len()))
			b.Linear(y, linear, x, compute.Pre{}, compute.Post{})
			b.Copy(y.Slice(0, 1), y.Slice(1, 2))
			b.Alloc(compute.Act, 1, 1)
			err = errors.Join(b.Download(make([]float32, x.Len()), x), b.Sync())
			require.ErrorContains(t, err, call)
			require.ErrorIs(t, b.Sync(), cuda.ErrMemory)
			want := fault.Resource
			if call == "cuModuleGetFunction" {
				want = fault.Internal
			}
			require.Equal(t, want, fault.KindOf(b.Sync()))
			require.ErrorIs(t, b.Close(), cuda.ErrMemory)
		})
	}
}

// What New cannot have is an error, and what it had is given back.
func TestNewFails(t *testing.T) {
	for _, call := range []string{"cuDevicePrimaryCtxRetain", "cuStreamCreate", "cuMemHostAlloc", "cuEventCreate", "cuMemAlloc_v2"} {
		t.Run(call, func(t *testing.T) {
			l := cudatest.TwoDevices()
			l.Fail.Set(call, 2)
			_, err := fakeBackend(t, l, hopper, kernels.Options{ArenaBytes: 1 << 20})
			require.ErrorContains(t, err, call)
			require.ErrorIs(t, err, cuda.ErrMemory)
			require.Empty(t, l.Machine.Live)
			require.Zero(t, l.Retained.Load())
		})
	}
}

func TestDeviceThatIsTooOld(t *testing.T) {
	l := cudatest.TwoDevices()
	l.Devices[0].Attributes[cudatest.Major], l.Devices[0].Attributes[cudatest.Minor] = 7, 5
	_, err := fakeBackend(t, l, 0, kernels.Options{ArenaBytes: 1})
	require.EqualError(t, err, "using CUDA device 0, NVIDIA H100 80GB HBM3: its compute capability is 7.5")
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "8.0")
}

// A driver before CUDA 12 has no tiled matrices, and gets kernels without them.
func TestHopperWithAnOldDriver(t *testing.T) {
	l := cudatest.TwoDevices()
	l.Version, l.Absent = 11080, "cuTensorMapEncodeTiled"
	b := openFake(t, l, hopper)
	operations(t, b)
	require.NoError(t, b.Close())
	require.Zero(t, l.Machine.Launches["gemm_bf16_hopper"])
	require.Positive(t, l.Machine.Launches["gemm_bf16_128x256"])
}

// An arena that is full is out of memory to who asks, whoever needed more of it.
func TestArenaIsFull(t *testing.T) {
	b := openFake(t, cudatest.TwoDevices(), hopper)
	w := (&pair{rng: rand.New(rand.NewPCG(1, 1))}).weight("w", 1, 8, 2048)
	linear, err := b.LoadLinear(compute.Dense{Weights: []compute.Weight{w}})
	require.NoError(t, err)
	x, y := b.Alloc(compute.Act, 10_000, 2048), b.Alloc(compute.Act, 10_000, 8)
	b.Linear(y, linear, x, compute.Pre{}, compute.Post{})
	require.NoError(t, b.Sync())
	b.Linear(y, linear, x, compute.Pre{Kind: compute.SiLU}, compute.Post{}) // SiLU(x) has no room
	err = b.Sync()
	require.ErrorIs(t, err, cuda.ErrMemory)
	require.ErrorContains(t, err, "allocating act[10000×2048]: out of CUDA memory: it takes 40960000 bytes, and 41120000 of 67108864 are in use")
	require.Contains(t, fault.HintOf(err), "arena")
	require.ErrorIs(t, b.Close(), cuda.ErrMemory)
}

// Uploads round, downloads do not: what comes back is what fits into the format.
func TestFormats(t *testing.T) {
	b := openFake(t, cudatest.TwoDevices(), hopper)
	const n = 5_000_001 // more than the ring's buffers hold together
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i) * 1.001
	}
	for _, k := range []compute.Kind{compute.Act, compute.F32} {
		mark := b.Mark()
		x := b.Alloc(k, 1, n)
		b.Upload(x, v)
		got := make([]float32, n)
		require.NoError(t, b.Download(got, x))
		worst := 0.0
		for i, g := range got {
			worst = max(worst, math.Abs(float64(g-v[i]))/max(1, float64(v[i])))
		}
		require.Less(t, worst, map[compute.Kind]float64{compute.Act: 1. / 256, compute.F32: 1e-12}[k])
		b.Reset(mark)
	}
	require.NoError(t, b.Close())
}
