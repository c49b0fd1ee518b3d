package kernels

import (
	"fmt"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// store gives out memory for weights. Small ones share an allocation: the driver rounds
// each up to 2 MiB.
type store struct {
	context *cuda.Context
	slab    cuda.Pointer
	left    int64
	bytes   int64
}

const (
	slabSize  = 64 << 20
	slabLimit = 8 << 20 // larger weights have an allocation of their own
)

func (s *store) alloc(n int64) (cuda.Pointer, error) {
	n = aligned(n)
	if n > slabLimit {
		p, err := s.context.Alloc(n)
		if err == nil {
			s.bytes += n
		}
		return p, err
	}
	if n > s.left {
		p, err := s.context.Alloc(slabSize)
		if err != nil {
			return 0, err
		}
		s.slab, s.left = p, slabSize
		s.bytes += slabSize
	}
	p := s.slab
	s.slab += cuda.Pointer(n)
	s.left -= n
	return p, nil
}

// taken is memory that is to be taken, and where to say which.
type taken struct {
	to    *cuda.Pointer
	bytes int64
}

// take takes memory, one piece after the other.
func (s *store) take(all ...taken) error {
	for _, t := range all {
		var err error
		if *t.to, err = s.alloc(t.bytes); err != nil {
			return err
		}
	}
	return nil
}

// vector is a row of float32 on the device.
type vector struct {
	home  *Backend
	group *group // nil is none that streams
	p     cuda.Pointer
	n     int
}

// Len is the number of values.
func (v *vector) Len() int { return v.n }

// table is a matrix as it lies in its file, on the device, or on the host where its group
// streams: of a table few rows are used.
type table struct {
	home       *Backend
	p          cuda.Pointer
	host       []byte // nil is on the device
	kind       compute.Kind
	rows, cols int
}

// Rows is the number of rows.
func (t *table) Rows() int { return t.rows }

// Cols is the number of values in a row.
func (t *table) Cols() int { return t.cols }

// LoadVector takes a tensor of BF16 or F32.
func (b *Backend) LoadVector(w compute.Weight) (compute.Vector, error) {
	if err := sized(w, safetensors.BF16, safetensors.F32); err != nil {
		return nil, loading(w, err)
	}
	v := &vector{home: b, group: b.window.loading, n: w.Len()}
	if err := b.take(taken{&v.p, int64(v.n) * f32Size}); err != nil {
		return nil, loading(w, err)
	}
	b.putWide(w, v.p)
	return v, nil
}

// LoadTable takes a tensor of BF16 or F32.
func (b *Backend) LoadTable(w compute.Weight) (compute.Table, error) {
	if len(w.Shape) != 2 {
		return nil, loading(w, fmt.Errorf("it has %d dimensions, a table has 2", len(w.Shape)))
	}
	if err := sized(w, safetensors.BF16, safetensors.F32); err != nil {
		return nil, loading(w, err)
	}
	t := &table{home: b, kind: kindOf(w), rows: int(w.Shape[0]), cols: int(w.Shape[1])}
	if b.window.loading != nil {
		t.host = w.Data
		return t, nil
	}
	if err := b.take(taken{&t.p, int64(len(w.Data))}); err != nil {
		return nil, loading(w, err)
	}
	b.putRaw(w, t.p)
	return t, nil
}

// kindOf is the kind whose format a weight of BF16 or F32 has.
func kindOf(w compute.Weight) compute.Kind {
	if w.DType == safetensors.F32 {
		return compute.F32
	}
	return compute.Act
}

// loading says which tensor cannot be taken: its bytes are wrong, unless the device is.
func loading(w compute.Weight, err error) error {
	wrapped := fmt.Errorf("loading %v: %w", w, err)
	if fault.KindOf(err) == fault.Resource {
		return wrapped
	}
	return fault.Wrap(fault.Invalid, "", wrapped)
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

// part is a tensor of a quantised linear, and what it must be.
type part struct {
	w     compute.Weight
	dtype safetensors.DType
	shape []int64
}

func (p part) check() error {
	if !slices.Equal(p.w.Shape, p.shape) {
		return loading(p.w, fmt.Errorf("its shape is %v, this takes %v", p.w.Shape, p.shape))
	}
	if err := sized(p.w, p.dtype); err != nil {
		return loading(p.w, err)
	}
	return nil
}

// vector is a vector of this backend.
func (b *Backend) vector(v compute.Vector) *vector {
	w, ok := v.(*vector)
	if !ok || w.home != b {
		panic(fmt.Sprintf("kernels: no vector, or of another backend, %T", v))
	}
	return w
}
