// Package ref computes the operations of package compute in plain Go and float32: the
// oracle that other backends are held against, and what runs where there is no GPU.
//
// # Number formats
//
// Activations are float32, of either kind; sums of a row (norms, softmax) and the functions
// exp, tanh and erf are float64 inside. Products of matrices are float32: each value is the
// sum of pieces of 512 products. Weights are read as they lie in their file, BF16, F32 or 4
// bits, and become float32 exactly, row by row, when an operation needs them. Nothing is
// rounded to bfloat16, unless Options.Numerics asks for it.
//
// # Memory
//
//   - The weights: none of them. Their bytes stay where the caller has them, usually in a
//     mapped file; only vectors (norms, biases, smoothing factors) are copied.
//   - The arena, of a fixed size. On Linux pages of it that were never written take no
//     memory.
//   - Scratch: up to blockRows rows of a multiplication's input, of a convolution also the
//     lines of the picture under them, and for each worker a tile of weights (16 rows, of
//     SVDQ linears 128) and of results, or the scores of a few queries. It grows to what
//     the largest operation needs and stays until Close. Only scores grow with the number
//     of keys, and lines with the width of a picture.
//
// # Determinism
//
// Every value is computed by one worker in one order, so results do not depend on the
// number of workers, nor on what else is in the arena.
//
// Wrong shapes panic, as the contract says, and so do tensors that overlap where they must
// not, tensors that are gone from the arena, and what another backend has loaded.
package ref

import (
	"errors"
	"fmt"
	"math"
	"runtime"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// DefaultArena is the arena's size in bytes if Options do not say.
const DefaultArena = 1 << 30

// valueSize is the number of bytes of a value, of either kind.
const valueSize = 4

// Options describe a backend. The zero value has defaults for all.
type Options struct {
	// ArenaBytes is the size of the arena; 0 is DefaultArena.
	ArenaBytes int64
	// Numerics is how linears of an SVDQuant checkpoint are computed.
	Numerics Numerics
	// Workers is how many goroutines compute at a time; 0 is GOMAXPROCS.
	Workers int
	// Poison fills new tensors with NaN, so that a test finds reads of what was never
	// written.
	Poison bool
}

// Backend is a compute.Backend. It is used by one goroutine at a time.
type Backend struct {
	arena    compute.Arena
	memory   []float32
	release  func() error
	workers  []*worker
	block    block
	lines    []float32 // of a convolution
	poison   bool
	numerics Numerics
	err      error // what sticks
}

var _ compute.Backend = (*Backend)(nil)

// New makes a backend. It panics if the system does not even give it addresses for the
// arena, as make does.
func New(o Options) *Backend {
	if o.ArenaBytes == 0 {
		o.ArenaBytes = DefaultArena
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.ArenaBytes < 0 || o.Workers < 0 || o.Numerics > Int8Blocks {
		panic(fmt.Sprintf("ref: an arena of %d bytes, %d workers, numerics %v", o.ArenaBytes, o.Workers, o.Numerics))
	}
	b := &Backend{arena: compute.Arena{Limit: o.ArenaBytes}, poison: o.Poison, numerics: o.Numerics}
	b.memory, b.release = reserve(int((o.ArenaBytes + valueSize - 1) / valueSize))
	for range o.Workers {
		b.workers = append(b.workers, &worker{})
	}
	return b
}

// Alloc takes a tensor from the arena.
func (b *Backend) Alloc(k compute.Kind, rows, cols int) compute.Tensor {
	t, ok := b.arena.Alloc(k, rows, cols, valueSize)
	if !ok {
		b.stick(fault.Wrap(fault.Resource, "make the arena larger or the picture smaller", fmt.Errorf(
			"allocating %v: it takes %d bytes, and %d of %d are in use", t, t.Bytes(), b.arena.Used(), b.arena.Limit)))
		return t
	}
	if b.poison && b.err == nil {
		fill(b.values(t), float32(math.NaN()))
	}
	return t
}

// Mark is the arena's state.
func (b *Backend) Mark() compute.Mark { return b.arena.Mark() }

// Reset goes back to a state.
func (b *Backend) Reset(m compute.Mark) { b.arena.Reset(m) }

// Peak is how many bytes of the arena were ever in use at a time.
func (b *Backend) Peak() int64 { return b.arena.Peak() }

// Upload copies values into dst.
func (b *Backend) Upload(dst compute.Tensor, values []float32) {
	compute.CheckValues(dst, values)
	if b.err == nil {
		b.arena.Present(dst)
		copy(b.values(dst), values)
	}
}

// Download copies src into values.
func (b *Backend) Download(values []float32, src compute.Tensor) error {
	compute.CheckValues(src, values)
	if b.err == nil {
		b.arena.Present(src)
		copy(values, b.values(src))
	}
	return b.err
}

// Sync returns the error that sticks.
func (b *Backend) Sync() error { return b.err }

// Renew lets go of the error that sticks: here every one is about values or the arena.
func (b *Backend) Renew() error {
	b.err = nil
	return nil
}

// Close gives the arena back and returns the error that sticks.
func (b *Backend) Close() error {
	err := b.release()
	if err != nil {
		err = fmt.Errorf("giving back an arena of %d bytes: %w", b.arena.Limit, err)
	}
	b.memory, b.workers, b.block, b.lines = nil, nil, block{}, nil
	return errors.Join(b.err, err)
}

// stick keeps the first error.
func (b *Backend) stick(err error) {
	if b.err == nil {
		b.err = err
	}
}

// values are those of a tensor, in the arena.
func (b *Backend) values(t compute.Tensor) []float32 {
	at := t.Offset / valueSize
	return b.memory[at:][:t.Len()]
}

func fill(values []float32, v float32) {
	for i := range values {
		values[i] = v
	}
}
