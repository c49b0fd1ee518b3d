package kernels

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// awq is a linear with 4-bit codes, scales and zeros, as they lie in the file.
type awq struct {
	size
	parts                int
	codes, scales, zeros cuda.Pointer
	fileBias             cuda.Pointer // bfloat16, in the file's order
	bias                 cuda.Pointer // float32, in the outputs' order
}

func loadAWQ(b *Backend, s compute.AWQ) (*awq, error) {
	if len(s.QWeight.Shape) != 2 {
		return nil, loading(s.QWeight, fmt.Errorf("it has %d dimensions, this takes 2", len(s.QWeight.Shape)))
	}
	in, out := 2*s.QWeight.Shape[1], 4*s.QWeight.Shape[0]
	a := &awq{size: size{home: b, in: int(in), out: int(out)}, parts: max(s.Parts, 1)}
	if in <= 0 || out <= 0 || in%packing.TileColumns != 0 || a.out%a.parts != 0 {
		return nil, loading(s.QWeight, fmt.Errorf("%d inputs are no multiple of %d, or %d outputs none of %d parts",
			in, packing.TileColumns, out, a.parts))
	}
	groups := in / packing.TileColumns
	for _, p := range []part{
		{s.QWeight, safetensors.I32, []int64{out / 4, in / 2}},
		{s.WScales, safetensors.BF16, []int64{groups, out}},
		{s.WZeros, safetensors.BF16, []int64{groups, out}},
		{s.Bias, safetensors.BF16, []int64{out}},
	} {
		if err := p.check(); err != nil {
			return nil, err
		}
	}
	if err := a.load(s); err != nil {
		return nil, loading(s.QWeight, err)
	}
	return a, nil
}

// load takes memory and puts the parts on their way.
func (a *awq) load(s compute.AWQ) error {
	b := a.home
	all := []struct {
		to *cuda.Pointer
		w  compute.Weight
	}{{&a.codes, s.QWeight}, {&a.scales, s.WScales}, {&a.zeros, s.WZeros}, {&a.fileBias, s.Bias}}
	for _, p := range all {
		if err := b.take(taken{p.to, int64(len(p.w.Data))}); err != nil {
			return err
		}
		b.putRaw(p.w, *p.to)
	}
	if err := b.take(taken{&a.bias, int64(a.out) * f32Size}); err != nil {
		return err
	}
	b.put(s.Bias, a.bias, a.out*f32Size, func(buffer []byte, offset int) error {
		a.orderBias(buffer, offset/f32Size, s.Bias.Data)
		return nil
	})
	return nil
}

// orderBias writes the bias from an output on, part by part.
func (a *awq) orderBias(buffer []byte, from int, stored []byte) {
	each := a.out / a.parts
	for i := range len(buffer) / f32Size {
		at := (from+i)%each*a.parts + (from+i)/each
		v := bf16.Value(binary.LittleEndian.Uint16(stored[actSize*at:]))
		binary.LittleEndian.PutUint32(buffer[f32Size*i:], math.Float32bits(v))
	}
}

func (a *awq) run(dst, x compute.Tensor, p compute.Pre, e epilogue) {
	b := a.home
	tensor := x.Kind == compute.Act && dst.Kind == compute.F32 && e == (epilogue{flags: flagOutF32}) && a.out%16 == 0
	y, done := b.prepared(x, p, x.Kind)
	defer done()
	if b.err != nil {
		return
	}
	if tensor && y.Offset%16 == 0 {
		b.launch("awq_linear", cuda.Dim{X: ceil(a.out, 32), Y: ceil(y.Rows, 16)}, cuda.Dim{X: threads}, 0,
			b.address(dst), b.address(y), cuda.Address(a.codes), cuda.Address(a.scales), cuda.Address(a.zeros), cuda.Address(a.fileBias),
			cuda.Int(y.Rows), cuda.Int(a.out), cuda.Int(a.in), cuda.Int(a.parts))
		return
	}
	b.launch("awq_"+format(y.Kind), cuda.Dim{X: ceil(a.out, threads/32)}, cuda.Dim{X: threads}, 0,
		b.address(dst), b.address(y), cuda.Address(a.codes), cuda.Address(a.scales), cuda.Address(a.zeros), cuda.Address(a.bias),
		e.residual, e.gate, e.rest, cuda.Int(y.Rows), cuda.Int(a.out), cuda.Int(a.in), cuda.Int(a.parts), cuda.Int(e.until), cuda.Int(e.flags))
}
