package compute

import "fmt"

// The checks panic where the shapes of a call do not fit. A backend calls them before
// anything else, so that a defect of a model is the same panic on each of them. That
// weights are the backend's own is for the backend to check.

// Width is how many of cols columns Pre leaves. It panics if it cannot take them.
func (p Pre) Width(cols int) int {
	switch p.Kind {
	case None, SiLU, GELUTanh:
	case LayerNorm:
		p.Mod.check(cols, p.Mod.Shift, p.Mod.Scale)
	case SwiGLU:
		if cols%2 != 0 {
			panic(fmt.Sprintf("compute: SwiGLU of %d columns", cols))
		}
		return cols / 2
	case RMSNorm:
		if p.Weight == nil || p.Weight.Len() == 0 || cols%p.Weight.Len() != 0 {
			panic(fmt.Sprintf("compute: RMSNorm of %d columns with %s", cols, weights(p.Weight)))
		}
	case ChannelNorm, ChannelNormSiLU:
		if p.Weight == nil || cols != p.Weight.Len() {
			panic(fmt.Sprintf("compute: channel norm of %d columns with %s", cols, weights(p.Weight)))
		}
	default:
		panic(fmt.Sprintf("compute: Pre of kind %d", p.Kind))
	}
	return cols
}

func weights(v Vector) string {
	if v == nil {
		return "no weights"
	}
	return fmt.Sprintf("%d weights", v.Len())
}

// check panics if the table has not these parts, each width columns wide, and rows.
func (m Mod) check(width int, parts ...int) {
	if m == (Mod{}) {
		return
	}
	t := m.Table
	for _, p := range parts {
		if t.Kind != F32 || t.Cols%width != 0 || p < 0 || p >= t.Cols/width {
			panic(fmt.Sprintf("compute: part %d of a modulation table %v, parts of %d", p, t, width))
		}
	}
	if min(m.Row, m.Rest) < 0 || max(m.Row, m.Rest) >= t.Rows {
		panic(fmt.Sprintf("compute: rows %d and %d of a modulation table %v", m.Row, m.Rest, t))
	}
}

// check panics if Post does not fit its result.
func (p Post) check(dst Tensor) {
	switch p.Kind {
	case Store, StoreSiLU, StoreGELU:
		return
	case Add:
	case GateAdd:
		if p.Mod == (Mod{}) {
			panic("compute: GateAdd without a gate")
		}
		p.Mod.check(dst.Cols, p.Mod.Gate)
	default:
		panic(fmt.Sprintf("compute: Post of kind %d", p.Kind))
	}
	if r := p.Residual; r.Rows != dst.Rows || r.Cols != dst.Cols {
		panic(fmt.Sprintf("compute: adding residual %v to %v", r, dst))
	}
}

// CheckGroup is the group of an operation's weights, of which there is one at most; the zero G is
// none. name is what a group is called.
func CheckGroup[G comparable](name func(G) string, weights ...G) (one G) {
	var none G
	for _, g := range weights {
		if g == none || g == one {
			continue
		}
		if one != none {
			panic(fmt.Sprintf("compute: an operation with weights of two groups, %s and %s", name(one), name(g)))
		}
		one = g
	}
	return one
}

// CheckLinear is the check of Linear.
func CheckLinear(dst Tensor, l Linear, x Tensor, pre Pre, post Post) {
	if width := pre.Width(x.Cols); width != l.In() || dst.Cols != l.Out() || dst.Rows != x.Rows {
		panic(fmt.Sprintf("compute: a linear of %d inputs, %d outputs from %v (%d wide after Pre) to %v",
			l.In(), l.Out(), x, width, dst))
	}
	post.check(dst)
}

