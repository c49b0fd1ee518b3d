package kernels_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// pair is the GPU and the oracle, which get the same calls.
type pair struct {
	*testing.T
	gpu, ref compute.Backend
	rng      *rand.Rand
}

// tensors are a tensor on each.
type tensors [2]compute.Tensor

func (p *pair) backends() [2]compute.Backend { return [2]compute.Backend{p.gpu, p.ref} }

func (p *pair) values(n int, std float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = bf16.Round(float32(std * (0.2 + p.rng.NormFloat64())))
	}
	return v
}

func (p *pair) random(k compute.Kind, rows, cols int) (t tensors) {
	v := p.values(rows*cols, 1)
	for i, b := range p.backends() {
		t[i] = b.Alloc(k, rows, cols)
		b.Upload(t[i], v)
	}
	return t
}

func (p *pair) alloc(k compute.Kind, rows, cols int) (t tensors) {
	for i, b := range p.backends() {
		t[i] = b.Alloc(k, rows, cols)
	}
	return t
}

func (p *pair) weight(name string, std float64, shape ...int64) compute.Weight {
	w := compute.Weight{Name: name, DType: safetensors.BF16, Shape: shape}
	for _, v := range p.values(w.Len(), std) {
		w.Data = binary.LittleEndian.AppendUint16(w.Data, bf16.Bits(v))
	}
	return w
}

// linears loads one linear on each.
func (p *pair) linears(s compute.LinearSpec) (l [2]compute.Linear) {
	p.Helper()
	for i, b := range p.backends() {
		var err error
		l[i], err = b.LoadLinear(s)
		require.NoError(p, err)
	}
	return l
}

// same holds the GPU's tensor against the oracle's, as a whole and row by row.
func (p *pair) same(what string, t tensors, tol float64) {
	p.Helper()
	var v [2][]float32
	for i, b := range p.backends() {
		v[i] = make([]float32, t[i].Len())
		require.NoError(p, b.Download(v[i], t[i]), what)
	}
	worst, cols := 0.0, t[0].Cols
	for at := 0; at < len(v[0]); at += cols {
		diff, size := 0.0, 0.0
		for i := at; i < at+cols; i++ {
			d := float64(v[0][i]) - float64(v[1][i])
			diff += d * d
			size += float64(v[1][i]) * float64(v[1][i])
		}
		r := math.Sqrt(diff / size)
		if !(r <= tol) {
			p.Fatalf("%s: row %d of %v is off by %.3g", what, at/cols, t[0], r)
		}
		worst = max(worst, r)
	}
	p.Logf("%s: rows are off by at most %.3g", what, worst)
}

// TestGPULarge: sizes that take the kernels for many tiles, and more than one of everything.
func TestGPULarge(t *testing.T) {
	variants(t, func(t *testing.T, o kernels.Options) {
		p := &pair{T: t, gpu: open(t, o), ref: ref.New(ref.Options{}), rng: rand.New(rand.NewPCG(3, 4))}
		p.dense()
		p.svdq()
		p.awq()
		p.heads()
		p.attention()
		p.convolution()
		require.NoError(t, p.gpu.Close())
		require.NoError(t, p.ref.Close())
	})
}

func (p *pair) dense() {
	const n, in, out = 1100, 520, 3080
	l := p.linears(compute.Dense{Weights: []compute.Weight{p.weight("w", 0.05, out, in)}, Biases: []compute.Weight{p.weight("b", 1, out)}})
	x, table := p.random(compute.Act, n, in), p.random(compute.F32, 2, 3*out)
	for _, k := range []compute.Kind{compute.Act, compute.F32} {
		y := p.random(k, n, out)
		for i, b := range p.backends() {
			mod := compute.Mod{Table: table[i], Row: 1, Rest: 0, Until: 700, Gate: 2}
			b.Linear(y[i], l[i], x[i], compute.Pre{}, compute.Post{Kind: compute.GateAdd, Residual: y[i], Mod: mod})
		}
		p.same("gated linear to "+k.String(), y, 4e-3)
	}
	y := p.alloc(compute.F32, n, out)
	for i, b := range p.backends() {
		b.Linear(y[i], l[i], x[i], compute.Pre{}, compute.Post{})
	}
	p.same("float32 sums of a linear", y, 1e-5)
}

