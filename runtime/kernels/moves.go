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
	if dst.Rows != len(ids) || dst.Cols != m.cols {
		panic(fmt.Sprintf("kernels: embedding %d rows of a table %d×%d into %v", len(ids), m.rows, m.cols, dst))
	}
	inside(ids, m.rows)
	if b.ready(dst) {
		b.rows(dst, cuda.Address(m.p), m.kind, ids, access(m.cols, dst))
	}
}

// Gather copies rows of src, which has the kind of dst.
func (b *Backend) Gather(dst, src compute.Tensor, rows []int32) {
	if dst.Rows != len(rows) || dst.Cols != src.Cols || dst.Kind != src.Kind {
		panic(fmt.Sprintf("kernels: gathering %d rows of %v into %v", len(rows), src, dst))
	}
	inside(rows, src.Rows)
	if b.apart(dst, src) {
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

// inside panics unless all rows are among n.
func inside(rows []int32, n int) {
	for _, r := range rows {
		if r < 0 || int(r) >= n {
			panic(fmt.Sprintf("kernels: row %d of %d", r, n))
		}
	}
}

// Copy copies values.
func (b *Backend) Copy(dst, src compute.Tensor) {
	if dst.Len() != src.Len() {
		panic(fmt.Sprintf("kernels: copying %v to %v", src, dst))
	}
	if !b.apart(dst, src) {
		return
	}
	if dst.Kind == src.Kind {
		b.stream.Copy(b.at(dst), b.at(src), src.Bytes())
		return
	}
	b.apply(dst, src, compute.Pre{})
}

// Euler computes x += dt·v.
func (b *Backend) Euler(x, v compute.Tensor, dt float32) {
	if x.Rows != v.Rows || x.Cols != v.Cols || x.Kind != compute.F32 {
		panic(fmt.Sprintf("kernels: moving %v along %v", x, v))
	}
	if b.apart(x, v) {
		b.spread("euler_"+format(v.Kind), x.Len(), 1, b.address(x), b.address(v), cuda.Int(x.Len()), cuda.Float(dt))
	}
}

// Guide joins two predictions, of one kind.
func (b *Backend) Guide(dst, positive, negative compute.Tensor, scale float32) {
	for _, t := range []compute.Tensor{positive, negative} {
		if t.Rows != dst.Rows || t.Cols != dst.Cols || t.Kind != positive.Kind {
			panic(fmt.Sprintf("kernels: guiding %v from %v into %v", positive, negative, dst))
		}
		if t.Offset == dst.Offset && t.Kind == dst.Kind {
			continue
		}
		if !b.apart(dst, t) {
			return
		}
	}
	if b.ready(dst, positive, negative) {
		b.launch("guide_"+formats(positive, dst), cuda.Dim{X: ceil(dst.Rows, threads/32)}, cuda.Dim{X: threads}, 0,
			b.address(dst), b.address(positive), b.address(negative), cuda.Int(dst.Rows), cuda.Int(dst.Cols), cuda.Float(scale))
	}
}
