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
	take          func(bytes int64) (cuda.Pointer, error) // memory for codes, scales, up and down
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
	q := &svdq{size: size{home: b}, take: b.store.alloc}
	if err := q.check(s); err != nil {
		return nil, err
	}
	if b.held != Packed {
		// The parts are needed only until the other form is made of them.
		defer b.arena.Reset(b.arena.Mark())
		q.take = b.takeTemporary
	}
	if err := q.put(s); err != nil {
		return nil, loading(s.QWeight, err)
	}
	if b.held != Packed {
		l, err := q.hold(b.held, s.Smooth)
		if err == nil {
			err = b.err
		}
		if err != nil {
			return nil, loading(s.QWeight, err)
		}
		return l, nil
	}
	if err := b.makeUnpacked(int64(q.in) * int64(q.out) * actSize); err != nil {
		return nil, loading(s.QWeight, err)
	}
	return q, nil
}

// takeTemporary takes memory from the arena's end.
func (b *Backend) takeTemporary(bytes int64) (cuda.Pointer, error) {
	t := b.Alloc(compute.Act, 1, int((bytes+actSize-1)/actSize))
	return b.at(t), b.err
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

// put puts the parts on the device, where kernels bring them into order.
func (q *svdq) put(s compute.SVDQ) (err error) {
	b := q.home
	if q.codes, err = q.upload(s.QWeight.Data); err != nil {
		return err
	}
	if q.scales, err = q.upload(s.WScales.Data); err != nil {
		return err
	}
	if q.inverse, err = q.vector(s.Smooth, q.in, true); err != nil {
		return err
	}
	if q.bias, err = q.vector(s.Bias, q.out, false); err != nil {
		return err
	}
	if q.up, err = q.lowRank(s.Up, q.out, false); err != nil {
		return err
	}
	if q.down, err = q.lowRank(s.Down, q.in, true); err != nil {
		return err
	}
	if s.Shifted {
		b.launch("svdq_shift", cuda.Dim{X: q.out / 16}, cuda.Dim{X: 128}, 0,
			cuda.Address(q.bias), cuda.Address(q.codes), cuda.Address(q.scales), cuda.Address(q.inverse),
			cuda.Int(q.out), cuda.Int(q.in), cuda.Float(compute.Shift))
	}
	return nil
}

// upload takes memory for a part and fills it.
func (q *svdq) upload(data []byte) (cuda.Pointer, error) {
	p, err := q.take(int64(len(data)))
	if err != nil {
		return 0, err
	}
	return p, q.home.write(p, data)
}

// vector puts a permuted vector on the device, in order and in float32.
func (q *svdq) vector(w compute.Weight, n int, invert bool) (cuda.Pointer, error) {
	p, err := q.home.store.alloc(int64(n) * f32Size)
	if err != nil {
		return 0, err
	}
	return p, q.ordered(p, w, func(to, from cuda.Parameter) {
		q.home.spread("svdq_vector", n, 1, to, from, cuda.Int(n), cuda.Bool(invert))
	})
}

// lowRank puts a factor of the branch of low rank on the device as rows of rank values.
func (q *svdq) lowRank(w compute.Weight, n int, down bool) (cuda.Pointer, error) {
	p, err := q.take(int64(n) * int64(q.rank) * actSize)
	if err != nil {
		return 0, err
	}
	return p, q.ordered(p, w, func(to, from cuda.Parameter) {
		q.home.spread("svdq_lowrank", n*q.rank, 1, to, from, cuda.Int(n), cuda.Int(q.rank), cuda.Bool(down))
	})
}

// ordered puts a tensor into the arena for the time in which a kernel writes what becomes
// of it to p.
func (q *svdq) ordered(p cuda.Pointer, w compute.Weight, order func(to, from cuda.Parameter)) error {
	b := q.home
	from, done := b.temporary(compute.Act, 1, len(w.Data)/actSize)
	defer done()
	if !b.ready() {
		return b.err
	}
	if err := b.write(b.at(from), w.Data); err != nil {
		return err
	}
	order(cuda.Address(p), b.address(from))
	return nil
}

// makeUnpacked makes the memory for unpacked weights large enough.
func (b *Backend) makeUnpacked(bytes int64) error {
	if bytes <= b.unpackedBytes {
		return nil
	}
	if b.unpacked != 0 {
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
