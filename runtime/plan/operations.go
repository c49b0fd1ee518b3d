package plan

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// Linear counts a linear.
func (b *Backend) Linear(dst compute.Tensor, l compute.Linear, x compute.Tensor, pre compute.Pre, post compute.Post) {
	w, ok := l.(*linear)
	if !ok || w.home != b {
		panic(fmt.Sprintf("plan: a linear of another backend, %T", l))
	}
	compute.CheckLinear(dst, w, x, pre, post)
	b.use(w.group, pre.Weight)
	b.temporarily(func() { b.linearTemporaries(w, x, pre) })
	b.fused(w.kind, dst, x, pre, post, Work{
		FLOPs: 2 * int64(x.Rows) * int64(w.in) * int64(w.out), WeightBytes: w.bytes,
	})
	if w.rank > 0 {
		b.add(lowRank, Work{FLOPs: 2 * int64(x.Rows) * int64(w.rank) * int64(w.in+w.out), WeightBytes: w.lowBytes})
	}
}

// Convolve counts a convolution.
func (b *Backend) Convolve(dst compute.Tensor, c compute.Conv, x compute.Tensor, h, w int, pre compute.Pre, post compute.Post) {
	k, ok := c.(*conv)
	if !ok || k.home != b {
		panic(fmt.Sprintf("plan: a convolution of another backend, %T", c))
	}
	compute.CheckConvolve(dst, k, x, h, w, pre, post)
	b.use(k.group, pre.Weight)
	b.temporarily(func() { b.convTemporaries(k, dst, x, pre, post) })
	b.fused(convolution, dst, x, pre, post, Work{
		FLOPs: 2 * int64(dst.Rows) * int64(k.out) * int64(k.in) * int64(k.kh) * int64(k.kw), WeightBytes: k.bytes,
	})
}

// Apply counts a Pre.
func (b *Backend) Apply(dst, x compute.Tensor, pre compute.Pre) {
	compute.CheckApply(dst, x, pre)
	b.use(nil, pre.Weight)
	b.fused(apply, dst, x, pre, compute.Post{}, Work{})
}

// fused checks and counts an operation with Pre and Post.
func (b *Backend) fused(op operation, dst, x compute.Tensor, pre compute.Pre, post compute.Post, n Work) {
	b.format(dst, x, pre.Mod.Table, post.Residual, post.Mod.Table)
	b.arena.ApartFused(dst, x, pre, post)
	n.Launches = 1
	n.ActivationBytes += dst.Bytes() + x.Bytes()
	if pre.Weight != nil {
		n.WeightBytes += b.vector(pre.Weight).bytes
	}
	if pre.Mod != (compute.Mod{}) {
		n.ActivationBytes += 2 * modBytes(pre.Mod, x)
	}
	if post.Kind == compute.Add || post.Kind == compute.GateAdd {
		n.ActivationBytes += post.Residual.Bytes()
	}
	if post.Kind == compute.GateAdd {
		n.ActivationBytes += modBytes(post.Mod, dst)
	}
	b.add(op, n)
}

// modBytes is the size of one part of a table of modulation, of the rows that t's tokens
// have.
func modBytes(m compute.Mod, t compute.Tensor) int64 {
	rows := int64(1)
	if m.Row != m.Rest && m.Until > 0 && m.Until < t.Rows {
		rows = 2
	}
	return rows * int64(t.Cols) * f32Bytes
}

// Heads counts the rows that are taken apart.
func (b *Backend) Heads(s compute.Split) {
	compute.CheckHeads(s)
	b.format(s.X, s.Q, s.K, s.V, s.Rope.Cos, s.Rope.Sin)
	b.arena.ApartHeads(s)
	b.use(nil, s.NormQ, s.NormK)
	n := Work{Launches: 1, ActivationBytes: s.X.Bytes() + s.Q.Bytes() + s.K.Bytes() + s.V.Bytes() + s.Rope.Cos.Bytes() + s.Rope.Sin.Bytes()}
	for _, v := range []compute.Vector{s.NormQ, s.NormK} {
		if v != nil {
			n.WeightBytes += b.vector(v).bytes
		}
	}
	b.add(heads, n)
}

