package cuda

import (
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"
)

// maxParameters is the most parameters that a launch can have.
const maxParameters = 64

// streamNonBlocking is CU_STREAM_NON_BLOCKING: no order with the legacy default stream,
// which nobody uses here.
const streamNonBlocking = 1

// Stream is a queue of the device: what is put into it runs in order.
type Stream struct {
	context *Context
	s       streamPointer
}

// Stream makes a stream.
func (c *Context) Stream() (*Stream, error) {
	a := c.api
	s := &Stream{context: c}
	err := c.do(func() error { return a.check("cuStreamCreate", a.cuStreamCreate(&s.s, streamNonBlocking)) })
	if err != nil {
		return nil, fmt.Errorf("making a CUDA stream: %w", err)
	}
	c.own(s, func() error { return a.check("cuStreamDestroy_v2", a.cuStreamDestroy(s.s)) })
	return s, nil
}

// Dim is the size of a grid in blocks, or of a block in threads. A side of 0 is 1.
type Dim struct{ X, Y, Z int }

func (d Dim) sides() (x, y, z uintptr) {
	return uintptr(max(d.X, 1)), uintptr(max(d.Y, 1)), uintptr(max(d.Z, 1))
}

// Parameter is a kernel's parameter of 8 bytes or less, in the low ones.
type Parameter uint64

// Int is an integer parameter of 4 or 8 bytes.
func Int(v int) Parameter { return Parameter(v) }

// Float is a float32 parameter.
func Float(v float32) Parameter { return Parameter(math.Float32bits(v)) }

// Bool is an integer parameter, 1 or 0.
func Bool(v bool) Parameter {
	if v {
		return 1
	}
	return 0
}

// Address is a pointer parameter.
func Address(p Pointer) Parameter { return Parameter(p) }

// Launch puts a kernel into the stream, with so many bytes of dynamic shared memory. The
// parameters must be those of the kernel, in number and order: the driver checks neither.
func (s *Stream) Launch(f *Function, grid, block Dim, shared int, params ...Parameter) {
	s.LaunchTiled(f, grid, block, shared, nil, params...)
}

// LaunchTiled launches a kernel whose first parameters are tiled matrices (CUtensorMap, by
// value). The driver has them from CUDA 12.0 on.
func (s *Stream) LaunchTiled(f *Function, grid, block Dim, shared int, matrices []Matrix, params ...Parameter) {
	if len(matrices)+len(params) > maxParameters || len(matrices) > maxMaps {
		panic(fmt.Sprintf("cuda: launching %s with %d matrices and %d parameters", f.name, len(matrices), len(params)))
	}
	s.context.behind(func() error {
		if err := s.launch(f, grid, block, shared, matrices, params); err != nil {
			return fmt.Errorf("launching kernel %s on %v blocks of %v threads with %d bytes of shared memory: %w", f.name, grid, block, shared, err)
		}
		return nil
	})
}

// launch runs on the context's thread.
func (s *Stream) launch(f *Function, grid, block Dim, shared int, matrices []Matrix, params []Parameter) error {
	c := s.context
	memory := c.memory
	for i, m := range matrices {
		if err := m.encode(c.api, &memory.maps[i]); err != nil {
			return err
		}
		memory.pointers[i] = unsafe.Pointer(&memory.maps[i])
	}
	for i, p := range params {
		memory.values[i] = p
		memory.pointers[len(matrices)+i] = unsafe.Pointer(&memory.values[i])
	}
	gx, gy, gz := grid.sides()
	bx, by, bz := block.sides()
	code, _, _ := purego.SyscallN(c.api.cuLaunchKernel, uintptr(f.f), gx, gy, gz, bx, by, bz,
		uintptr(shared), uintptr(s.s), uintptr(unsafe.Pointer(&memory.pointers)), 0)
	if err := c.api.check("cuLaunchKernel", Code(code)); err != nil {
		return err
	}
	if c.synchronous {
		return c.api.check("cuStreamSynchronize", c.api.cuStreamSynchronize(s.s))
	}
	return nil
}

