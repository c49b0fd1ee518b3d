package kernels_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// The transformer's sizes at 1024² with one picture: tokens and width.
const (
	tokens = 8192
	width  = 3072
)

// timed runs one operation b.N times behind each other, and waits.
func timed(t *testing.B, b *kernels.Backend, bytes, operations float64, f func()) {
	t.Helper()
	f()
	require.NoError(t, b.Sync())
	t.ResetTimer()
	for range t.N {
		f()
	}
	require.NoError(t, b.Sync())
	seconds := t.Elapsed().Seconds() / float64(t.N)
	t.ReportMetric(seconds*1e6, "µs/op")
	if bytes > 0 {
		t.ReportMetric(bytes/seconds/1e9, "GB/s")
	}
	if operations > 0 {
		t.ReportMetric(operations/seconds/1e12, "TFLOP/s")
	}
}

// fresh is a backend that neither poisons nor waits.
func fresh(t *testing.B) *kernels.Backend {
	t.Helper()
	driver, d := device(t)
	b, err := kernels.New(driver, d, kernels.Options{ArenaBytes: 4 << 30})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func random(t *testing.B, b *kernels.Backend, k compute.Kind, rows, cols int) compute.Tensor {
	t.Helper()
	x := b.Alloc(k, rows, cols)
	v := make([]float32, x.Len())
	r := rand.New(rand.NewPCG(1, 2))
	for i := range v {
		v[i] = r.Float32() - 0.5
	}
	b.Upload(x, v)
	return x
}

func BenchmarkGPULinearSVDQ(t *testing.B) {
	for name, held := range map[string]kernels.Held{"packed": kernels.Packed, "whole": kernels.Whole, "eight bits": kernels.EightBits, "w4a4": kernels.W4A4} {
		t.Run(name, func(t *testing.B) {
			driver, d := device(t)
			b, err := kernels.New(driver, d, kernels.Options{ArenaBytes: 4 << 30, Held: held})
			require.NoError(t, err)
			defer func() { require.NoError(t, b.Close()) }()
			l, err := b.LoadLinear(computetest.NewSVDQ(rand.New(rand.NewPCG(1, 1)), width, 4*width, 128, false).Spec)
			require.NoError(t, err)
			x, y := random(t, b, compute.Act, tokens, width), b.Alloc(compute.Act, tokens, 4*width)
			timed(t, b, 0, 2*tokens*width*4*width, func() { b.Linear(y, l, x, compute.Pre{}, compute.Post{}) })
		})
	}
}

func BenchmarkGPUNorm(t *testing.B) {
	b := fresh(t)
	x, y := random(t, b, compute.Act, tokens, width), b.Alloc(compute.Act, tokens, width)
	m := random(t, b, compute.F32, 1, 3*width)
	pre := compute.Pre{Kind: compute.LayerNorm, Eps: 1e-6, Mod: compute.Mod{Table: m, Shift: 0, Scale: 1, Gate: 2}}
	timed(t, b, 4*tokens*width, 0, func() { b.Apply(y, x, pre) })
}

func BenchmarkGPUGELU(t *testing.B) {
	b := fresh(t)
	x, y := random(t, b, compute.Act, tokens, 4*width), b.Alloc(compute.Act, tokens, 4*width)
	timed(t, b, 16*tokens*width, 0, func() { b.Apply(y, x, compute.Pre{Kind: compute.GELUTanh}) })
}

func BenchmarkGPUHeads(t *testing.B) {
	b := fresh(t)
	x := random(t, b, compute.Act, tokens, 3*width)
	q, k, v := b.Alloc(compute.Act, tokens, width), b.Alloc(compute.Act, tokens, width), b.Alloc(compute.Act, tokens, width)
	cos, sin := random(t, b, compute.F32, tokens, 64), random(t, b, compute.F32, tokens, 64)
	s := compute.Split{X: x, Q: q, K: k, V: v, Dim: 128, Eps: 1e-6, Rope: compute.Rope{Cos: cos, Sin: sin}}
	timed(t, b, 12*tokens*width, 0, func() { b.Heads(s) })
}

func BenchmarkGPUAttention(t *testing.B) {
	b := fresh(t)
	q, k := random(t, b, compute.Act, tokens, width), random(t, b, compute.Act, tokens, width)
	v, y := random(t, b, compute.Act, tokens, width), b.Alloc(compute.Act, tokens, width)
	a := compute.Attention{Heads: 24, KVHeads: 24, Dim: 128, Scale: 0.088}
	timed(t, b, 0, 4*tokens*tokens*width, func() { b.Attention(y, q, k, v, a) })
}

// BenchmarkGPUWideAttention is the VAE's: one head of 384 over 128×128 pixels.
func BenchmarkGPUWideAttention(t *testing.B) {
	b := fresh(t)
	const n, d = 128 * 128, 384
	q, k := random(t, b, compute.Act, n, d), random(t, b, compute.Act, n, d)
	v, y := random(t, b, compute.Act, n, d), b.Alloc(compute.Act, n, d)
	a := compute.Attention{Heads: 1, KVHeads: 1, Dim: d, Scale: 0.05}
	timed(t, b, 0, 4*n*n*d, func() { b.Attention(y, q, k, v, a) })
}

// BenchmarkGPUStart is a start in small: a backend, weights that need no kernel, some that
// do, and a product. Run it once with CUDA_CACHE_DISABLE=1 for what a first start takes.
func BenchmarkGPUStart(t *testing.B) {
	driver, d := device(t)
	const rows, cols = 1 << 14, 1 << 13
	w := compute.Weight{Name: "table", DType: safetensors.BF16, Shape: []int64{rows, cols}, Data: make([]byte, 2*rows*cols)}
	svdq := computetest.NewSVDQ(rand.New(rand.NewPCG(1, 1)), width, width, 128, false).Spec
	for range t.N {
		start := time.Now()
		passed := func(what string) {
			t.ReportMetric(float64(time.Since(start).Milliseconds()), what)
			start = time.Now()
		}
		b, err := kernels.New(driver, d, kernels.Options{ArenaBytes: 1 << 30})
		require.NoError(t, err)
		passed("ms-open")
		for range 8 {
			_, err = b.LoadTable(w)
			require.NoError(t, err)
		}
		require.NoError(t, b.Sync())
		passed("ms-2GB")
		l, err := b.LoadLinear(svdq)
		require.NoError(t, err)
		require.NoError(t, b.Sync())
		passed("ms-svdq")
		b.Linear(b.Alloc(compute.Act, 300, width), l, b.Alloc(compute.Act, 300, width), compute.Pre{Kind: compute.SiLU}, compute.Post{})
		require.NoError(t, b.Sync())
		passed("ms-linear")
		require.NoError(t, b.Close())
		passed("ms-close")
	}
}

// BenchmarkGPULoad is what the loading of weights takes that are in memory.
func BenchmarkGPULoad(t *testing.B) {
	b := fresh(t)
	const rows, cols = 1 << 14, 1 << 13
	w := compute.Weight{Name: "table", DType: safetensors.BF16, Shape: []int64{rows, cols}, Data: make([]byte, 2*rows*cols)}
	for i := 0; i < len(w.Data); i += 4096 {
		w.Data[i] = 1
	}
	timed(t, b, 2*rows*cols, 0, func() {
		_, err := b.LoadTable(w)
		require.NoError(t, err)
	})
}
