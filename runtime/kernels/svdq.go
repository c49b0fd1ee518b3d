package kernels

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// svdq is a linear of an SVDQuant checkpoint. Codes and scales lie on the device as in the
// file. For a product, a kernel makes of them
//
//	W = code·scale/smooth + U·D
//
// in bfloat16, rounded once, and the product is one with a plain matrix: smoothing and the
// branch of low rank cost nothing more, whatever the number of rows. W is made again for
// each product, unless Held says otherwise.
type svdq struct {
	size
	rank          int
	codes, scales cuda.Pointer
	inverse       cuda.Pointer // 1/smooth, in order
	up, down      cuda.Pointer // rows of rank values: U, and D transposed
	bias          cuda.Pointer // in order, the shift undone
}

// maxRank is the largest rank that svdq_weights takes.
const maxRank = 128

// svdqShared is svdq_weights' shared memory.
func svdqShared(rank int) int { return 256 * (2*rank + 16) }

func loadSVDQ(b *Backend, s compute.SVDQ) (layer, error) {
	q := &svdq{size: size{home: b}}
	if err := q.check(s); err != nil {
		return nil, err
	}
	l, err := q.load(s)
	if err != nil {
		return nil, loading(s.QWeight, err)
	}
	return l, nil
}

// load takes all memory that the linear needs, puts its parts on their way and leaves it to
// kernels to bring them into order, and into the form in which they are held.
func (q *svdq) load(s compute.SVDQ) (layer, error) {
	b := q.home
	if b.held == W4A4 {
		return q.exact(s)
	}
	var f fileOrder
	if err := q.place(s, &f); err != nil {
		return nil, err
	}
	b.putSVDQ(s, q.codes, q.scales, f)
	b.later(func() { q.order(f, s.Shifted) })
	if b.held != Packed {
		return q.hold(b.held, f)
	}
	return q, b.makeUnpacked(int64(q.in) * int64(q.out) * actSize)
}

// fileOrder is where parts of a linear lie in the file's order, until a kernel has them in
// that of the model.
type fileOrder struct{ smooth, bias, up, down cuda.Pointer }

// putSVDQ copies a linear's parts as they are in the file.
func (b *Backend) putSVDQ(s compute.SVDQ, codes, scales cuda.Pointer, f fileOrder) {
	b.putRaw(s.QWeight, codes)
	b.putRaw(s.WScales, scales)
	b.putRaw(s.Smooth, f.smooth)
	b.putRaw(s.Bias, f.bias)
	b.putRaw(s.Up, f.up)
	b.putRaw(s.Down, f.down)
}

// place takes memory. If the linear is held in another form, its own is needed only until
// that is made.
func (q *svdq) place(s compute.SVDQ, f *fileOrder) error {
	b := q.home
	low := func(n int) int64 { return int64(n) * int64(q.rank) * actSize }
	room := []taken{
		{&f.smooth, int64(q.in) * actSize},
		{&f.bias, int64(q.out) * actSize},
		{&f.up, low(q.out)},
		{&f.down, low(q.in)},
	}
	own := []taken{
		{&q.codes, int64(len(s.QWeight.Data))},
		{&q.scales, int64(len(s.WScales.Data))},
		{&q.up, low(q.out)},
		{&q.down, low(q.in)},
	}
	lasting := []taken{
		{&q.inverse, int64(q.in) * f32Size},
		{&q.bias, int64(q.out) * f32Size},
	}
	if b.held == Packed {
		lasting = append(lasting, own...)
	} else {
		room = append(room, own...)
	}
	if err := b.takeRoom(room...); err != nil {
		return err
	}
	return b.take(lasting...)
}

