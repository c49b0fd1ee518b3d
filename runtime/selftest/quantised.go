package selftest

import (
	"encoding/binary"
	"math"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// rank is that of the published checkpoints which are best.
const rank = 128

// quantised is linears with codes of 4 bits: of an SVDQuant checkpoint as the transformer
// uses them, signed behind a norm and shifted behind a GELU, and in more rows than a GPU
// takes at a time; and AWQ's, as the modulation uses them.
func quantised() []check {
	return []check{
		{"linear SVDQ, LayerNorm, GateAdd", svdq, func(s *side) {
			const rows, in, out = 77, 256, 384
			l, sizes := s.svdq(in, out, false)
			x, mod := s.heavy(rows, sizes), s.mod(rows, in)
			y := s.random(compute.Act, rows, out)
			s.Linear(y, l, x, compute.Pre{Kind: compute.LayerNorm, Eps: 1e-6, Mod: mod},
				compute.Post{Kind: compute.GateAdd, Residual: y, Mod: s.mod(rows, out)})
			s.result(y)
		}},
		{"linear SVDQ, shifted, GELUTanh", svdq, func(s *side) {
			const rows, in, out = 77, 384, 256
			l, sizes := s.svdq(in, out, true)
			y := s.empty(compute.Act, rows, out)
			s.Linear(y, l, s.heavy(rows, sizes), compute.Pre{Kind: compute.GELUTanh}, compute.Post{})
			s.result(y)
		}},
		{"linear SVDQ, 6000 rows", svdq, func(s *side) {
			const in, out = 768, 640
			l, sizes := s.svdq(in, out, false)
			values, n := s.tailed(period, sizes), s.many(6000)
			y := s.empty(compute.Act, n, out)
			s.Linear(y, l, s.repeated(n, in, values), compute.Pre{}, compute.Post{})
			s.result(y)
		}},
		{"linear AWQ, SiLU, 6 parts", narrow, func(s *side) { s.awq(s.random(compute.Act, 2, 256), compute.SiLU, 6) }},
		{"linear AWQ, float32", wide, func(s *side) { s.awq(s.fine(5, 256), compute.None, 1) }},
	}
}

// bytes are n random ones.
func (s *side) bytes(n int) []byte {
	var b []byte
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, s.rng.Uint64())
	}
	return b[:n]
}

// svdq loads a linear of an SVDQuant checkpoint, and says how large each column of its input
// usually is: about its smoothing factor, as it is in a checkpoint. Packing only moves values,
// so that random bytes are random codes; factors are packed, as they belong to columns. The
// codes' part of a result is larger than the low rank's, so that it counts.
func (s *side) svdq(in, out int, shifted bool) (compute.Linear, []float32) {
	sizes, smooth := s.around(in, 1), make([]uint16, in)
	for j, v := range sizes {
		smooth[j] = bf16.Bits(v)
	}
	factors := compute.Weight{Name: "smooth_factor", DType: safetensors.BF16, Shape: []int64{int64(in)}, Data: make([]byte, 2*in)}
	must(0, packing.PackVector(factors.Data, smooth))
	groups, root := in/packing.TileColumns, math.Sqrt(float64(in))
	i, o := int64(in), int64(out)
	return must(s.LoadLinear(compute.SVDQ{
		QWeight: compute.Weight{Name: "qweight", DType: safetensors.I8, Shape: []int64{o, i / 2}, Data: s.bytes(out * in / 2)},
		WScales: stored("wscales", safetensors.BF16, s.around(groups*out, 0.2/root), int64(groups), o),
		Smooth:  factors,
		Down:    stored("proj_down", safetensors.BF16, s.even(in*rank, 1/root), i, rank),
		Up:      stored("proj_up", safetensors.BF16, s.even(out*rank, 0.3/math.Sqrt(rank)), o, rank),
		Bias:    s.weight("bias", safetensors.BF16, 0.5, o),
		Shifted: shifted,
	})), sizes
}

// tailed is rows with heavy tails: columns of the sizes given, and one row that is a hundred
// times the others.
func (s *side) tailed(rows int, sizes []float32) []float32 {
	v := s.normal(rows*len(sizes), 1)
	for i := range v {
		v[i] *= sizes[i%len(sizes)]
		if i/len(sizes) == rows/3 {
			v[i] *= 100
		}
		v[i] = bf16.Round(v[i])
	}
	return v
}

// heavy takes a tensor of tailed values.
func (s *side) heavy(rows int, sizes []float32) compute.Tensor {
	return s.input(compute.Act, rows, len(sizes), s.tailed(rows, sizes))
}

// awq is a linear with codes, scales and zeros, into float32.
func (s *side) awq(x compute.Tensor, pre compute.PreKind, parts int) {
	const out = 240
	in, groups := int64(x.Cols), int64(x.Cols/packing.TileColumns)
	l := must(s.LoadLinear(compute.AWQ{
		QWeight: compute.Weight{Name: "qweight", DType: safetensors.I32, Shape: []int64{out / 4, in / 2}, Data: s.bytes(out * x.Cols / 2)},
		WScales: stored("wscales", safetensors.BF16, s.around(int(groups)*out, 0.02), groups, out),
		WZeros:  s.weight("wzeros", safetensors.BF16, 0.1, groups, out),
		Bias:    s.weight("bias", safetensors.BF16, 1, out),
		Parts:   parts,
	}))
	y := s.empty(compute.F32, x.Rows, out)
	s.Linear(y, l, x, compute.Pre{Kind: pre}, compute.Post{})
	s.result(y)
}
