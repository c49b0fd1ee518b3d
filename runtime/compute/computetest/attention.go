package computetest

import (
	"fmt"
	"math"

	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// attend: one and several heads, shared keys, causal, windows, more keys than queries, and
// one wide head.
func attend(m *machine) {
	for _, c := range []struct {
		n, m int
		a    compute.Attention
	}{
		{1, 1, compute.Attention{Heads: 1, KVHeads: 1, Dim: 8}},
		{70, 70, compute.Attention{Heads: 2, KVHeads: 2, Dim: 128}},
		{33, 97, compute.Attention{Heads: 3, KVHeads: 3, Dim: 16}},
		{45, 45, compute.Attention{Heads: 6, KVHeads: 2, Dim: 32, Causal: true}},
		{1, 1, compute.Attention{Heads: 4, KVHeads: 1, Dim: 64, Causal: true}},
		{81, 81, compute.Attention{Heads: 2, KVHeads: 2, Dim: 80, Windows: []int32{16, 17, 64, 81}}},
		{50, 50, compute.Attention{Heads: 2, KVHeads: 1, Dim: 16, Windows: []int32{20, 50}, Causal: true}},
		{99, 99, compute.Attention{Heads: 1, KVHeads: 1, Dim: 384}},
	} {
		m.sub(fmt.Sprintf("%d to %d, %+v", c.n, c.m, c.a), func(m *machine) {
			m.attention(c.n, c.m, c.a, 0, m.tol.Act)
		})
	}
	// Scores of about a thousand, of which no exponential can be taken; float32 has them to a
	// ten thousandth.
	m.sub("large scores", func(m *machine) {
		m.attention(40, 60, compute.Attention{Heads: 2, KVHeads: 2, Dim: 128}, 8, m.tol.Act+1e-3)
	})
}

// attention holds one attention against the truth. Scores differ by a few units, so that
// some weights are near one; mean is added to q and k.
func (m *machine) attention(n, keys int, a compute.Attention, mean float32, tol float64) {
	m.Helper()
	a.Scale = float32(1.5 / math.Sqrt(float64(a.Dim)))
	around := func(rows, cols int) (compute.Tensor, matrix) {
		v := m.normal(rows*cols, 1)
		for i := range v {
			v[i] += mean
		}
		return m.upload(compute.Act, rows, cols, v)
	}
	q, qv := around(n, a.Heads*a.Dim)
	k, kv := around(keys, a.KVHeads*a.Dim)
	v, vv := m.random(compute.Act, keys, a.KVHeads*a.Dim)
	y := m.poisoned(compute.Act, n, a.Heads*a.Dim)
	m.b.Attention(y, q, k, v, a)
	m.near(y, attention(qv, kv, vv, a), tol)
}

// attendAnyShape is attend for shapes and windows that nobody thought of.
func attendAnyShape(m *machine) {
	m.property(func(m *machine, t *rapid.T) {
		a := compute.Attention{KVHeads: rapid.IntRange(1, 3).Draw(t, "kv heads"), Causal: rapid.Bool().Draw(t, "causal")}
		a.Heads = a.KVHeads * rapid.IntRange(1, 3).Draw(t, "heads for each")
		a.Dim = 8 * rapid.IntRange(1, 17).Draw(t, "dim in eights")
		n := rapid.IntRange(1, 70).Draw(t, "rows")
		keys := n
		switch {
		case rapid.Bool().Draw(t, "windows"):
			for end := 0; end < n; {
				end = min(n, end+rapid.IntRange(1, 40).Draw(t, "window"))
				a.Windows = append(a.Windows, int32(end))
			}
		case !a.Causal:
			keys = rapid.IntRange(1, 70).Draw(t, "keys")
		}
		m.attention(n, keys, a, 0, m.tol.Act)
	})
}
