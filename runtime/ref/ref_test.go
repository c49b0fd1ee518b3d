package ref_test

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// TestConformance: 2e-6 is what sums of float32 are off by.
func TestConformance(t *testing.T) {
	for n, tol := range map[ref.Numerics]float64{ref.Dense: 2e-6, ref.W4A4: 0.3, ref.Int8: 0.05, ref.Int8Blocks: 0.05} {
		t.Run(n.String(), func(t *testing.T) {
			computetest.Run(t, func(*testing.T) compute.Backend {
				return ref.New(ref.Options{ArenaBytes: 64 << 20, Poison: true, Workers: 3, Numerics: n})
			}, computetest.Tolerance{F32: 2e-6, Act: 2e-6, SVDQ: tol})
		})
	}
}

// chain runs one operation of each kind that is split among workers, over more rows than a
// block has, and returns the result.
func chain(t *testing.T, workers int, n ref.Numerics) []float32 {
	t.Helper()
	const h, w = 25, 23
	const rows = h * w
	rng := rand.New(rand.NewPCG(5, 5))
	b := ref.New(ref.Options{ArenaBytes: 32 << 20, Workers: workers, Numerics: n, Poison: true})
	l, err := b.LoadLinear(computetest.NewSVDQ(rng, 128, 256, 48, true).Spec)
	require.NoError(t, err)
	c, err := b.LoadConv(compute.ConvSpec{
		Weight: weight(safetensors.BF16, 24, 256, 3, 3), Bias: weight(safetensors.BF16, 24),
		Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1,
	})
	require.NoError(t, err)
	d, err := b.LoadLinear(compute.Dense{Weights: []compute.Weight{weight(safetensors.F32, 70, 24), weight(safetensors.BF16, 2, 24)}})
	require.NoError(t, err)
	x := make([]float32, rows*128)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	in := b.Alloc(compute.Act, rows, 128)
	b.Upload(in, x)
	y, z, r := b.Alloc(compute.Act, rows, 256), b.Alloc(compute.Act, rows, 24), b.Alloc(compute.Act, rows, 72)
	b.Attention(y.Reshape(2*rows, 128).Slice(0, rows), in, in, in, compute.Attention{Heads: 2, KVHeads: 2, Dim: 64, Scale: 0.1, Causal: true})
	b.Linear(y, l, in, compute.Pre{Kind: compute.GELUTanh}, compute.Post{})
	b.Convolve(z, c, y, h, w, compute.Pre{Kind: compute.SiLU}, compute.Post{})
	b.Linear(r, d, z, compute.Pre{Kind: compute.LayerNorm, Eps: 1e-6}, compute.Post{})
	result := make([]float32, r.Len())
	require.NoError(t, b.Download(result, r))
	require.NoError(t, b.Close())
	return result
}

// TestWorkers: results are the same bits, whatever the number of workers.
func TestWorkers(t *testing.T) {
	for n := ref.Dense; n <= ref.Int8Blocks; n++ {
		one := chain(t, 1, n)
		for _, v := range one {
			require.False(t, math.IsNaN(float64(v)), "nothing that was not written is read")
		}
		for _, workers := range []int{2, 3, 16, 0} {
			require.Equal(t, one, chain(t, workers, n), "%d workers", workers)
		}
	}
}

// TestPoison: new tensors are NaN, those after a Reset too.
func TestPoison(t *testing.T) {
	b := ref.New(ref.Options{ArenaBytes: 1 << 20, Poison: true})
	for range 2 {
		mark := b.Mark()
		x := b.Alloc(compute.F32, 3, 5)
		v := make([]float32, 15)
		require.NoError(t, b.Download(v, x))
		for _, f := range v {
			require.True(t, math.IsNaN(float64(f)))
		}
		b.Upload(x, make([]float32, 15))
		b.Reset(mark)
	}
	require.Equal(t, int64(compute.Align), b.Peak())
	require.NoError(t, b.Close())
}

