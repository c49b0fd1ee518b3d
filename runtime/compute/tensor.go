package compute

import "fmt"

// Kind is the format of a tensor's values.
type Kind uint8

const (
	// Act is the backend's own format for activations: bfloat16 on a GPU, float32 in ref.
	Act Kind = iota
	// F32 is float32 on every backend, for what is few or must stay exact: latents,
	// modulation, rotation angles.
	F32
)

// String returns "act" or "f32".
func (k Kind) String() string {
	if k == F32 {
		return "f32"
	}
	return "act"
}

// Tensor is a matrix of values in a backend's arena, [Rows, Cols], row-major. The zero
// Tensor is none.
type Tensor struct {
	Rows, Cols int
	Kind       Kind
	// Offset is where the first value lies in the arena, and Size how many bytes a value
	// takes; both are the backend's to read.
	Offset int64
	Size   int
}

// IsZero reports whether t is no tensor.
func (t Tensor) IsZero() bool { return t == Tensor{} }

// Len is the number of values.
func (t Tensor) Len() int { return t.Rows * t.Cols }

// Bytes is the number of bytes in the arena.
func (t Tensor) Bytes() int64 { return int64(t.Rows) * int64(t.Cols) * int64(t.Size) }

// Slice returns rows from to to, to excluded: the same memory.
func (t Tensor) Slice(from, to int) Tensor {
	if from < 0 || to < from || to > t.Rows {
		panic(fmt.Sprintf("compute: rows %d to %d of a tensor of %d", from, to, t.Rows))
	}
	t.Offset += int64(from) * int64(t.Cols) * int64(t.Size)
	t.Rows = to - from
	return t
}

// Reshape returns the same values in the same order as rows of another width.
func (t Tensor) Reshape(rows, cols int) Tensor {
	if rows*cols != t.Len() {
		panic(fmt.Sprintf("compute: %d×%d values as %d×%d", t.Rows, t.Cols, rows, cols))
	}
	t.Rows, t.Cols = rows, cols
	return t
}

// String describes the shape, as messages need it.
func (t Tensor) String() string { return fmt.Sprintf("%v[%d×%d]", t.Kind, t.Rows, t.Cols) }

// Mark is a state of an arena: how many bytes were in use.
type Mark int64

// Align is what every tensor's offset in an arena is a multiple of: what GPUs want for
// their widest loads, and their matrices' descriptors.
const Align = 256

// Arena gives out offsets below a limit, from the bottom up. It is the bookkeeping that
// backends share; the memory is theirs. It is not safe for concurrent use.
type Arena struct {
	// Limit is the size in bytes; 0 is none.
	Limit      int64
	used, peak int64
}

// Alloc takes a tensor of values of size bytes each. ok is false, and nothing is taken, if
// it would pass the limit; the tensor then has its shape and lies at the bottom.
func (a *Arena) Alloc(k Kind, rows, cols, size int) (t Tensor, ok bool) {
	if rows <= 0 || cols <= 0 {
		panic(fmt.Sprintf("compute: a tensor of %d×%d values", rows, cols))
	}
	t = Tensor{Rows: rows, Cols: cols, Kind: k, Size: size}
	end := a.used + (t.Bytes()+Align-1)/Align*Align
	if a.Limit > 0 && end > a.Limit {
		return t, false
	}
	t.Offset = a.used
	a.used = end
	a.peak = max(a.peak, end)
	return t, true
}

// Mark is the present state.
func (a *Arena) Mark() Mark { return Mark(a.used) }

// Reset goes back to a state. A state from the future panics.
func (a *Arena) Reset(m Mark) {
	if int64(m) > a.used || m < 0 {
		panic(fmt.Sprintf("compute: going back to mark %d with %d bytes in use", m, a.used))
	}
	a.used = int64(m)
}

// Used is how many bytes are in use.
func (a *Arena) Used() int64 { return a.used }

// Peak is how many bytes were ever in use at a time.
func (a *Arena) Peak() int64 { return a.peak }