// check checks the tensors and finds the sizes.
func (q *svdq) check(s compute.SVDQ) error {
	if len(s.QWeight.Shape) != 2 || len(s.Down.Shape) != 2 {
		return loading(s.QWeight, fmt.Errorf("it or %v has not two dimensions", s.Down))
	}
	in, out, rank := 2*s.QWeight.Shape[1], s.QWeight.Shape[0], s.Down.Shape[1]
	if in%packing.TileRows != 0 || out%packing.TileRows != 0 || rank%packing.RankUnit != 0 || rank > maxRank || min(in, out, rank) <= 0 {
		return loading(s.QWeight, fmt.Errorf("%d inputs, %d outputs and rank %d, this takes multiples of %d, %[4]d and %d, and a rank of at most %d",
			in, out, rank, packing.TileRows, packing.RankUnit, maxRank))
	}
	for _, p := range []part{
		{s.QWeight, safetensors.I8, []int64{out, in / 2}},
		{s.WScales, safetensors.BF16, []int64{in / packing.TileColumns, out}},
		{s.Smooth, safetensors.BF16, []int64{in}},
		{s.Down, safetensors.BF16, []int64{in, rank}},
		{s.Up, safetensors.BF16, []int64{out, rank}},
		{s.Bias, safetensors.BF16, []int64{out}},
	} {
		if err := p.check(); err != nil {
			return err
		}
	}
	q.in, q.out, q.rank = int(in), int(out), int(rank)
	return nil
}

// order brings the parts into order.
func (q *svdq) order(f fileOrder, shifted bool) {
	b := q.home
	q.vector(q.inverse, f.smooth, q.in, true)
	q.vector(q.bias, f.bias, q.out, false)
	q.lowRank(q.up, f.up, q.out, false)
	q.lowRank(q.down, f.down, q.in, true)
	if shifted {
		b.launch("svdq_shift", cuda.Dim{X: q.out / 16}, cuda.Dim{X: 128}, 0,
			cuda.Address(q.bias), cuda.Address(q.codes), cuda.Address(q.scales), cuda.Address(q.inverse),
			cuda.Int(q.out), cuda.Int(q.in), cuda.Float(compute.Shift))
	}
}

// vector makes float32 of a vector, or its inverses.
func (q *svdq) vector(to, from cuda.Pointer, n int, invert bool) {
	q.home.spread("svdq_vector", n, 1, cuda.Address(to), cuda.Address(from), cuda.Int(n), cuda.Bool(invert))
}

// lowRank makes rows of rank values of a factor of the branch of low rank.
func (q *svdq) lowRank(to, from cuda.Pointer, n int, down bool) {
	q.home.spread("svdq_lowrank", n*q.rank, 1, cuda.Address(to), cuda.Address(from), cuda.Int(n), cuda.Int(q.rank), cuda.Bool(down))
}

// makeUnpacked makes the memory for unpacked weights large enough.
func (b *Backend) makeUnpacked(bytes int64) error {
	if bytes <= b.unpackedBytes {
		return nil
	}
	if b.unpacked != 0 {
		if err := b.stream.Sync(); err != nil { // kernels that were launched may use it
			return err
		}
		if err := b.context.Free(b.unpacked); err != nil {
			return err
		}
		b.unpacked, b.unpackedBytes = 0, 0
	}
	p, err := b.context.Alloc(bytes)
	if err != nil {
		return err
	}
	b.unpacked, b.unpackedBytes = p, bytes
	return nil
}

func (q *svdq) run(dst, x compute.Tensor, p compute.Pre, e epilogue) {
	b := q.home
	y, done := b.prepared(x, p, compute.Act)
	defer done()
	if b.err != nil {
		return
	}
	q.unpack(b.unpacked)
	b.multiply(b.address(dst), b.address(y), cuda.Address(b.unpacked), cuda.Address(q.bias), y.Rows, q.out, q.in, e)
}

// unpack makes W.
func (q *svdq) unpack(to cuda.Pointer) {
	b := q.home
	// Enough blocks for every multiprocessor to have four, each with several groups of
	// columns: a block loads its rows of U once.
	tiles, groups := q.out/packing.TileRows, q.in/packing.TileColumns
	turns := min(groups, ceil(4*b.context.Device().Multiprocessors, tiles))
	b.launch("svdq_weights", cuda.Dim{X: tiles, Y: turns}, cuda.Dim{X: 128}, svdqShared(q.rank),
		cuda.Address(to), cuda.Address(q.codes), cuda.Address(q.scales), cuda.Address(q.inverse),
		cuda.Address(q.up), cuda.Address(q.down), cuda.Int(q.out), cuda.Int(q.in), cuda.Int(q.rank))
}
