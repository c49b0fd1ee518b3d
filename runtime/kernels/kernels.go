// Package kernels computes the operations of package compute on an NVIDIA GPU.
//
// Sources are .cu files with our own header in place of CUDA's; their PTX is committed
// (package build), and machine code of it for the most likely devices (package cubin). For
// others of compute capability 8.0 or later the driver compiles the PTX, which takes it
// seconds at a first start. Each .cu file states what its kernels take.
//
// # Number formats
//
// Activations are bfloat16, of kind F32 float32. Arithmetic and sums are float32 inside an
// operation. A linear or convolution with activations or weights in bfloat16 runs on the
// tensor cores, with operands in bfloat16 and sums in float32; what Pre makes of its input
// is rounded to the input's format first. A linear of kind F32 from kind F32 is float32 all
// through, whatever the format of its weights.
//
// An SVDQ linear's weights stay packed, 4 bits each, unless Options.Held says otherwise (with
// W4A4 inputs are rounded to 4 bits too). For a product they become one matrix in bfloat16, smoothing and branch of low rank included, in
// memory that all linears share: see svdq.go. AWQ weights are decoded as they are read.
//
// # Memory
//
//   - The weights, from the time they are loaded, and the largest SVDQ linear in bfloat16.
//   - The arena. Besides the caller's tensors it holds, during an operation, what the
//     operation needs beside them: the result of a Pre that is followed by a product, as
//     large as the product's input; lists of rows; the input of a convolution or of a dense
//     linear padded to a multiple of 8.
//   - The window, if weights stream: see groups.go.
//   - Pinned host memory, 32 MiB, and 4 MiB more for each of at most twelve threads while
//     weights are loaded or stream. On the host weights lie nowhere else but behind their Weight.
//
// # Loading
//
// A Load… returns once it has checked the tensors and taken memory; threads carry the bytes
// to the device behind it. They begin with the first large tensor: small ones before it go
// through the stream. Kernels that bring weights into order are launched when all bytes are
// there that were asked for until then. The first call that is no Load… waits for that, and it
// is then that a tensor which could not be copied is an error, which names it and sticks. What
// those kernels read lies in the arena above the tensors. Close gives up what has not begun.
//
// Groups of weights that stream (Options.Streamed) come when they are used: see groups.go.
//
// # Order and errors
//
// Operations are queued and run behind. No sum depends on timing, so that repeated runs
// give the same bits. Errors stick as package compute says; those of package cuda keep
// their meaning under errors.Is (ErrMemory, ErrLost). Attention takes activations only, and
// heads of at most 512 values; q, k and v of Heads are of one kind, and so are the
// predictions of Guide: anything else panics, as wrong shapes do.
package kernels

