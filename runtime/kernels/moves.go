package kernels

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// Embed copies rows of a table.
func (b *Backend) Embed(dst compute.Tensor, t compute.Table, ids []int32) {
	m, ok := t.(*table)
	if !ok || m.home != b {
		panic(fmt.Sprintf("kernels: a table of another backend, %T", t))
	}
	compute.CheckEmbed(dst, t, ids)
	if b.ready() {
		b.arena.Apart(dst)
		if m.host != nil {
			b.hostRows(dst, m, ids)
			return
		}
		b.rows(dst, cuda.Address(m.p), m.kind, ids, access(m.cols, dst))
	}
}

// hostRows copies rows of a table on the host.
func (b *Backend) hostRows(dst compute.Tensor, m *table, ids []int32) {
	if dst.Rows == 0 || dst.Cols == 0 {
		return
	}
	values, size := make([]float32, dst.Len()), sizeOf(m.kind)
	for i, id := range ids {
		decode(values[i*m.cols:][:m.cols], m.host[int(id)*m.cols*size:], m.kind)
	}
	b.upload(dst, values)
}

// Gather copies rows of src, which has the kind of dst.
func (b *Backend) Gather(dst, src compute.Tensor, rows []int32) {
	compute.CheckGather(dst, src, rows)
	if b.ready() {
		b.arena.Apart(dst, src)
		b.rows(dst, b.address(src), src.Kind, rows, access(src.Cols, dst, src))
	}
}

// rows copies rows of a matrix in a kind's format.
func (b *Backend) rows(dst compute.Tensor, from cuda.Parameter, k compute.Kind, rows []int32, each int) {
	list, done := b.temporary(compute.F32, 1, len(rows)) // integers of the same size
	defer done()
	b.integers(list, rows)
	if b.err == nil {
		b.spread(fmt.Sprintf("rows_%s%s%d", format(k), format(dst.Kind), each), dst.Len(), each,
			b.address(dst), from, b.address(list), cuda.Int(len(rows)), cuda.Int(dst.Cols))
	}
}

// Copy copies values.
func (b *Backend) Copy(dst, src compute.Tensor) {
	compute.CheckCopy(dst, src)
	if !b.ready() {
		return
	}
	b.arena.Apart(dst, src)
	if dst.Kind == src.Kind {
		b.stream.Copy(b.at(dst), b.at(src), src.Bytes())
		return
	}
	b.apply(dst, src, compute.Pre{})
}

// Euler computes x += dt·v.
func (b *Backend) Euler(x, v compute.Tensor, dt float32) {
	compute.CheckEuler(x, v)
	if b.ready() {
		b.arena.Apart(x, v)
		b.spread("euler_"+format(v.Kind), x.Len(), 1, b.address(x), b.address(v), cuda.Int(x.Len()), cuda.Float(dt))
	}
}

// Guide joins two predictions, of one kind.
func (b *Backend) Guide(dst, positive, negative compute.Tensor, scale float32) {
	compute.CheckGuide(dst, positive, negative)
	if positive.Kind != negative.Kind {
		panic(fmt.Sprintf("kernels: guiding %v from %v into %v", positive, negative, dst))
	}
	if b.ready() {
		b.arena.ApartGuide(dst, positive, negative)
		b.launch("guide_"+formats(positive, dst), cuda.Dim{X: ceil(dst.Rows, threads/32)}, cuda.Dim{X: threads}, 0,
			b.address(dst), b.address(positive), b.address(negative), cuda.Int(dst.Rows), cuda.Int(dst.Cols), cuda.Float(scale))
	}
}
