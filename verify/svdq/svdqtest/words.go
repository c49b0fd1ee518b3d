package svdqtest

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
)

// words is a table of 8-byte words that random bits pick from. The first half holds
// ordinary words, the second half words that contain a peak: the largest code of a group.
type words [4096]uint64

const (
	halfBits = 11
	halfMask = 1<<halfBits - 1
	nibbles  = 16 // 4-bit codes in a word
)

// pick returns an ordinary word, or one with a peak if peak is 1, by the low 11 bits of x.
func (w *words) pick(x, peak uint64) uint64 { return w[x&halfMask|peak<<halfBits] }

// is returns 1 if a and b, both below 2^63, are equal and 0 otherwise, without a branch.
func is(a, b uint64) uint64 { return (a ^ b - 1) &^ (a ^ b) >> 63 }

// source wraps a generator of blocks of n words, seeded for one tensor.
func source(n int, block func(dst []byte, seed, i uint64)) safetensorstest.Fill {
	return func(_ safetensors.Tensor, seed uint64) (safetensorstest.Source, error) {
		return blocks(n, seed, block), nil
	}
}

func blocks(n int, seed uint64, block func(dst []byte, seed, i uint64)) safetensorstest.Source {
	return safetensorstest.Blocks(8*n, func(dst []byte, first int64) {
		for i := uint64(first); len(dst) > 0; i++ {
			block(dst[:8*n:8*n], seed, i)
			dst = dst[8*n:]
		}
	})
}

// int4Fill makes SVDQ weights. A 64-byte block is one row of four lanes: words 0, 2, 4, 6
// are the 64 columns of a group of one row, words 1, 3, 5, 7 those of the row 8 below.
func int4Fill(w *words) safetensorstest.Fill {
	return source(8, func(dst []byte, seed, i uint64) {
		for s := range uint64(2) {
			x := safetensorstest.Mix(seed, 2*i+s)
			at := x >> 60 & 3
			for lane := range uint64(4) {
				word := bits.RotateLeft64(w.pick(x, is(lane, at)), int(x>>halfBits&15)*4)
				binary.LittleEndian.PutUint64(dst[16*lane+8*s:], word)
				x >>= 15
			}
		}
	})
}

// nvfp4Fill makes SVDQ weights in e2m1. In the same block each half of a word belongs to
// another group of 16 columns; lanes 0 and 1 share their groups, and so do 2 and 3.
func nvfp4Fill(w *words) safetensorstest.Fill {
	return source(8, func(dst []byte, seed, i uint64) {
		for s := range uint64(2) {
			x := safetensorstest.Mix(seed, 2*i+s)
			at := x >> 60
			for lane := range uint64(4) {
				word := bits.RotateLeft64(w.pick(x, is(lane&1, at>>(lane>>1)&1)), int(x>>halfBits&1)*32)
				binary.LittleEndian.PutUint64(dst[16*lane+8*s:], word)
				x >>= 15
			}
		}
	})
}

// awqFill makes AWQ weights: a 32-byte block is a group of 64 columns of one row.
func awqFill(w *words) safetensorstest.Fill {
	return source(4, func(dst []byte, seed, i uint64) {
		x := safetensorstest.Mix(seed, i)
		at := x >> 60 & 3
		for j := range uint64(4) {
			word := bits.RotateLeft64(w.pick(x, is(j, at)), int(x>>halfBits&15)*4)
			binary.LittleEndian.PutUint64(dst[8*j:], word)
			x >>= 15
		}
	})
}

// grid rounds normal values onto a 4-bit code.
type grid struct {
	std    float64              // of the values before rounding, in steps of the grid
	code   func(v float64) byte // the code nearest to v
	value  func(c byte) float64 // its value
	peaks  [2]byte              // the codes of the largest magnitude
	halves int                  // parts of a word that need a peak each
}

