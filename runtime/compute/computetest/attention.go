package computetest

import (
	"fmt"
	"math"

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
			c.a.Scale = float32(1 / math.Sqrt(float64(c.a.Dim)))
			q, qv := m.random(compute.Act, c.n, c.a.Heads*c.a.Dim)
			k, kv := m.random(compute.Act, c.m, c.a.KVHeads*c.a.Dim)
			v, vv := m.random(compute.Act, c.m, c.a.KVHeads*c.a.Dim)
			y := m.poisoned(compute.Act, c.n, c.a.Heads*c.a.Dim)
			m.b.Attention(y, q, k, v, c.a)
			m.near(y, attention(qv, kv, vv, c.a), m.tol.Act)
		})
	}
}
