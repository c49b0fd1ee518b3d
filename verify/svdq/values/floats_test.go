package values

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// slow looks at values one by one, from their definition.
func slow(d safetensors.DType, positive bool, p []byte) *floats {
	f := newFloats(d, positive)
	size := d.Bits() / 8
	for ; len(p) > 0; p = p[size:] {
		f.one(decoders[d].value(p))
	}
	return f
}

// TestFastWaysCountLikeSingles: the fast ways of bfloat16 and e4m3 give what one value at a
// time gives.
func TestFastWaysCountLikeSingles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		source := rand.New(rand.NewPCG(uint64(rapid.IntRange(0, 1000).Draw(t, "values")), 2))
		p := make([]byte, 2*rapid.IntRange(0, 200).Draw(t, "words"))
		mask := rapid.SampledFrom([]uint16{0xffff, 0x7fff, 0x7e7e, 0xbfff, 0x3fff, 0x8000, 0x00ff, 0}).Draw(t, "mask")
		for i := 0; i < len(p); i += 2 {
			binary.LittleEndian.PutUint16(p[i:], uint16(source.IntN(1<<16))&mask)
		}
		positive := rapid.Bool().Draw(t, "positive")
		dtype := rapid.SampledFrom([]safetensors.DType{"BF16", "F8_E4M3"}).Draw(t, "dtype")
		if dtype == "F8_E4M3" && len(p) > 0 && rapid.Bool().Draw(t, "odd") {
			p = p[1:]
		}
		want, got := slow(dtype, positive, p), newFloats(dtype, positive)
		got.feed(p)
		scale := 1 + math.Abs(want.squares)
		require.InDelta(t, want.sum/scale, got.sum/scale, 1e-9)
		require.InDelta(t, want.squares/scale, got.squares/scale, 1e-9)
		want.sum, want.squares, want.longest, want.run = got.sum, got.squares, got.longest, got.run
		require.Equal(t, want, got)
	})
}

func TestEveryDTypeIsDecoded(t *testing.T) {
	le := binary.LittleEndian
	for d, bits := range map[safetensors.DType][]byte{
		"BF16": {0x80, 0x3f, 0x00, 0xc0}, "F16": {0x00, 0x3c, 0x00, 0xc0}, "F8_E4M3": {0x38, 0xc0},
		"F32": le.AppendUint32(le.AppendUint32(nil, math.Float32bits(1)), math.Float32bits(-2)),
	} {
		f := newFloats(d, true)
		f.feed(bits)
		n := f.numbers("x")
		require.Equal(t, []float64{2, -2, 1, -1, 5}, []float64{float64(n.n), n.min, n.max, n.sum, n.squares}, d)
		require.EqualValues(t, 1, f.negative, d)
		require.EqualValues(t, 1, f.firstLow, d)
	}
}

func TestHalf(t *testing.T) {
	for bits, want := range map[uint16]float64{
		0: 0, 1: math.Ldexp(1, -24), 0x03ff: math.Ldexp(1023, -24), 0x0400: math.Ldexp(1, -14), 0x3c01: 1 + 1.0/1024,
		0x7bff: 65504, 0xfbff: -65504, 0x7c00: math.Inf(1), 0xfc00: math.Inf(-1),
	} {
		require.Equal(t, want, half(bits), "%#x", bits)
	}
	require.True(t, math.IsNaN(half(0x7e01)))
}

// TestNotFinite: NaN and Inf are counted, located and kept out of the moments.
func TestNotFinite(t *testing.T) {
	p := make([]byte, 40)
	for i, v := range []uint16{0x3f80, 0x7fc0, 0xff80, 0x7f80, 0x4000} {
		binary.LittleEndian.PutUint16(p[2*(i+3):], v)
	}
	f := newFloats("BF16", false)
	f.feed(p)
	require.Equal(t, []int64{20, 1, 2, 4, 15}, []int64{f.n, f.nan, f.inf, f.firstBad, f.zeros})
	require.Equal(t, []float64{0, 2, 3, 5}, []float64{f.min, f.max, f.sum, f.squares})
}
