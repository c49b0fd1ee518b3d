package plan

import (
	"fmt"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// size is what all layers have: their backend, their widths, the operation that they are and
// the bytes that running them reads.
type size struct {
	home    *Backend
	in, out int
	kind    operation
	bytes   int64
	group   *group
}

// In is the number of inputs.
func (s *size) In() int { return s.in }

// Out is the number of outputs.
func (s *size) Out() int { return s.out }

// linear is a loaded linear, with the branch of low rank of some.
type linear struct {
	size
	rank     int
	lowBytes int64
}

// conv is a loaded convolution.
type conv struct {
	size
	kh, kw int
	spec   compute.ConvSpec
}

// Size is the size of the result for a picture of h rows and w columns.
func (c *conv) Size(h, w int) (rows, columns int) {
	s := &c.spec
	if s.Upsample {
		h, w = 2*h, 2*w
	}
	return (h+s.Top+s.Bottom-c.kh)/s.Stride + 1, (w+s.Left+s.Right-c.kw)/s.Stride + 1
}

// vector is a loaded row of values.
type vector struct {
	home  *Backend
	n     int
	bytes int64
	group *group
}

// Len is the number of values.
func (v *vector) Len() int { return v.n }

// table is a loaded table.
type table struct {
	home             *Backend
	rows, cols, size int
}

// Rows is the number of rows.
func (t *table) Rows() int { return t.rows }

// Cols is the number of values in a row.
func (t *table) Cols() int { return t.cols }

// LoadLinear counts a linear.
func (b *Backend) LoadLinear(s compute.LinearSpec) (compute.Linear, error) {
	var l *linear
	var err error
	switch s := s.(type) {
	case compute.Dense:
		l, err = b.dense(s)
	case compute.SVDQ:
		l, err = b.svdq(s)
	case compute.AWQ:
		l, err = b.awq(s)
	default:
		panic(fmt.Sprintf("plan: a linear of type %T", s))
	}
	if err != nil {
		return nil, err
	}
	l.home, l.group = b, b.loading
	return l, nil
}

func (b *Backend) dense(s compute.Dense) (*linear, error) {
	if len(s.Weights) == 0 || len(s.Biases) != 0 && len(s.Biases) != len(s.Weights) {
		return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("loading a linear: %d weights %v with %d biases", len(s.Weights), s.Weights, len(s.Biases)))
	}
	l, values, wide := &linear{size: size{kind: dense}}, int64(0), int64(0)
	for i, w := range s.Weights {
		if len(w.Shape) < 2 || slices.ContainsFunc(w.Shape[2:], func(d int64) bool { return d != 1 }) {
			return nil, loading(w, fmt.Errorf("a linear has 2 dimensions, and others of 1"))
		}
		if err := values16or32(w); err != nil {
			return nil, err
		}
		if l.in == 0 {
			l.in = int(w.Shape[1])
		}
		if int(w.Shape[1]) != l.in {
			return nil, loading(w, fmt.Errorf("it has %d inputs, %v has %d", w.Shape[1], s.Weights[0], l.in))
		}
		l.out += int(w.Shape[0])
		l.bytes += bytesOf(w)
		values += int64(w.Len())
		if w.DType == safetensors.F32 {
			wide += bytesOf(w)
		}
		if len(s.Biases) > 0 {
			if err := bias(s.Biases[i], int(w.Shape[0])); err != nil {
				return nil, err
			}
			l.bytes += bytesOf(s.Biases[i])
			values += int64(s.Biases[i].Len())
		}
	}
	b.held(heldDense, values, l.bytes)
	out := int64(l.out)
	b.window(narrowBytes*out*int64(padded(l.in)), wide, f32Bytes*out*min(1, int64(len(s.Biases))))
	return l, nil
}

// narrowBytes is the size of a weight in bfloat16.
const narrowBytes = 2

