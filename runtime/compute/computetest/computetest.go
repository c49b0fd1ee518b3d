// Package computetest is the conformance suite of compute.Backend: what every backend must
// do, whatever it runs on.
//
// Each operation is held against a computation of its own in float64, written from the
// contract alone, one formula after the other. It starts from what the backend says that it
// holds: inputs are uploaded and downloaded again, so that the rounding of an input to the
// backend's format is no error. Weights are given as bytes, packed by package packing as in
// a file.
//
// New tensors are filled with NaN before an operation writes them, so that a value which
// was not written is seen.
package computetest

import (
	"testing"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// Tolerance says how far results may be from the true ones: ‖result − truth‖/‖truth‖ of
// the whole tensor, and for each value no more than valueFactor times that, of its own size
// and its row's root mean square together.
type Tolerance struct {
	// F32 is for results of kind F32 from inputs of kind F32, Act for all others.
	F32, Act float64
	// SVDQ is for linears of an SVDQuant checkpoint, which a backend may compute with
	// quantised activations. 0 is Act.
	SVDQ float64
}

// valueFactor is how many times the tolerance of a tensor a single value may be off.
const valueFactor = 8

// Run runs the suite on backends that open makes, one for each test; the suite closes them.
// An arena of 64 MiB is enough.
func Run(t *testing.T, open func(t *testing.T) compute.Backend, tol Tolerance) {
	t.Helper()
	if tol.SVDQ == 0 {
		tol.SVDQ = tol.Act
	}
	for _, c := range []struct {
		name string
		run  func(m *machine)
	}{
		{"LinearDense", linearDense},
		{"LinearSVDQ", linearSVDQ},
		{"LinearAWQ", linearAWQ},
		{"PreAndPost", preAndPost},
		{"Convolve", convolve},
		{"Attention", attend},
		{"Heads", heads},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t)
			c.run(&machine{T: t, b: b, tol: tol, rng: seeded(c.name)})
			if err := b.Close(); err != nil {
				t.Errorf("closing the backend: %v", err)
			}
		})
	}
}
