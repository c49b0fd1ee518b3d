package packing_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// noise returns bytes that take every value.
func noise(t *rapid.T, n int) []byte {
	source := rand.NewChaCha8([32]byte{byte(rapid.IntRange(0, 255).Draw(t, "noise"))})
	b := make([]byte, n)
	source.Read(b)
	return b
}

// shape draws a small linear.
func shape(t *rapid.T) (out, in, rank int) {
	return 128 * rapid.IntRange(1, 4).Draw(t, "out/128"), 128 * rapid.IntRange(1, 5).Draw(t, "in/128"),
		16 * rapid.IntRange(1, 9).Draw(t, "rank/16")
}

func TestInt4RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out, in, _ := shape(t)
		packed, codes, again := noise(t, out*in/2), make([]int8, out*in), make([]byte, out*in/2)
		require.NoError(t, packing.UnpackInt4(codes, packed, out, in))
		unsigned := make([]uint8, len(codes))
		for i, c := range codes {
			require.True(t, c >= -8 && c <= 7)
			unsigned[i] = uint8(c) & 15
		}
		require.Equal(t, packed, weightView(out, in).nibbles(unsigned))
		require.NoError(t, packing.PackInt4(again, codes, out, in))
		require.Equal(t, packed, again)
	})
}

func TestE2M1RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out, in, _ := shape(t)
		packed, codes, again := noise(t, out*in/2), make([]uint8, out*in), make([]byte, out*in/2)
		require.NoError(t, packing.UnpackE2M1(codes, packed, out, in))
		require.Equal(t, packed, weightView(out, in).nibbles(codes))
		require.NoError(t, packing.PackE2M1(again, codes, out, in))
		require.Equal(t, packed, again)

		rows := make([]byte, out*in/2)
		require.NoError(t, packing.UnpackNibbles(rows, packed, out, in))
		requireNibbles(t, codes, rows)
		require.NoError(t, packing.PackNibbles(again, rows, out, in))
		require.Equal(t, packed, again)
	})
}

// requireNibbles compares rows of nibbles with codes.
func requireNibbles(t *rapid.T, codes []uint8, rows []byte) {
	want := make([]byte, len(rows))
	for i, c := range codes {
		want[i/2] |= c << (i % 2 * 4)
	}
	require.Equal(t, want, rows)
}

func TestAWQRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out, in := 4*rapid.IntRange(1, 40).Draw(t, "out/4"), 64*rapid.IntRange(1, 9).Draw(t, "in/64")
		packed, codes, again := noise(t, out*in/2), make([]uint8, out*in), make([]byte, out*in/2)
		require.NoError(t, packing.UnpackAWQ(codes, packed, out, in))
		require.Equal(t, packed, awqView(out, in).nibbles(codes))
		require.NoError(t, packing.PackAWQ(again, codes, out, in))
		require.Equal(t, packed, again)

		rows := make([]byte, out*in/2)
		require.NoError(t, packing.UnpackAWQNibbles(rows, packed, out, in))
		requireNibbles(t, codes, rows)
		require.NoError(t, packing.PackAWQNibbles(again, rows, out, in))
		require.Equal(t, packed, again)
	})
}

// TestValuesRoundTrip: all tensors of bfloat16, by one property.
func TestValuesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out, in, rank := shape(t)
		for name, c := range map[string]struct {
			elements int
			view     view
			unpack   func(dst []uint16, src []byte) error
			pack     func(dst []byte, src []uint16) error
		}{
			"vector": {out, scalesView(out, 1), packing.UnpackVector, packing.PackVector},
			"scales": {
				out * in / 64, scalesView(out, in/64),
				func(dst []uint16, src []byte) error { return packing.UnpackScales(dst, src, out, in) },
				func(dst []byte, src []uint16) error { return packing.PackScales(dst, src, out, in) },
			},
			"up": {
				out * rank, upView(out, rank),
				func(dst []uint16, src []byte) error { return packing.UnpackUp(dst, src, out, rank) },
				func(dst []byte, src []uint16) error { return packing.PackUp(dst, src, out, rank) },
			},
			"down": {
				in * rank, downView(in, rank),
				func(dst []uint16, src []byte) error { return packing.UnpackDown(dst, src, in, rank) },
				func(dst []byte, src []uint16) error { return packing.PackDown(dst, src, in, rank) },
			},
		} {
			packed, plain, again := noise(t, 2*c.elements), make([]uint16, c.elements), make([]byte, 2*c.elements)
			require.NoError(t, c.unpack(plain, packed), name)
			require.Equal(t, packed, c.view.values(plain), name)
			require.NoError(t, c.pack(again, plain), name)
			require.Equal(t, packed, again, name)
		}
	})
}

