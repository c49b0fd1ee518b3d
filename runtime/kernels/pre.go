package kernels

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// format is a kind's letter in the names of kernels.
func format(k compute.Kind) string {
	if k == compute.F32 {
		return "f"
	}
	return "h"
}

// formats are the letters of what is read and what is written.
func formats(from, to compute.Tensor) string { return format(from.Kind) + format(to.Kind) }

// access is how many values a kernel may read at once of rows of n, 8 or 1.
func access(n int, tensors ...compute.Tensor) int {
	for _, t := range tensors {
		if n%8 != 0 || t.Offset%int64(8*t.Size) != 0 {
			return 1
		}
	}
	return 8
}

// Apply computes dst = Pre(x).
func (b *Backend) Apply(dst, x compute.Tensor, p compute.Pre) {
	compute.CheckApply(dst, x, p)
	if b.ready() {
		b.arena.ApartFused(dst, x, p, compute.Post{})
		b.use(nil, p.Weight)
		b.apply(dst, x, p)
	}
}

// The functions of map, and the kinds of norm, in pre.cu.
var (
	mapFunctions = map[compute.PreKind]int{compute.None: 0, compute.SiLU: 1, compute.GELUTanh: 2}
	normKinds    = map[compute.PreKind]int{compute.RMSNorm: 0, compute.LayerNorm: 1, compute.ChannelNorm: 2, compute.ChannelNormSiLU: 3}
)

// apply is Apply of what was checked.
func (b *Backend) apply(dst, x compute.Tensor, p compute.Pre) {
	if f, ok := mapFunctions[p.Kind]; ok {
		n := dst.Len()
		each := access(n, dst, x)
		b.spread(fmt.Sprintf("map_%s%d", formats(x, dst), each), n, each, b.address(dst), b.address(x), cuda.Int(n), cuda.Int(f))
		return
	}
	if p.Kind == compute.SwiGLU {
		b.swiglu(dst, x)
		return
	}
	b.norm(dst, x, p)
}

// swiglu computes SwiGLU of x into as many columns of dst, and zeros into those that it has more.
func (b *Backend) swiglu(dst, x compute.Tensor) {
	cols := x.Cols / 2
	each := access(cols, dst, x)
	b.spread(fmt.Sprintf("swiglu_%s%d", formats(x, dst), each), dst.Len(), each,
		b.address(dst), b.address(x), cuda.Int(dst.Rows), cuda.Int(cols), cuda.Int(dst.Cols))
}

// warpRow is how many turns a warp takes at most for a row; a longer one gets a block.
const warpRow = 8

func (b *Backend) norm(dst, x compute.Tensor, p compute.Pre) {
	rows, cols := x.Rows, x.Cols
	weight := cuda.Parameter(0)
	if p.Kind != compute.LayerNorm {
		v := b.vector(p.Weight)
		weight = cuda.Address(v.p)
		rows, cols = x.Len()/v.n, v.n // pieces of a row are rows of their own
	}
	each := access(cols, dst, x)
	team, blocks := threads, rows
	if cols <= 32*each*warpRow {
		team, blocks = 32, ceil(rows, threads/32)
	}
	m := b.modulation(p.Mod, x.Cols)
	b.launch(fmt.Sprintf("norm_%s%d", formats(x, dst), each), cuda.Dim{X: blocks}, cuda.Dim{X: threads}, 0,
		b.address(dst), b.address(x), cuda.Int(rows), cuda.Int(cols), cuda.Int(team), cuda.Int(normKinds[p.Kind]), cuda.Float(p.Eps),
		weight, m.scale, m.shift, m.restScale, m.restShift, cuda.Int(p.Mod.Until), m.one)
}

// modulation is what a norm's kernels take of a Mod: nothing of the zero one.
type modulation struct{ scale, shift, restScale, restShift, one cuda.Parameter }

func (b *Backend) modulation(p compute.Mod, width int) (m modulation) {
	if p == (compute.Mod{}) {
		return m
	}
	m.scale, m.restScale = b.part(p, p.Scale, width)
	m.shift, m.restShift = b.part(p, p.Shift, width)
	if p.PlusOne {
		m.one = cuda.Float(1)
	}
	return m
}

// part is where a part of the table lies for tokens before Until, and for the rest.
func (b *Backend) part(m compute.Mod, part, width int) (before, rest cuda.Parameter) {
	at := func(row int) cuda.Parameter {
		return cuda.Address(b.at(m.Table) + cuda.Pointer(f32Size*(row*m.Table.Cols+part*width)))
	}
	return at(m.Row), at(m.Rest)
}

// prepared is Pre(x), in x's format unless another is asked for: x itself where there is
// nothing to do. done gives it back.
func (b *Backend) prepared(x compute.Tensor, p compute.Pre, k compute.Kind) (y compute.Tensor, done func()) {
	if p.Kind == compute.None && x.Kind == k {
		return x, func() {}
	}
	y, done = b.temporary(k, x.Rows, p.Width(x.Cols))
	if b.err == nil {
		b.apply(y, x, p)
	}
	return y, done
}