import (
	"errors"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// actSize is the number of bytes of an activation, f32Size that of a float32.
const (
	actSize = 2
	f32Size = 4
)

// The ring of pinned buffers.
const (
	stagingBuffers = 16
	stagingSize    = 2 << 20
)

// Options describe a backend.
type Options struct {
	// ArenaBytes is the size of the arena.
	ArenaBytes int64
	// Poison fills new tensors with NaN, so that a test finds reads of what was never
	// written.
	Poison bool
	// Held is how the weights of SVDQ linears are held.
	Held Held
	// Streamed says which groups of weights stay on the host, and come to the device when they
	// are used; nil is none. It takes Packed.
	Streamed func(group string) bool
	// Portable leaves kernels for one architecture alone and takes those that every device
	// runs.
	Portable bool
	// Context are options of the CUDA context.
	Context cuda.Options
}

// Backend is a compute.Backend on one device. It is used by one goroutine at a time.
type Backend struct {
	context   *cuda.Context
	stream    *cuda.Stream
	staging   *cuda.Staging
	functions *functions
	poison    bool
	held      Held

	arena  compute.Arena
	memory cuda.Pointer // the arena
	store  store
	intake intake
	window window
	// streamed is Options.Streamed.
	streamed func(group string) bool
	// unpacked holds the weights of one SVDQ linear, unpackedBytes large.
	unpacked      cuda.Pointer
	unpackedBytes int64

	checks checks
	err    error // what sticks
}

var _ compute.Backend = (*Backend)(nil)

// New makes a backend on a device. The error is of kind fault.Resource: a device that is
// too old, or too little memory (cuda.ErrMemory). The driver goes on compiling the kernels
// after New has returned; an error of that sticks where a kernel is first needed.
func New(driver *cuda.Driver, device cuda.Device, o Options) (*Backend, error) {
	if c := device.Capability; c.Major < 8 {
		return nil, fault.Wrap(fault.Resource, "use a GPU of compute capability 8.0 or later: Ampere, Ada, Hopper or Blackwell",
			fmt.Errorf("using CUDA device %d, %s: its compute capability is %v", device.Ordinal, device.Name, c))
	}
	if o.ArenaBytes <= 0 || o.Streamed != nil && o.Held != Packed {
		panic(fmt.Sprintf("kernels: an arena of %d bytes, weights held %d and streamed %t", o.ArenaBytes, o.Held, o.Streamed != nil))
	}
	context, err := driver.Context(device, o.Context)
	if err != nil {
		return nil, err
	}
	b := &Backend{context: context, poison: o.Poison, held: o.Held, streamed: o.Streamed, arena: compute.Arena{Limit: o.ArenaBytes}}
	b.store.context = context
	if err := b.open(o.targets(device, driver.Version())); err != nil {
		if b.functions != nil {
			b.functions.stop()
		}
		return nil, errors.Join(err, context.Close())
	}
	return b, nil
}

// open makes what a backend has from the start.
func (b *Backend) open(targets []string) (err error) {
	if b.functions, err = newFunctions(b.context, targets...); err != nil {
		return err
	}
	if err := b.held.check(b.functions); err != nil {
		return err
	}
	if b.stream, err = b.context.Stream(); err != nil {
		return err
	}
	if b.staging, err = b.stream.Staging(stagingBuffers, stagingSize); err != nil {
		return err
	}
	if err := b.checks.open(b); err != nil {
		return err
	}
	if b.memory, err = b.context.Alloc(b.arena.Limit); err != nil {
		return fmt.Errorf("making the arena: %w", err)
	}
	return nil
}

// tiledSince is the CUDA version that brought tiled matrices.
const tiledSince = 12000

// targets are the targets of PTX that a device runs. PTX for Hopper runs on Hopper alone.
func (o Options) targets(d cuda.Device, v cuda.Version) []string {
	if !o.Portable && d.Capability == (cuda.Capability{Major: 9, Minor: 0}) && v >= tiledSince {
		return []string{hopper, ampere}
	}
	return []string{ampere}
}

// Device is the backend's device.
func (b *Backend) Device() cuda.Device { return b.context.Device() }

// Weights is how many bytes of the device's memory hold weights, those of the window included.
func (b *Backend) Weights() int64 { return b.store.bytes + b.unpackedBytes + b.window.bytes }

// Peak is how many bytes of the arena were ever in use at a time.
func (b *Backend) Peak() int64 { return b.arena.Peak() }

// Sync waits for everything before it and returns the error that sticks.
func (b *Backend) Sync() error {
	if b.ready() {
		b.stick(b.checks.look(b))
	}
	if b.err == nil {
		b.stick(b.stream.Sync())
	}
	return b.err
}

// Renew lets go of the error that sticks unless it is the device's.
func (b *Backend) Renew() error {
	if err := b.Sync(); err == nil {
		return nil
	}
	if b.context.Err() != nil {
		return b.err
	}
	b.err = nil
	b.checks.pending = b.checks.pending[:0]
	b.stream.Fill(b.checks.memory, 0xff, 8*maxChecks)
	return b.Sync()
}

// Close waits, gives back everything, and returns the error that sticks.
func (b *Backend) Close() error {
	b.endIntake()
	b.stick(b.stopWindow())
	b.window.groups, b.window.placed = nil, 0 // none needs a place any more
	first := b.Sync()
	b.functions.stop()
	if err := b.context.Close(); first == nil {
		first = err
	}
	return first
}

// stick keeps the first error.
func (b *Backend) stick(err error) {
	if b.err == nil {
		b.err = err
	}
}
