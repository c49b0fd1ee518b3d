package ref_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// measure times an operation of so many multiplications and additions.
func measure(b *testing.B, home *ref.Backend, flops int, run func()) {
	b.Helper()
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64(flops)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	require.NoError(b, home.Close())
}

// weight is a tensor of small numbers, none of them subnormal, which would be slow.
func weight(d safetensors.DType, shape ...int64) compute.Weight {
	w := compute.Weight{Name: "w", DType: d, Shape: shape}
	w.Data = make([]byte, w.Len()*d.Bits()/8)
	for i := range w.Data {
		w.Data[i] = 0x3c // bfloat16 0x3c3c, 0.01
	}
	return w
}

// ones is a tensor of ones.
func ones(b *ref.Backend, rows, cols int) compute.Tensor {
	t := b.Alloc(compute.Act, rows, cols)
	v := make([]float32, t.Len())
	for i := range v {
		v[i] = 1
	}
	b.Upload(t, v)
	return t
}

// svdqSpec is an SVDQ linear.
func svdqSpec(in, out, rank int64) compute.SVDQ {
	return compute.SVDQ{
		QWeight: weight(safetensors.I8, out, in/2), WScales: weight(safetensors.BF16, in/64, out),
		Smooth: weight(safetensors.BF16, in), Bias: weight(safetensors.BF16, out),
		Down: weight(safetensors.BF16, in, rank), Up: weight(safetensors.BF16, out, rank),
	}
}

func BenchmarkLinear(b *testing.B) {
	const n, in, out, rank = 512, 768, 768, 32
	for _, c := range []struct {
		name  string
		rows  int
		spec  compute.LinearSpec
		flops int
	}{
		{"Dense", n, compute.Dense{Weights: []compute.Weight{weight(safetensors.BF16, out, in)}}, 2 * n * in * out},
		{"SVDQ", n, svdqSpec(in, out, rank), 2 * n * (in*out + rank*(in+out))},
		{"SVDQ/OneRow", 1, svdqSpec(in, out, rank), 2 * (in*out + rank*(in+out))},
		{"AWQ/OneRow", 1, compute.AWQ{
			QWeight: weight(safetensors.I32, out/4, in/2), WScales: weight(safetensors.BF16, in/64, out),
			WZeros: weight(safetensors.BF16, in/64, out), Bias: weight(safetensors.BF16, out), Parts: 6,
		}, 2 * in * out},
	} {
		b.Run(c.name, func(b *testing.B) {
			home := ref.New(ref.Options{})
			l, err := home.LoadLinear(c.spec)
			require.NoError(b, err)
			x, y := ones(home, c.rows, in), home.Alloc(compute.Act, c.rows, out)
			measure(b, home, c.flops, func() { home.Linear(y, l, x, compute.Pre{}, compute.Post{}) })
		})
	}
}

func BenchmarkConvolve(b *testing.B) {
	const h, w, in, out = 64, 64, 96, 96
	home := ref.New(ref.Options{})
	c, err := home.LoadConv(compute.ConvSpec{
		Weight: weight(safetensors.BF16, out, in, 3, 3, 3), Bias: weight(safetensors.BF16, out),
		Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1,
	})
	require.NoError(b, err)
	norm, err := home.LoadVector(weight(safetensors.BF16, in))
	require.NoError(b, err)
	x, y := ones(home, h*w, in), home.Alloc(compute.Act, h*w, out)
	measure(b, home, 2*h*w*in*out*9, func() {
		home.Convolve(y, c, x, h, w, compute.Pre{Kind: compute.ChannelNormSiLU, Weight: norm}, compute.Post{})
	})
}

func BenchmarkAttention(b *testing.B) {
	for _, c := range []struct {
		name       string
		n          int
		heads, dim int
	}{{"Heads", 1024, 3, 128}, {"OneWideHead", 1024, 1, 384}} {
		b.Run(c.name, func(b *testing.B) {
			home := ref.New(ref.Options{})
			q, k, v := ones(home, c.n, c.heads*c.dim), ones(home, c.n, c.heads*c.dim), ones(home, c.n, c.heads*c.dim)
			y := home.Alloc(compute.Act, c.n, c.heads*c.dim)
			a := compute.Attention{Heads: c.heads, KVHeads: c.heads, Dim: c.dim, Scale: 0.1}
			measure(b, home, 4*c.n*c.n*c.heads*c.dim, func() { home.Attention(y, q, k, v, a) })
		})
	}
}