// CheckConvolve is the check of Convolve.
func CheckConvolve(dst Tensor, c Conv, x Tensor, h, w int, pre Pre, post Post) {
	width := pre.Width(x.Cols)
	if h <= 0 || w <= 0 || x.Rows != h*w {
		panic(fmt.Sprintf("compute: a convolution of %v as a picture of %d×%d", x, h, w))
	}
	rows, columns := c.Size(h, w)
	if width != c.In() || rows <= 0 || columns <= 0 || dst.Rows != rows*columns || dst.Cols != c.Out() {
		panic(fmt.Sprintf("compute: a convolution of %d channels to %d from %v, %d×%d, %d wide after Pre, to %v, %d×%d",
			c.In(), c.Out(), x, h, w, width, dst, rows, columns))
	}
	post.check(dst)
}

// CheckApply is the check of Apply.
func CheckApply(dst, x Tensor, pre Pre) {
	if width := pre.Width(x.Cols); width != dst.Cols || dst.Rows != x.Rows {
		panic(fmt.Sprintf("compute: applying Pre to %v, %d wide after it, into %v", x, width, dst))
	}
}

// CheckHeads is the check of Heads.
func CheckHeads(s Split) {
	n := s.X.Rows
	if s.X.Cols != s.Q.Cols+s.K.Cols+s.V.Cols || s.Q.Rows != n || s.K.Rows != n || s.V.Rows != n {
		panic(fmt.Sprintf("compute: heads of %v to q %v, k %v, v %v", s.X, s.Q, s.K, s.V))
	}
	if s.Dim <= 0 || s.Q.Cols%s.Dim != 0 || s.K.Cols%s.Dim != 0 || s.V.Cols%s.Dim != 0 {
		panic(fmt.Sprintf("compute: heads of %d of q %v, k %v, v %v", s.Dim, s.Q, s.K, s.V))
	}
	for _, v := range []Vector{s.NormQ, s.NormK} {
		if v != nil && v.Len() != s.Dim {
			panic(fmt.Sprintf("compute: a norm with %d weights of heads of %d", v.Len(), s.Dim))
		}
	}
	if s.Rope == (Rope{}) {
		return
	}
	for _, t := range []Tensor{s.Rope.Cos, s.Rope.Sin} {
		if t.Kind != F32 || t.Rows != n || 2*t.Cols != s.Dim {
			panic(fmt.Sprintf("compute: angles %v for %d rows and heads of %d", t, n, s.Dim))
		}
	}
}

// CheckAttention is the check of Attention.
func CheckAttention(dst, q, k, v Tensor, a Attention) {
	if a.Heads <= 0 || a.KVHeads <= 0 || a.Dim <= 0 || a.Heads%a.KVHeads != 0 ||
		q.Cols != a.Heads*a.Dim || dst.Cols != q.Cols || dst.Rows != q.Rows ||
		k.Cols != a.KVHeads*a.Dim || v.Cols != k.Cols || v.Rows != k.Rows {
		panic(fmt.Sprintf("compute: attention of %d heads over %d of %d: q %v, k %v, v %v to %v", a.Heads, a.KVHeads, a.Dim, q, k, v, dst))
	}
	if (a.Causal || a.Windows != nil) && q.Rows != k.Rows {
		panic(fmt.Sprintf("compute: causal or windowed attention of q %v to k %v", q, k))
	}
	last := int32(0)
	for _, end := range a.Windows {
		if end <= last {
			panic(fmt.Sprintf("compute: a window from %d to %d", last, end))
		}
		last = end
	}
	if a.Windows != nil && int(last) != q.Rows {
		panic(fmt.Sprintf("compute: windows end at %d of %d rows", last, q.Rows))
	}
}

// CheckEmbed is the check of Embed.
func CheckEmbed(dst Tensor, t Table, ids []int32) {
	if dst.Rows != len(ids) || dst.Cols != t.Cols() {
		panic(fmt.Sprintf("compute: embedding %d rows of a table %d×%d into %v", len(ids), t.Rows(), t.Cols(), dst))
	}
	checkRows(ids, t.Rows())
}

