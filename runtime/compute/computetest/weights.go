package computetest

import (
	"encoding/binary"
	"math"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// weight is a tensor of normal values as a file has it, and its values.
func (m *machine) weight(name string, d safetensors.DType, std float64, shape ...int) (compute.Weight, []float64) {
	w := compute.Weight{Name: name, DType: d}
	n := 1
	for _, s := range shape {
		w.Shape = append(w.Shape, int64(s))
		n *= s
	}
	values := m.normal(n, std)
	for i, v := range values {
		if d == safetensors.F32 {
			w.Data = binary.LittleEndian.AppendUint32(w.Data, math.Float32bits(v))
			continue
		}
		w.Data = binary.LittleEndian.AppendUint16(w.Data, bf16.Bits(v))
		values[i] = bf16.Round(v)
	}
	return w, wide(values)
}

// plain is a linear in float64: y = W·x + b.
type plain struct {
	w    matrix // [out, in]
	bias []float64
}

// dense is a dense linear with and without a bias.
func (m *machine) dense(d safetensors.DType, in int, bias bool, outs ...int) (compute.Linear, plain) {
	m.Helper()
	var s compute.Dense
	p := plain{w: matrix{cols: in}}
	for i, out := range outs {
		shape := []int{out, in}
		if i == 1 {
			shape = append(shape, 1, 1) // as a convolution of one pixel has it
		}
		w, v := m.weight("w", d, 1/math.Sqrt(float64(in)), shape...)
		s.Weights = append(s.Weights, w)
		p.w.rows, p.w.v = p.w.rows+out, append(p.w.v, v...)
		if bias {
			w, v := m.weight("b", d, 0.5, out)
			s.Biases = append(s.Biases, w)
			p.bias = append(p.bias, v...)
		}
	}
	l, err := m.b.LoadLinear(s)
	require.NoError(m, err)
	return l, p
}

// bits are n random positive or signed bfloat16s around a size.
func (m *machine) bits(n int, size float64, signed bool) []uint16 {
	b := make([]uint16, n)
	for i := range b {
		v := size * math.Exp(0.5*m.rng.NormFloat64())
		if signed && m.rng.IntN(2) == 0 {
			v = -v
		}
		b[i] = bf16.Bits(float32(v))
	}
	return b
}

// half is the value of bits in float64.
func half(bits uint16) float64 { return float64(bf16.Value(bits)) }

func bytesOf(bits []uint16) []byte {
	var b []byte
	for _, v := range bits {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

// quantised is the parts of an SVDQ linear, in plain order.
type quantised struct {
	q            matrix // codes times scales
	smooth, bias []float64
	down, up     matrix // [rank, in], [out, rank]
}

// svdq is a linear as an SVDQuant file has it.
func (m *machine) svdq(in, out, rank int, shifted bool) (compute.SVDQ, quantised) {
	groups := in / packing.TileColumns
	codes := make([]int8, out*in)
	for i := range codes {
		codes[i] = int8(m.rng.IntN(15) - 7)
	}
	scales := m.bits(out*groups, 0.1/math.Sqrt(float64(in)), false)
	smooth, bias := m.bits(in, 1, false), m.bits(out, 0.5, true)
	down, up := m.bits(rank*in, 1/math.Sqrt(float64(in)), true), m.bits(out*rank, 0.3/math.Sqrt(float64(rank)), true)
	p := quantised{q: newMatrix(out, in), down: matrix{rank, in, halves(down)}, up: matrix{out, rank, halves(up)}}
	p.smooth, p.bias = halves(smooth), halves(bias)
	for i := range p.q.v {
		p.q.v[i] = float64(codes[i]) * half(scales[i/packing.TileColumns])
	}
	s := compute.SVDQ{Shifted: shifted}
	s.QWeight = m.packed("qweight", safetensors.I8, out*in/2, []int{out, in / 2}, func(b []byte) error { return packing.PackInt4(b, codes, out, in) })
	s.WScales = m.packed("wscales", safetensors.BF16, out*groups*2, []int{groups, out}, func(b []byte) error { return packing.PackScales(b, scales, out, in) })
	s.Smooth = m.packed("smooth_factor", safetensors.BF16, in*2, []int{in}, func(b []byte) error { return packing.PackVector(b, smooth) })
	s.Bias = m.packed("bias", safetensors.BF16, out*2, []int{out}, func(b []byte) error { return packing.PackVector(b, bias) })
	s.Down = m.packed("proj_down", safetensors.BF16, in*rank*2, []int{in, rank}, func(b []byte) error { return packing.PackDown(b, down, in, rank) })
	s.Up = m.packed("proj_up", safetensors.BF16, out*rank*2, []int{out, rank}, func(b []byte) error { return packing.PackUp(b, up, out, rank) })
	return s, p
}

func halves(bits []uint16) []float64 {
	v := make([]float64, len(bits))
	for i, b := range bits {
		v[i] = half(b)
	}
	return v
}

// packed is a tensor that pack fills.
func (m *machine) packed(name string, d safetensors.DType, size int, shape []int, pack func([]byte) error) compute.Weight {
	m.Helper()
	w := compute.Weight{Name: name, DType: d, Data: make([]byte, size)}
	for _, s := range shape {
		w.Shape = append(w.Shape, int64(s))
	}
	require.NoError(m, pack(w.Data))
	return w
}

// awq is a linear with 4-bit codes and zeros. Row n of the file is output
// n%parts·(out/parts) + n/parts.
func (m *machine) awq(in, out, parts int) (compute.AWQ, plain) {
	groups := in / packing.TileColumns
	codes := make([]uint8, out*in)
	for i := range codes {
		codes[i] = uint8(m.rng.IntN(16))
	}
	scales := m.bits(groups*out, 0.2/math.Sqrt(float64(in)), false)
	zeros := m.bits(groups*out, 1.4/math.Sqrt(float64(in)), true)
	bias := m.bits(out, 0.5, true)
	p := plain{w: newMatrix(out, in), bias: make([]float64, out)}
	for n := range out {
		o := n
		if parts > 1 {
			o = n%parts*(out/parts) + n/parts
		}
		p.bias[o] = half(bias[n])
		for k := range in {
			g := k/packing.TileColumns*out + n
			p.w.v[o*in+k] = float64(codes[n*in+k])*half(scales[g]) + half(zeros[g])
		}
	}
	s := compute.AWQ{Parts: parts}
	s.QWeight = m.packed("qweight", safetensors.I32, out*in/2, []int{out / 4, in / 2}, func(b []byte) error { return packing.PackAWQ(b, codes, out, in) })
	bf := func(name string, bits []uint16, shape ...int) compute.Weight {
		return m.packed(name, safetensors.BF16, 2*len(bits), shape, func(b []byte) error { copy(b, bytesOf(bits)); return nil })
	}
	s.WScales, s.WZeros, s.Bias = bf("wscales", scales, groups, out), bf("wzeros", zeros, groups, out), bf("bias", bias, out)
	return s, p
}
