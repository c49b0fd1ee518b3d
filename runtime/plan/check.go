package plan

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// format panics where a tensor is of another backend's format. What else the contract says of
// tensors is checked as every backend does, by package compute. Tensors that are none are
// passed over.
func (b *Backend) format(tensors ...compute.Tensor) {
	for _, t := range tensors {
		want := f32Bytes
		if t.Kind == compute.Act {
			want = b.options.ActBytes
		}
		if !t.IsZero() && t.Size != want {
			panic(fmt.Sprintf("plan: %v of %d bytes each, where they have %d", t, t.Size, want))
		}
	}
}

// vector is a vector of this backend.
func (b *Backend) vector(v compute.Vector) *vector {
	w, ok := v.(*vector)
	if !ok || w.home != b {
		panic(fmt.Sprintf("plan: no vector, or of another backend, %T", v))
	}
	return w
}