// CheckGather is the check of Gather. Its tensors are of one kind.
func CheckGather(dst, src Tensor, rows []int32) {
	if dst.Rows != len(rows) || dst.Cols != src.Cols || dst.Kind != src.Kind {
		panic(fmt.Sprintf("compute: gathering %d rows of %v into %v", len(rows), src, dst))
	}
	checkRows(rows, src.Rows)
}

// checkRows panics unless all rows are among n.
func checkRows(rows []int32, n int) {
	for _, r := range rows {
		if r < 0 || int(r) >= n {
			panic(fmt.Sprintf("compute: row %d of %d", r, n))
		}
	}
}

// CheckCopy is the check of Copy.
func CheckCopy(dst, src Tensor) {
	if dst.Len() != src.Len() {
		panic(fmt.Sprintf("compute: copying %v to %v", src, dst))
	}
}

// CheckEuler is the check of Euler.
func CheckEuler(x, v Tensor) {
	if x.Rows != v.Rows || x.Cols != v.Cols || x.Kind != F32 {
		panic(fmt.Sprintf("compute: moving %v along %v", x, v))
	}
}

// CheckGuide is the check of Guide.
func CheckGuide(dst, positive, negative Tensor) {
	for _, t := range []Tensor{positive, negative} {
		if t.Rows != dst.Rows || t.Cols != dst.Cols {
			panic(fmt.Sprintf("compute: guiding %v from %v into %v", positive, negative, dst))
		}
	}
}

// CheckValues panics unless there are as many values as t has: the check of Upload and
// Download.
func CheckValues(t Tensor, values []float32) {
	if len(values) != t.Len() {
		panic(fmt.Sprintf("compute: %d values for %v", len(values), t))
	}
}

// Present panics if one of the tensors was not taken from the arena, or is gone. Ones that
// are none are passed over. It does not hold for what an arena that was full gave out.
func (a *Arena) Present(tensors ...Tensor) {
	for _, t := range tensors {
		if end := t.Offset + t.Bytes(); t.Offset < 0 || end > a.used {
			panic(fmt.Sprintf("compute: %v at %d to %d, where %d bytes are in use", t, t.Offset, end, a.used))
		}
	}
}

// Apart panics like Present, and if dst overlaps an input.
func (a *Arena) Apart(dst Tensor, inputs ...Tensor) {
	if dst.IsZero() {
		panic("compute: a result without a tensor")
	}
	a.Present(dst)
	a.Present(inputs...)
	for _, t := range inputs {
		if dst.Offset < t.Offset+t.Bytes() && t.Offset < dst.Offset+dst.Bytes() {
			panic(fmt.Sprintf("compute: the result %v at %d overlaps the input %v at %d", dst, dst.Offset, t, t.Offset))
		}
	}
}

// ApartFused is Apart for an operation with Pre and Post, whose residual may be the result.
func (a *Arena) ApartFused(dst, x Tensor, pre Pre, post Post) {
	inputs := []Tensor{x}
	if pre.Kind == LayerNorm {
		inputs = append(inputs, pre.Mod.Table)
	}
	if post.Kind == GateAdd {
		inputs = append(inputs, post.Mod.Table)
	}
	if (post.Kind == Add || post.Kind == GateAdd) && post.Residual != dst {
		inputs = append(inputs, post.Residual)
	}
	a.Apart(dst, inputs...)
}

// ApartHeads is Apart for the three results of Heads.
func (a *Arena) ApartHeads(s Split) {
	a.Apart(s.Q, s.X, s.K, s.V, s.Rope.Cos, s.Rope.Sin)
	a.Apart(s.K, s.X, s.V, s.Rope.Cos, s.Rope.Sin)
	a.Apart(s.V, s.X, s.Rope.Cos, s.Rope.Sin)
}

// ApartGuide is Apart for Guide, whose result may be one of the predictions.
func (a *Arena) ApartGuide(dst, positive, negative Tensor) {
	for _, t := range []Tensor{positive, negative} {
		if t != dst {
			a.Apart(dst, t)
		}
	}
	a.Present(dst, positive, negative)
}
