package kernels

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// Held is how the weights of SVDQ linears are held on the device.
type Held uint8

const (
	// Packed keeps the codes of the file, the least memory. Each product makes the matrix W
	// of its linear anew.
	Packed Held = iota
	// Whole keeps W itself in bfloat16: 4 times the memory of the codes, the same results,
	// and no time for unpacking.
	Whole
	// EightBits keeps W·smooth as whole numbers of 8 bits with a scale for each output, in
	// twice the memory of the codes, and rounds each row of x/smooth to 8 bits with a scale
	// of its own. Products take half the time. Rows of the result are off by 1 to 5 % of their
	// norm (testdata/eightbits.py), more where a value is far larger than the rest of its
	// row. Only Hopper has products of this kind.
	EightBits
	// W4A4 is what the checkpoint was made for, and an oracle for other forms: weights stay
	// packed, and x/smooth is rounded to 4 bits in groups of 64 columns. Codes and scales of an input are the bits that
	// package ref's W4A4 makes of it, sums of products of codes are exact, and the rest is float32:
	// results are those of package ref to about 1e-6, before they are rounded to their format. It
	// is held against that in tests, and is there where package ref would take hours.
	W4A4
)

// check says whether a device with these kernels can hold weights so.
func (h Held) check(f *functions) error {
	if h == EightBits && !f.has("gemm_s8_hopper") {
		return fault.Wrap(fault.Resource, "hold SVDQ weights packed or whole", fmt.Errorf(
			"holding SVDQ weights in 8 bits: there are products of such only for compute capability 9.0, with a driver of CUDA 12.0 or later"))
	}
	return nil
}

// hold makes a linear of another form of a packed one, whose parts may then go.
func (q *svdq) hold(h Held, f fileOrder) (layer, error) {
	if h == EightBits {
		return q.eightBits(f)
	}
	b, w := q.home, &whole{size: q.size, bias: q.bias}
	if err := b.take(taken{&w.weights, int64(q.out) * int64(q.in) * actSize}); err != nil {
		return nil, err
	}
	b.later(func() { q.unpack(w.weights) })
	return w, nil
}

// whole is an SVDQ linear as a matrix in bfloat16.
type whole struct {
	size
	weights, bias cuda.Pointer
}

func (w *whole) run(dst, x compute.Tensor, p compute.Pre, e epilogue) {
	b := w.home
	y, done := b.prepared(x, p, compute.Act)
	defer done()
	if b.err == nil {
		b.multiply(b.address(dst), b.address(y), cuda.Address(w.weights), cuda.Address(w.bias), y.Rows, w.out, w.in, e)
	}
}

// eightBits is an SVDQ linear in whole numbers: weights [out, in], a byte each, are W·smooth
// divided by scales [out].
type eightBits struct {
	size
	weights, scales, inverse, bias cuda.Pointer
}

func (q *svdq) eightBits(f fileOrder) (*eightBits, error) {
	b, w := q.home, &eightBits{size: q.size, inverse: q.inverse, bias: q.bias}
	if err := b.makeUnpacked(int64(q.out) * int64(q.in) * actSize); err != nil {
		return nil, err
	}
	var smooth cuda.Pointer
	err := b.take(
		taken{&smooth, int64(q.in) * f32Size},
		taken{&w.weights, int64(q.out) * int64(q.in)},
		taken{&w.scales, int64(q.out) * f32Size})
	if err != nil {
		return nil, err
	}
	b.later(func() {
		q.vector(smooth, f.smooth, q.in, false)
		q.unpack(b.unpacked)
		b.quantise(cuda.Address(w.weights), cuda.Address(w.scales), cuda.Address(b.unpacked), cuda.Address(smooth), q.out, q.in, false)
	})
	return w, nil
}

func (w *eightBits) run(dst, x compute.Tensor, p compute.Pre, e epilogue) {
	b := w.home
	// What GELU and a norm make is not written down: it is rounded as it comes.
	gelu := p.Kind == compute.GELUTanh && x.Kind == compute.Act
	norm := p
	normed := p.Kind == compute.LayerNorm && x.Kind == compute.Act && w.in <= quantiseKept
	if gelu || normed {
		p = compute.Pre{}
	}
	y, done := b.prepared(x, p, compute.Act)
	defer done()
	numbers, done := b.temporary(compute.Act, y.Rows, w.in/actSize) // a byte each
	defer done()
	scales, done := b.temporary(compute.F32, 1, y.Rows)
	defer done()
	if b.err != nil {
		return
	}
	if normed {
		b.quantiseNorm(b.address(numbers), b.address(scales), y, cuda.Address(w.inverse), norm)
	} else {
		b.quantise(b.address(numbers), b.address(scales), b.address(y), cuda.Address(w.inverse), y.Rows, w.in, gelu)
	}
	b.launchTiled("gemm_s8_hopper", b.hopperBlocks(y.Rows, w.out), cuda.Dim{X: hopperThreads}, hopperGEMMShared,
		hopperOperands(b.at(numbers), w.weights, y.Rows, w.out, w.in/actSize),
		b.address(scales), cuda.Address(w.scales), b.address(dst), cuda.Address(w.bias), e.residual, e.gate, e.rest,
		cuda.Int(y.Rows), cuda.Int(w.out), cuda.Int(w.in), cuda.Int(e.until), cuda.Int(e.flags))
}

// quantiseKept is how wide rows are at most of which quantise_norm keeps all values.
const quantiseKept = 4096

// quantiseNorm is quantise of a LayerNorm of x.
func (b *Backend) quantiseNorm(numbers, scales cuda.Parameter, x compute.Tensor, factors cuda.Parameter, p compute.Pre) {
	m := b.modulation(p.Mod, x.Cols)
	b.launch("quantise_norm", cuda.Dim{X: x.Rows}, cuda.Dim{X: threads}, 0,
		numbers, scales, b.address(x), factors, cuda.Int(x.Rows), cuda.Int(x.Cols), cuda.Float(p.Eps),
		m.scale, m.shift, m.restScale, m.restShift, cuda.Int(p.Mod.Until), m.one)
}

// quantise makes whole numbers of 8 bits, and a scale, of each of some rows of n values, or
// of GELUTanh of them, times factors.
func (b *Backend) quantise(numbers, scales, from, factors cuda.Parameter, rows, n int, gelu bool) {
	b.launch("quantise_rows", cuda.Dim{X: rows}, cuda.Dim{X: threads}, 0,
		numbers, scales, from, factors, cuda.Int(rows), cuda.Int(n), cuda.Bool(gelu))
}
