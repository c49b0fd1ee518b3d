package main

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/server"
)

// The devices that -device names.
const (
	deviceAuto = "auto"
	deviceCUDA = "cuda"
	deviceCPU  = "cpu"
)

const (
	// gpuReserve is what stays free on a GPU beside weights and activations: compiled kernels,
	// unpacked weights of one linear, and what the driver takes as it goes along.
	gpuReserve = 1 << 30
	// gpuArena is how many times the activations of a usual picture a GPU's arena has room
	// for, where there is memory: larger pictures and longer prompts are welcome.
	gpuArena = 3
)

// errRoom is about a model that does not fit into a device's memory.
var errRoom = errors.New("the model does not fit")

// machine is what edits run on: a GPU, or the CPU where driver is nil.
type machine struct {
	driver *cuda.Driver
	device cuda.Device
	hold   holding
}

// holding is a way to hold a checkpoint's 4-bit weights on a GPU, as the backend and the plan
// call it.
type holding struct {
	name    string
	kernels kernels.Held
	plan    plan.Holding
}

// holdings are those that -hold names, the default first.
var holdings = []holding{
	{"packed", kernels.Packed, plan.Packed},
	{"whole", kernels.Whole, plan.Whole},
	{"int8", kernels.EightBits, plan.Int8},
}

// machine chooses the device, and how it holds weights.
func (f startFlags) machine(log *slog.Logger) (machine, error) {
	i := slices.IndexFunc(holdings, func(h holding) bool { return h.name == *f.hold })
	if i < 0 {
		return machine{}, fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: hold is %q; packed, whole and int8 are known", *f.hold))
	}
	m, err := chooseMachine(*f.device, log)
	if err == nil && m.driver == nil && i > 0 {
		return machine{}, fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: hold is %q, and the CPU reads weights as they lie in the file", *f.hold))
	}
	m.hold = holdings[i]
	return m, err
}

// chooseMachine finds the device. auto is the first GPU that the driver shows, and the CPU
// where there is no driver or no GPU, which is said; a driver that is there and does not work
// is an error.
func chooseMachine(want string, log *slog.Logger) (machine, error) {
	switch want {
	case deviceCPU:
		return machine{}, nil
	case deviceAuto, deviceCUDA:
	default:
		return machine{}, fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: device is %q; %q, %q and %q are known", want, deviceAuto, deviceCUDA, deviceCPU))
	}
	driver, err := cuda.Open()
	if want == deviceAuto && (errors.Is(err, cuda.ErrNoDriver) || errors.Is(err, cuda.ErrNoDevice)) {
		log.Warn("there is no GPU: edits run on the CPU, in plain Go", "reason", err.Error())
		return machine{}, nil
	}
	if err != nil {
		return machine{}, err
	}
	devices, err := driver.Devices()
	if err != nil {
		return machine{}, err
	}
	d := devices[0]
	log.Info("device", "name", d.Name, "computeCapability", d.Capability.String(), "totalMemory", d.TotalMemory, "driver", driver.Release())
	return machine{driver: driver, device: d}, nil
}

// actBytes is the size of an activation on the machine.
func (m machine) actBytes() int {
	if m.driver != nil {
		return 2
	}
	return 4
}

// open makes the machine's backend for a model.
func (m machine) open(need plan.Result) (compute.Backend, int64, error) {
	if m.driver == nil {
		free, err := freeMemory()
		if err != nil {
			return nil, 0, err
		}
		limit := free / arenaOf * arenaParts
		return ref.New(ref.Options{ArenaBytes: limit}), limit, nil
	}
	free, err := m.driver.FreeMemory(m.device)
	if err != nil {
		return nil, 0, err
	}
	peak := need.Total.ArenaPeak
	arena := min(free-need.WeightBytes-gpuReserve, gpuArena*peak)
	if arena < peak {
		err := fmt.Errorf("loading the model into %s: %w: weights take %d bytes, activations %d and the driver's part %d, there are %d free",
			m.device.Name, errRoom, need.WeightBytes, peak, int64(gpuReserve), free)
		return nil, 0, fault.Wrap(fault.Resource, "free the GPU of other programs, or use one with more memory", err)
	}
	b, err := kernels.New(m.driver, m.device, kernels.Options{ArenaBytes: arena, Held: m.hold.kernels})
	return b, arena, err
}

// describe is the machine as the service's answers have it.
func (m machine) describe() server.Device {
	if m.driver == nil {
		d := server.Device{Name: fmt.Sprintf("CPU (%d cores, %s)", runtime.GOMAXPROCS(0), runtime.GOARCH)}
		d.FreeMemory, _ = freeMemory() // 0 is not known
		return d
	}
	d := server.Device{
		Name: m.device.Name, GPU: true, Count: 1, TotalMemory: m.device.TotalMemory,
		Driver: m.driver.Release(), CUDA: m.driver.Version().String(), Capability: m.device.Capability.String(),
	}
	if free, err := m.driver.FreeMemory(m.device); err == nil {
		d.FreeMemory, d.AllocatedMemory = free, d.TotalMemory-free
	}
	return d
}
