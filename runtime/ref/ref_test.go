package ref_test

import (
	"testing"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
)

func TestConformance(t *testing.T) {
	for n, tol := range map[ref.Numerics]float64{ref.Dense: 2e-6, ref.W4A4: 0.3, ref.Int8: 0.05, ref.Int8Blocks: 0.05} {
		t.Run(n.String(), func(t *testing.T) {
			computetest.Run(t, func(*testing.T) compute.Backend {
				return ref.New(ref.Options{ArenaBytes: 64 << 20, Poison: true, Workers: 3, Numerics: n})
			}, computetest.Tolerance{F32: 2e-6, Act: 2e-6, SVDQ: tol})
		})
	}
}
