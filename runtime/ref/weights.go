package ref

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// vector is a row of values, copied.
type vector struct {
	home *Backend
	v    []float32
}

// Len is the number of values.
func (v *vector) Len() int { return len(v.v) }

// table is a matrix in its file's bytes.
type table struct {
	home *Backend
	matrix
}

// Rows is the number of rows.
func (t *table) Rows() int { return t.rows }

// Cols is the number of values in a row.
func (t *table) Cols() int { return t.cols }

// LoadVector copies a tensor of BF16 or F32.
func (b *Backend) LoadVector(w compute.Weight) (compute.Vector, error) {
	v, err := floats(w)
	if err != nil {
		return nil, loading(w, err)
	}
	return &vector{b, v}, nil
}

// Group does nothing: weights stay where they are mapped.
func (b *Backend) Group(string) {}

// LoadTable keeps a tensor of BF16 or F32 where it is.
func (b *Backend) LoadTable(w compute.Weight) (compute.Table, error) {
	if len(w.Shape) != 2 {
		return nil, loading(w, fmt.Errorf("it has %d dimensions, a table has 2", len(w.Shape)))
	}
	m, err := newMatrix(w)
	if err != nil {
		return nil, loading(w, err)
	}
	return &table{b, m}, nil
}

// loading says which tensor cannot be taken.
func loading(w compute.Weight, err error) error {
	return fault.Wrap(fault.Invalid, "", fmt.Errorf("loading %v: %w", w, err))
}

// sized checks the dtype, one of some, and that there are as many bytes as the shape says.
func sized(w compute.Weight, dtypes ...safetensors.DType) error {
	if !slices.Contains(dtypes, w.DType) {
		return fmt.Errorf("its dtype is %s, this takes %v", w.DType, dtypes)
	}
	for _, d := range w.Shape {
		if d <= 0 {
			return fmt.Errorf("its shape is %v", w.Shape)
		}
	}
	if want := w.Len() * w.DType.Bits() / 8; len(w.Data) != want {
		return fmt.Errorf("it has %d bytes, its shape takes %d", len(w.Data), want)
	}
	return nil
}

// shaped is sized for one dtype and shape.
func shaped(w compute.Weight, dtype safetensors.DType, shape ...int) error {
	want := make([]int64, len(shape))
	for i, d := range shape {
		want[i] = int64(d)
	}
	if !slices.Equal(w.Shape, want) {
		return fmt.Errorf("its shape is %v, this takes %v", w.Shape, want)
	}
	return sized(w, dtype)
}

// floats copies all values of a tensor.
func floats(w compute.Weight) ([]float32, error) {
	if err := sized(w, safetensors.BF16, safetensors.F32); err != nil {
		return nil, err
	}
	v := make([]float32, w.Len())
	decoder(w.DType)(v, w.Data)
	return v, nil
}

// matrix is a matrix of BF16 or F32 in its file's bytes, row-major.
type matrix struct {
	rows, cols int
	data       []byte
	width      int // of a value, in bytes
	decode     func(dst []float32, src []byte)
}

// newMatrix takes the first dimension as rows and all others as columns.
func newMatrix(w compute.Weight) (matrix, error) {
	if err := sized(w, safetensors.BF16, safetensors.F32); err != nil {
		return matrix{}, err
	}
	rows := int(w.Shape[0])
	return matrix{rows, w.Len() / rows, w.Data, w.DType.Bits() / 8, decoder(w.DType)}, nil
}

// row decodes row i.
func (m *matrix) row(dst []float32, i int) {
	n := m.cols * m.width
	m.decode(dst[:m.cols], m.data[i*n:][:n])
}

func decoder(d safetensors.DType) func(dst []float32, src []byte) {
	if d == safetensors.F32 {
		return decodeF32
	}
	return decodeBF16
}

func decodeF32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func decodeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = bf16.Value(binary.LittleEndian.Uint16(src[2*i:]))
	}
}
