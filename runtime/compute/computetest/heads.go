package computetest

import (
	"fmt"
	"math"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// heads: views into larger tensors, fewer heads of k than of q, with and without norms, and
// both kinds of rotation.
func heads(m *machine) {
	for _, c := range []struct {
		n, q, kv, dim       int
		norms, rope, halves bool
	}{
		{1, 1, 1, 2, false, false, false},
		{7, 3, 3, 16, true, true, false},
		{5, 4, 2, 32, false, true, true},
		{66, 2, 1, 128, true, true, true},
		{3, 2, 2, 80, true, false, false},
		{4, 2, 2, 6, false, true, false},
	} {
		m.sub(fmt.Sprintf("%+v", c), func(m *machine) {
			const before, after = 2, 3
			s, x, want := m.split(c.n, c.q, c.kv, c.dim, c.norms)
			if c.rope {
				s.Rope, want.cos, want.sin = m.rope(c.n, c.dim, c.halves)
			}
			q := m.poisoned(compute.Act, before+c.n+after, s.Q.Cols)
			s.Q = q.Slice(before, before+c.n)
			m.b.Heads(s)
			m.near(s.Q, want.part(x, 0, s.Q.Cols, want.normQ, c.halves), m.tol.Act)
			m.near(s.K, want.part(x, s.Q.Cols, s.K.Cols, want.normK, c.halves), m.tol.Act)
			m.near(s.V, splitTruth{}.part(x, s.Q.Cols+s.K.Cols, s.V.Cols, nil, false), m.tol.Act)
			m.untouched(q.Slice(0, before))
			m.untouched(q.Slice(before+c.n, q.Rows))
		})
	}
}

// split is a Split of a random projection, with results that are poisoned.
func (m *machine) split(n, q, kv, dim int, norms bool) (compute.Split, matrix, splitTruth) {
	m.Helper()
	x, v := m.random(compute.Act, n, (q+2*kv)*dim)
	s := compute.Split{X: x, Dim: dim, Eps: 0.1}
	t := splitTruth{dim: dim, eps: float64(s.Eps)}
	s.Q = compute.Tensor{Cols: q * dim}
	s.K, s.V = m.poisoned(compute.Act, n, kv*dim), m.poisoned(compute.Act, n, kv*dim)
	if norms {
		s.NormQ, t.normQ = m.vector(dim)
		s.NormK, t.normK = m.vector(dim)
	}
	return s, v, t
}

// rope is random angles.
func (m *machine) rope(n, dim int, halves bool) (compute.Rope, matrix, matrix) {
	m.Helper()
	c, s := make([]float32, n*dim/2), make([]float32, n*dim/2)
	for i := range c {
		sin, cos := math.Sincos(10 * m.rng.NormFloat64())
		c[i], s[i] = float32(cos), float32(sin)
	}
	cos, cv := m.upload(compute.F32, n, dim/2, c)
	sin, sv := m.upload(compute.F32, n, dim/2, s)
	return compute.Rope{Cos: cos, Sin: sin, Halves: halves}, cv, sv
}

// splitTruth is the norms and angles of a Split.
type splitTruth struct {
	dim          int
	eps          float64
	normQ, normK []float64
	cos, sin     matrix
}

// part is what becomes of some columns of a projection.
func (s splitTruth) part(x matrix, from, cols int, norm []float64, halves bool) matrix {
	y := newMatrix(x.rows, cols)
	for i := range y.rows {
		copy(y.row(i), x.row(i)[from:])
	}
	if norm != nil {
		y = preTruth{kind: compute.RMSNorm, eps: s.eps, weight: norm}.apply(y)
	}
	if s.cos.v == nil {
		return y
	}
	for i := range y.rows {
		for h := 0; h < cols; h += s.dim {
			head := y.row(i)[h:][:s.dim]
			for p := range s.dim / 2 {
				a, b := 2*p, 2*p+1
				if halves {
					a, b = p, p+s.dim/2
				}
				turned := complex(head[a], head[b]) * complex(s.cos.row(i)[p], s.sin.row(i)[p])
				head[a], head[b] = real(turned), imag(turned)
			}
		}
	}
	return y
}

// untouched fails if anything was written to a poisoned tensor.
func (m *machine) untouched(t compute.Tensor) {
	m.Helper()
	for i, v := range m.download(t).v {
		if !math.IsNaN(v) {
			m.Fatalf("value %d beside the result is %v", i, v)
		}
	}
}
