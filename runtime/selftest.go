package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/selftest"
)

// selfTest is the result of the self-test of a GPU with one set of its kernels.
type selfTest struct {
	// Weights is how 4-bit weights are held, as -weights names it.
	Weights string `json:"weights"`
	// Portable says that the kernels were those which every GPU runs, where this one has some
	// of its own.
	Portable bool `json:"portable"`
	// Error says what went wrong, "" if nothing did.
	Error string `json:"error,omitempty"`
	selftest.Report
}

// deviceTester tests a GPU. The error is the first of the tests', which all have theirs.
type deviceTester func(driver *cuda.Driver, d cuda.Device) ([]selfTest, error)

// test adds the results for every GPU, and returns the first error.
func (l *deviceList) test(run func(cuda.Device) ([]selfTest, error)) error {
	var first error
	for i := range l.Devices {
		d := &l.Devices[i]
		var err error
		if d.SelfTests, err = run(d.Device); err != nil && first == nil {
			first = fmt.Errorf("GPU %d, %s: %w", d.Ordinal, d.Name, err)
		}
	}
	return first
}

// opener makes backends on a device.
type opener func(kernels.Options) (compute.Backend, error)

// testDevice tests every set of kernels that a GPU has: weights as they are, and on Hopper,
// which has kernels of its own, also in 8 bits and with the kernels of every GPU.
func testDevice(ctx context.Context, d cuda.Device, options selftest.Options, open opener) ([]selfTest, error) {
	sets := []kernels.Options{{}}
	if d.Capability == hopper {
		sets = append(sets, kernels.Options{Held: kernels.EightBits}, kernels.Options{Portable: true})
	}
	var list []selfTest
	var first error
	for _, o := range sets {
		o.ArenaBytes = selftest.ArenaBytes
		t := selfTest{Weights: weightsPacked, Portable: o.Portable}
		options.EightBits = o.Held == kernels.EightBits
		if options.EightBits {
			t.Weights = weightsInt8
		}
		var err error
		if t.Report, err = testKernels(ctx, options, func() (compute.Backend, error) { return open(o) }); err != nil {
			t.Error = err.Error()
			if first == nil {
				first = err
			}
		}
		list = append(list, t)
	}
	return list, first
}

// testKernels tests a backend of its own.
func testKernels(ctx context.Context, o selftest.Options, open func() (compute.Backend, error)) (selftest.Report, error) {
	b, err := open()
	if err != nil {
		return selftest.Report{Operations: []selftest.Result{}}, err
	}
	report, err := selftest.Run(ctx, b, o)
	if closing := b.Close(); err == nil {
		err = closing
	}
	return report, err
}

// text is the result as a table below a line that names it.
func (t selfTest) text(ordinal int) string {
	with := t.Weights + " weights"
	if t.Portable {
		with += ", kernels of every GPU"
	}
	mark, what := "✓", "computes as the CPU does"
	switch {
	case t.Error != "" && len(t.Operations) == 0:
		return fmt.Sprintf("\n✗ GPU %d, %s: %s\n", ordinal, with, t.Error)
	case !t.OK:
		mark, what = "✗", "does not compute as the CPU does"
	}
	return fmt.Sprintf("\n%s GPU %d, %s: %s (%d operations, %.2f s)\n%v", mark, ordinal, with, what, len(t.Operations), t.Seconds, t.Report)
}

// prove tests the kernels of a backend, and says so.
func prove(ctx context.Context, b compute.Backend, o selftest.Options, log *slog.Logger) error {
	report, err := selftest.Run(ctx, b, o)
	if err != nil {
		return err
	}
	worst := report.Worst()
	log.Info("self-test", "seconds", report.Seconds, "operations", len(report.Operations),
		"worst", worst.Name, "off", float64(worst.Error), "bound", worst.Bound)
	return nil
}
