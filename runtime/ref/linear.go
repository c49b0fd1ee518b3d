package ref

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// LoadLinear takes a linear.
func (b *Backend) LoadLinear(s compute.LinearSpec) (compute.Linear, error) {
	var l layer
	var err error
	switch s := s.(type) {
	case compute.Dense:
		l, err = loadDense(b, s)
	case compute.SVDQ:
		l, err = loadSVDQ(b, s)
	case compute.AWQ:
		l, err = loadAWQ(b, s)
	default:
		panic(fmt.Sprintf("ref: a linear of type %T", s))
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Linear computes dst = Post(Pre(x)·Wᵀ + b).
func (b *Backend) Linear(dst compute.Tensor, l compute.Linear, x compute.Tensor, p compute.Pre, q compute.Post) {
	w := b.layer(l)
	compute.CheckLinear(dst, l, x, p, q)
	b.optional(p.Weight)
	if b.err != nil {
		return
	}
	b.arena.ApartFused(dst, x, p, q)
	in, before, after := b.values(x), b.pre(p, x.Cols), b.post(q, dst)
	b.blocked(x.Rows, w.In(), func(k *block, first int) {
		b.each(k.rows, func(_ *worker, i int) {
			before.row(k.row(i), in[(first+i)*x.Cols:][:x.Cols], first+i)
		})
		b.product(w, k, func(row, col int, y []float32) { after.store(first+row, col, y) })
	})
}

// Apply computes dst = Pre(x).
func (b *Backend) Apply(dst, x compute.Tensor, p compute.Pre) {
	compute.CheckApply(dst, x, p)
	b.optional(p.Weight)
	if b.err != nil {
		return
	}
	b.arena.ApartFused(dst, x, p, compute.Post{})
	in, out, before := b.values(x), b.values(dst), b.pre(p, x.Cols)
	b.each(x.Rows, func(_ *worker, i int) {
		before.row(out[i*dst.Cols:][:dst.Cols], in[i*x.Cols:][:x.Cols], i)
	})
}

// layer is a linear of this backend.
func (b *Backend) layer(l compute.Linear) layer {
	w, ok := l.(layer)
	if !ok || w.owner() != b {
		panic(fmt.Sprintf("ref: a linear of another backend, %T", l))
	}
	return w
}

// optional is the values of a vector of this backend, or nil if there is none.
func (b *Backend) optional(v compute.Vector) []float32 {
	if v == nil {
		return nil
	}
	w, ok := v.(*vector)
	if !ok || w.home != b {
		panic(fmt.Sprintf("ref: a vector of another backend, %T", v))
	}
	return w.v
}
