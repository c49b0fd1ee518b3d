package ref_test

import (
	"testing"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
)

func TestConformance(t *testing.T) {
	computetest.Run(t, func(*testing.T) compute.Backend {
		return ref.New(ref.Options{ArenaBytes: 64 << 20, Poison: true, Workers: 3})
	}, computetest.Tolerance{F32: 2e-6, Act: 2e-6})
}
