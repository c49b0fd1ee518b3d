package computetest

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// before is a Pre, what it should do, and how many columns x must have for a width.
type before struct {
	name  string
	pre   compute.Pre
	truth preTruth
	wide  int
}

// pres is every Pre that there is, for rows that are width wide afterwards.
func (m *machine) pres(rows, width int) []before {
	m.Helper()
	piece, pieceTruth := m.vector(width / 2)
	whole, wholeTruth := m.vector(width)
	const eps = 0.1 // so large that bfloat16 sees it
	mod := m.mod(rows, 3, width, false)
	plus := m.mod(rows, 6, width, true)
	plus.Row = plus.Rest // equal rows make Until meaningless
	return []before{
		{"none", compute.Pre{}, preTruth{}, width},
		{"SiLU", compute.Pre{Kind: compute.SiLU}, preTruth{kind: compute.SiLU}, width},
		{"GELUTanh", compute.Pre{Kind: compute.GELUTanh}, preTruth{kind: compute.GELUTanh}, width},
		{"SwiGLU", compute.Pre{Kind: compute.SwiGLU}, preTruth{kind: compute.SwiGLU}, 2 * width},
		{"RMSNorm", compute.Pre{Kind: compute.RMSNorm, Weight: whole, Eps: eps}, preTruth{kind: compute.RMSNorm, eps: eps, weight: wholeTruth}, width},
		{"RMSNorm of halves", compute.Pre{Kind: compute.RMSNorm, Weight: piece, Eps: eps}, preTruth{kind: compute.RMSNorm, eps: eps, weight: pieceTruth}, width},
		{"LayerNorm", compute.Pre{Kind: compute.LayerNorm, Eps: eps}, preTruth{kind: compute.LayerNorm, eps: eps}, width},
		{"LayerNorm, Mod", compute.Pre{Kind: compute.LayerNorm, Eps: eps, Mod: mod.Mod}, preTruth{kind: compute.LayerNorm, eps: eps, mod: &mod}, width},
		{"LayerNorm, Mod + 1", compute.Pre{Kind: compute.LayerNorm, Eps: eps, Mod: plus.Mod}, preTruth{kind: compute.LayerNorm, eps: eps, mod: &plus}, width},
		{"ChannelNorm", compute.Pre{Kind: compute.ChannelNorm, Weight: whole}, preTruth{kind: compute.ChannelNorm, weight: wholeTruth}, width},
		{"ChannelNormSiLU", compute.Pre{Kind: compute.ChannelNormSiLU, Weight: whole}, preTruth{kind: compute.ChannelNormSiLU, weight: wholeTruth}, width},
	}
}

// after is a Post and what it should do.
type after struct {
	name  string
	post  compute.Post
	truth postTruth
}

// posts is every Post that there is. Residuals are those of kind res.
func (m *machine) posts(rows, width int, res compute.Kind) []after {
	m.Helper()
	r, v := m.random(res, rows, width)
	gate := m.mod(rows, 3, width, false)
	return []after{
		{"store", compute.Post{}, postTruth{}},
		{"SiLU", compute.Post{Kind: compute.StoreSiLU}, postTruth{kind: compute.StoreSiLU}},
		{"GELU", compute.Post{Kind: compute.StoreGELU}, postTruth{kind: compute.StoreGELU}},
		{"add", compute.Post{Kind: compute.Add, Residual: r}, postTruth{kind: compute.Add, residual: v}},
		{"gate", compute.Post{Kind: compute.GateAdd, Residual: r, Mod: gate.Mod}, postTruth{kind: compute.GateAdd, residual: v, mod: &gate}},
	}
}

// mod is a table of two rows of three and more parts, with a change of row inside the
// tokens.
func (m *machine) mod(rows, parts, width int, plusOne bool) modTruth {
	m.Helper()
	t, v := m.random(compute.F32, 3, parts*width)
	return modTruth{
		compute.Mod{Table: t, Row: 2, Rest: 0, Until: rows / 2, Shift: parts - 3, Scale: parts - 1, Gate: parts - 2, PlusOne: plusOne}, v, width,
	}
}

// preAndPost: every Pre with every Post, over each kind of linear, and in place of the
// residual.
func preAndPost(m *machine) {
	const rows, out = 21, 128
	svdq := NewSVDQ(m.rng, 128, out, 16, false)
	q, err := m.b.LoadLinear(svdq.Spec)
	require.NoError(m, err)
	d, plain := m.dense(safetensors.BF16, 128, true, out)
	for _, l := range []struct {
		name  string
		l     compute.Linear
		truth func(matrix) matrix
		tol   float64
	}{
		{"dense", d, plain.apply, m.tol.Act},
		{"svdq", q, func(x matrix) matrix { return matrix{rows, out, svdq.Apply(x.v)} }, m.tol.SVDQ},
	} {
		for _, p := range m.pres(rows, 128) {
			for i, s := range m.posts(rows, out, compute.Act) {
				m.sub(fmt.Sprintf("%s of %s, %s", l.name, p.name, s.name), func(m *machine) {
					x, v := m.upload(compute.Act, rows, p.wide, m.heavy(rows, p.wide))
					y := m.poisoned(compute.Act, rows, out)
					if i%2 == 1 && !s.post.Residual.IsZero() {
						y, s.truth.residual = m.random(compute.Act, rows, out)
						s.post.Residual = y
					}
					m.b.Linear(y, l.l, x, p.pre, s.post)
					m.near(y, s.truth.apply(l.truth(p.truth.apply(v))), l.tol)
				})
			}
		}
	}
}

// modulationRows: the change of row before, between and behind the tokens.
func modulationRows(m *machine) {
	const rows, width = 13, 40
	for _, until := range []int{0, 1, 7, rows, rows + 5} {
		m.sub(fmt.Sprintf("until %d", until), func(m *machine) {
			d, plain := m.dense(safetensors.BF16, width, false, width)
			x, v := m.random(compute.Act, rows, width)
			y, res := m.random(compute.Act, rows, width)
			mod := m.mod(rows, 6, width, false)
			mod.Until = until
			m.b.Linear(y, d, x, compute.Pre{Kind: compute.LayerNorm, Eps: 1e-6, Mod: mod.Mod}, compute.Post{Kind: compute.GateAdd, Residual: y, Mod: mod.Mod})
			want := plain.apply(preTruth{kind: compute.LayerNorm, eps: 1e-6, mod: &mod}.apply(v))
			m.near(y, postTruth{kind: compute.GateAdd, residual: res, mod: &mod}.apply(want), m.tol.Act)
		})
	}
}

// apply: every Pre from each kind to each, wide and narrow, with a row of zeros.
func apply(m *machine) {
	for _, size := range []struct{ rows, width int }{{1, 2}, {5, 96}, {3, 1154}} {
		for _, p := range m.pres(size.rows, size.width) {
			for _, from := range kinds {
				for _, to := range kinds {
					m.sub(fmt.Sprintf("%s, %dx%d, %v to %v", p.name, size.rows, size.width, from, to), func(m *machine) {
						values := m.heavy(size.rows, p.wide)
						if size.rows > 1 {
							clear(values[:p.wide])
						}
						x, v := m.upload(from, size.rows, p.wide, values)
						y := m.poisoned(to, size.rows, size.width)
						m.b.Apply(y, x, p.pre)
						m.near(y, p.truth.apply(v), m.tolerance(from, to))
					})
				}
			}
		}
	}
}