// CopyToDevice puts a copy of n bytes from an offset of pinned memory into the stream.
func (s *Stream) CopyToDevice(dst Pointer, src *Pinned, offset, n int) {
	s.toDevice("", dst, src, offset, n, nil)
}

// toDevice is CopyToDevice of something, unless there was an error before it, which then sticks.
func (s *Stream) toDevice(what string, dst Pointer, src *Pinned, offset, n int, before error) {
	c, from := s.context, src.part(offset, n)
	if what == "" {
		what = bytesText(n)
	}
	c.behind(func() error {
		err := before
		if err == nil {
			err = c.api.check("cuMemcpyHtoDAsync_v2", c.api.cuMemcpyHtoDAsync(dst, from, uint64(n), s.s))
		}
		return copying(what, err)
	})
}

func bytesText(n int) string { return fmt.Sprintf("%d bytes", n) }

// copying says what could not be copied.
func copying(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("copying %s: %w", what, err)
}

// CopyToHost puts a copy of n bytes to an offset of pinned memory into the stream.
func (s *Stream) CopyToHost(dst *Pinned, offset int, src Pointer, n int) {
	a, to := s.context.api, dst.part(offset, n)
	s.copy("cuMemcpyDtoHAsync_v2", n, func() Code { return a.cuMemcpyDtoHAsync(to, src, uint64(n), s.s) })
}

// Copy puts a copy of n bytes inside the device into the stream.
func (s *Stream) Copy(dst, src Pointer, n int64) {
	a := s.context.api
	s.copy("cuMemcpyDtoDAsync_v2", int(n), func() Code { return a.cuMemcpyDtoDAsync(dst, src, uint64(n), s.s) })
}

// Fill puts the setting of n bytes to a value into the stream.
func (s *Stream) Fill(dst Pointer, value byte, n int64) {
	a := s.context.api
	s.copy("cuMemsetD8Async", int(n), func() Code { return a.cuMemsetD8Async(dst, value, uint64(n), s.s) })
}

func (s *Stream) copy(call string, n int, f func() Code) {
	c := s.context
	c.behind(func() error { return copying(bytesText(n), c.api.check(call, f())) })
}

// Sync waits until everything in the stream has run, and returns the error that sticks.
func (s *Stream) Sync() error {
	a := s.context.api
	return s.context.do(func() error { return a.check("cuStreamSynchronize", a.cuStreamSynchronize(s.s)) })
}

// Event is a point in a stream, and when it was passed.
type Event struct {
	context *Context
	e       eventPointer
}

// Event makes an event.
func (c *Context) Event() (*Event, error) {
	a := c.api
	e := &Event{context: c}
	err := c.do(func() error { return a.check("cuEventCreate", a.cuEventCreate(&e.e, 0)) })
	if err != nil {
		return nil, fmt.Errorf("making a CUDA event: %w", err)
	}
	c.own(e, func() error { return a.check("cuEventDestroy_v2", a.cuEventDestroy(e.e)) })
	return e, nil
}

// Record puts the event into the stream.
func (s *Stream) Record(e *Event) {
	a := s.context.api
	s.context.behind(func() error { return a.check("cuEventRecord", a.cuEventRecord(e.e, s.s)) })
}

// Mark is Record that returns once the driver has the event, so that a batch of a feed may follow
// it. What is in the stream is not waited for.
func (s *Stream) Mark(e *Event) error {
	a := s.context.api
	return s.context.do(func() error { return a.check("cuEventRecord", a.cuEventRecord(e.e, s.s)) })
}

// Wait waits until the event was passed.
func (e *Event) Wait() error {
	a := e.context.api
	return e.context.do(func() error { return a.check("cuEventSynchronize", a.cuEventSynchronize(e.e)) })
}

// Since waits for the event and returns the time on the device since an earlier one, to
// half a microsecond.
func (e *Event) Since(start *Event) (time.Duration, error) {
	a := e.context.api
	if err := e.Wait(); err != nil {
		return 0, err
	}
	var milliseconds float32
	err := e.context.do(func() error {
		return a.check("cuEventElapsedTime", a.cuEventElapsedTime(&milliseconds, start.e, e.e))
	})
	return time.Duration(float64(milliseconds) * float64(time.Millisecond)), err
}
