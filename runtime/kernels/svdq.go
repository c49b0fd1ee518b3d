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
// branch of low rank cost nothing more, whatever the number of rows. Weights are made again
// for each product, as 40 GB of them would not fit beside the rest.
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

func loadSVDQ(b *Backend, s compute.SVDQ) (*svdq, error) {
	q := &svdq{size: size{home: b}}
	if err := q.check(s); err != nil {
		return nil, err
	}
	if err := q.put(s); err != nil {
		return nil, loading(s.QWeight, err)
	}
	if err := b.makeUnpacked(int64(q.in) * int64(q.out) * actSize); err != nil {
		return nil, loading(s.QWeight, err)
	}
	return q, nil
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
	if q.codes, err = b.upload(s.QWeight.Data); err != nil {
		return err
	}
	if q.scales, err = b.upload(s.WScales.Data); err != nil {
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

// vector puts a permuted vector on the device, in order and in float32.
func (q *svdq) vector(w compute.Weight, n int, invert bool) (cuda.Pointer, error) {
	return q.ordered(w, n*f32Size, func(to, from cuda.Parameter) {
		q.home.spread("svdq_vector", n, 1, to, from, cuda.Int(n), cuda.Bool(invert))
	})
}

// lowRank puts a factor of the branch of low rank on the device as rows of rank values.
func (q *svdq) lowRank(w compute.Weight, n int, down bool) (cuda.Pointer, error) {
	return q.ordered(w, n*q.rank*actSize, func(to, from cuda.Parameter) {
		q.home.spread("svdq_lowrank", n*q.rank, 1, to, from, cuda.Int(n), cuda.Int(q.rank), cuda.Bool(down))
	})
}

// ordered puts a tensor into the arena for the time in which a kernel writes what becomes
// of it to memory of its own.
func (q *svdq) ordered(w compute.Weight, bytes int, order func(to, from cuda.Parameter)) (cuda.Pointer, error) {
	b := q.home
	p, err := b.store.alloc(int64(bytes))
	if err != nil {
		return 0, err
	}
	from, done := b.temporary(compute.Act, 1, len(w.Data)/actSize)
	defer done()
	if !b.ready() {
		return 0, b.err
	}
	err = b.staging.Write(b.at(from), len(w.Data), func(piece []byte, offset int) { copy(piece, w.Data[offset:]) })
	if err != nil {
		return 0, err
	}
	order(cuda.Address(p), b.address(from))
	return p, nil
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
	// Enough blocks for every multiprocessor to have four, each with several groups of
	// columns: a block loads its rows of U once.
	tiles, groups := q.out/packing.TileRows, q.in/packing.TileColumns
	turns := min(groups, ceil(4*b.context.Device().Multiprocessors, tiles))
	b.launch("svdq_weights", cuda.Dim{X: tiles, Y: turns}, cuda.Dim{X: 128}, svdqShared(q.rank),
		cuda.Address(b.unpacked), cuda.Address(q.codes), cuda.Address(q.scales), cuda.Address(q.inverse),
		cuda.Address(q.up), cuda.Address(q.down), cuda.Int(q.out), cuda.Int(q.in), cuda.Int(q.rank))
	b.multiply(b.address(dst), b.address(y), cuda.Address(b.unpacked), cuda.Address(q.bias), y.Rows, q.out, q.in, e)
}