// codeWords fills a table from a grid and returns it with the root mean square of its
// values, ordinary and peak words weighted as the fills draw them: one peak in share words.
func codeWords(g grid, share float64) (*words, float64) {
	w, squares := &words{}, [2]float64{}
	for i := range w {
		half := i >> halfBits
		for j := range nibbles {
			c := g.code(g.std * normal(uint64(i*nibbles+j)))
			w[i] |= uint64(c) << (4 * j)
		}
		if half == 1 {
			w[i] = g.raise(w[i], uint64(i))
		}
		for j := range nibbles {
			v := g.value(byte(w[i] >> (4 * j) & 15))
			squares[half] += v * v / (nibbles << halfBits)
		}
	}
	return w, math.Sqrt(squares[0] + (squares[1]-squares[0])/share)
}

// coded is a table of codes and its root mean square, built when first needed.
type coded struct {
	words *words
	rms   float64
}

func lazily(g grid, share float64) func() coded {
	return sync.OnceValue(func() coded {
		w, rms := codeWords(g, share)
		return coded{w, rms}
	})
}

// The three kinds of codes. In INT4 and AWQ one word of four has its group's peak, in
// NVFP4 one of two.
var (
	int4Codes  = lazily(int4Grid, 4)
	awqCodes   = lazily(awqGrid, 4)
	nvfp4Codes = lazily(nvfp4Grid, 2)
)

// raise puts a peak somewhere into each part of word.
func (g grid) raise(word, i uint64) uint64 {
	per := nibbles / g.halves
	for h := range g.halves {
		x := safetensorstest.Mix(peakSeed+uint64(h), i)
		at := 4 * (h*per + int(x%uint64(per)))
		word = word&^(15<<at) | uint64(g.peaks[x>>63])<<at
	}
	return word
}

// Seeds of the tables. They are constants: a checkpoint's own seed picks from the tables.
const (
	peakSeed   = 0x5eed0001
	normalSeed = 0x5eed0002
)

// normal returns the i-th of a fixed sequence of standard normal values.
func normal(i uint64) float64 {
	p := (float64(safetensorstest.Mix(normalSeed, i)>>11) + 0.5) / (1 << 53)
	return math.Sqrt2 * math.Erfinv(2*p-1)
}

// int4Grid: two's complement codes of -7 to 7. 64 normal values reach 2.4 deviations, so
// a deviation is 7/2.4 steps where the scale is the group's maximum over 7.
var int4Grid = grid{
	std: 2.9, code: func(v float64) byte { return byte(clamp7(v)) & 15 },
	value: func(c byte) float64 { return float64(int8(c<<4) >> 4) }, peaks: [2]byte{7, 9}, halves: 1,
}

// awqGrid: the same values with an offset of 7.
var awqGrid = grid{
	std: 2.9, code: func(v float64) byte { return byte(clamp7(v) + 7) },
	value: func(c byte) float64 { return float64(c) - 7 }, peaks: [2]byte{0, 14}, halves: 1,
}

func clamp7(v float64) int { return int(max(-7, min(7, math.RoundToEven(v)))) }

// magnitudes are the values of e2m1's low three bits; the fourth is the sign.
var magnitudes = [8]float64{0, 0.5, 1, 1.5, 2, 3, 4, 6}

// nvfp4Grid: e2m1 codes. 16 normal values reach 1.8 deviations, which become 6.
var nvfp4Grid = grid{std: 3.3, code: e2m1, value: e2m1Value, peaks: [2]byte{7, 15}, halves: 2}

// e2m1 returns the nearest code; zero has no sign.
func e2m1(v float64) byte {
	best := byte(0)
	for c, m := range magnitudes {
		if math.Abs(math.Abs(v)-m) < math.Abs(math.Abs(v)-magnitudes[best]) {
			best = byte(c)
		}
	}
	if v < 0 && best > 0 {
		best |= 8
	}
	return best
}

func e2m1Value(c byte) float64 {
	if c&8 != 0 {
		return -magnitudes[c&7]
	}
	return magnitudes[c&7]
}
