package cuda

import (
	"fmt"
	"unsafe"
)

// Pointer is an address in a device's memory; 0 is none.
type Pointer uint64

// Alloc takes memory of the device, which holds anything. Addresses are multiples of 256
// at least (CUDA C++ Programming Guide, Device Memory Accesses). The error wraps ErrMemory
// if there is too little.
func (c *Context) Alloc(bytes int64) (Pointer, error) {
	a := c.api
	var p Pointer
	err := c.do(func() error { return a.check("cuMemAlloc_v2", a.cuMemAlloc(&p, uint64(bytes))) })
	if err != nil {
		return 0, fmt.Errorf("allocating %d bytes on CUDA device %d: %w", bytes, c.device.Ordinal, err)
	}
	c.own(p, func() error { return a.check("cuMemFree_v2", a.cuMemFree(p)) })
	return p, nil
}

// Free gives memory back. Whatever uses it must have run: the driver may wait for that, and need
// not.
func (c *Context) Free(p Pointer) error { return c.disown(p) }

// Memory is how many bytes of the device are free, of all that it has.
func (c *Context) Memory() (free, total int64, err error) {
	a := c.api
	var f, t uint64
	err = c.do(func() error { return a.check("cuMemGetInfo_v2", a.cuMemGetInfo(&f, &t)) })
	if err != nil {
		return 0, 0, fmt.Errorf("reading free memory of CUDA device %d: %w", c.device.Ordinal, err)
	}
	return int64(f), int64(t), nil
}

// Pinned is host memory that the device reads and writes by itself. It is not Go's: the
// garbage collector neither moves nor frees it.
type Pinned struct {
	p    unsafe.Pointer
	size int
}

// Pin takes pinned memory, which takes about half a second a gigabyte: take little and use
// it again. The error wraps ErrMemory if there is too little.
func (c *Context) Pin(bytes int) (*Pinned, error) {
	a := c.api
	m := &Pinned{size: bytes}
	err := c.do(func() error { return a.check("cuMemHostAlloc", a.cuMemHostAlloc(&m.p, uint64(bytes), 0)) })
	if err != nil {
		return nil, fmt.Errorf("pinning %d bytes: %w", bytes, err)
	}
	c.own(m, func() error { return a.check("cuMemFreeHost", a.cuMemFreeHost(m.p)) })
	return m, nil
}

// Bytes is the memory, valid until the context is closed. What a queued copy reads or
// writes must be left alone until the copy has run.
func (m *Pinned) Bytes() []byte { return unsafe.Slice((*byte)(m.p), m.size) }

// part is n bytes from an offset on.
func (m *Pinned) part(offset, n int) unsafe.Pointer {
	if offset < 0 || n < 0 || offset+n > m.size {
		panic(fmt.Sprintf("cuda: %d bytes at %d of %d pinned ones", n, offset, m.size))
	}
	return unsafe.Add(m.p, offset)
}