func (b *Backend) svdq(s compute.SVDQ) (*linear, error) {
	if len(s.QWeight.Shape) != 2 || len(s.Down.Shape) != 2 {
		return nil, loading(s.QWeight, fmt.Errorf("it or %v has not two dimensions", s.Down))
	}
	in, out, rank := 2*s.QWeight.Shape[1], s.QWeight.Shape[0], s.Down.Shape[1]
	if in%packing.TileRows != 0 || out%packing.TileRows != 0 || rank%packing.RankUnit != 0 {
		return nil, loading(s.QWeight, fmt.Errorf("%d inputs, %d outputs and rank %d, this takes multiples of %d, %[4]d and %d", in, out, rank, packing.TileRows, packing.RankUnit))
	}
	if err := shaped([]part{
		{s.QWeight, safetensors.I8, []int64{out, in / 2}},
		{s.WScales, safetensors.BF16, []int64{in / packing.TileColumns, out}},
		{s.Smooth, safetensors.BF16, []int64{in}},
		{s.Down, safetensors.BF16, []int64{in, rank}},
		{s.Up, safetensors.BF16, []int64{out, rank}},
		{s.Bias, safetensors.BF16, []int64{out}},
	}); err != nil {
		return nil, err
	}
	l := &linear{size: size{in: int(in), out: int(out), kind: svdq}, rank: int(rank)}
	l.lowBytes = bytesOf(s.Down) + bytesOf(s.Up)
	switch b.options.SVDQ {
	case Packed, W4A4:
		l.bytes = bytesOf(s.QWeight) + bytesOf(s.WScales) + bytesOf(s.Smooth) + bytesOf(s.Bias)
	case Int8:
		l.bytes, l.lowBytes = out*in+f32Bytes*(2*in+2*out), 0
	case Whole:
		l.bytes, l.lowBytes = narrowBytes*out*in+bytesOf(s.Bias), 0
	}
	b.held(heldSVDQ, out*in+out, l.bytes)
	b.held(heldLowRank, rank*(in+out), l.lowBytes)
	vectors, low := []int64{in, out}, []int64{in * rank, out * rank}
	b.window(bytesOf(s.QWeight), bytesOf(s.WScales))
	for i := range vectors { // as they come, and in order
		b.window(narrowBytes*vectors[i], f32Bytes*vectors[i], narrowBytes*low[i], narrowBytes*low[i])
	}
	return l, nil
}

func (b *Backend) awq(s compute.AWQ) (*linear, error) {
	if len(s.QWeight.Shape) != 2 {
		return nil, loading(s.QWeight, fmt.Errorf("it has %d dimensions, this takes 2", len(s.QWeight.Shape)))
	}
	in, out, parts := 2*s.QWeight.Shape[1], 4*s.QWeight.Shape[0], int64(max(s.Parts, 1))
	if in%packing.TileColumns != 0 || out%parts != 0 {
		return nil, loading(s.QWeight, fmt.Errorf("%d inputs are no multiple of %d, or %d outputs none of %d parts", in, packing.TileColumns, out, parts))
	}
	groups := in / packing.TileColumns
	if err := shaped([]part{
		{s.QWeight, safetensors.I32, []int64{out / 4, in / 2}},
		{s.WScales, safetensors.BF16, []int64{groups, out}},
		{s.WZeros, safetensors.BF16, []int64{groups, out}},
		{s.Bias, safetensors.BF16, []int64{out}},
	}); err != nil {
		return nil, err
	}
	l := &linear{size: size{in: int(in), out: int(out), kind: awq}}
	l.bytes = bytesOf(s.QWeight) + bytesOf(s.WScales) + bytesOf(s.WZeros) + bytesOf(s.Bias)
	b.held(heldAWQ, out*in+out, l.bytes)
	b.window(bytesOf(s.QWeight), bytesOf(s.WScales), bytesOf(s.WZeros), bytesOf(s.Bias), f32Bytes*out)
	return l, nil
}

