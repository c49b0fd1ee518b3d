package kernels_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
)

// gpuEnv set to 1 makes a test that needs a GPU fail where there is none.
const gpuEnv = "PLIMSOLL_GPU"

// device is the first GPU. Without one the test is skipped, and the log says why.
func device(t testing.TB) (*cuda.Driver, cuda.Device) {
	t.Helper()
	driver, err := cuda.Open()
	if err != nil {
		if os.Getenv(gpuEnv) == "1" {
			t.Fatal(err)
		}
		t.Skipf("needs a GPU: %v", err)
	}
	devices, err := driver.Devices()
	require.NoError(t, err)
	return driver, devices[0]
}

// open opens a backend that names failing kernels.
func open(t testing.TB, o kernels.Options) *kernels.Backend {
	t.Helper()
	driver, d := device(t)
	o.Poison, o.Context.Synchronous = true, true
	b, err := kernels.New(driver, d, o)
	require.NoError(t, err)
	return b
}

// variants are the kernels for the device, and those that every device runs.
func variants(t *testing.T, f func(t *testing.T, o kernels.Options)) {
	device(t)
	for name, portable := range map[string]bool{"own": false, "portable": true} {
		t.Run(name, func(t *testing.T) { f(t, kernels.Options{ArenaBytes: 1 << 30, Portable: portable}) })
	}
}

// TestGPUStreamed is TestGPUConformance with all groups of weights on the host.
func TestGPUStreamed(t *testing.T) {
	o := kernels.Options{ArenaBytes: 256 << 20, Streamed: streamed("")}
	computetest.Run(t, func(t *testing.T) compute.Backend { return open(t, o) }, computetest.Tolerance{F32: 1e-5, Act: 1. / 256})
}

// TestGPUConformance holds every operation on a GPU against float64. bfloat16 has 8 bits:
// one rounding is off by 1.7e-3 in the mean, and by up to 2⁻⁸ where one value outweighs all
// others. A linear rounds up to three times: after Pre, the weights made of 4 bits, and the
// result.
func TestGPUConformance(t *testing.T) {
	variants(t, func(t *testing.T, o kernels.Options) {
		o.ArenaBytes = 256 << 20
		computetest.Run(t, func(t *testing.T) compute.Backend { return open(t, o) }, computetest.Tolerance{F32: 1e-5, Act: 1. / 256})
	})
}
