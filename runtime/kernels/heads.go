package kernels

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// Heads takes rows of a projection apart, and normalises and rotates the heads of q and k.
func (b *Backend) Heads(s compute.Split) {
	compute.CheckHeads(s)
	if s.Q.Kind != s.K.Kind || s.Q.Kind != s.V.Kind {
		panic(fmt.Sprintf("kernels: heads of %v to q %v, k %v, v %v", s.X, s.Q, s.K, s.V))
	}
	if !b.ready() {
		return
	}
	b.arena.ApartHeads(s)
	b.use(nil, s.NormQ, s.NormK)
	optional := func(v compute.Vector) cuda.Parameter {
		if v == nil {
			return 0
		}
		return cuda.Address(b.vector(v).p)
	}
	name, blocks := "heads_"+formats(s.X, s.Q), ceil(s.X.Rows*(s.X.Cols/s.Dim), threads/32)
	if (s.Dim == 64 || s.Dim == 128 || s.Dim == 256) && !s.Rope.Halves && access(s.Dim, s.X, s.Q, s.K, s.V) == 8 {
		name, blocks = name+"8", ceil(s.X.Len(), 8*threads)
	}
	b.launch(name, cuda.Dim{X: blocks}, cuda.Dim{X: threads}, 0,
		b.address(s.Q), b.address(s.K), b.address(s.V), b.address(s.X), cuda.Int(s.X.Rows),
		cuda.Int(s.Q.Cols), cuda.Int(s.K.Cols), cuda.Int(s.V.Cols), cuda.Int(s.Dim),
		optional(s.NormQ), optional(s.NormK), cuda.Float(s.Eps),
		b.address(s.Rope.Cos), b.address(s.Rope.Sin), cuda.Bool(s.Rope.Halves))
}
