package computetest

import (
	"fmt"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

var kinds = []compute.Kind{compute.Act, compute.F32}

// linearDense: sizes that fill no tile, one and several weights, with and without biases,
// in both formats and all kinds of tensors.
func linearDense(m *machine) {
	for _, c := range []struct {
		d       safetensors.DType
		n, in   int
		bias    bool
		outs    []int
		heavily bool
	}{
		{safetensors.BF16, 1, 1, true, []int{1}, false},
		{safetensors.BF16, 7, 65, true, []int{33}, false},
		{safetensors.F32, 5, 130, false, []int{19}, false},
		{safetensors.BF16, 131, 600, true, []int{48, 17, 16}, false},
		{safetensors.F32, 3, 1100, true, []int{5, 3}, true},
		{safetensors.BF16, 600, 72, false, []int{8, 24}, true},
		{safetensors.BF16, 9, 96, true, []int{3}, false},
	} {
		m.sub(fmt.Sprintf("%s %dx%d to %v", c.d, c.n, c.in, c.outs), func(m *machine) {
			l, p := m.dense(c.d, c.in, c.bias, c.outs...)
			require.Equal(m, c.in, l.In())
			require.Equal(m, p.w.rows, l.Out())
			values := m.normal(c.n*c.in, 1)
			if c.heavily {
				values = m.heavy(c.n, c.in)
			}
			for _, from := range kinds {
				for _, to := range kinds {
					x, v := m.upload(from, c.n, c.in, values)
					y := m.poisoned(to, c.n, l.Out())
					m.b.Linear(y, l, x, compute.Pre{}, compute.Post{})
					m.near(y, p.apply(v), m.tol.Act)
				}
			}
		})
	}
}

// linearSVDQ: with and without the shift, which belongs to the bias; inputs after a GELU
// and ones with heavy tails.
func linearSVDQ(m *machine) {
	for _, c := range []struct {
		n, in, out, rank int
		shifted          bool
	}{
		{1, 128, 128, 16, false},
		{5, 256, 384, 32, false},
		{131, 384, 128, 48, true},
		{3, 640, 256, 128, true},
		{530, 128, 128, 16, false},
	} {
		m.sub(fmt.Sprintf("%dx%d to %d, rank %d, shifted %v", c.n, c.in, c.out, c.rank, c.shifted), func(m *machine) {
			s := NewSVDQ(m.rng, c.in, c.out, c.rank, c.shifted)
			l, err := m.b.LoadLinear(s.Spec)
			require.NoError(m, err)
			require.Equal(m, c.in, l.In())
			require.Equal(m, c.out, l.Out())
			x, v := m.upload(compute.Act, c.n, c.in, m.heavy(c.n, c.in))
			y := m.poisoned(compute.Act, c.n, c.out)
			pre := compute.Pre{}
			if c.shifted {
				pre.Kind = compute.GELUTanh
				v = preTruth{kind: compute.GELUTanh}.apply(v)
			}
			m.b.Linear(y, l, x, pre, compute.Post{})
			m.near(y, matrix{c.n, c.out, s.Apply(v.v)}, m.tol.SVDQ)
		})
	}
}

// linearAWQ: outputs as they lie, and in interleaved parts.
func linearAWQ(m *machine) {
	for _, c := range []struct{ n, in, out, parts int }{
		{1, 64, 4, 0},
		{2, 192, 36, 1},
		{2, 256, 24 * 6, 6},
		{9, 128, 20 * 3, 3},
	} {
		for _, to := range kinds {
			m.sub(fmt.Sprintf("%dx%d to %d in %d parts, %v", c.n, c.in, c.out, c.parts, to), func(m *machine) {
				s, p := m.awq(c.in, c.out, c.parts)
				l, err := m.b.LoadLinear(s)
				require.NoError(m, err)
				x, v := m.random(to, c.n, c.in)
				y := m.poisoned(to, c.n, c.out)
				m.b.Linear(y, l, x, compute.Pre{Kind: compute.SiLU}, compute.Post{})
				m.near(y, p.apply(preTruth{kind: compute.SiLU}.apply(v)), m.tol.Act)
			})
		}
	}
}

// linearAnyShape is linearDense for sizes that nobody thought of. A row of a few results
// could be all cancelled, and has no size to compare with.
func linearAnyShape(m *machine) {
	m.property(func(m *machine, t *rapid.T) {
		n, in, out := rapid.IntRange(1, 70).Draw(t, "rows"), rapid.IntRange(1, 150).Draw(t, "in"), rapid.IntRange(8, 70).Draw(t, "out")
		l, p := m.dense(safetensors.BF16, in, rapid.Bool().Draw(t, "bias"), out)
		x, v := m.upload(compute.Act, n, in, m.heavy(n, in))
		y := m.poisoned(compute.Act, n, out)
		m.b.Linear(y, l, x, compute.Pre{}, compute.Post{})
		m.near(y, p.apply(v), m.tol.Act)
	})
}
