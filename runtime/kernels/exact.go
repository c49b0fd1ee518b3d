package kernels

import (
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// w4a4 is an SVDQ linear with inputs in codes of 4 bits. Its own codes and scales lie on the
// device as in the file.
type w4a4 struct {
	size
	rank          int
	shifted       bool
	codes, scales cuda.Pointer
	smooth, bias  cuda.Pointer // in order; the bias is that of a shifted input, if there is a shift
	up, down      cuda.Pointer // U [out, rank] and D [rank, in]
}

// exact puts a linear of checked sizes on its way, to be held as W4A4.
func (q *svdq) exact(s compute.SVDQ) (layer, error) {
	b := q.home
	w := &w4a4{size: q.size, rank: q.rank, shifted: s.Shifted}
	low := func(n int) int64 { return int64(n) * int64(q.rank) * actSize }
	var f fileOrder
	var columns cuda.Pointer // of D, one after the other
	err := b.takeRoom(
		taken{&f.smooth, int64(q.in) * actSize},
		taken{&f.bias, int64(q.out) * actSize},
		taken{&f.up, low(q.out)},
		taken{&f.down, low(q.in)},
		taken{&columns, low(q.in)})
	if err != nil {
		return nil, err
	}
	err = b.take(
		taken{&w.codes, int64(len(s.QWeight.Data))},
		taken{&w.scales, int64(len(s.WScales.Data))},
		taken{&w.smooth, int64(q.in) * f32Size},
		taken{&w.bias, int64(q.out) * f32Size},
		taken{&w.up, low(q.out)},
		taken{&w.down, low(q.in)})
	if err != nil {
		return nil, err
	}
	b.putSVDQ(s, w.codes, w.scales, f)
	b.later(func() {
		q.vector(w.smooth, f.smooth, q.in, false)
		q.vector(w.bias, f.bias, q.out, false)
		q.lowRank(w.up, f.up, q.out, false)
		q.lowRank(columns, f.down, q.in, true)
		b.launch("transpose_bf16", cuda.Dim{X: ceil(q.rank, 32), Y: ceil(q.in, 32)}, cuda.Dim{X: threads}, 0,
			cuda.Address(w.down), cuda.Address(columns), cuda.Int(q.in), cuda.Int(q.rank))
	})
	return w, nil
}

// What exact.cu says of gemm_w4a4: the tile and its shared memory.
const (
	exactRows, exactOuts = 64, 128
	exactShared          = 45056
)

// run leaves what Pre makes in float32: were it rounded, codes that are nearly halfway would
// become others than the reference's.
func (w *w4a4) run(dst, x compute.Tensor, p compute.Pre, e epilogue) {
	b, kind := w.home, x.Kind
	if p.Kind != compute.None {
		kind = compute.F32
	}
	y, done := b.prepared(x, p, kind)
	defer done()
	low, done := b.temporary(compute.F32, y.Rows, w.rank)
	defer done()
	codes, done := b.temporary(compute.Act, y.Rows, w.in/actSize) // a byte each
	defer done()
	pitch := ceil(y.Rows, exactRows) * exactRows
	scales, done := b.temporary(compute.F32, w.in/packing.TileColumns, pitch)
	defer done()
	if b.err != nil {
		return
	}
	w.project(low, y)
	shift := float32(0)
	if w.shifted {
		shift = compute.Shift
	}
	b.spread("w4a4_codes_"+format(y.Kind), y.Len(), 8,
		b.address(codes), b.address(scales), b.address(y), cuda.Address(w.smooth),
		cuda.Int(y.Rows), cuda.Int(w.in), cuda.Int(pitch), cuda.Float(shift))
	b.launch("gemm_w4a4", cuda.Dim{X: ceil(y.Rows, exactRows) * (w.out / exactOuts)}, cuda.Dim{X: threads}, exactShared,
		b.address(dst), b.address(codes), b.address(scales), cuda.Address(w.codes), cuda.Address(w.scales), cuda.Address(w.bias),
		e.residual, e.gate, e.rest, b.address(low), cuda.Address(w.up),
		cuda.Int(y.Rows), cuda.Int(w.out), cuda.Int(w.in), cuda.Int(w.rank), cuda.Int(pitch), cuda.Int(e.until), cuda.Int(e.flags))
}

// project computes low = D·x, product by product in float32: the tensor cores' sums lose bits
// where they are long.
func (w *w4a4) project(low, x compute.Tensor) {
	const side = 64 // of a block's tile
	w.home.launch("linear_"+format(x.Kind)+format(compute.Act), cuda.Dim{X: ceil(w.rank, side), Y: ceil(x.Rows, side)}, cuda.Dim{X: threads}, 0,
		w.home.address(low), w.home.address(x), cuda.Address(w.down), 0, 0, 0, 0,
		cuda.Int(x.Rows), cuda.Int(w.rank), cuda.Int(w.in), cuda.Int(w.in), 0, cuda.Int(flagOutF32))
}
