package values

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// naive counts plain codes one by one.
func naive(f *format, codes []uint8) (hist [16]int64, groups, peaked, constant int64) {
	for i := 0; i < len(codes); i += f.columns {
		groups++
		reached := int64(0)
		for _, c := range codes[i : i+f.columns] {
			hist[c]++
			if c == f.peaks[0] || c == f.peaks[1] {
				reached = 1
			}
		}
		peaked += reached
	}
	for i := 0; i < len(codes); i += 64 {
		same := int64(1)
		for _, c := range codes[i : i+64] {
			if c != codes[i] {
				same = 0
			}
		}
		constant += same
	}
	return hist, groups, peaked, constant
}

// draw makes plain codes: few kinds of them, so that some groups miss a peak, and some
// rows of one code.
func draw(t *rapid.T, n int) []uint8 {
	source := rand.New(rand.NewPCG(uint64(rapid.IntRange(0, 1000).Draw(t, "codes")), 1))
	codes := make([]uint8, n)
	for i := 0; i < n; i += 64 {
		kinds := 1 + source.IntN(16)
		shift := source.IntN(16)
		for j := range 64 {
			codes[i+j] = uint8(source.IntN(kinds)+shift) & 15
		}
	}
	return codes
}

// TestTallyCountsAsTheLayoutSays: counting packed bytes in place gives what counting
// unpacked rows gives, in every layout.
func TestTallyCountsAsTheLayoutSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out, in := 128*rapid.IntRange(1, 3).Draw(t, "out/128"), 128*rapid.IntRange(1, 4).Draw(t, "in/128")
		codes, packed := draw(t, out*in), make([]byte, out*in/2)
		for _, f := range []*format{int4, e2m1, awq} {
			if f.tiled {
				require.NoError(t, packing.PackE2M1(packed, codes, out, in))
			} else {
				require.NoError(t, packing.PackAWQ(packed, codes, out, in))
			}
			hist, groups, peaked, constant := naive(f, codes)
			got := tally{format: f}
			cut := fragment * rapid.IntRange(0, len(packed)/fragment).Draw(t, "cut")
			got.feed(packed[:cut])
			got.feed(packed[cut:])
			require.Equal(t, hist, got.hist, f.name)
			require.Equal(t, []int64{groups, peaked, constant}, []int64{got.groups, got.peaked, got.constant}, f.name)
		}
	})
}

// TestOtherLayout: what is counted for the other order is what that order has.
func TestOtherLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const out, in = 128, 256
		codes, packed, rows := draw(t, out*in), make([]byte, out*in/2), make([]byte, out*in/2)
		require.NoError(t, packing.PackE2M1(packed, codes, out, in))
		require.NoError(t, packing.UnpackNibbles(rows, packed, out, in))
		for _, f := range []*format{int4, e2m1, awq} {
			bytes := rows // rows where tiles should be, and tiles where rows should be
			if !f.tiled {
				bytes = packed
			}
			_, groups, peaked, _ := naive(f, codes)
			got := tally{format: f}
			got.otherLayout(bytes)
			require.Equal(t, []int64{groups, peaked}, []int64{got.otherGroups, got.otherPeaked}, f.name)
		}
	})
}

// TestFormats: mirrors are opposites, peaks have the largest magnitude among the codes
// that a quantiser makes.
func TestFormats(t *testing.T) {
	for _, f := range []*format{int4, e2m1, awq} {
		largest := 0.0
		for c := range uint8(16) {
			require.Equal(t, c, f.mirror(f.mirror(c)), "%s %d", f.name, c)
			if m := f.mirror(c); m != c {
				require.Equal(t, -f.value(c), f.value(m), "%s %d", f.name, c)
			} else {
				require.True(t, f.value(c) == 0 || int(c) == f.foreign, "%s %d", f.name, c)
			}
			if int(c) != f.foreign {
				largest = max(largest, math.Abs(f.value(c)))
			}
		}
		require.NotEqual(t, f.peaks[0], f.peaks[1])
		for _, p := range f.peaks {
			require.Equal(t, largest, math.Abs(f.value(p)), f.name)
		}
	}
}

// TestRuns: runs of constant rows are followed across pieces and end at any other row.
func TestRuns(t *testing.T) {
	got := tally{format: int4}
	row := make([]byte, fragment)
	got.feed(row)
	got.feed(row)
	require.EqualValues(t, 4, got.longest)
	row[8] = 1 // the second of the two rows
	got.feed(row)
	require.EqualValues(t, []int64{5, 5, 0}, []int64{got.longest, got.constant, got.run})
	got.feed(row)
	require.EqualValues(t, 5, got.longest)
	require.EqualValues(t, 6, got.constant)
	got.feed(row[:7])
	require.Equal(t, 7, got.rest)
}

func TestLopsided(t *testing.T) {
	balanced := tally{hist: [16]int64{100, 9, 8, 7, 6, 5, 4, 3, 0, 3, 4, 5, 6, 7, 8, 9}}
	require.Zero(t, balanced.lopsided(int4))
	require.Equal(t, 24.0/184, balanced.lopsided(e2m1))
	require.Greater(t, balanced.lopsided(awq), 0.3)
	require.Zero(t, (&tally{}).lopsided(int4), "nothing has no sides")
}
