package kernels

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// Heads takes rows of a projection apart, and normalises and rotates the heads of q and k.
func (b *Backend) Heads(s compute.Split) {
	b.checkSplit(s)
	if !b.apart(s.Q, s.X, s.K, s.V, s.Rope.Cos, s.Rope.Sin) || !b.apart(s.K, s.X, s.V, s.Rope.Cos, s.Rope.Sin) ||
		!b.apart(s.V, s.X, s.Rope.Cos, s.Rope.Sin) {
		return
	}
	optional := func(v compute.Vector) cuda.Parameter {
		if v == nil {
			return 0
		}
		return cuda.Address(b.vector(v).p)
	}
	jobs := s.X.Rows * (s.X.Cols / s.Dim)
	b.launch("heads_"+formats(s.X, s.Q), cuda.Dim{X: ceil(jobs, threads/32)}, cuda.Dim{X: threads}, 0,
		b.address(s.Q), b.address(s.K), b.address(s.V), b.address(s.X), cuda.Int(s.X.Rows),
		cuda.Int(s.Q.Cols), cuda.Int(s.K.Cols), cuda.Int(s.V.Cols), cuda.Int(s.Dim),
		optional(s.NormQ), optional(s.NormK), cuda.Float(s.Eps),
		b.address(s.Rope.Cos), b.address(s.Rope.Sin), cuda.Bool(s.Rope.Halves))
}

func (b *Backend) checkSplit(s compute.Split) {
	n := s.X.Rows
	if s.X.Cols != s.Q.Cols+s.K.Cols+s.V.Cols || s.Q.Rows != n || s.K.Rows != n || s.V.Rows != n ||
		s.Q.Kind != s.K.Kind || s.Q.Kind != s.V.Kind {
		panic(fmt.Sprintf("kernels: heads of %v to q %v, k %v, v %v", s.X, s.Q, s.K, s.V))
	}
	if s.Dim <= 0 || s.Q.Cols%s.Dim != 0 || s.K.Cols%s.Dim != 0 || s.V.Cols%s.Dim != 0 {
		panic(fmt.Sprintf("kernels: heads of %d of q %v, k %v, v %v", s.Dim, s.Q, s.K, s.V))
	}
	for _, v := range []compute.Vector{s.NormQ, s.NormK} {
		if v != nil && b.vector(v).n != s.Dim {
			panic(fmt.Sprintf("kernels: a norm of %d weights of heads of %d", v.Len(), s.Dim))
		}
	}
	if s.Rope == (compute.Rope{}) {
		return
	}
	for _, t := range []compute.Tensor{s.Rope.Cos, s.Rope.Sin} {
		if t.Kind != compute.F32 || t.Rows != n || 2*t.Cols != s.Dim {
			panic(fmt.Sprintf("kernels: angles %v for %d rows and heads of %d", t, n, s.Dim))
		}
	}
}
