package computetest

import (
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// shapes: what does not fit panics, and leaves the backend as it was.
func shapes(m *machine) {
	for name, f := range m.misfits() {
		require.Panics(m, f, name)
	}
	require.NoError(m, m.b.Sync())
}

// misfits is calls that no caller may make.
func (m *machine) misfits() map[string]func() {
	all := m.linearMisfits()
	for _, more := range []map[string]func(){m.attentionMisfits(), m.otherMisfits()} {
		for name, f := range more {
			all[name] = f
		}
	}
	return all
}

func (m *machine) tensor(rows, cols int) compute.Tensor {
	m.Helper()
	t, _ := m.random(compute.Act, rows, cols)
	return t
}

func (m *machine) linearMisfits() map[string]func() {
	l, _ := m.dense(safetensors.BF16, 8, true, 6)
	v, _ := m.vector(5)
	x, y := m.tensor(4, 8), m.tensor(4, 6)
	mod := m.mod(4, 3, 6, false).Mod
	linear := func(dst, x compute.Tensor, pre compute.Pre, post compute.Post) func() {
		return func() { m.b.Linear(dst, l, x, pre, post) }
	}
	gate := func(change func(*compute.Mod)) func() {
		bad := mod
		change(&bad)
		return linear(y, x, compute.Pre{}, compute.Post{Kind: compute.GateAdd, Residual: y, Mod: bad})
	}
	return map[string]func(){
		"linear, too few inputs":       linear(y, m.tensor(4, 7), compute.Pre{}, compute.Post{}),
		"linear, too many outputs":     linear(m.tensor(4, 7), x, compute.Pre{}, compute.Post{}),
		"linear, other rows":           linear(m.tensor(5, 6), x, compute.Pre{}, compute.Post{}),
		"linear, SwiGLU halves":        linear(y, x, compute.Pre{Kind: compute.SwiGLU}, compute.Post{}),
		"linear, norm of other length": linear(y, x, compute.Pre{Kind: compute.RMSNorm, Weight: v}, compute.Post{}),
		"linear, no norm":              linear(y, x, compute.Pre{Kind: compute.RMSNorm}, compute.Post{}),
		"linear, channel norm":         linear(y, x, compute.Pre{Kind: compute.ChannelNorm, Weight: v}, compute.Post{}),
		"linear, no residual":          linear(y, x, compute.Pre{}, compute.Post{Kind: compute.Add}),
		"linear, other residual":       linear(y, x, compute.Pre{}, compute.Post{Kind: compute.Add, Residual: x}),
		"linear, no gate":              linear(y, x, compute.Pre{}, compute.Post{Kind: compute.GateAdd, Residual: y}),
		"linear, mod of other width":   linear(y, x, compute.Pre{Kind: compute.LayerNorm, Mod: mod}, compute.Post{}),
		"gate, part 3 of 3":            gate(func(m *compute.Mod) { m.Gate = 3 }),
		"gate, row 3 of 3":             gate(func(m *compute.Mod) { m.Rest = 3 }),
		"gate, row -1":                 gate(func(m *compute.Mod) { m.Row = -1 }),
		"gate, table of other kind":    gate(func(mod *compute.Mod) { mod.Table = m.tensor(3, 18) }),
		"linear, Pre of no kind":       linear(y, x, compute.Pre{Kind: 99}, compute.Post{}),
		"linear, Post of no kind":      linear(y, x, compute.Pre{}, compute.Post{Kind: 99}),
		"apply, other width":           func() { m.b.Apply(y, x, compute.Pre{}) },
		"apply, SwiGLU of odd width":   func() { m.b.Apply(m.tensor(4, 2), m.tensor(4, 5), compute.Pre{Kind: compute.SwiGLU}) },
	}
}

func (m *machine) attentionMisfits() map[string]func() {
	t := m.tensor
	attend := func(dst, q, k, v compute.Tensor, a compute.Attention) func() {
		return func() { m.b.Attention(dst, q, k, v, a) }
	}
	one := compute.Attention{Heads: 2, KVHeads: 1, Dim: 8, Scale: 1}
	causal, windows, down, heads := one, one, one, one
	causal.Causal, windows.Windows, down.Windows, heads.KVHeads = true, []int32{3, 4}, []int32{4, 3, 5}, 3
	split := func(change func(*compute.Split)) func() {
		s := compute.Split{X: t(5, 32), Q: t(5, 16), K: t(5, 8), V: t(5, 8), Dim: 8}
		change(&s)
		return func() { m.b.Heads(s) }
	}
	angle, _ := m.random(compute.F32, 5, 8)
	norm, _ := m.vector(16)
	return map[string]func(){
		"attention, q's width":       attend(t(5, 16), t(5, 8), t(5, 8), t(5, 8), one),
		"attention, k's width":       attend(t(5, 16), t(5, 16), t(5, 16), t(5, 8), one),
		"attention, v's rows":        attend(t(5, 16), t(5, 16), t(5, 8), t(4, 8), one),
		"attention, dst's rows":      attend(t(4, 16), t(5, 16), t(5, 8), t(5, 8), one),
		"attention, causal":          attend(t(5, 16), t(5, 16), t(4, 8), t(4, 8), causal),
		"attention, windows' end":    attend(t(5, 16), t(5, 16), t(5, 8), t(5, 8), windows),
		"attention, windows descend": attend(t(5, 16), t(5, 16), t(5, 8), t(5, 8), down),
		"attention, heads no factor": attend(t(5, 16), t(5, 16), t(5, 24), t(5, 24), heads),
		"heads, narrow":              split(func(s *compute.Split) { s.X = t(5, 24) }),
		"heads, other rows":          split(func(s *compute.Split) { s.V = t(4, 8) }),
		"heads, no whole heads":      split(func(s *compute.Split) { s.Dim = 7 }),
		"heads, other norm":          split(func(s *compute.Split) { s.NormK = norm }),
		"heads, other angles":        split(func(s *compute.Split) { s.Rope = compute.Rope{Cos: angle, Sin: angle} }),
	}
}

func (m *machine) otherMisfits() map[string]func() {
	t := m.tensor
	conv, _ := m.conv(compute.ConvSpec{Stride: 1}, []int{2, 3, 2, 2})
	w, _ := m.weight("table", safetensors.BF16, 1, 5, 4)
	table, err := m.b.LoadTable(w)
	require.NoError(m, err)
	flat, _ := m.random(compute.F32, 3, 4)
	convolve := func(dst, x compute.Tensor, h, w int) func() {
		return func() { m.b.Convolve(dst, conv, x, h, w, compute.Pre{}, compute.Post{}) }
	}
	return map[string]func(){
		"convolution, other picture":  convolve(t(6, 2), t(12, 3), 3, 5),
		"convolution, other channels": convolve(t(6, 2), t(12, 4), 3, 4),
		"convolution, other result":   convolve(t(12, 2), t(12, 3), 3, 4),
		"convolution, no result":      convolve(t(1, 2), t(3, 3), 1, 3),
		"embed, other rows":           func() { m.b.Embed(t(2, 4), table, []int32{1}) },
		"embed, other width":          func() { m.b.Embed(t(1, 5), table, []int32{1}) },
		"embed, row 5 of 5":           func() { m.b.Embed(t(1, 4), table, []int32{5}) },
		"gather, other width":         func() { m.b.Gather(t(1, 4), t(3, 5), []int32{0}) },
		"gather, row -1":              func() { m.b.Gather(t(1, 4), t(3, 4), []int32{-1}) },
		"copy, other length":          func() { m.b.Copy(t(3, 4), t(3, 5)) },
		"euler, other shape":          func() { m.b.Euler(flat, t(4, 3), 1) },
		"euler, act":                  func() { m.b.Euler(t(3, 4), t(3, 4), 1) },
		"guide, other shape":          func() { m.b.Guide(t(3, 4), t(3, 4), t(3, 5), 1) },
		"upload, too short":           func() { m.b.Upload(flat, make([]float32, 11)) },
		"download, too long":          func() { _ = m.b.Download(make([]float32, 13), flat) },
		"reset to the future":         func() { m.b.Reset(m.b.Mark() + 256) },
	}
}

// loading: weights that no backend can take are errors that name the tensor.
func loading(m *machine) {
	w := func(name string, d safetensors.DType, shape ...int) compute.Weight {
		w, _ := m.weight(name, safetensors.BF16, 1, shape...)
		w.DType = d
		return w
	}
	dense := func(bias compute.Weight, weights ...compute.Weight) func() error {
		return m.linearError(compute.Dense{Weights: weights, Biases: []compute.Weight{bias}})
	}
	short := w("short", safetensors.BF16, 3, 4)
	short.Data = short.Data[:23]
	good := w("good", safetensors.BF16, 3, 4)
	for name, f := range map[string]func() error{
		"ints":    dense(w("b", safetensors.BF16, 3), w("ints", safetensors.I16, 3, 4)),
		"short":   dense(w("b", safetensors.BF16, 3), short),
		"bias":    dense(w("bias", safetensors.BF16, 4), good),
		"cube":    dense(w("b", safetensors.BF16, 3), w("cube", safetensors.BF16, 3, 4, 2)),
		"narrow":  m.linearError(compute.Dense{Weights: []compute.Weight{good, w("narrow", safetensors.BF16, 3, 5)}}),
		"line":    func() error { _, err := m.b.LoadTable(w("line", safetensors.BF16, 12)); return err },
		"codes":   func() error { _, err := m.b.LoadVector(w("codes", safetensors.I16, 12)); return err },
		"window":  m.convError(compute.ConvSpec{Weight: w("window", safetensors.BF16, 2, 3, 3), Bias: w("b", safetensors.BF16, 2), Stride: 1}),
		"shifted": m.convError(compute.ConvSpec{Weight: w("w", safetensors.BF16, 2, 3, 3, 3), Bias: w("shifted", safetensors.BF16, 3), Stride: 1}),
		"stride":  m.convError(compute.ConvSpec{Weight: w("stride", safetensors.BF16, 2, 3, 3, 3), Bias: w("b", safetensors.BF16, 2), Stride: 3}),
		"good":    m.linearError(compute.Dense{Weights: []compute.Weight{good, w("other", safetensors.BF16, 2, 4)}, Biases: []compute.Weight{w("alone", safetensors.BF16, 3)}}),
	} {
		m.refused(name, f)
	}
	m.refused("", m.linearError(compute.Dense{}))
	m.loadingQuantised()
}

func (m *machine) linearError(s compute.LinearSpec) func() error {
	return func() error { _, err := m.b.LoadLinear(s); return err }
}

func (m *machine) convError(s compute.ConvSpec) func() error {
	return func() error { _, err := m.b.LoadConv(s); return err }
}

// refused checks the error of a load.
func (m *machine) refused(name string, load func() error) {
	m.Helper()
	err := load()
	require.ErrorContains(m, err, name)
	require.Equal(m, fault.Invalid, fault.KindOf(err), "%v", err)
}

// loadingQuantised is loading of linears with one tensor that is too small, or whose sizes
// are no multiples of the packing's.
func (m *machine) loadingQuantised() {
	svdq := func(change func(*compute.SVDQ) *compute.Weight) func() error {
		s := NewSVDQ(m.rng, 128, 256, 16, false).Spec
		halve(change(&s))
		return m.linearError(s)
	}
	m.refused("wscales", svdq(func(s *compute.SVDQ) *compute.Weight { return &s.WScales }))
	m.refused("smooth_factor", svdq(func(s *compute.SVDQ) *compute.Weight { return &s.Smooth }))
	m.refused("proj_down", svdq(func(s *compute.SVDQ) *compute.Weight { return &s.Down }))
	m.refused("proj_up", svdq(func(s *compute.SVDQ) *compute.Weight { return &s.Up }))
	m.refused("bias", svdq(func(s *compute.SVDQ) *compute.Weight { return &s.Bias }))
	s := NewSVDQ(m.rng, 128, 128, 16, false).Spec
	halve(&s.QWeight)
	m.refused("qweight", m.linearError(s))

	for name, change := range map[string]func(*compute.AWQ) *compute.Weight{
		"wscales": func(s *compute.AWQ) *compute.Weight { return &s.WScales },
		"wzeros":  func(s *compute.AWQ) *compute.Weight { return &s.WZeros },
		"bias":    func(s *compute.AWQ) *compute.Weight { return &s.Bias },
	} {
		s, _ := m.awq(128, 24, 6)
		halve(change(&s))
		m.refused(name, m.linearError(s))
	}
	odd := NewSVDQ(m.rng, 128, 128, 16, false).Spec
	odd.QWeight.Shape = []int64{256, 32} // 64 inputs
	m.refused("qweight", m.linearError(odd))
	parts, _ := m.awq(128, 20, 1)
	parts.Parts = 6
	m.refused("qweight", m.linearError(parts))
}

// halve leaves half of a tensor's rows.
func halve(w *compute.Weight) {
	w.Shape = append([]int64{w.Shape[0] / 2}, w.Shape[1:]...)
	w.Data = w.Data[:len(w.Data)/2]
}