// TestDefects: what the contract forbids and other backends need not notice.
func TestDefects(t *testing.T) {
	b, other := ref.New(ref.Options{ArenaBytes: 1 << 20}), ref.New(ref.Options{ArenaBytes: 1 << 20})
	defer func() { require.NoError(t, b.Close()); require.NoError(t, other.Close()) }()
	foreign, err := other.LoadLinear(compute.Dense{Weights: []compute.Weight{weight(safetensors.BF16, 4, 4)}})
	require.NoError(t, err)
	own, err := b.LoadLinear(compute.Dense{Weights: []compute.Weight{weight(safetensors.BF16, 4, 4)}})
	require.NoError(t, err)
	norm, err := other.LoadVector(weight(safetensors.BF16, 4))
	require.NoError(t, err)
	table, err := other.LoadTable(weight(safetensors.BF16, 4, 4))
	require.NoError(t, err)
	conv, err := other.LoadConv(compute.ConvSpec{Weight: weight(safetensors.BF16, 4, 4, 1, 1), Bias: weight(safetensors.BF16, 4), Stride: 1})
	require.NoError(t, err)

	x, y, f := b.Alloc(compute.Act, 4, 4), b.Alloc(compute.Act, 4, 4), b.Alloc(compute.F32, 4, 4)
	mark := b.Mark()
	gone := b.Alloc(compute.Act, 4, 4)
	b.Reset(mark)
	one := compute.Attention{Heads: 1, KVHeads: 1, Dim: 4, Scale: 1}
	for name, run := range map[string]func(){
		"another backend's linear":      func() { b.Linear(y, foreign, x, compute.Pre{}, compute.Post{}) },
		"another backend's vector":      func() { b.Apply(y, x, compute.Pre{Kind: compute.RMSNorm, Weight: norm}) },
		"another backend's table":       func() { b.Embed(y, table, []int32{0, 1, 2, 3}) },
		"another backend's convolution": func() { b.Convolve(y, conv, x, 2, 2, compute.Pre{}, compute.Post{}) },
		"linear in place":               func() { b.Linear(x, own, x, compute.Pre{}, compute.Post{}) },
		"linear into a shifted residual": func() {
			b.Linear(y.Reshape(16, 1).Slice(2, 14).Reshape(3, 4), own, x.Slice(0, 3), compute.Pre{},
				compute.Post{Kind: compute.Add, Residual: y.Slice(0, 3)})
		},
		"apply in place":        func() { b.Apply(x, x, compute.Pre{Kind: compute.SiLU}) },
		"attention in place":    func() { b.Attention(x, x, y, y, one) },
		"gather in place":       func() { b.Gather(x, x, []int32{0, 1, 2, 3}) },
		"gather to other kind":  func() { b.Gather(f, x, []int32{0, 1, 2, 3}) },
		"a tensor that is gone": func() { b.Apply(gone, x, compute.Pre{}) },
		"no tensor":             func() { b.Copy(compute.Tensor{}, compute.Tensor{}) },
		"no linear":             func() { b.Linear(y, nil, x, compute.Pre{}, compute.Post{}) },
	} {
		require.Panics(t, run, name)
	}
	require.Panics(t, func() { ref.New(ref.Options{Workers: -1}) })
	require.Panics(t, func() { ref.New(ref.Options{Numerics: ref.Int8Blocks + 1}) })
}

// TestWeightsStay: loading takes no memory in proportion to the weights, and neither does
// computing with them.
func TestWeightsStay(t *testing.T) {
	const out = 1 << 16
	w := weight(safetensors.BF16, out, 128) // 16 MiB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b := ref.New(ref.Options{ArenaBytes: 1 << 20})
	l, err := b.LoadLinear(compute.Dense{Weights: []compute.Weight{w}})
	require.NoError(t, err)
	b.Linear(b.Alloc(compute.Act, 1, out), l, ones(b, 1, 128), compute.Pre{}, compute.Post{})
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	require.NoError(t, b.Close())
}
