package kernels

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// flash is a kernel of attention.cu: queries to a block, and its shared memory.
type flash struct {
	name         string
	rows, shared int
}

// The kernels of attention.cu by the width of a head: for long sequences, and for short
// ones or windows.
var (
	flashLong  = map[int]flash{64: {"attention_bf16_64", 128, 32768}, 80: {"attention_bf16_80", 128, 45056}, 128: {"attention_bf16_128", 128, 65536}}
	flashShort = map[int]flash{64: {"attention_bf16_64_short", 64, 24576}, 80: {"attention_bf16_80_short", 64, 33792}, 128: {"attention_bf16_128_short", 64, 49152}}
)

const (
	// shortRows is up to which a window or sequence is a short one.
	shortRows = 64
	// widestHead is the widest head of attend.cu.
	widestHead = 512
	// scoreBytes is about how much of the arena the scores of a wide head take at a time,
	// with the weights made of them.
	scoreBytes = 256 << 20
)

// Attention computes softmax(scale·q·kᵀ)·v, head by head.
func (b *Backend) Attention(dst, q, k, v compute.Tensor, a compute.Attention) {
	compute.CheckAttention(dst, q, k, v, a)
	if !b.ready() {
		return
	}
	b.arena.Apart(dst, q, k, v)
	if max(dst.Kind, q.Kind, k.Kind, v.Kind) != compute.Act || a.Dim > widestHead {
		panic(fmt.Sprintf("kernels: attention of heads of %d: q %v, k %v, v %v to %v", a.Dim, q, k, v, dst))
	}
	if a.Dim == 128 && !a.Causal && a.Windows == nil && q.Rows > shortRows && b.functions.has("attention_bf16_128_hopper") {
		b.flashHopper(dst, q, k, v, a)
		return
	}
	if _, ok := flashLong[a.Dim]; ok {
		b.flash(dst, q, k, v, a)
		return
	}
	if a.Heads == 1 && a.KVHeads == 1 && !a.Causal && a.Windows == nil && a.Dim%8 == 0 && k.Rows%8 == 0 {
		b.wide(dst, q, k, v, a)
		return
	}
	b.attendAny(dst, q, k, v, a)
}

// hopperAttentionShared is the shared memory of attention.sm_90a.cu's kernel.
const hopperAttentionShared = 164864

// flashHopper is flash for Hopper: heads of 128, and every query sees every key.
func (b *Backend) flashHopper(dst, q, k, v compute.Tensor, a compute.Attention) {
	matrix := func(t compute.Tensor) cuda.Matrix {
		return cuda.Matrix{P: b.at(t), Rows: t.Rows, Cols: t.Cols, TileRows: 128, TileCols: 64}
	}
	b.launchTiled("attention_bf16_128_hopper", cuda.Dim{X: ceil(q.Rows, 128), Y: a.Heads}, cuda.Dim{X: hopperThreads}, hopperAttentionShared,
		[]cuda.Matrix{matrix(q), matrix(k), matrix(v)},
		b.address(dst), cuda.Int(q.Rows), cuda.Int(k.Rows), cuda.Int(a.Heads), cuda.Int(a.KVHeads), cuda.Float(a.Scale))
}

// flash is one pass over k and v.
func (b *Backend) flash(dst, q, k, v compute.Tensor, a compute.Attention) {
	f := flashLong[a.Dim]
	if longest(q.Rows, a.Windows) <= shortRows {
		f = flashShort[a.Dim]
	}
	tiles, blocks := cuda.Parameter(0), ceil(q.Rows, f.rows)
	if a.Windows != nil {
		list := tilesOf(q.Rows, k.Rows, f.rows, a.Windows)
		t, done := b.tiles(list)
		defer done()
		tiles, blocks = b.address(t), len(list)/4
	}
	if b.err != nil {
		return
	}
	b.launch(f.name, cuda.Dim{X: blocks, Y: a.Heads}, cuda.Dim{X: 128}, f.shared,
		b.address(dst), b.address(q), b.address(k), b.address(v), tiles, cuda.Int(q.Rows), cuda.Int(k.Rows),
		cuda.Int(a.Heads), cuda.Int(a.KVHeads), cuda.Float(a.Scale), cuda.Bool(a.Causal))
}

// wide is one wide head: scores of some queries at a time, their softmax, and a product
// with v transposed.
func (b *Backend) wide(dst, q, k, v compute.Tensor, a compute.Attention) {
	m := k.Rows
	turned, done := b.temporary(compute.Act, a.Dim, m)
	defer done()
	rows := min(q.Rows, max(1, scoreBytes/((f32Size+actSize)*m)))
	scores, done := b.temporary(compute.F32, rows, m)
	defer done()
	weights, done := b.temporary(compute.Act, rows, m)
	defer done()
	if b.err != nil {
		return
	}
	b.launch("transpose_bf16", cuda.Dim{X: ceil(a.Dim, 32), Y: ceil(m, 32)}, cuda.Dim{X: threads}, 0,
		b.address(turned), b.address(v), cuda.Int(m), cuda.Int(a.Dim))
	for from := 0; from < q.Rows; from += rows {
		to := min(from+rows, q.Rows)
		n := to - from
		b.multiply(b.address(scores), b.address(q.Slice(from, to)), b.address(k), 0, n, m, a.Dim, epilogue{flags: flagOutF32})
		b.launch("softmax_rows", cuda.Dim{X: n}, cuda.Dim{X: threads}, 0,
			b.address(weights), b.address(scores), cuda.Int(n), cuda.Int(m), cuda.Float(a.Scale))
		b.multiply(b.address(dst.Slice(from, to)), b.address(weights), b.address(turned), 0, n, a.Dim, m, epilogue{})
	}
}

// attendAny takes heads of any width, slowly.
func (b *Backend) attendAny(dst, q, k, v compute.Tensor, a compute.Attention) {
	const rows = 32
	list := tilesOf(q.Rows, k.Rows, rows, a.Windows)
	tiles, done := b.tiles(list)
	defer done()
	if b.err != nil {
		return
	}
	b.launch("attend_any", cuda.Dim{X: len(list) / 4, Y: a.Heads}, cuda.Dim{X: 128}, 0,
		b.address(dst), b.address(q), b.address(k), b.address(v), b.address(tiles), cuda.Int(q.Rows), cuda.Int(k.Rows),
		cuda.Int(a.Heads), cuda.Int(a.KVHeads), cuda.Int(a.Dim), cuda.Float(a.Scale), cuda.Bool(a.Causal))
}

// tiles puts a list of tiles on the device.
func (b *Backend) tiles(list []int32) (compute.Tensor, func()) {
	t, done := b.temporary(compute.F32, 1, len(list)) // integers of the same size
	b.integers(t, list)
	return t, done
}

// longest is the longest window, or the number of rows.
func longest(rows int, windows []int32) int {
	if windows == nil {
		return rows
	}
	most, from := 0, int32(0)
	for _, end := range windows {
		most = max(most, int(end-from))
		from = end
	}
	return most
}

// tilesOf cuts the queries of each window into tiles of at most rows: first query, past the
// last, first key, past the last.
func tilesOf(n, m, rows int, windows []int32) []int32 {
	if windows == nil {
		var list []int32
		for from := 0; from < n; from += rows {
			list = append(list, int32(from), int32(min(from+rows, n)), 0, int32(m))
		}
		return list
	}
	var list []int32
	first := int32(0)
	for _, end := range windows {
		for from := first; from < end; from += int32(rows) {
			list = append(list, from, min(from+int32(rows), end), first, end)
		}
		first = end
	}
	return list
}
