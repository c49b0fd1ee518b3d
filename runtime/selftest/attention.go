package selftest

import (
	"math"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// heads is both pairings of a rotation: the transformer's, with norms, of rows that go into
// the middle of tensors which are larger, and the halves of the vision tower, without.
func heads() []check {
	return []check{
		{"heads, RMSNorm, rotated neighbours", narrow, func(s *side) {
			p := compute.Split{Dim: 128, NormQ: s.vector(128), NormK: s.vector(128), Eps: 0.1}
			s.split(p, 2, 2)
		}},
		{"heads, rotated halves", narrow, func(s *side) {
			s.split(compute.Split{Dim: 80, Rope: compute.Rope{Halves: true}}, 3, 1)
		}},
	}
}

// split is Heads of so many heads of q, and of k and v.
func (s *side) split(p compute.Split, q, kv int) {
	const rows, before, after = 67, 5, 3
	p.X = s.random(compute.Act, rows, (q+2*kv)*p.Dim)
	cos, sin := make([]float32, rows*p.Dim/2), make([]float32, rows*p.Dim/2)
	for i := range cos {
		y, x := math.Sincos(10 * s.rng.NormFloat64())
		cos[i], sin[i] = float32(x), float32(y)
	}
	p.Rope.Cos, p.Rope.Sin = s.input(compute.F32, rows, p.Dim/2, cos), s.input(compute.F32, rows, p.Dim/2, sin)
	part := func(heads int) compute.Tensor {
		return s.empty(compute.Act, before+rows+after, heads*p.Dim).Slice(before, before+rows)
	}
	p.Q, p.K, p.V = part(q), part(kv), part(kv)
	s.Heads(p)
	for _, t := range []compute.Tensor{p.Q, p.K, p.V} {
		s.result(t)
	}
}

// attentions is attention as the transformer, the language model, the vision tower and the
// VAE use it, in rows that fill no tile; the VAE's also in a number that is no multiple of 8.
func attentions() (list []check) {
	for _, c := range []struct {
		name    string
		n, keys int
		a       compute.Attention
	}{
		{"attention", 200, 300, compute.Attention{Heads: 2, KVHeads: 2, Dim: 128}},
		{"attention, causal, shared keys", 150, 150, compute.Attention{Heads: 3, KVHeads: 1, Dim: 128, Causal: true}},
		{"attention, windows", 210, 210, compute.Attention{Heads: 2, KVHeads: 2, Dim: 80, Windows: []int32{64, 73, 210}}},
		{"attention, small windows", 150, 150, compute.Attention{Heads: 2, KVHeads: 2, Dim: 80, Windows: []int32{64, 100, 101, 150}}},
		{"attention, one wide head", 136, 136, compute.Attention{Heads: 1, KVHeads: 1, Dim: 384}},
		{"attention, one wide head, odd rows", 99, 99, compute.Attention{Heads: 1, KVHeads: 1, Dim: 384}},
	} {
		list = append(list, check{c.name, narrow, func(s *side) {
			a := c.a
			a.Scale = float32(1.5 / math.Sqrt(float64(a.Dim))) // some weights are near one then
			q, y := s.random(compute.Act, c.n, a.Heads*a.Dim), s.empty(compute.Act, c.n, a.Heads*a.Dim)
			k, v := s.random(compute.Act, c.keys, a.KVHeads*a.Dim), s.random(compute.Act, c.keys, a.KVHeads*a.Dim)
			s.Attention(y, q, k, v, a)
			s.result(y)
		}})
	}
	return list
}

// convolutions is the VAE's: enlarging, with a norm before and a sum behind, and halving, of
// channels that are no multiple of 8 and with weights over time.
func convolutions() []check {
	return []check{
		{"convolution, upsampled, ChannelNormSiLU, Add", narrow, func(s *side) {
			const h, w, in, out = 9, 13, 32, 104
			c := must(s.LoadConv(compute.ConvSpec{
				Weight: s.weight("weight", safetensors.BF16, 0.06, out, in, 3, 3), Bias: s.weight("bias", safetensors.BF16, 0.5, out),
				Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1, Upsample: true,
			}))
			y := s.random(compute.Act, 4*h*w, out)
			s.Convolve(y, c, s.random(compute.Act, h*w, in), h, w,
				compute.Pre{Kind: compute.ChannelNormSiLU, Weight: s.vector(in)}, compute.Post{Kind: compute.Add, Residual: y})
			s.result(y)
		}},
		{"convolution, stride 2, over time", narrow, func(s *side) {
			const h, w, in, out = 17, 24, 6, 12
			c := must(s.LoadConv(compute.ConvSpec{
				Weight: s.weight("weight", safetensors.BF16, 0.2, out, in, 3, 3, 3), Bias: s.weight("bias", safetensors.BF16, 0.5, out),
				Stride: 2, Bottom: 1, Right: 1,
			}))
			rows, columns := c.Size(h, w)
			y := s.empty(compute.Act, rows*columns, out)
			s.Convolve(y, c, s.random(compute.Act, h*w, in), h, w, compute.Pre{}, compute.Post{})
			s.result(y)
		}},
	}
}