// Attention counts the products of the queries with the keys that they see, and of those
// with the values.
func (b *Backend) Attention(dst, q, k, v compute.Tensor, a compute.Attention) {
	compute.CheckAttention(dst, q, k, v, a)
	b.format(dst, q, k, v)
	b.arena.Apart(dst, q, k, v)
	b.temporarily(func() { b.attentionTemporaries(q, k, a) })
	b.add(attention, Work{
		Launches: 1, FLOPs: 4 * seen(q.Rows, k.Rows, a) * int64(a.Heads) * int64(a.Dim),
		ActivationBytes: dst.Bytes() + q.Bytes() + k.Bytes() + v.Bytes(),
	})
}

// seen is how many pairs of a query and a key that it sees there are.
func seen(queries, keys int, a compute.Attention) (pairs int64) {
	if a.Windows == nil {
		return pairsOf(queries, keys, a.Causal)
	}
	from := 0
	for _, end := range a.Windows {
		n := int(end) - from
		pairs += pairsOf(n, n, a.Causal)
		from = int(end)
	}
	return pairs
}

func pairsOf(queries, keys int, causal bool) int64 {
	if causal {
		return int64(queries) * int64(queries+1) / 2
	}
	return int64(queries) * int64(keys)
}

// Embed counts the rows that are copied.
func (b *Backend) Embed(dst compute.Tensor, t compute.Table, ids []int32) {
	w, ok := t.(*table)
	if !ok || w.home != b {
		panic(fmt.Sprintf("plan: a table of another backend, %T", t))
	}
	compute.CheckEmbed(dst, w, ids)
	b.format(dst)
	b.arena.Apart(dst)
	b.temporarily(func() { b.Alloc(compute.F32, 1, len(ids)) })
	b.add(embed, Work{Launches: 1, WeightBytes: int64(len(ids)) * int64(w.cols) * int64(w.size), ActivationBytes: dst.Bytes()})
}

// Gather counts the rows that are copied.
func (b *Backend) Gather(dst, src compute.Tensor, rows []int32) {
	compute.CheckGather(dst, src, rows)
	b.format(dst, src)
	b.arena.Apart(dst, src)
	b.temporarily(func() { b.Alloc(compute.F32, 1, len(rows)) })
	b.add(gather, Work{Launches: 1, ActivationBytes: 2 * dst.Bytes()})
}

// Copy counts what is read and written.
func (b *Backend) Copy(dst, src compute.Tensor) {
	compute.CheckCopy(dst, src)
	b.format(dst, src)
	b.arena.Apart(dst, src)
	b.add(copies, Work{Launches: 1, ActivationBytes: dst.Bytes() + src.Bytes()})
}

// Euler counts a step.
func (b *Backend) Euler(x, v compute.Tensor, _ float32) {
	compute.CheckEuler(x, v)
	b.format(x, v)
	b.arena.Apart(x, v)
	b.add(euler, Work{Launches: 1, ActivationBytes: 2*x.Bytes() + v.Bytes()})
}

// Guide counts the joining of two predictions.
func (b *Backend) Guide(dst, positive, negative compute.Tensor, _ float32) {
	compute.CheckGuide(dst, positive, negative)
	b.format(dst, positive, negative)
	b.arena.ApartGuide(dst, positive, negative)
	b.add(guide, Work{Launches: 1, ActivationBytes: dst.Bytes() + positive.Bytes() + negative.Bytes()})
}

// Finite counts a reading of x, which is finite.
func (b *Backend) Finite(x compute.Tensor, _ string) {
	b.format(x)
	b.arena.Present(x)
	b.add(finite, Work{Launches: 1, ActivationBytes: x.Bytes()})
}
