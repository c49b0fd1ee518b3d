// Package computetest is the conformance suite of compute.Backend: what every backend must
// do, whatever it runs on.
//
// Each operation is held against a computation of its own in float64, written from the
// contract alone, one formula after the other. It starts from what the backend says that it
// holds: inputs are uploaded and downloaded again, so that the rounding of an input to the
// backend's format is no error. Weights are given as bytes, packed by package packing as in
// a file.
//
// Results are full of NaN before an operation writes them, so that a value which was not
// written is seen, and so is one beside them. Inputs have a mean, columns and rows of very
// different size, and sizes that fill no tile.
package computetest

import (
	"testing"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// Tolerance says how far results may be from the true ones: ‖result − truth‖/‖truth‖ of
// the whole tensor, and for each value no more than valueFactor times that, of its own size
// and its row's root mean square together.
type Tolerance struct {
	// F32 is for operations other than products of matrices of which all tensors are F32,
	// Act for all others.
	F32, Act float64
	// SVDQ is for linears of an SVDQuant checkpoint, which a backend may compute with
	// quantised activations. 0 is Act.
	SVDQ float64
}

// valueFactor is how many times the tolerance of a tensor a single value may be off.
const valueFactor = 8

// test is a part of the suite.
type test struct {
	name string
	run  func(m *machine)
}

// refusals are what no caller may do, whatever a backend computes.
var refusals = []test{{"Shapes", shapes}, {"Loading", loading}}

// Run runs the suite on backends that open makes, one for each test and more for those of
// errors; the suite closes them. An arena of 64 MiB is enough.
func Run(t *testing.T, open func(t *testing.T) compute.Backend, tol Tolerance) {
	t.Helper()
	if tol.SVDQ == 0 {
		tol.SVDQ = tol.Act
	}
	run(t, open, tol, append([]test{
		{"LinearDense", linearDense},
		{"LinearSVDQ", linearSVDQ},
		{"LinearAWQ", linearAWQ},
		{"LinearAnyShape", linearAnyShape},
		{"PreAndPost", preAndPost},
		{"ModulationRows", modulationRows},
		{"Apply", apply},
		{"Convolve", convolve},
		{"ConvolvePreAndPost", convolvePreAndPost},
		{"Attention", attend},
		{"AttentionAnyShape", attendAnyShape},
		{"Heads", heads},
		{"Embed", embed},
		{"Gather", gather},
		{"Copy", copies},
		{"Euler", euler},
		{"Guide", guide},
		{"Views", views},
		{"Arena", arena},
		{"Order", order},
		{"Repeats", repeats},
		{"Groups", groups},
		{"ArenaFull", arenaFull},
		{"Finite", finite},
	}, refusals...))
}

// Refuse runs the part of the suite that asks for no values, on backends that compute none.
func Refuse(t *testing.T, open func(t *testing.T) compute.Backend) {
	t.Helper()
	run(t, open, Tolerance{}, refusals)
}

func run(t *testing.T, open func(t *testing.T) compute.Backend, tol Tolerance, tests []test) {
	t.Helper()
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			b := open(t)
			c.run(newMachine(t, c.name, b, tol, open))
			if err := b.Close(); err != nil {
				t.Errorf("closing the backend: %v", err)
			}
		})
	}
}