func TestNVFP4ScalesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out, in, _ := shape(t)
		packed, plain, again := noise(t, out*in/16), make([]uint8, out*in/16), make([]byte, out*in/16)
		require.NoError(t, packing.UnpackNVFP4Scales(plain, packed, out, in))
		want := make([]byte, len(packed))
		for i, from := range nvfp4View(out, in/16).source() {
			want[i] = plain[from]
		}
		require.Equal(t, packed, want)
		require.NoError(t, packing.PackNVFP4Scales(again, plain, out, in))
		require.Equal(t, packed, again)
	})
}

// TestModulation: qweight's rows, a row of scales and the bias all go through the same
// function, and part j of channel c ends in row j·channels+c.
func TestModulation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		channels, width := rapid.IntRange(1, 50).Draw(t, "channels"), rapid.IntRange(0, 9).Draw(t, "width")
		packed := make([]uint16, 6*channels*width)
		for i := range packed {
			packed[i] = uint16(i)
		}
		plain, again := make([]uint16, len(packed)), make([]uint16, len(packed))
		require.NoError(t, packing.Deinterleave(plain, packed, 6*channels))
		for part := range 6 {
			for c := range channels {
				from, to := packing.ModulationAt(part, c)*width, (part*channels+c)*width
				require.Equal(t, packed[from:from+width], plain[to:to+width])
			}
		}
		require.NoError(t, packing.Interleave(again, plain, 6*channels))
		require.Equal(t, packed, again)
	})
	for want, rows := range map[string]int{"0 rows": 0, "-6 rows": -6, "7 rows": 7, "12 rows of 18 and 18": 12} {
		require.ErrorContains(t, packing.Interleave(make([]byte, 18), make([]byte, 18), rows), want)
	}
	require.ErrorContains(t, packing.Deinterleave(make([]byte, 6), make([]byte, 12), 6), "6 rows of 6 and 12")
}

// TestFusedThirds: q, k and v of a fused linear are contiguous thirds of the packed bytes,
// and a third is a packed tensor of its own.
func TestFusedThirds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		third, in, rank := shape(t)
		out := 3 * third
		weight, scales := noise(t, out*in/2), noise(t, out*in/32)
		bias, up, e4m3 := noise(t, 2*out), noise(t, 2*out*rank), noise(t, out*in/16)
		part := func(b []byte, i int) []byte { return b[len(b)/3*i : len(b)/3*(i+1)] }

		codes, fewCodes := make([]int8, out*in), make([]int8, third*in)
		values, few := make([]uint16, out*max(in, rank)), make([]uint16, third*max(in, rank))
		bytes, fewBytes := make([]uint8, out*in/16), make([]uint8, third*in/16)
		for i := range 3 {
			require.NoError(t, packing.UnpackInt4(codes, weight, out, in))
			require.NoError(t, packing.UnpackInt4(fewCodes, part(weight, i), third, in))
			require.Equal(t, fewCodes, codes[i*third*in:(i+1)*third*in])

			require.NoError(t, packing.UnpackScales(values[:out*in/64], scales, out, in))
			require.NoError(t, packing.UnpackScales(few[:third*in/64], part(scales, i), third, in))
			require.Equal(t, few[:third*in/64], values[i*third*in/64:(i+1)*third*in/64])

			require.NoError(t, packing.UnpackNVFP4Scales(bytes, e4m3, out, in))
			require.NoError(t, packing.UnpackNVFP4Scales(fewBytes, part(e4m3, i), third, in))
			require.Equal(t, fewBytes, bytes[i*third*in/16:(i+1)*third*in/16])

			require.NoError(t, packing.UnpackVector(values[:out], bias))
			require.NoError(t, packing.UnpackVector(few[:third], part(bias, i)))
			require.Equal(t, few[:third], values[i*third:(i+1)*third])

			require.NoError(t, packing.UnpackUp(values[:out*rank], up, out, rank))
			require.NoError(t, packing.UnpackUp(few[:third*rank], part(up, i), third, rank))
			require.Equal(t, few[:third*rank], values[i*third*rank:(i+1)*third*rank])
		}
	})
}

// TestDownInParts: a part of proj_down along its inputs is a range of columns.
func TestDownInParts(t *testing.T) {
	const in, rank, from, to = 96, 32, 32, 80
	packed := make([]byte, 2*in*rank)
	for i := range in * rank {
		binary.LittleEndian.PutUint16(packed[2*i:], uint16(i))
	}
	whole, part := make([]uint16, in*rank), make([]uint16, (to-from)*rank)
	require.NoError(t, packing.UnpackDown(whole, packed, in, rank))
	require.NoError(t, packing.UnpackDown(part, packed[2*from*rank:2*to*rank], to-from, rank))
	for r := range rank {
		require.Equal(t, whole[r*in+from:r*in+to], part[r*(to-from):(r+1)*(to-from)])
	}
}
