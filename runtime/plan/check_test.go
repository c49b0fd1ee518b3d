package plan_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
)

// TestPanics: every operation refuses what the contract does not allow, and counts nothing
// then.
func TestPanics(t *testing.T) {
	b, other := newBench(t), newBench(t)
	x, y := b.act(5, in), b.act(5, out)
	q, k := b.act(5, 64), b.act(7, 32)
	mark := b.Mark()
	gone := b.act(5, in)
	b.Reset(mark)
	far := plan.New(plan.Options{})
	far.Alloc(compute.Act, 1<<20, 1)
	later := far.Alloc(compute.Act, 5, out)
	mod := compute.Mod{Table: b.f32(2, 3*in), Shift: 0, Scale: 1, Gate: 2}
	norm := func(m compute.Mod) func() {
		return func() { b.Linear(y, b.dense, x, compute.Pre{Kind: compute.LayerNorm, Mod: m}, compute.Post{}) }
	}
	changed := func(change func(m *compute.Mod)) compute.Mod { m := mod; change(&m); return m }
	post := func(p compute.Post) func() { return func() { b.Linear(y, b.dense, x, compute.Pre{}, p) } }
	pre := func(p compute.Pre) func() { return func() { b.Linear(y, b.dense, x, p, compute.Post{}) } }
	attend := func(a compute.Attention) func() { return func() { b.Attention(b.act(5, 64), q, k, k, a) } }
	alone := func(a compute.Attention) func() {
		a.Heads, a.KVHeads, a.Dim = 4, 4, 16
		return func() { b.Attention(b.act(5, 64), q, q, q, a) }
	}
	split := func(change func(s *compute.Split)) func() {
		s := compute.Split{X: b.act(5, 16), Q: b.act(5, 8), K: b.act(5, 4), V: b.act(5, 4), Dim: 2}
		change(&s)
		return func() { b.Heads(s) }
	}
	for name, f := range map[string]func(){
		"linear: another backend's": func() { b.Linear(y, other.dense, x, compute.Pre{}, compute.Post{}) },
		"linear: width of x":        func() { b.Linear(y, b.dense, b.act(5, in+2), compute.Pre{}, compute.Post{}) },
		"linear: width of dst":      func() { b.Linear(x, b.dense, b.act(5, in), compute.Pre{}, compute.Post{}) },
		"linear: rows":              func() { b.Linear(b.act(4, out), b.dense, x, compute.Pre{}, compute.Post{}) },
		"linear: x is gone":         func() { c := newBench(t); c.Linear(y, c.dense, gone, compute.Pre{}, compute.Post{}) },
		"linear: in place": func() {
			w := b.act(1, in+out).Reshape(in+out, 1)
			b.Linear(w.Slice(in/2, in/2+out).Reshape(1, out), b.dense, w.Slice(0, in).Reshape(1, in), compute.Pre{}, compute.Post{})
		},
		"linear: another format's x": func() { z := x; z.Size = 4; b.Linear(y, b.dense, z, compute.Pre{}, compute.Post{}) },
		"pre: unknown":               pre(compute.Pre{Kind: compute.ChannelNormSiLU + 1}),
		"pre: no weight":             pre(compute.Pre{Kind: compute.RMSNorm}),
		"pre: another's weight":      pre(compute.Pre{Kind: compute.RMSNorm, Weight: other.gamma}),
		"pre: norm of pairs":         pre(compute.Pre{Kind: compute.ChannelNorm, Weight: b.pair}),
		"pre: half of an odd width": func() {
			b.Apply(b.act(5, 3), b.act(5, 7), compute.Pre{Kind: compute.SwiGLU})
		},
		"pre: pieces that don't fit": func() { b.Apply(b.act(5, 7), b.act(5, 7), compute.Pre{Kind: compute.RMSNorm, Weight: b.pair}) },
		"mod: in place": func() {
			z := b.f32(2, 3*in)
			b.Apply(z.Reshape(6, in).Slice(0, 5), b.f32(5, in), compute.Pre{Kind: compute.LayerNorm, Mod: compute.Mod{Table: z, Scale: 1}})
		},
		"gate: in place": func() {
			z := b.f32(6, out)
			b.Linear(z.Slice(0, 5), b.dense, x, compute.Pre{}, compute.Post{Kind: compute.GateAdd, Residual: y, Mod: compute.Mod{Table: z}})
		},
		"mod: part":              norm(changed(func(m *compute.Mod) { m.Scale = 3 })),
		"mod: part below 0":      norm(changed(func(m *compute.Mod) { m.Shift = -1 })),
		"mod: row":               norm(changed(func(m *compute.Mod) { m.Rest = 2 })),
		"mod: act":               norm(changed(func(m *compute.Mod) { m.Table = b.act(2, 3*in) })),
		"mod: width":             norm(changed(func(m *compute.Mod) { m.Table = b.f32(2, 3*in+1) })),
		"post: unknown":          post(compute.Post{Kind: compute.GateAdd + 1}),
		"post: no residual":      post(compute.Post{Kind: compute.Add}),
		"post: residual's shape": post(compute.Post{Kind: compute.Add, Residual: b.act(6, out)}),
		"post: residual shifted": func() {
			z := b.act(6, out)
			b.Linear(z.Slice(0, 5), b.dense, x, compute.Pre{}, compute.Post{Kind: compute.Add, Residual: z.Slice(1, 6)})
		},
		"post: residual of another kind in dst's place": func() {
			z := b.act(10, out)
			half := compute.Tensor{Rows: 5, Cols: out, Kind: compute.F32, Offset: z.Offset, Size: 4}
			b.Linear(half, b.dense, x, compute.Pre{}, compute.Post{Kind: compute.Add, Residual: z.Slice(0, 5)})
		},
		"guide: dst is gone":       func() { c := newBench(t); c.Guide(gone, gone, gone, 1) },
		"post: no gate":            post(compute.Post{Kind: compute.GateAdd, Residual: y}),
		"post: gate of no part":    post(compute.Post{Kind: compute.GateAdd, Residual: y, Mod: compute.Mod{Table: b.f32(1, out), Gate: 1}}),
		"convolve: another's":      func() { b.Convolve(b.act(24, 8), other.conv, b.act(6, in), 2, 3, compute.Pre{}, compute.Post{}) },
		"convolve: sides":          func() { b.Convolve(b.act(24, 8), b.conv, b.act(6, in), 2, 2, compute.Pre{}, compute.Post{}) },
		"convolve: negative sides": func() { b.Convolve(b.act(24, 8), b.conv, b.act(6, in), -2, -3, compute.Pre{}, compute.Post{}) },
		"convolve: small dst":      func() { b.Convolve(b.act(6, 8), b.conv, b.act(6, in), 2, 3, compute.Pre{}, compute.Post{}) },
		"convolve: channels":       func() { b.Convolve(b.act(24, 8), b.conv, b.act(6, in/2), 2, 3, compute.Pre{}, compute.Post{}) },
		"apply: width":             func() { b.Apply(b.act(5, 7), b.act(5, 8), compute.Pre{}) },
		"attention: head's width":  attend(compute.Attention{Heads: 4, KVHeads: 2, Dim: 8}),
		"attention: v's width": func() {
			b.Attention(b.act(5, 64), q, k, b.act(7, 64), compute.Attention{Heads: 4, KVHeads: 2, Dim: 16})
		},
		"attention: no divisor":    attend(compute.Attention{Heads: 4, KVHeads: 3, Dim: 16}),
		"attention: no heads":      attend(compute.Attention{Dim: 16}),
		"attention: causal":        attend(compute.Attention{Heads: 4, KVHeads: 2, Dim: 16, Causal: true}),
		"attention: windows":       attend(compute.Attention{Heads: 4, KVHeads: 2, Dim: 16, Windows: []int32{5}}),
		"attention: short windows": alone(compute.Attention{Windows: []int32{2, 4}}),
		"attention: long windows":  alone(compute.Attention{Windows: []int32{2, 6}}),
		"attention: empty windows": alone(compute.Attention{Windows: []int32{2, 2, 5}}),
		"attention: no windows":    alone(compute.Attention{Windows: []int32{}}),
		"attention: in place":      func() { b.Attention(q, q, k, k, compute.Attention{Heads: 4, KVHeads: 2, Dim: 16}) },
		"heads: width":             split(func(s *compute.Split) { s.V = b.act(5, 6) }),
		"heads: rows":              split(func(s *compute.Split) { s.K = b.act(6, 4) }),
		"heads: dim":               split(func(s *compute.Split) { s.Dim = 3 }),
		"heads: no dim":            split(func(s *compute.Split) { s.Dim = 0 }),
		"heads: norm":              split(func(s *compute.Split) { s.NormK = b.gamma }),
		"heads: one angle":         split(func(s *compute.Split) { s.Rope.Cos = b.f32(5, 1) }),
		"heads: angles as act":     split(func(s *compute.Split) { s.Rope = compute.Rope{Cos: b.act(5, 1), Sin: b.f32(5, 1)} }),
		"heads: in place":          split(func(s *compute.Split) { s.Q = s.X.Reshape(10, 8).Slice(0, 5) }),
		"heads: v over angles": split(func(s *compute.Split) {
			z := b.f32(5, 4)
			s.Rope = compute.Rope{Cos: z.Reshape(20, 1).Slice(0, 5), Sin: b.f32(5, 1)}
			s.V = z
		}),
		"heads: k over v":  split(func(s *compute.Split) { s.K = s.V }),
		"embed: another's": func() { b.Embed(b.act(1, 7), other.table, []int32{0}) },
		"embed: dst is gone": func() {
			c := newBench(t)
			c.Embed(gone.Slice(0, 1).Reshape(in, 1).Slice(0, 7).Reshape(1, 7), c.table, []int32{0})
		},
		"embed: row":             func() { b.Embed(b.act(1, 7), b.table, []int32{50}) },
		"embed: rows":            func() { b.Embed(b.act(2, 7), b.table, []int32{0}) },
		"gather: kind":           func() { b.Gather(b.act(1, 7), b.f32(9, 7), []int32{0}) },
		"gather: row":            func() { b.Gather(b.act(1, 7), b.act(9, 7), []int32{-1}) },
		"gather: width":          func() { b.Gather(b.act(1, 7), b.act(9, 8), []int32{0}) },
		"copy: length":           func() { b.Copy(b.act(1, 7), b.act(1, 8)) },
		"copy: overlap":          func() { z := b.act(3, 7); b.Copy(z.Slice(0, 2), z.Slice(1, 3)) },
		"euler: act":             func() { b.Euler(b.act(1, 7), b.act(1, 7), 1) },
		"euler: shape":           func() { b.Euler(b.f32(1, 7), b.f32(7, 1), 1) },
		"guide: shape":           func() { b.Guide(b.act(1, 7), b.act(1, 7), b.act(1, 8), 1) },
		"guide: overlap":         func() { z := b.act(3, 7); b.Guide(z.Slice(0, 2), z.Slice(1, 3), b.act(2, 7), 1) },
		"finite: gone":           func() { c := newBench(t); c.Finite(gone, "x") },
		"upload: length":         func() { b.Upload(x, make([]float32, 3)) },
		"download: length":       func() { _ = b.Download(make([]float32, 3), x) },
		"upload: gone":           func() { c := newBench(t); c.Upload(gone, make([]float32, 5*in)) },
		"post: residual is gone": func() { b.Linear(y, b.dense, x, compute.Pre{}, compute.Post{Kind: compute.Add, Residual: later}) },
		"download: gone":         func() { c := newBench(t); _ = c.Download(make([]float32, 5*in), gone) },
		"reset: the future":      func() { b.Reset(1 << 40) },
	} {
		require.Panics(t, f, name)
	}
	r := b.Result()
	require.Zero(t, r.Total.Launches)
	require.Empty(t, r.Total.Operations)
}

// TestRefuses: what every backend refuses, this one does.
func TestRefuses(t *testing.T) {
	computetest.Refuse(t, func(*testing.T) compute.Backend { return plan.New(plan.Options{}) })
}
