package computetest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

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

// bits are n random bfloat16s around a size, positive or of both signs.
func bits(rng *rand.Rand, n int, size float64, signed bool) []uint16 {
	b := make([]uint16, n)
	for i := range b {
		v := size * math.Exp(0.5*rng.NormFloat64())
		if signed && rng.IntN(2) == 0 {
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

// SVDQ is a linear of random weights as an SVDQuant checkpoint has it, and its values in
// plain order.
type SVDQ struct {
	Spec          compute.SVDQ
	In, Out, Rank int
	// Codes [out][in] are −7 to 7, Scales [out][in/64].
	Codes  []int8
	Scales []float64
	// Smooth is [in], Bias [out], Down [rank][in], Up [out][rank].
	Smooth, Bias, Down, Up []float64
}

// NewSVDQ makes a linear. Codes are normal values of which the largest of each group is 7,
// and the sizes keep the variance of an input near one. It panics for sizes that a
// checkpoint cannot have.
func NewSVDQ(rng *rand.Rand, in, out, rank int, shifted bool) *SVDQ {
	groups := in / packing.TileColumns
	s := &SVDQ{In: in, Out: out, Rank: rank, Codes: make([]int8, out*in)}
	for g := range out * groups {
		codes(s.Codes[g*packing.TileColumns:][:packing.TileColumns], rng)
	}
	scales := bits(rng, out*groups, 0.35/math.Sqrt(float64(in)), false)
	smooth, bias := bits(rng, in, 1, false), bits(rng, out, 0.5, true)
	down := bits(rng, rank*in, 1/math.Sqrt(float64(in)), true)
	up := bits(rng, out*rank, 0.3/math.Sqrt(float64(rank)), true)
	s.Scales, s.Smooth, s.Bias, s.Down, s.Up = halves(scales), halves(smooth), halves(bias), halves(down), halves(up)
	s.Spec = compute.SVDQ{
		QWeight: packed("qweight", safetensors.I8, out*in/2, func(b []byte) error { return packing.PackInt4(b, s.Codes, out, in) }, out, in/2),
		WScales: packed("wscales", safetensors.BF16, out*groups*2, func(b []byte) error { return packing.PackScales(b, scales, out, in) }, groups, out),
		Smooth:  packed("smooth_factor", safetensors.BF16, in*2, func(b []byte) error { return packing.PackVector(b, smooth) }, in),
		Bias:    packed("bias", safetensors.BF16, out*2, func(b []byte) error { return packing.PackVector(b, bias) }, out),
		Down:    packed("proj_down", safetensors.BF16, in*rank*2, func(b []byte) error { return packing.PackDown(b, down, in, rank) }, in, rank),
		Up:      packed("proj_up", safetensors.BF16, out*rank*2, func(b []byte) error { return packing.PackUp(b, up, out, rank) }, out, rank),
		Shifted: shifted,
	}
	return s
}

// codes are normal values scaled so that the largest is 7.
func codes(dst []int8, rng *rand.Rand) {
	v := make([]float64, len(dst))
	top := 0.0
	for i := range v {
		v[i] = rng.NormFloat64()
		top = max(top, math.Abs(v[i]))
	}
	for i := range dst {
		dst[i] = int8(math.RoundToEven(v[i] / top * 7))
	}
}

// Apply is Q·((x + shift)/s) + U·(D·x) + b in float64, for rows of x, row-major: what the
// stored numbers mean, with the shift if the linear is Shifted.
func (s *SVDQ) Apply(x []float64) []float64 {
	q := plain{w: newMatrix(s.Out, s.In), bias: s.Bias}
	for i := range q.w.v {
		q.w.v[i] = float64(s.Codes[i]) * s.Scales[i/packing.TileColumns]
	}
	shift := 0.0
	if s.Spec.Shifted {
		shift = compute.Shift
	}
	in := matrix{len(x) / s.In, s.In, x}
	smoothed := newMatrix(in.rows, in.cols)
	for i := range smoothed.v {
		smoothed.v[i] = (x[i] + shift) / s.Smooth[i%s.In]
	}
	y := q.apply(smoothed)
	down, up := plain{w: matrix{s.Rank, s.In, s.Down}}, plain{w: matrix{s.Out, s.Rank, s.Up}}
	for i, v := range up.apply(down.apply(in)).v {
		y.v[i] += v
	}
	return y.v
}

func halves(bits []uint16) []float64 {
	v := make([]float64, len(bits))
	for i, b := range bits {
		v[i] = half(b)
	}
	return v
}

// packed is a tensor that pack fills.
func packed(name string, d safetensors.DType, size int, pack func([]byte) error, shape ...int) compute.Weight {
	w := compute.Weight{Name: name, DType: d, Data: make([]byte, size)}
	for _, s := range shape {
		w.Shape = append(w.Shape, int64(s))
	}
	if err := pack(w.Data); err != nil {
		panic(fmt.Sprintf("computetest: packing %s: %v", name, err))
	}
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
	scales := bits(m.rng, groups*out, 0.2/math.Sqrt(float64(in)), false)
	zeros := bits(m.rng, groups*out, 1.4/math.Sqrt(float64(in)), true)
	bias := bits(m.rng, out, 0.5, true)
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
	s.QWeight = packed("qweight", safetensors.I32, out*in/2, func(b []byte) error { return packing.PackAWQ(b, codes, out, in) }, out/4, in/2)
	bf := func(name string, bits []uint16, shape ...int) compute.Weight {
		return packed(name, safetensors.BF16, 2*len(bits), func(b []byte) error { copy(b, bytesOf(bits)); return nil }, shape...)
	}
	s.WScales, s.WZeros, s.Bias = bf("wscales", scales, groups, out), bf("wzeros", zeros, groups, out), bf("bias", bias, out)
	return s, p
}