func (p *pair) svdq() {
	const n, in, out, rank = 700, 384, 3072, 128
	l := p.linears(computetest.NewSVDQ(p.rng, in, out, rank, true).Spec)
	x, y := p.random(compute.Act, n, in), p.alloc(compute.Act, n, out)
	for i, b := range p.backends() {
		b.Linear(y[i], l[i], x[i], compute.Pre{Kind: compute.GELUTanh}, compute.Post{})
	}
	p.same("SVDQ linear", y, 4e-3)
}

// awq is the modulation's: few rows, float32 out, six interleaved parts.
func (p *pair) awq() {
	const n, in, out = 19, 1024, 6 * 512
	codes := compute.Weight{Name: "qweight", DType: safetensors.I32, Shape: []int64{out / 4, in / 2}, Data: make([]byte, out*in/2)}
	for i := range codes.Data {
		codes.Data[i] = byte(p.rng.Uint32())
	}
	l := p.linears(compute.AWQ{
		QWeight: codes, WScales: p.weight("wscales", 0.02, in/64, out), WZeros: p.weight("wzeros", 0.1, in/64, out),
		Bias: p.weight("bias", 1, out), Parts: 6,
	})
	for _, k := range []compute.Kind{compute.Act, compute.F32} {
		x, y := p.random(k, n, in), p.alloc(compute.F32, n, out)
		for i, b := range p.backends() {
			b.Linear(y[i], l[i], x[i], compute.Pre{}, compute.Post{})
		}
		p.same("AWQ linear of "+k.String(), y, 1e-5)
	}
}

// heads is the transformer's: pairs of neighbours, of all widths with kernels of their own.
func (p *pair) heads() {
	for _, dim := range []int{64, 128, 256} {
		const n, q, kv = 333, 5, 2
		weight := p.weight("norm", 1, int64(dim))
		x, cos, sin := p.random(compute.Act, n, (q+2*kv)*dim), p.random(compute.F32, n, dim/2), p.random(compute.F32, n, dim/2)
		outs := [3]tensors{p.alloc(compute.Act, n, q*dim), p.alloc(compute.Act, n, kv*dim), p.alloc(compute.Act, n, kv*dim)}
		for i, b := range p.backends() {
			v, err := b.LoadVector(weight)
			require.NoError(p, err)
			b.Heads(compute.Split{
				X: x[i], Q: outs[0][i], K: outs[1][i], V: outs[2][i], Dim: dim, NormQ: v, NormK: v, Eps: 0.1,
				Rope: compute.Rope{Cos: cos[i], Sin: sin[i]},
			})
		}
		for i, what := range []string{"q", "k", "v"} {
			p.same(what+" of heads", outs[i], 4e-3)
		}
	}
}

func (p *pair) attention() {
	for _, c := range []struct {
		what string
		n, m int
		a    compute.Attention
	}{
		{"attention", 700, 901, compute.Attention{Heads: 4, KVHeads: 4, Dim: 128}},
		{"attention of shared heads", 300, 300, compute.Attention{Heads: 8, KVHeads: 2, Dim: 128}},
		{"causal attention", 500, 500, compute.Attention{Heads: 7, KVHeads: 1, Dim: 128, Causal: true}},
		{"windows", 600, 600, compute.Attention{Heads: 4, KVHeads: 4, Dim: 80, Windows: []int32{64, 128, 192, 400, 536, 600}}},
		{"one wide head", 680, 680, compute.Attention{Heads: 1, KVHeads: 1, Dim: 384}},
	} {
		c.a.Scale = float32(1 / math.Sqrt(float64(c.a.Dim)))
		q, y := p.random(compute.Act, c.n, c.a.Heads*c.a.Dim), p.alloc(compute.Act, c.n, c.a.Heads*c.a.Dim)
		k, v := p.random(compute.Act, c.m, c.a.KVHeads*c.a.Dim), p.random(compute.Act, c.m, c.a.KVHeads*c.a.Dim)
		for i, b := range p.backends() {
			b.Attention(y[i], q[i], k[i], v[i], c.a)
		}
		p.same(c.what, y, 6e-3)
	}
}

