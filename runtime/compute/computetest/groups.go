package computetest

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// member is a group's weights, and what they are.
type member struct {
	linear, quantised, wide compute.Linear
	dense, awq              plain
	svdq                    *SVDQ
	norm                    compute.Vector
	weight                  []float64
	table                   compute.Table
	rows                    matrix
}

// groups: weights of groups are what they are to every operation, in whatever order groups are
// used, a backend that brings them as they are needed included. They differ in size.
func groups(m *machine) {
	const n, width, rows = 7, 128, 21
	var all []member
	for i := range n {
		m.b.Group(fmt.Sprintf("%s group %d", m.t.Name(), i))
		var g member
		g.linear, g.dense = m.dense(safetensors.BF16, width, i%2 == 0, width*(1+i%3))
		g.svdq = NewSVDQ(m.rng, width, width, 16*(1+i%2), false)
		var err error
		g.quantised, err = m.b.LoadLinear(g.svdq.Spec)
		require.NoError(m, err)
		var spec compute.AWQ
		spec, g.awq = m.awq(width, width, 1+i%2)
		g.wide, err = m.b.LoadLinear(spec)
		require.NoError(m, err)
		g.norm, g.weight = m.vector(width)
		w, values := m.weight("table", safetensors.BF16, 1, 9, width)
		g.rows = matrix{9, width, values}
		g.table, err = m.b.LoadTable(w)
		require.NoError(m, err)
		all = append(all, g)
	}
	m.b.Group("")
	between, truth := m.dense(safetensors.BF16, width, true, width)
	for turn := range 5 * n {
		i := turn % n // in the order of loading, at first
		if turn >= 2*n {
			i = m.rng.IntN(n)
		}
		m.sub(fmt.Sprintf("%d, group %d", turn, i), func(m *machine) {
			all[i].use(m, width, rows)
			x, v := m.random(compute.Act, 2, width)
			y := m.poisoned(compute.Act, 2, width)
			m.b.Linear(y, between, x, compute.Pre{}, compute.Post{})
			m.near(y, truth.apply(v), m.tol.Act)
		})
	}
}

// use holds every operation with the group's weights against the truth.
func (g member) use(m *machine, width, rows int) {
	x, v := m.random(compute.Act, rows, width)
	pre := compute.Pre{Kind: compute.RMSNorm, Weight: g.norm, Eps: 1e-6}
	normed := preTruth{kind: compute.RMSNorm, eps: 1e-6, weight: g.weight}.apply(v)
	y := m.poisoned(compute.Act, rows, g.linear.Out())
	m.b.Linear(y, g.linear, x, pre, compute.Post{})
	m.near(y, g.dense.apply(normed), m.tol.Act)
	y = m.poisoned(compute.Act, rows, width)
	m.b.Apply(y, x, pre)
	m.near(y, normed, m.tol.Act)
	y = m.poisoned(compute.Act, rows, width)
	m.b.Linear(y, g.quantised, x, compute.Pre{}, compute.Post{})
	m.near(y, matrix{rows, width, g.svdq.Apply(v.v)}, m.tol.SVDQ)
	y = m.poisoned(compute.Act, rows, width)
	m.b.Linear(y, g.wide, x, compute.Pre{}, compute.Post{})
	m.near(y, g.awq.apply(v), m.tol.Act)
	ids := []int32{8, 0, 3}
	y = m.poisoned(compute.Act, len(ids), width)
	m.b.Embed(y, g.table, ids)
	want := newMatrix(len(ids), width)
	for i, id := range ids {
		copy(want.row(i), g.rows.row(int(id)))
	}
	m.near(y, want, m.tol.Act)
}
