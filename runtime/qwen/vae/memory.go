package vae

import "github.com/plimsoll-oci/plimsoll/runtime/compute"

// memory is two buffers of one size between which the picture goes back and forth. It lies
// at the start of one of them; a layer takes what it needs from the other.
type memory struct {
	here, there compute.Tensor // columns of single values
	used        int            // of there
}

// newMemory takes buffers of n values from a backend's arena.
func newMemory(b compute.Backend, n int) *memory {
	return &memory{here: b.Alloc(compute.Act, n, 1), there: b.Alloc(compute.Act, n, 1)}
}

// take takes a tensor from the buffer that the picture is not in. It holds anything.
func (m *memory) take(rows, cols int) compute.Tensor {
	n := rows * cols
	t := m.there.Slice(m.used, m.used+n).Reshape(rows, cols)
	m.used += aligned(n)
	return t
}

// stay ends a layer that left the picture where it was.
func (m *memory) stay() { m.used = 0 }

// move ends a layer whose result is the first tensor that it took.
func (m *memory) move() {
	m.here, m.there = m.there, m.here
	m.used = 0
}

// aligned rounds a number of values up so that the tensor behind them begins where one from
// the arena could. Values have one byte or more.
func aligned(n int) int { return (n + compute.Align - 1) / compute.Align * compute.Align }
