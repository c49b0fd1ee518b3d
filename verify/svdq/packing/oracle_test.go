package packing_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// The oracle states each layout once more in the way in which the packer makes it: the
// plain matrix is viewed with many dimensions, these are put into another order, and the
// result is written out. Nothing of it is shared with the formulas and the bit operations
// under test.

// view is a plain matrix's dimensions, slowest first, and the order in which the packed
// form has them.
type view struct{ dims, order []int }

// source returns, for each packed element in turn, its index in the plain matrix.
func (v view) source() []int {
	strides, total := make([]int, len(v.dims)), 1
	for i := len(v.dims) - 1; i >= 0; i-- {
		strides[i] = total
		total *= v.dims[i]
	}
	out := []int{0}
	for _, axis := range v.order {
		next := make([]int, 0, len(out)*v.dims[axis])
		for _, base := range out {
			for j := range v.dims[axis] {
				next = append(next, base+j*strides[axis])
			}
		}
		out = next
	}
	return out
}

// weightView: rows are tile, pack, half, lane, register; columns tile, pack, half, lane,
// register. The registers' eight codes make a word.
func weightView(out, in int) view {
	return view{[]int{out / 128, 8, 2, 8, 1, in / 64, 1, 2, 4, 8}, []int{0, 5, 6, 1, 3, 8, 2, 7, 4, 9}}
}

func awqView(out, in int) view {
	return view{[]int{out / 4, 4, in / 64, 2, 4, 8}, []int{0, 2, 1, 3, 5, 4}}
}

func scalesView(out, groups int) view {
	return view{[]int{out / 128, 8, 2, 4, 2, groups}, []int{0, 5, 1, 3, 2, 4}}
}

func nvfp4View(out, groups int) view {
	return view{[]int{out / 128, 4, 4, 8, groups / 4, 4}, []int{0, 4, 3, 2, 1, 5}}
}

func upView(out, rank int) view {
	return view{[]int{out / 16, 2, 8, rank / 16, 2, 4, 2}, []int{0, 3, 2, 5, 1, 4, 6}}
}

func downView(in, rank int) view {
	return view{[]int{rank / 16, 2, 8, in / 16, 2, 4, 2}, []int{3, 0, 2, 5, 1, 4, 6}}
}

// nibbles packs plain codes by the oracle.
func (v view) nibbles(codes []uint8) []byte {
	out := make([]byte, len(codes)/2)
	for i, from := range v.source() {
		out[i/2] |= codes[from] & 15 << (i % 2 * 4)
	}
	return out
}

// values packs plain bfloat16 bits by the oracle.
func (v view) values(plain []uint16) (out []byte) {
	for _, from := range v.source() {
		out = binary.LittleEndian.AppendUint16(out, plain[from])
	}
	return out
}

// TestIndexFunctions: the formulas and the oracle agree on every element, so the formulas
// are bijections as well.
func TestIndexFunctions(t *testing.T) {
	const out, in, rank = 384, 256, 48
	nibble := func(p packing.Nibble) int { return 2*p.Byte + p.Shift/4 }
	for name, c := range map[string]struct {
		view    view
		columns int // of the plain matrix
		at      func(row, column int) int
	}{
		"CodeAt":       {weightView(out, in), in, func(n, k int) int { return nibble(packing.CodeAt(n, k, in)) }},
		"AWQCodeAt":    {awqView(out, in), in, func(n, k int) int { return nibble(packing.AWQCodeAt(n, k, in)) }},
		"ScaleAt":      {scalesView(out, in/64), in / 64, func(n, g int) int { return packing.ScaleAt(n, g, in) }},
		"NVFP4ScaleAt": {nvfp4View(out, in/16), in / 16, func(n, g int) int { return packing.NVFP4ScaleAt(n, g, in) }},
		"VectorAt":     {scalesView(out, 1), 1, func(n, _ int) int { return packing.VectorAt(n) }},
		"UpAt":         {upView(out, rank), rank, func(o, r int) int { return packing.UpAt(o, r, rank) }},
		"DownAt":       {downView(in, rank), in, func(r, i int) int { return packing.DownAt(i, r, rank) }},
		"ModulationAt": {view{[]int{6, out / 6}, []int{1, 0}}, out / 6, packing.ModulationAt},
	} {
		for place, plain := range c.view.source() {
			require.Equal(t, place, c.at(plain/c.columns, plain%c.columns), "%s of plain element %d", name, plain)
		}
	}
}

// TestGoldenPlaces: single places of the real dimensions, as published.
func TestGoldenPlaces(t *testing.T) {
	for _, c := range []struct{ n, k, byte, shift int }{
		{0, 0, 0, 0}, {0, 1, 0, 4}, {0, 8, 16, 0}, {0, 32, 4, 0}, {1, 0, 64, 0}, {8, 0, 8, 0}, {16, 0, 512, 0},
		{0, 64, 4096, 0}, {127, 63, 4095, 4}, {128, 0, 196608, 0}, {3071, 3071, 4718591, 4},
	} {
		require.Equal(t, packing.Nibble{Byte: c.byte, Shift: c.shift}, packing.CodeAt(c.n, c.k, 3072), "row %d, column %d", c.n, c.k)
	}
	for _, c := range []struct{ n, k, byte, shift int }{
		{0, 0, 0, 0}, {0, 1, 2, 0}, {0, 8, 0, 4}, {0, 16, 1, 0}, {0, 32, 16, 0}, {1, 0, 32, 0}, {4, 0, 6144, 0},
		{0, 64, 128, 0}, {18431, 3071, 28311551, 4},
	} {
		require.Equal(t, packing.Nibble{Byte: c.byte, Shift: c.shift}, packing.AWQCodeAt(c.n, c.k, 3072), "row %d, column %d", c.n, c.k)
	}
	for _, c := range []struct{ n, g, flat int }{
		{0, 0, 0}, {1, 0, 1}, {2, 0, 4}, {8, 0, 2}, {16, 0, 16}, {0, 1, 128}, {128, 0, 6144}, {3071, 47, 147455},
	} {
		require.Equal(t, c.flat, packing.ScaleAt(c.n, c.g, 3072), "row %d, group %d", c.n, c.g)
	}
	for _, c := range []struct{ out, r, flat int }{
		{0, 1, 1}, {0, 2, 8}, {0, 8, 2}, {1, 0, 32}, {8, 0, 4}, {0, 16, 256}, {16, 0, 2048}, {3071, 127, 393215},
	} {
		require.Equal(t, c.flat, packing.UpAt(c.out, c.r, 128), "out %d, rank %d", c.out, c.r)
	}
	for _, c := range []struct{ in, r, flat int }{
		{0, 1, 32}, {0, 2, 64}, {0, 8, 4}, {1, 0, 1}, {8, 0, 2}, {0, 16, 256}, {16, 0, 2048},
	} {
		require.Equal(t, c.flat, packing.DownAt(c.in, c.r, 128), "in %d, rank %d", c.in, c.r)
	}
}