func (p *pair) convolution() {
	const h, w, in, out = 50, 44, 96, 192
	spec := compute.ConvSpec{
		Weight: p.weight("w", 0.03, out, in, 3, 3, 3), Bias: p.weight("b", 1, out),
		Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1, Upsample: true,
	}
	norm := p.weight("norm", 1, in)
	x, y := p.random(compute.Act, h*w, in), p.random(compute.Act, 4*h*w, out)
	for i, b := range p.backends() {
		c, err := b.LoadConv(spec)
		require.NoError(p, err)
		v, err := b.LoadVector(norm)
		require.NoError(p, err)
		b.Convolve(y[i], c, x[i], h, w, compute.Pre{Kind: compute.ChannelNormSiLU, Weight: v}, compute.Post{Kind: compute.Add, Residual: y[i]})
	}
	p.same("convolution", y, 6e-3)
}

// TestGPUHeld: the forms of SVDQ weights, with every Post, and every Pre that some take in one pass.
func TestGPUHeld(t *testing.T) {
	driver, d := device(t)
	for held, tolerance := range map[kernels.Held]float64{kernels.Packed: 4e-3, kernels.Whole: 4e-3, kernels.EightBits: 5e-2} {
		if held == kernels.EightBits && d.Capability != (cuda.Capability{Major: 9}) {
			_, err := kernels.New(driver, d, kernels.Options{ArenaBytes: 1 << 20, Held: held})
			require.ErrorContains(t, err, "compute capability 9.0")
			continue
		}
		p := &pair{T: t, gpu: open(t, kernels.Options{ArenaBytes: 1 << 30, Held: held}), ref: ref.New(ref.Options{}), rng: rand.New(rand.NewPCG(5, 6))}
		p.held(tolerance)
		require.NoError(t, p.gpu.Close())
		require.NoError(t, p.ref.Close())
	}
}

func (p *pair) held(tolerance float64) {
	const n, in, out, rank = 333, 1024, 1152, 128
	mod, norms := p.random(compute.F32, 2, out), p.random(compute.F32, 2, 2*in)
	pres := func(i int) []compute.Pre {
		mod := compute.Mod{Table: norms[i], Row: 1, Rest: 0, Until: n / 3, Scale: 1}
		plusOne := mod
		plusOne.PlusOne, plusOne.Rest = true, 1
		return []compute.Pre{
			{Kind: compute.GELUTanh}, {}, {Kind: compute.LayerNorm, Eps: 1e-6}, {Kind: compute.LayerNorm, Eps: 1e-6, Mod: mod}, {Kind: compute.LayerNorm, Eps: 1e-6, Mod: plusOne},
		}
	}
	used := p.gpu.Mark()
	for _, shifted := range []bool{false, true} {
		l := p.linears(computetest.NewSVDQ(p.rng, in, out, rank, shifted).Spec)
		if p.gpu.Mark() != used {
			p.Fatalf("loading a linear leaves %d bytes of the arena in use, %d before", p.gpu.Mark(), used)
		}
		x, residual, y := p.random(compute.Act, n, in), p.random(compute.Act, n, out), p.alloc(compute.Act, n, out)
		for c := range 8 {
			kinds := []compute.PostKind{compute.Store, compute.StoreSiLU, compute.Add, compute.GateAdd}
			kind := kinds[c%len(kinds)]
			for i, b := range p.backends() {
				post := compute.Post{Kind: kind}
				if kind == compute.Add || kind == compute.GateAdd {
					post.Residual = residual[i]
				}
				if kind == compute.GateAdd {
					post.Mod = compute.Mod{Table: mod[i], Row: 1, Rest: 0, Until: n / 2}
				}
				b.Linear(y[i], l[i], x[i], pres(i)[max(0, c-3)], post)
			}
			p.same(fmt.Sprintf("SVDQ linear held another way, %d", c), y, tolerance)
		}
		used = p.gpu.Mark()
	}
}
