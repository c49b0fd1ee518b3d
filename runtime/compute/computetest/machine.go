package computetest

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// machine is a backend under test.
type machine struct {
	reporter
	t   *testing.T
	b   compute.Backend
	tol Tolerance
	rng *rand.Rand
	// open makes another backend, for tests of what sticks.
	open func(t *testing.T) compute.Backend
}

// reporter is what a test and a property have in common.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	FailNow()
}

// newMachine is the machine of a test.
func newMachine(t *testing.T, name string, b compute.Backend, tol Tolerance, open func(t *testing.T) compute.Backend) *machine {
	return &machine{reporter: t, t: t, b: b, tol: tol, rng: seeded(name), open: open}
}

// property checks f on shapes that rapid draws, each time in memory of its own.
func (m *machine) property(f func(m *machine, t *rapid.T)) {
	rapid.Check(m.t, func(t *rapid.T) {
		mark := m.b.Mark()
		defer m.b.Reset(mark)
		inner := *m
		inner.reporter = t
		f(&inner, t)
	})
}

// seeded is a source of numbers of its own for each name.
func seeded(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(h.Sum64(), 1))
}

// sub runs a subtest, and gives its memory back.
func (m *machine) sub(name string, f func(m *machine)) {
	m.t.Run(name, func(t *testing.T) {
		mark := m.b.Mark()
		f(newMachine(t, name, m.b, m.tol, m.open))
		require.NoError(t, m.b.Sync())
		m.b.Reset(mark)
	})
}

// matrix is a matrix in float64.
type matrix struct {
	rows, cols int
	v          []float64
}

func newMatrix(rows, cols int) matrix { return matrix{rows, cols, make([]float64, rows*cols)} }

func (a matrix) row(i int) []float64 { return a.v[i*a.cols:][:a.cols] }

// normal is normal values around 0.3, so that a lost mean is seen.
func (m *machine) normal(n int, std float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(0.3*std + std*m.rng.NormFloat64())
	}
	return v
}

// heavy is values with tails: columns whose sizes differ by orders of magnitude, and one
// row that is a hundred times the others.
func (m *machine) heavy(rows, cols int) []float32 {
	v := m.normal(rows*cols, 1)
	for j := range cols {
		f := float32(math.Exp(1.5 * m.rng.NormFloat64()))
		for i := range rows {
			v[i*cols+j] *= f
		}
	}
	big := m.rng.IntN(rows)
	for j := range cols {
		v[big*cols+j] *= 100
	}
	return v
}

// upload takes a tensor with values, and returns what it holds.
func (m *machine) upload(k compute.Kind, rows, cols int, v []float32) (compute.Tensor, matrix) {
	m.Helper()
	t := m.b.Alloc(k, rows, cols)
	m.b.Upload(t, v)
	return t, m.download(t)
}

// random is upload of normal values.
func (m *machine) random(k compute.Kind, rows, cols int) (compute.Tensor, matrix) {
	m.Helper()
	return m.upload(k, rows, cols, m.normal(rows*cols, 1))
}

// poisoned takes a tensor full of NaN.
func (m *machine) poisoned(k compute.Kind, rows, cols int) compute.Tensor {
	m.Helper()
	t := m.b.Alloc(k, rows, cols)
	v := make([]float32, rows*cols)
	for i := range v {
		v[i] = float32(math.NaN())
	}
	m.b.Upload(t, v)
	return t
}

func (m *machine) download(t compute.Tensor) matrix {
	m.Helper()
	v := make([]float32, t.Len())
	require.NoError(m, m.b.Download(v, t))
	return matrix{t.Rows, t.Cols, wide(v)}
}

func wide(v []float32) []float64 {
	w := make([]float64, len(v))
	for i, x := range v {
		w[i] = float64(x)
	}
	return w
}

// near holds a tensor against the truth.
func (m *machine) near(t compute.Tensor, want matrix, tol float64) {
	m.Helper()
	got := m.download(t)
	require.Equal(m, want.rows, got.rows)
	require.Equal(m, want.cols, got.cols)
	diff, size := 0.0, 0.0
	for i := range want.rows {
		g, w := got.row(i), want.row(i)
		rms := math.Sqrt(sumSquares(w) / float64(len(w)))
		for j := range w {
			d := math.Abs(g[j] - w[j])
			if !(d <= valueFactor*tol*(math.Abs(w[j])+rms)) {
				m.Fatalf("row %d, column %d of %v is %v, not %v: off by %.2g, where values are about %.3g", i, j, t, g[j], w[j], d, rms)
			}
			diff += d * d
		}
		size += sumSquares(w)
	}
	if r := math.Sqrt(diff / size); !(r <= tol) && diff > 0 {
		m.Fatalf("%v is off by %.3g of its size, more than %.3g", t, r, tol)
	}
}

// tolerance is that of a result, by the kinds that took part.
func (m *machine) tolerance(kinds ...compute.Kind) float64 {
	for _, k := range kinds {
		if k == compute.Act {
			return m.tol.Act
		}
	}
	return m.tol.F32
}

func sumSquares(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x * x
	}
	return s
}
