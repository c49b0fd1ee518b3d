package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/server"
	"github.com/plimsoll-oci/plimsoll/verify/gpu"
)

// The devices that -device names.
const (
	deviceAuto = "auto"
	deviceCUDA = "cuda"
	deviceCPU  = "cpu"
)

// The ways to hold 4-bit weights that -weights names.
const (
	weightsAuto   = "auto"
	weightsPacked = "packed"
	weightsWhole  = "whole"
	weightsInt8   = "int8"
	weightsW4A4   = "w4a4"
)

// forms are the ways, but for auto, and what package plan calls them.
var forms = map[string]struct {
	held    kernels.Held
	planned plan.Holding
}{
	weightsPacked: {kernels.Packed, plan.Packed},
	weightsWhole:  {kernels.Whole, plan.Whole},
	weightsInt8:   {kernels.EightBits, plan.Int8},
	weightsW4A4:   {kernels.W4A4, plan.W4A4},
}

const (
	// gpuReserve is what stays free on a GPU beside weights and activations: compiled kernels,
	// unpacked weights of one linear, and what the driver takes as it goes along.
	gpuReserve = gpu.Reserve
	// gpuContext is what the driver takes before anything is there.
	gpuContext = gpu.Context
	// gpuArena is how many times the activations of a usual picture a GPU's arena has room
	// for, where there is memory: larger pictures and longer prompts are welcome. The self-test
	// has room in any case.
	gpuArena = 3
)

// hopper is the compute capability of the one generation with kernels for weights in 8 bits.
var hopper = cuda.Capability{Major: 9, Minor: 0}

// errRoom is about a model that does not fit into a device's memory.
var errRoom = errors.New("the model does not fit")

// anyMemory is no limit.
const anyMemory = math.MaxInt64

// machine is what edits run on: a GPU, or the CPU where driver is nil.
type machine struct {
	driver *cuda.Driver
	device cuda.Device
	// weights is how the GPU holds 4-bit weights, one of forms.
	weights string
	// limit is how many bytes of the GPU's memory may be taken.
	limit int64
	// joined ends the early opening of the GPU, which a backend has joined or none will; nil on
	// the CPU.
	joined func()
}

// chooseMachine finds the device. auto is the first GPU that the driver shows, and the CPU
// where there is no driver or no GPU, which is said; a driver that is there and does not work
// is an error.
func chooseMachine(flags startFlags, log *slog.Logger) (machine, error) {
	limit, err := flags.check()
	if err != nil || *flags.device == deviceCPU {
		return machine{}, err
	}
	weights := *flags.weights
	driver, err := cuda.Open()
	if *flags.device == deviceAuto && (errors.Is(err, cuda.ErrNoDriver) || errors.Is(err, cuda.ErrNoDevice)) {
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
	m := machine{driver: driver, device: devices[0], weights: weightsPacked, limit: limit, joined: openEarly(driver, devices[0])}
	switch {
	case weights != weightsAuto:
		m.weights = weights
	case m.device.Capability == hopper:
		m.weights = weightsInt8
	}
	log.Info("device", "name", m.device.Name, "computeCapability", m.device.Capability.String(), "totalMemory", m.device.TotalMemory,
		"driver", driver.Release(), "weights", m.weights)
	return m, nil
}

// openEarly opens a GPU, which takes 0.1 s and more, beside what comes before a backend is made
// on it. An error is the backend's: it opens the GPU too.
func openEarly(driver *cuda.Driver, d cuda.Device) (joined func()) {
	opened := make(chan *cuda.Context, 1)
	go func() {
		c, err := driver.Context(d, cuda.Options{})
		if err != nil {
			c = nil
		}
		opened <- c
	}()
	return sync.OnceFunc(func() {
		if c := <-opened; c != nil {
			_ = c.Close() // only the backend's errors matter
		}
	})
}

// needs is what a model takes of a kind of machine, and an edit like its sample.
type needs = func(plan.Options) (plan.Result, error)

// plan says whose memory is planned.
func (m machine) plan() plan.Options {
	if m.driver == nil {
		return plan.Options{ActBytes: 4}
	}
	return plan.Options{SVDQ: forms[m.weights].planned, Temporaries: true}
}

// open makes the machine's backend for a model.
//
// Where not all weights fit into a GPU, they may take their smaller form if that is allowed, which
// is then m's, and some of them stay on the host; that is said.
func (m *machine) open(of needs, smaller bool, log *slog.Logger) (b compute.Backend, p placement, need plan.Result, err error) {
	if need, err = of(m.plan()); err != nil {
		return nil, p, need, err
	}
	if m.driver == nil {
		free, err := freeMemory()
		p.arena = free / arenaOf * arenaParts
		if err != nil {
			return nil, p, need, err
		}
		return ref.New(ref.Options{ArenaBytes: p.arena}), p, need, nil
	}
	free, err := m.driver.FreeMemory(m.device)
	if err != nil {
		return nil, p, need, err
	}
	p, err = m.place(need, free)
	if errors.Is(err, errRoom) && smaller && m.weights != weightsPacked {
		log.Warn("weights stay packed: the model does not fit in 8 bits", "reason", err.Error())
		m.weights = weightsPacked
		if need, err = of(m.plan()); err == nil {
			p, err = m.place(need, free)
		}
	}
	if err != nil {
		return nil, p, need, err
	}
	p.say(need, log)
	b, err = kernels.New(m.driver, m.device, p.options(forms[m.weights].held))
	m.join()
	return b, p, need, err
}

// join ends the early opening of a GPU. A start calls it however it ends: a service that answers
// why it failed is not to hold memory of the GPU.
func (m machine) join() {
	if m.joined != nil {
		m.joined()
	}
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
