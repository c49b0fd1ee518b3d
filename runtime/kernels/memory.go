package kernels

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

func sizeOf(k compute.Kind) int {
	if k == compute.F32 {
		return f32Size
	}
	return actSize
}

// Alloc takes a tensor from the arena.
func (b *Backend) Alloc(k compute.Kind, rows, cols int) compute.Tensor {
	b.settle() // what is being loaded lies where tensors will
	t, ok := b.arena.Alloc(k, rows, cols, sizeOf(k))
	if !ok {
		b.stick(fault.Wrap(fault.Resource, "make the arena larger or the picture smaller", fmt.Errorf(
			"allocating %v: %w: it takes %d bytes, and %d of %d are in use", t, cuda.ErrMemory, t.Bytes(), b.arena.Used(), b.arena.Limit)))
		return t
	}
	if b.poison && b.err == nil {
		b.stream.Fill(b.at(t), 0xff, t.Bytes()) // a NaN in either format
	}
	return t
}

// Mark is the arena's state.
func (b *Backend) Mark() compute.Mark { return b.arena.Mark() }

// Reset goes back to a state. What runs behind is no hindrance: whatever is put into the
// memory runs after it.
func (b *Backend) Reset(m compute.Mark) { b.arena.Reset(m) }

// at is where a tensor lies on the device.
func (b *Backend) at(t compute.Tensor) cuda.Pointer { return b.memory + cuda.Pointer(t.Offset) }

// address is a tensor as a parameter; none is null.
func (b *Backend) address(t compute.Tensor) cuda.Parameter {
	if t.IsZero() {
		return 0
	}
	return cuda.Address(b.at(t))
}

// temporary takes a tensor for the time of an operation, and says how to give it back.
func (b *Backend) temporary(k compute.Kind, rows, cols int) (compute.Tensor, func()) {
	m := b.arena.Mark()
	return b.Alloc(k, rows, cols), func() { b.arena.Reset(m) }
}

// Upload copies values into dst.
func (b *Backend) Upload(dst compute.Tensor, values []float32) {
	compute.CheckValues(dst, values)
	if !b.ready() {
		return
	}
	b.arena.Present(dst)
	b.upload(dst, values)
}

// upload is Upload of what was checked.
func (b *Backend) upload(dst compute.Tensor, values []float32) {
	b.stick(b.staging.Write(b.at(dst), int(dst.Bytes()), func(piece []byte, offset int) {
		encode(piece, values[offset/dst.Size:][:len(piece)/dst.Size], dst.Kind)
	}))
}

// Download waits and copies src into values.
func (b *Backend) Download(values []float32, src compute.Tensor) error {
	compute.CheckValues(src, values)
	if !b.ready() {
		return b.err
	}
	b.arena.Present(src)
	b.stick(b.checks.look(b))
	if b.err == nil {
		b.stick(b.staging.Read(b.at(src), int(src.Bytes()), func(piece []byte, offset int) {
			decode(values[offset/src.Size:][:len(piece)/src.Size], piece, src.Kind)
		}))
	}
	return b.err
}

// encode writes values in a kind's format.
func encode(dst []byte, values []float32, k compute.Kind) {
	if k == compute.F32 {
		for i, v := range values {
			binary.LittleEndian.PutUint32(dst[f32Size*i:], math.Float32bits(v))
		}
		return
	}
	for i, v := range values {
		binary.LittleEndian.PutUint16(dst[actSize*i:], bf16.Bits(v))
	}
}

// decode reads values in a kind's format.
func decode(values []float32, src []byte, k compute.Kind) {
	if k == compute.F32 {
		for i := range values {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[f32Size*i:]))
		}
		return
	}
	for i := range values {
		values[i] = bf16.Value(binary.LittleEndian.Uint16(src[actSize*i:]))
	}
}

// integers puts integers on the device, at a tensor's place.
func (b *Backend) integers(t compute.Tensor, values []int32) {
	if b.err != nil {
		return
	}
	b.stick(b.staging.Write(b.at(t), len(values)*f32Size, func(piece []byte, offset int) {
		for i, v := range values[offset/f32Size:][:len(piece)/f32Size] {
			binary.LittleEndian.PutUint32(piece[f32Size*i:], uint32(v))
		}
	}))
}

// ready reports whether an operation shall run: it does not once an error sticks. What is
// being loaded is there for it.
func (b *Backend) ready() bool {
	b.settle()
	if b.err == nil {
		b.stick(b.context.Err())
	}
	return b.err == nil
}
