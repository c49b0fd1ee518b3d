package ref

import (
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

const (
	// blockRows is how many rows of x an operation takes at a time: so many that decoding
	// the weights again for each block costs a few hundredths of the multiplication.
	blockRows = 512
	// partRows is how many rows of a block a worker takes at a time.
	partRows = 256
)

// layer is a loaded linear: how a block of rows of x becomes a tile of columns of y.
type layer interface {
	compute.Linear
	owner() *Backend
	// tile is how many outputs are computed at a time.
	tile() int
	// prepare does what needs whole rows. The block's x is what Pre made, and may change.
	prepare(b *Backend, k *block)
	// multiply computes y [to − from, outs] of the block's rows from to to and the outputs
	// beginning with first, bias included.
	multiply(w *worker, k *block, y rows, from, to, first, outs int)
}

// size is what all layers have.
type size struct {
	home    *Backend
	in, out int
}

// In is the number of inputs.
func (s *size) In() int { return s.in }

// Out is the number of outputs.
func (s *size) Out() int { return s.out }

func (s *size) owner() *Backend { return s.home }

// block is some rows of the input of a multiplication.
type block struct {
	rows, cols int
	x          []float32 // [rows][cols]
	low        []float32 // [rows][rank]
	scales     []float32 // [rows][groups], of an x that was quantised
}

func (k *block) row(i int) []float32 { return k.x[i*k.cols:][:k.cols] }

// blocked calls f for one block after the other of n rows. Blocks share their memory.
func (b *Backend) blocked(n, cols int, f func(k *block, first int)) {
	for first := 0; first < n; first += blockRows {
		k := &b.block
		k.rows, k.cols = min(blockRows, n-first), cols
		grow(&k.x, k.rows*cols)
		f(k, first)
	}
}

// product computes the rows of y that belong to a block, tile by tile, and passes pieces of
// rows on. row counts from the block's first.
func (b *Backend) product(l layer, k *block, store func(row, col int, y []float32)) {
	l.prepare(b, k)
	tile := l.tile()
	parts := (k.rows + partRows - 1) / partRows
	tiles := (l.Out() + tile - 1) / tile
	b.each(parts*tiles, func(w *worker, i int) {
		from, first := i/tiles*partRows, i%tiles*tile
		to, outs := min(from+partRows, k.rows), min(tile, l.Out()-first)
		y := rows{grow(&w.result, (to-from)*outs), outs}
		l.multiply(w, k, y, from, to, first, outs)
		for r := from; r < to; r++ {
			store(r, first, y.at(r-from, 0, outs))
		}
	})
}
