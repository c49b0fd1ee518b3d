package ref

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// Heads takes rows of a projection apart, and normalises and rotates the heads of q and k.
func (b *Backend) Heads(s compute.Split) {
	b.checkSplit(s)
	if !b.apart(s.Q, s.X, s.K, s.V, s.Rope.Cos, s.Rope.Sin) || !b.apart(s.K, s.X, s.V, s.Rope.Cos, s.Rope.Sin) ||
		!b.apart(s.V, s.X, s.Rope.Cos, s.Rope.Sin) {
		return
	}
	x, q, k, v := b.values(s.X), b.values(s.Q), b.values(s.K), b.values(s.V)
	normQ, normK := b.optional(s.NormQ), b.optional(s.NormK)
	turn := b.rotation(s.Rope, s.Dim)
	b.each(s.X.Rows, func(_ *worker, i int) {
		row := x[i*s.X.Cols:][:s.X.Cols]
		heads := func(dst []float32, norm []float32) {
			row = row[copy(dst, row):]
			for ; len(dst) > 0; dst = dst[s.Dim:] {
				if norm != nil {
					rmsNorm(dst[:s.Dim], dst[:s.Dim], norm, s.Eps)
				}
				turn.rotate(dst[:s.Dim], i)
			}
		}
		heads(q[i*s.Q.Cols:][:s.Q.Cols], normQ)
		heads(k[i*s.K.Cols:][:s.K.Cols], normK)
		copy(v[i*s.V.Cols:][:s.V.Cols], row)
	})
}

func (b *Backend) checkSplit(s compute.Split) {
	n := s.X.Rows
	if s.X.Cols != s.Q.Cols+s.K.Cols+s.V.Cols || s.Q.Rows != n || s.K.Rows != n || s.V.Rows != n {
		panic(fmt.Sprintf("ref: heads of %v to q %v, k %v, v %v", s.X, s.Q, s.K, s.V))
	}
	if s.Dim <= 0 || s.Q.Cols%s.Dim != 0 || s.K.Cols%s.Dim != 0 || s.V.Cols%s.Dim != 0 {
		panic(fmt.Sprintf("ref: heads of %d of q %v, k %v, v %v", s.Dim, s.Q, s.K, s.V))
	}
	for _, v := range []compute.Vector{s.NormQ, s.NormK} {
		if v != nil && b.vector(v).Len() != s.Dim {
			panic(fmt.Sprintf("ref: a norm of %d weights of heads of %d", v.Len(), s.Dim))
		}
	}
	if s.Rope == (compute.Rope{}) {
		return
	}
	for _, t := range []compute.Tensor{s.Rope.Cos, s.Rope.Sin} {
		if t.Kind != compute.F32 || t.Rows != n || 2*t.Cols != s.Dim {
			panic(fmt.Sprintf("ref: angles %v for %d rows and heads of %d", t, n, s.Dim))
		}
	}
}

// optional is the values of a vector, or nil if there is none.
func (b *Backend) optional(v compute.Vector) []float32 {
	if v == nil {
		return nil
	}
	return b.vector(v).v
}

// rotation is a compute.Rope that is ready to run.
type rotation struct {
	cos, sin []float32 // nil rotates nothing
	pairs    int
	halves   bool
}

func (b *Backend) rotation(r compute.Rope, dim int) rotation {
	if r == (compute.Rope{}) {
		return rotation{}
	}
	return rotation{b.values(r.Cos), b.values(r.Sin), dim / 2, r.Halves}
}

// rotate turns a head of a row in place.
func (r *rotation) rotate(head []float32, row int) {
	if r.cos == nil {
		return
	}
	for i := range r.pairs {
		first, second := 2*i, 2*i+1
		if r.halves {
			first, second = i, i+r.pairs
		}
		cos, sin := r.cos[row*r.pairs+i], r.sin[row*r.pairs+i]
		a, b := head[first], head[second]
		head[first], head[second] = a*cos-b*sin, b*cos+a*sin
	}
}
