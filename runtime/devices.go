package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/selftest"
)

// deviceList is the result of the devices command.
type deviceList struct {
	// SchemaVersion is 2 since routes say "runs" where they said "planned".
	SchemaVersion int `json:"schemaVersion"`
	// Error says why there are no devices; with it the exit code is not 0.
	Error string `json:"error,omitempty"`
	// Driver is the release of the kernel module, "" where the system does not tell.
	Driver string `json:"driver,omitempty"`
	// CUDA is the latest CUDA version that the driver supports.
	CUDA    string         `json:"cuda,omitempty"`
	Devices []deviceStatus `json:"devices"`
	// Model is what the model aboard asks of a GPU; absent without a model.json.
	Model *modelNeeds `json:"model,omitempty"`
}

// deviceStatus is a device and what is free on it now.
type deviceStatus struct {
	cuda.Device
	// FreeMemory is in bytes; absent, with FreeMemoryError, where the driver refuses to
	// tell.
	FreeMemory      *int64 `json:"freeMemory,omitempty"`
	FreeMemoryError string `json:"freeMemoryError,omitempty"`
	// Checkpoints says of each checkpoint of the model whether the GPU is one for it.
	Checkpoints []checkpointAdvice `json:"checkpoints,omitempty"`
	// SelfTests are the results of -selftest, absent without it.
	SelfTests []selfTest `json:"selfTests,omitempty"`
}

// setupDevices lists the GPUs, and what they are to the model. The driver honours
// CUDA_VISIBLE_DEVICES.
func setupDevices(flags *flag.FlagSet) action {
	config := flags.String("config", "", "`PATH` of model.json (default "+defaultConfig+", if it is there)")
	test := flags.Bool("selftest", false, "compute each operation on each GPU, with each set of kernels that it has, and compare with the CPU")
	asJSON := jsonFlag(flags)
	return func(ctx context.Context, p *program, _ []string) error {
		model, err := optionalNeeds(*config)
		if err != nil {
			return err
		}
		var tester deviceTester
		if *test {
			tester = func(driver *cuda.Driver, d cuda.Device) ([]selfTest, error) {
				return testDevice(ctx, d, selftest.Options{}, func(o kernels.Options) (compute.Backend, error) { return kernels.New(driver, d, o) })
			}
		}
		return p.listDevices(*asJSON, cuda.Open, model, tester)
	}
}

// listDevices prints the list; test may be nil. With devices that compute wrongly the list is
// complete, and they are the error.
func (p *program) listDevices(asJSON bool, open func() (*cuda.Driver, error), model *modelNeeds, test deviceTester) error {
	list, driver, err := readDevices(open, model)
	if err == nil && test != nil {
		err = list.test(func(d cuda.Device) ([]selfTest, error) { return test(driver, d) })
	}
	switch {
	case asJSON:
		if printErr := p.printJSON(list); printErr != nil {
			return printErr
		}
	case list.Error == "":
		if printErr := p.print(list.text()); printErr != nil {
			return printErr
		}
	}
	return err
}

// readDevices asks the driver. The list is complete in any case: with an error it says so
// itself, and what the model needs is in it all the same.
func readDevices(open func() (*cuda.Driver, error), model *modelNeeds) (deviceList, *cuda.Driver, error) {
	list := deviceList{SchemaVersion: 2, Devices: []deviceStatus{}, Model: model}
	driver, err := open()
	if err != nil {
		list.Error = err.Error()
		return list, nil, err
	}
	list.Driver, list.CUDA = driver.Release(), driver.Version().String()
	devices, err := driver.Devices()
	if err == nil && len(devices) == 0 {
		err = fault.Wrap(fault.Resource, "", fmt.Errorf("listing devices: %w", cuda.ErrNoDevice))
	}
	if err != nil {
		list.Error = err.Error()
		return list, nil, err
	}
	for _, d := range devices {
		s := status(driver, d)
		s.Checkpoints = model.advise(d)
		list.Devices = append(list.Devices, s)
	}
	return list, driver, nil
}

func status(driver *cuda.Driver, d cuda.Device) deviceStatus {
	free, err := driver.FreeMemory(d)
	if err != nil {
		return deviceStatus{Device: d, FreeMemoryError: err.Error()}
	}
	return deviceStatus{Device: d, FreeMemory: &free}
}

// text is the list as a table, with a line for each figure that could not be had; behind
// it what the model needs, and a line for each device and checkpoint.
func (l deviceList) text() string {
	var out, notes strings.Builder
	if l.Driver != "" {
		fmt.Fprintf(&out, "NVIDIA driver %s, ", l.Driver)
	}
	fmt.Fprintf(&out, "CUDA %s\n", l.CUDA)
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "GPU\tNAME\tCOMPUTE\tMEMORY\tFREE\tSMS\tUUID")
	for _, d := range l.Devices {
		free := "unknown"
		if d.FreeMemory != nil {
			free = gigabytes(*d.FreeMemory)
		} else {
			fmt.Fprintf(&notes, "⚠ GPU %d: %s\n", d.Ordinal, d.FreeMemoryError)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%d\t%s\n",
			d.Ordinal, d.Name, d.Capability, gigabytes(d.TotalMemory), free, d.Multiprocessors, d.UUID)
	}
	table.Flush()
	if l.Model != nil {
		notes.WriteString("\n" + l.Model.text())
	}
	for _, d := range l.Devices {
		for _, a := range d.Checkpoints {
			notes.WriteString(a.text(d.Ordinal))
		}
	}
	for _, d := range l.Devices {
		for _, t := range d.SelfTests {
			notes.WriteString(t.text(d.Ordinal))
		}
	}
	return out.String() + notes.String()
}

// gigabytes is "85.90 GB", in units of 10^9 bytes.
func gigabytes(n int64) string { return fmt.Sprintf("%.2f GB", float64(n)/1e9) }
