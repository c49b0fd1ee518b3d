package selftest

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

const (
	// period is how many rows there are before they repeat, where there are many: the
	// reference computes these alone. It is prime, so that they come to lie everywhere in a
	// tile.
	period = 61
	// blockRows is how many rows are on the host at a time.
	blockRows = 16 * period
)

// side is the reference or the backend under test: a check makes the same calls on both and
// gets the same numbers.
type side struct {
	compute.Backend
	rng *rand.Rand
	few bool

	// truth are the reference's results, nil on its own side, where results are kept.
	truth, results []matrix
	next           int
	off            float64
}

// matrix is the values of a tensor.
type matrix struct {
	cols   int
	values []float32
}

// newSide is a side with the numbers that belong to a name. truth is nil for the reference.
func newSide(b compute.Backend, name string, truth []matrix, o Options) *side {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // which never fails
	return &side{Backend: b, rng: rand.New(rand.NewPCG(h.Sum64(), 1)), few: o.Few, truth: truth}
}

// stop is a panic that carries an error of the backend out of a check.
type stop struct{ err error }

// do runs a check, and leaves the arena as it was.
func (s *side) do(run func(*side)) (err error) {
	mark := s.Mark()
	defer s.Reset(mark)
	defer func() {
		switch p := recover().(type) {
		case nil:
		case stop:
			err = p.err
		default:
			panic(p)
		}
	}()
	run(s)
	return s.Sync()
}

// must gives the error of a call to do.
func must[T any](v T, err error) T {
	if err != nil {
		panic(stop{err})
	}
	return v
}

// many is n rows on the backend, and the ones that they repeat on the reference.
func (s *side) many(n int) int {
	switch {
	case s.truth == nil:
		return period
	case s.few:
		return 2*period + 5
	}
	return n
}

// raw is normal values around 0.3, so that a lost mean is seen.
func (s *side) raw(n int, std float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(0.3*std + std*s.rng.NormFloat64())
	}
	return v
}

// normal is raw as bfloat16 has it.
func (s *side) normal(n int, std float64) []float32 {
	v := s.raw(n, std)
	for i := range v {
		v[i] = bf16.Round(v[i])
	}
	return v
}

// around is positive values around a size, unlike each other.
func (s *side) around(n int, size float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = bf16.Round(float32(size * math.Exp(0.7*s.rng.NormFloat64())))
	}
	return v
}

// even is normal values around 0.
func (s *side) even(n int, std float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = bf16.Round(float32(std * s.rng.NormFloat64()))
	}
	return v
}

// input takes a tensor with values.
func (s *side) input(k compute.Kind, rows, cols int, values []float32) compute.Tensor {
	t := s.Alloc(k, rows, cols)
	s.Upload(t, values)
	return t
}

// repeated takes a tensor whose rows are the values of a period, again and again.
func (s *side) repeated(rows, cols int, values []float32) compute.Tensor {
	t := s.Alloc(compute.Act, rows, cols)
	s.fill(t, slices.Repeat(values, blockRows/period))
	return t
}

// fill puts the same block of rows everywhere into a tensor.
func (s *side) fill(t compute.Tensor, block []float32) {
	for from := 0; from < t.Rows; from += blockRows {
		part := t.Slice(from, min(from+blockRows, t.Rows))
		s.Upload(part, block[:part.Len()])
	}
}

// random takes a tensor of normal values.
func (s *side) random(k compute.Kind, rows, cols int) compute.Tensor {
	return s.input(k, rows, cols, s.normal(rows*cols, 1))
}

// fine is random in float32 that bfloat16 does not hold.
func (s *side) fine(rows, cols int) compute.Tensor {
	return s.input(compute.F32, rows, cols, s.raw(rows*cols, 1))
}

// empty takes a tensor full of NaN.
func (s *side) empty(k compute.Kind, rows, cols int) compute.Tensor {
	t := s.Alloc(k, rows, cols)
	s.fill(t, slices.Repeat([]float32{float32(math.NaN())}, min(rows, blockRows)*cols))
	return t
}

// result looks at a result: the reference's are kept, and the others' compared with them.
func (s *side) result(t compute.Tensor) {
	if s.truth == nil {
		m := matrix{t.Cols, make([]float32, t.Len())}
		must(0, s.Download(m.values, t))
		s.results = append(s.results, m)
		return
	}
	d := newDistance(s.truth[s.next])
	s.next++
	v := make([]float32, min(t.Rows, blockRows)*t.Cols)
	for from := 0; from < t.Rows; from += blockRows {
		to := min(from+blockRows, t.Rows)
		part := v[:(to-from)*t.Cols]
		must(0, s.Download(part, t.Slice(from, to)))
		d.add(part)
	}
	s.off = max(s.off, d.value()) // NaN stays
}

// weight is a tensor as a file has it, of normal values.
func (s *side) weight(name string, d safetensors.DType, std float64, shape ...int64) compute.Weight {
	return stored(name, d, s.raw(compute.Weight{Shape: shape}.Len(), std), shape...)
}

// stored is a tensor of values as a file has it.
func stored(name string, d safetensors.DType, values []float32, shape ...int64) compute.Weight {
	w := compute.Weight{Name: name, DType: d, Shape: shape}
	for _, v := range values {
		if d == safetensors.F32 {
			w.Data = binary.LittleEndian.AppendUint32(w.Data, math.Float32bits(v))
		} else {
			w.Data = binary.LittleEndian.AppendUint16(w.Data, bf16.Bits(v))
		}
	}
	return w
}

// vector is a loaded vector of normal values.
func (s *side) vector(n int64) compute.Vector {
	return must(s.LoadVector(s.weight("norm", safetensors.BF16, 1, n)))
}

// mod is a table of three rows of six parts, with a change of row inside the tokens. Its
// scales and gates are about one.
func (s *side) mod(rows, width int) compute.Mod {
	return compute.Mod{Table: s.fine(3, 6*width), Row: 2, Rest: 1, Until: rows / 2, Shift: 3, Scale: 5, Gate: 4, PlusOne: true}
}
