package plan

import (
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// What package kernels takes of the arena for the time of an operation, beside the caller's
// tensors. It is a copy of what is done there: a test of that package holds the two against
// each other.

// Sizes in package kernels.
const (
	// productUnit is what inputs of products and convolutions are padded to a multiple of.
	productUnit = 8
	// scoreBytes is what the scores of a wide head and the weights made of them may take.
	scoreBytes = 256 << 20
	// tileRows and anyRows are how many queries a block takes at a time: of a kernel for
	// one width of heads, half of that where windows are short, and of the one for any.
	tileRows, shortRows, anyRows = 128, 64, 32
	// quantiseKept is how wide a norm's rows may be that are rounded to 8 bits as they are made.
	quantiseKept = 4096
	// codeRows is what rows of codes are padded to a multiple of.
	codeRows = 64
)

// padded is a number of inputs with those that are added.
func padded(n int) int { return (n + productUnit - 1) / productUnit * productUnit }

// hasKernel reports whether there is a kernel for heads of a width.
func hasKernel(dim int) bool { return dim == 64 || dim == 80 || dim == 128 }

// temporarily counts tensors that are there together, for a moment.
func (b *Backend) temporarily(take func()) {
	if b.options.Temporaries {
		m := b.Mark()
		take()
		b.Reset(m)
	}
}

// prepare counts the result of a Pre, where it is not the input itself.
func (b *Backend) prepare(x compute.Tensor, pre compute.Pre, width int, k compute.Kind) {
	if pre.Kind != compute.None || x.Kind != k {
		b.Alloc(k, x.Rows, width)
	}
}

func (b *Backend) linearTemporaries(w *linear, x compute.Tensor, pre compute.Pre) {
	if w.kind != svdq {
		wide := w.kind == dense && x.Kind == compute.Act && padded(w.in) != w.in
		if !wide || pre.Kind != compute.SwiGLU {
			b.prepare(x, pre, w.in, x.Kind)
		}
		if wide {
			b.Alloc(compute.Act, x.Rows, padded(w.in))
		}
		return
	}
	if b.options.SVDQ == W4A4 {
		b.codeTemporaries(w, x, pre)
		return
	}
	if b.options.SVDQ != Int8 || x.Kind != compute.Act || !roundedAtOnce(w, pre) {
		b.prepare(x, pre, w.in, compute.Act)
	}
	if b.options.SVDQ == Int8 {
		b.Alloc(compute.Act, x.Rows, w.in/2) // a byte each
		b.Alloc(compute.F32, 1, x.Rows)
	}
}

// codeTemporaries counts what a linear takes that rounds its inputs to codes of 4 bits: what Pre
// makes, in float32, the input of the branch of low rank, codes of a byte each and their scales.
func (b *Backend) codeTemporaries(w *linear, x compute.Tensor, pre compute.Pre) {
	if pre.Kind != compute.None {
		b.Alloc(compute.F32, x.Rows, w.in)
	}
	b.Alloc(compute.F32, x.Rows, w.rank)
	b.Alloc(compute.Act, x.Rows, w.in/2)
	b.Alloc(compute.F32, w.in/packing.TileColumns, (x.Rows+codeRows-1)/codeRows*codeRows)
}

// roundedAtOnce reports whether package kernels writes the result of a Pre in 8 bits alone.
func roundedAtOnce(w *linear, pre compute.Pre) bool {
	return pre.Kind == compute.GELUTanh || pre.Kind == compute.LayerNorm && w.in <= quantiseKept
}

func (b *Backend) convTemporaries(c *conv, dst, x compute.Tensor, pre compute.Pre, post compute.Post) {
	if post.Kind == compute.GateAdd {
		b.Alloc(compute.F32, dst.Rows, dst.Cols)
	}
	b.prepare(x, pre, c.in, compute.Act)
	if n := padded(c.in); n != c.in {
		b.Alloc(compute.Act, x.Rows, n)
	}
}

func (b *Backend) attentionTemporaries(q, k compute.Tensor, a compute.Attention) {
	if hasKernel(a.Dim) {
		if a.Windows != nil {
			b.tiles(q.Rows, a.Windows, tileRows)
		}
		return
	}
	if a.Heads == 1 && a.KVHeads == 1 && !a.Causal && a.Windows == nil && a.Dim%8 == 0 && k.Rows%8 == 0 {
		b.Alloc(compute.Act, a.Dim, k.Rows)
		rows := min(q.Rows, max(1, scoreBytes/((f32Bytes+2)*k.Rows)))
		b.Alloc(compute.F32, rows, k.Rows)
		b.Alloc(compute.Act, rows, k.Rows)
		return
	}
	b.tiles(q.Rows, a.Windows, anyRows)
}

// tiles counts the list of tiles of windows, four numbers each.
func (b *Backend) tiles(queries int, windows []int32, rows int) {
	if windows == nil {
		windows = []int32{int32(queries)}
	}
	longest, from := 0, 0
	for _, end := range windows {
		longest = max(longest, int(end)-from)
		from = int(end)
	}
	if rows == tileRows && longest <= shortRows {
		rows = shortRows
	}
	n, from := 0, 0
	for _, end := range windows {
		n += (int(end) - from + rows - 1) / rows
		from = int(end)
	}
	b.Alloc(compute.F32, 1, 4*n)
}
