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
	if width := b.preWidth(p, x.Cols); width != w.In() || dst.Cols != w.Out() || dst.Rows != x.Rows {
		panic(fmt.Sprintf("ref: a linear of %d inputs, %d outputs from %v (%d wide after Pre) to %v",
			w.In(), w.Out(), x, width, dst))
	}
	checkPost(q, dst)
	if !b.fused(dst, x, p, q, x.Cols) {
		return
	}
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
	if width := b.preWidth(p, x.Cols); width != dst.Cols || dst.Rows != x.Rows {
		panic(fmt.Sprintf("ref: applying Pre to %v, %d wide after it, into %v", x, width, dst))
	}
	if !b.fused(dst, x, p, compute.Post{}, x.Cols) {
		return
	}
	in, out, before := b.values(x), b.values(dst), b.pre(p, x.Cols)
	b.each(x.Rows, func(_ *worker, i int) {
		before.row(out[i*dst.Cols:][:dst.Cols], in[i*x.Cols:][:x.Cols], i)
	})
}

// fused checks the tensors of an operation with Pre and Post, and reports whether it shall
// run.
func (b *Backend) fused(dst, x compute.Tensor, p compute.Pre, q compute.Post, width int) bool {
	b.modulation(p.Mod, width)
	inputs := []compute.Tensor{x, p.Mod.Table}
	if q.Kind == compute.GateAdd {
		b.modulation(q.Mod, dst.Cols)
		inputs = append(inputs, q.Mod.Table)
	}
	if (q.Kind == compute.Add || q.Kind == compute.GateAdd) && q.Residual.Offset != dst.Offset {
		inputs = append(inputs, q.Residual)
	}
	return b.apart(dst, inputs...)
}

// apart checks that dst overlaps no input, and reports whether the operation shall run.
// Tensors that are none are passed over.
func (b *Backend) apart(dst compute.Tensor, inputs ...compute.Tensor) bool {
	if !b.ready(dst) {
		return false
	}
	for _, t := range inputs {
		if t.IsZero() {
			continue
		}
		b.ready(t)
		if dst.Offset < t.Offset+t.Bytes() && t.Offset < dst.Offset+dst.Bytes() {
			panic(fmt.Sprintf("ref: the result %v at %d overlaps the input %v at %d", dst, dst.Offset, t, t.Offset))
		}
	}
	return true
}

// layer is a linear of this backend.
func (b *Backend) layer(l compute.Linear) layer {
	w, ok := l.(layer)
	if !ok || w.owner() != b {
		panic(fmt.Sprintf("ref: a linear of another backend, %T", l))
	}
	return w
}

// vector is a vector of this backend.
func (b *Backend) vector(v compute.Vector) *vector {
	w, ok := v.(*vector)
	if !ok || w.home != b {
		panic(fmt.Sprintf("ref: no vector, or of another backend, %T", v))
	}
	return w
}
