package svdqtest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The functions here state where the packed layout puts each element. They are written
// from the description of the format, independently of the generator, and judge it.

// nibbleAt is the place of a 4-bit code: a byte and the bits to shift it by.
type nibbleAt struct{ byte, shift int }

func (p nibbleAt) of(b []byte) byte { return b[p.byte] >> p.shift & 15 }

// svdqCode locates row n, column k of a weight with in columns.
func svdqCode(n, k, in int) nibbleAt {
	nt, p, s, nl := n/128, n%128/16, n%16/8, n%8
	kt, h, kl, r := k/64, k%64/32, k%32/8, k%8
	word := ((((nt*(in/64)+kt)*8+p)*8+nl)*4+kl)*4 + 2*s + h
	return nibbleAt{4*word + r/2, r % 2 * 4}
}

// awqCode locates row n, column k of a modulation weight.
func awqCode(n, k, in int) nibbleAt {
	unit := n/4*in + k/64*64 + n%4*16 + k%64/32*8 + k%8
	nibble := k % 32 / 8
	return nibbleAt{2*unit + nibble/2, nibble % 2 * 4}
}

// lane128 permutes a vector within blocks of 128: biases, smooth factors and scales.
func lane128(n int) int {
	return n/128*128 + n%128/16*16 + n%8/2*4 + n%16/8*2 + n%2
}

// int4Scale locates the scale of row n, group g out of groups.
func int4Scale(n, g, groups int) int { return (n/128*groups+g)*128 + lane128(n%128) }

// nvfp4Scale locates the e4m3 scale of row n, group g.
func nvfp4Scale(n, g, groups int) int {
	return ((n/128*(groups/4)+g/4)*128+n%8*16+n%32/8*4+n%128/32)*4 + g%4
}

// lowRank locates an element of a 16 by 16 tile; c is the long axis.
func lowRank(c, r, u, v, rank int) int {
	tile := c/16*(rank/16) + r/16
	s, nl, h, kl, e := u%16/8, u%8, v%16/8, v%8/2, v%2
	return (((tile*8+nl)*4+kl)*2+s)*4 + 2*h + e
}

func projUp(out, r, rank int) int  { return lowRank(out, r, out, r, rank) }
func projDown(in, r, rank int) int { return lowRank(in, r, r, in, rank) }

func TestGoldenCodes(t *testing.T) {
	for _, c := range []struct{ n, k, byte, shift int }{
		{0, 0, 0, 0}, {0, 1, 0, 4}, {0, 8, 16, 0}, {0, 32, 4, 0}, {1, 0, 64, 0}, {8, 0, 8, 0}, {16, 0, 512, 0},
		{0, 64, 4096, 0}, {127, 63, 4095, 4}, {128, 0, 196608, 0}, {3071, 3071, 4718591, 4},
	} {
		require.Equal(t, nibbleAt{c.byte, c.shift}, svdqCode(c.n, c.k, 3072), "row %d, column %d", c.n, c.k)
	}
	for _, c := range []struct{ n, k, byte, shift int }{
		{0, 0, 0, 0}, {0, 1, 2, 0}, {0, 8, 0, 4}, {0, 16, 1, 0}, {0, 32, 16, 0}, {1, 0, 32, 0}, {4, 0, 6144, 0},
		{0, 64, 128, 0}, {18431, 3071, 28311551, 4},
	} {
		require.Equal(t, nibbleAt{c.byte, c.shift}, awqCode(c.n, c.k, 3072), "row %d, column %d", c.n, c.k)
	}
}

func TestGoldenScalesAndFactors(t *testing.T) {
	for _, c := range []struct{ n, g, flat int }{
		{0, 0, 0}, {1, 0, 1}, {2, 0, 4}, {8, 0, 2}, {16, 0, 16}, {0, 1, 128}, {128, 0, 6144}, {3071, 47, 147455},
	} {
		require.Equal(t, c.flat, int4Scale(c.n, c.g, 48), "row %d, group %d", c.n, c.g)
	}
	for _, c := range []struct{ out, r, flat int }{
		{0, 1, 1}, {0, 2, 8}, {0, 8, 2}, {1, 0, 32}, {8, 0, 4}, {0, 16, 256}, {16, 0, 2048}, {3071, 127, 393215},
	} {
		require.Equal(t, c.flat, projUp(c.out, c.r, 128), "out %d, rank %d", c.out, c.r)
	}
	for _, c := range []struct{ in, r, flat int }{
		{0, 1, 32}, {0, 2, 64}, {0, 8, 4}, {1, 0, 1}, {8, 0, 2}, {0, 16, 256}, {16, 0, 2048},
	} {
		require.Equal(t, c.flat, projDown(c.in, c.r, 128), "in %d, rank %d", c.in, c.r)
	}
}

// TestLayoutsAreBijections: every place is taken once, so the oracle below sees each byte
// of a tensor.
func TestLayoutsAreBijections(t *testing.T) {
	const rows, cols, rank = 256, 384, 48
	bijection := func(name string, size, a, b int, at func(i, j int) int) {
		seen := make([]bool, size)
		for i := range a {
			for j := range b {
				require.False(t, seen[at(i, j)], "%s: place of %d, %d is taken", name, i, j)
				seen[at(i, j)] = true
			}
		}
		require.NotContains(t, seen, false, name)
	}
	nibble := func(p nibbleAt) int { return 2*p.byte + p.shift/4 }
	bijection("svdq", rows*cols, rows, cols, func(n, k int) int { return nibble(svdqCode(n, k, cols)) })
	bijection("awq", rows*cols, rows, cols, func(n, k int) int { return nibble(awqCode(n, k, cols)) })
	bijection("int4 scales", rows*cols/64, rows, cols/64, func(n, g int) int { return int4Scale(n, g, cols/64) })
	bijection("nvfp4 scales", rows*cols/16, rows, cols/16, func(n, g int) int { return nvfp4Scale(n, g, cols/16) })
	bijection("vectors", rows, rows, 1, func(n, _ int) int { return lane128(n) })
	bijection("proj_up", rows*rank, rows, rank, func(o, r int) int { return projUp(o, r, rank) })
	bijection("proj_down", cols*rank, cols, rank, func(i, r int) int { return projDown(i, r, rank) })
}
