package plan

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// present panics where a tensor is not in the arena, or of another backend's format.
func (b *Backend) present(tensors ...compute.Tensor) {
	for _, t := range tensors {
		want := f32Bytes
		if t.Kind == compute.Act {
			want = b.options.ActBytes
		}
		if end := t.Offset + t.Bytes(); t.Size != want || t.Offset < 0 || end > b.arena.Used() {
			panic(fmt.Sprintf("plan: %v of %d bytes each at %d to %d, where %d bytes are in use", t, t.Size, t.Offset, end, b.arena.Used()))
		}
	}
}

// apart panics where dst overlaps an input. Tensors that are none are passed over.
func (b *Backend) apart(dst compute.Tensor, inputs ...compute.Tensor) {
	b.present(dst)
	for _, t := range inputs {
		if t.IsZero() {
			continue
		}
		b.present(t)
		if dst.Offset < t.Offset+t.Bytes() && t.Offset < dst.Offset+dst.Bytes() {
			panic(fmt.Sprintf("plan: the result %v at %d overlaps the input %v at %d", dst, dst.Offset, t, t.Offset))
		}
	}
}

// vector is a vector of this backend.
func (b *Backend) vector(v compute.Vector) *vector {
	w, ok := v.(*vector)
	if !ok || w.home != b {
		panic(fmt.Sprintf("plan: no vector, or of another backend, %T", v))
	}
	return w
}

// preWidth is how many values of cols Pre leaves. It panics where Pre cannot take cols.
func (b *Backend) preWidth(p compute.Pre, cols int) int {
	switch p.Kind {
	case compute.None, compute.SiLU, compute.GELUTanh:
	case compute.LayerNorm:
		b.checkMod(p.Mod, cols, p.Mod.Shift, p.Mod.Scale)
	case compute.SwiGLU:
		if cols%2 != 0 {
			panic(fmt.Sprintf("plan: SwiGLU of %d columns", cols))
		}
		return cols / 2
	case compute.RMSNorm:
		if n := b.vector(p.Weight).n; cols%n != 0 {
			panic(fmt.Sprintf("plan: RMSNorm with %d weights of %d columns", n, cols))
		}
	case compute.ChannelNorm, compute.ChannelNormSiLU:
		if n := b.vector(p.Weight).n; cols != n {
			panic(fmt.Sprintf("plan: channel norm with %d weights of %d columns", n, cols))
		}
	default:
		panic(fmt.Sprintf("plan: Pre of kind %d", p.Kind))
	}
	return cols
}

// checkPost panics where a Post does not fit its result.
func (b *Backend) checkPost(dst compute.Tensor, p compute.Post) {
	switch p.Kind {
	case compute.Store, compute.StoreSiLU, compute.StoreGELU:
		return
	case compute.Add:
	case compute.GateAdd:
		if p.Mod == (compute.Mod{}) {
			panic("plan: GateAdd without a gate")
		}
		b.checkMod(p.Mod, dst.Cols, p.Mod.Gate)
	default:
		panic(fmt.Sprintf("plan: Post of kind %d", p.Kind))
	}
	if r := p.Residual; r.Rows != dst.Rows || r.Cols != dst.Cols {
		panic(fmt.Sprintf("plan: adding residual %v to %v", r, dst))
	}
}

// checkMod panics where a table has not the parts, of width values each, or not the rows.
func (b *Backend) checkMod(m compute.Mod, width int, parts ...int) {
	if m == (compute.Mod{}) {
		return
	}
	t := m.Table
	for _, part := range parts {
		if t.Kind != compute.F32 || t.Cols%width != 0 || part < 0 || part >= t.Cols/width {
			panic(fmt.Sprintf("plan: part %d of a modulation table %v, parts of %d", part, t, width))
		}
	}
	if min(m.Row, m.Rest) < 0 || max(m.Row, m.Rest) >= t.Rows {
		panic(fmt.Sprintf("plan: rows %d and %d of a modulation table %v", m.Row, m.Rest, t))
	}
}

// checkSplit panics where the tensors of Heads don't fit, or overlap.
func (b *Backend) checkSplit(s compute.Split) {
	n := s.X.Rows
	if s.X.Cols != s.Q.Cols+s.K.Cols+s.V.Cols || s.Q.Rows != n || s.K.Rows != n || s.V.Rows != n {
		panic(fmt.Sprintf("plan: heads of %v to q %v, k %v, v %v", s.X, s.Q, s.K, s.V))
	}
	if s.Dim <= 0 || s.Q.Cols%s.Dim != 0 || s.K.Cols%s.Dim != 0 || s.V.Cols%s.Dim != 0 {
		panic(fmt.Sprintf("plan: heads of %d of q %v, k %v, v %v", s.Dim, s.Q, s.K, s.V))
	}
	for _, v := range []compute.Vector{s.NormQ, s.NormK} {
		if v != nil && b.vector(v).n != s.Dim {
			panic(fmt.Sprintf("plan: a norm of %d weights of heads of %d", v.Len(), s.Dim))
		}
	}
	if s.Rope != (compute.Rope{}) {
		for _, t := range []compute.Tensor{s.Rope.Cos, s.Rope.Sin} {
			if t.Kind != compute.F32 || t.Rows != n || 2*t.Cols != s.Dim {
				panic(fmt.Sprintf("plan: angles %v for %d rows and heads of %d", t, n, s.Dim))
			}
		}
	}
	b.apart(s.Q, s.X, s.K, s.V, s.Rope.Cos, s.Rope.Sin)
	b.apart(s.K, s.X, s.V, s.Rope.Cos, s.Rope.Sin)
	b.apart(s.V, s.X, s.Rope.Cos, s.Rope.Sin)
}

// checkAttention panics where the tensors of Attention don't fit.
func checkAttention(dst, q, k, v compute.Tensor, a compute.Attention) {
	if a.Heads <= 0 || a.KVHeads <= 0 || a.Dim <= 0 || a.Heads%a.KVHeads != 0 ||
		q.Cols != a.Heads*a.Dim || dst.Cols != q.Cols || dst.Rows != q.Rows ||
		k.Cols != a.KVHeads*a.Dim || v.Cols != k.Cols || v.Rows != k.Rows {
		panic(fmt.Sprintf("plan: attention of %d heads of %d, %d of keys, q %v, k %v, v %v to %v", a.Heads, a.Dim, a.KVHeads, q, k, v, dst))
	}
	if (a.Causal || a.Windows != nil) && q.Rows != k.Rows {
		panic(fmt.Sprintf("plan: causal or windowed attention of %d rows to %d", q.Rows, k.Rows))
	}
	last := int32(0)
	for _, end := range a.Windows {
		if end <= last {
			panic(fmt.Sprintf("plan: a window from %d to %d", last, end))
		}
		last = end
	}
	if a.Windows != nil && int(last) != q.Rows {
		panic(fmt.Sprintf("plan: windows end at %d of %d rows", last, q.Rows))
	}
}

// checkRows panics unless all rows are among n.
func checkRows(rows []int32, n int) {
	for _, r := range rows {
		if r < 0 || int(r) >= n {
			panic(fmt.Sprintf("plan: row %d of %d", r, n))
		}
	}
}
