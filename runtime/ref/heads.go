package ref

import (
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// Heads takes rows of a projection apart, and normalises and rotates the heads of q and k.
func (b *Backend) Heads(s compute.Split) {
	compute.CheckHeads(s)
	normQ, normK := b.optional(s.NormQ), b.optional(s.NormK)
	if b.err != nil {
		return
	}
	b.arena.ApartHeads(s)
	x, q, k, v := b.values(s.X), b.values(s.Q), b.values(s.K), b.values(s.V)
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