// LoadConv counts a convolution.
func (b *Backend) LoadConv(s compute.ConvSpec) (compute.Conv, error) {
	shape := s.Weight.Shape
	if len(shape) != 4 && len(shape) != 5 {
		return nil, loading(s.Weight, fmt.Errorf("it has %d dimensions, a convolution has 4 or 5", len(shape)))
	}
	if err := values16or32(s.Weight); err != nil {
		return nil, err
	}
	if err := bias(s.Bias, int(shape[0])); err != nil {
		return nil, err
	}
	if s.Stride < 1 || s.Stride > 2 || min(s.Top, s.Left, s.Bottom, s.Right) < 0 {
		return nil, loading(s.Weight, fmt.Errorf("its stride is %d, its padding %d %d %d %d", s.Stride, s.Top, s.Left, s.Bottom, s.Right))
	}
	n, frames := len(shape), int64(1)
	if n == 5 {
		frames = shape[2]
	}
	c := &conv{size: size{home: b, group: b.loading, in: int(shape[1]), out: int(shape[0]), kind: convolution}, kh: int(shape[n-2]), kw: int(shape[n-1]), spec: s}
	c.bytes = bytesOf(s.Weight)/frames + bytesOf(s.Bias)
	b.held(heldConv, int64(s.Weight.Len())/frames+int64(s.Bias.Len()), c.bytes)
	b.window(bytesOf(s.Weight), narrowBytes*shape[0]*int64(padded(c.in))*shape[n-1]*shape[n-2], f32Bytes*shape[0])
	return c, nil
}

// LoadVector counts a vector.
func (b *Backend) LoadVector(w compute.Weight) (compute.Vector, error) {
	if err := values16or32(w); err != nil {
		return nil, err
	}
	v := &vector{b, w.Len(), bytesOf(w), b.loading}
	b.held(heldVector, int64(v.n), v.bytes)
	b.window(f32Bytes * int64(v.n))
	return v, nil
}

// LoadTable counts a table.
func (b *Backend) LoadTable(w compute.Weight) (compute.Table, error) {
	if len(w.Shape) != 2 {
		return nil, loading(w, fmt.Errorf("it has %d dimensions, a table has 2", len(w.Shape)))
	}
	if err := values16or32(w); err != nil {
		return nil, err
	}
	b.held(heldTable, int64(w.Len()), bytesOf(w))
	return &table{b, int(w.Shape[0]), int(w.Shape[1]), w.DType.Bits() / 8}, nil
}

// held adds to what weights of a kind take.
func (b *Backend) held(k weightKind, values, bytes int64) {
	h := &b.weights[k]
	h.Layers++
	h.Values += values
	h.Bytes += bytes
	if b.loading != nil {
		b.loading.Bytes += bytes
	}
}

// part is a tensor of a quantised linear and what it must be.
type part struct {
	w     compute.Weight
	dtype safetensors.DType
	shape []int64
}

func shaped(parts []part) error {
	for _, p := range parts {
		if p.w.DType != p.dtype || !slices.Equal(p.w.Shape, p.shape) {
			return loading(p.w, fmt.Errorf("this takes %s%v", p.dtype, p.shape))
		}
		if err := sized(p.w); err != nil {
			return err
		}
	}
	return nil
}

// bias refuses what is no bias of n outputs.
func bias(w compute.Weight, n int) error {
	if len(w.Shape) != 1 || w.Shape[0] != int64(n) {
		return loading(w, fmt.Errorf("this takes a bias of [%d]", n))
	}
	return values16or32(w)
}

// values16or32 refuses what is not in one of the formats of weights that are not quantised.
func values16or32(w compute.Weight) error {
	if w.DType != safetensors.BF16 && w.DType != safetensors.F32 {
		return loading(w, fmt.Errorf("this takes %s and %s", safetensors.BF16, safetensors.F32))
	}
	return sized(w)
}

// sized refuses a tensor without values, and data, where there are any, of another length.
func sized(w compute.Weight) error {
	if slices.ContainsFunc(w.Shape, func(d int64) bool { return d <= 0 }) {
		return loading(w, fmt.Errorf("it has no values"))
	}
	if w.Data != nil && int64(len(w.Data)) != bytesOf(w) {
		return loading(w, fmt.Errorf("it has %d bytes, its shape takes %d", len(w.Data), bytesOf(w)))
	}
	return nil
}

// bytesOf is the size of a tensor in its file.
func bytesOf(w compute.Weight) int64 { return int64(w.Len()) * int64(w.DType.Bits()) / 8 }

// loading says which tensor cannot be taken.
func loading(w compute.Weight, err error) error {
	return fault.Wrap(fault.Invalid, "", fmt.Errorf("loading %v: %w", w, err))
}
