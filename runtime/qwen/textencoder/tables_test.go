package textencoder

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"
)

// TestWindows: an order is a permutation whose windows are squares, but for edges, and hold
// all tokens.
func TestWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, w := rapid.IntRange(1, 30).Draw(t, "h"), rapid.IntRange(1, 30).Draw(t, "w")
		side, unit := rapid.IntRange(1, 6).Draw(t, "side"), rapid.SampledFrom([]int{1, 4, 9}).Draw(t, "unit")
		o := arrange(h, w, side, unit)
		require.Len(t, o.tokens, h*w)
		for i, token := range o.tokens {
			require.EqualValues(t, i, o.places[token])
		}
		require.Len(t, o.ends, (h+side-1)/side*((w+side-1)/side))
		start := 0
		for _, end := range o.ends {
			require.Zero(t, int(end)%unit)
			window := o.tokens[start : int(end)/unit]
			requireWindow(t, window, w, side)
			start = int(end) / unit
		}
		require.Equal(t, h*w, start)
	})
}

// requireWindow: all tokens are of one square of the lattice.
func requireWindow(t require.TestingT, window []int32, w, side int) {
	require.NotEmpty(t, window)
	require.LessOrEqual(t, len(window), side*side)
	row, column := int(window[0])/w/side, int(window[0])%w/side
	for _, token := range window {
		require.Equal(t, row, int(token)/w/side)
		require.Equal(t, column, int(token)%w/side)
	}
}

// TestPatchesInOrder: patches of a token stay together and in their order.
func TestPatchesInOrder(t *testing.T) {
	o := arrange(2, 3, 2, 4) // tokens 0 1 | 2
	require.Equal(t, []int32{0, 1, 3, 4, 2, 5}, o.tokens)
	require.Equal(t, []int32{16, 24}, o.ends)
	var patches []float32 // of 2 values
	for i := range 6 * 4 * 2 {
		patches = append(patches, float32(i))
	}
	got := o.patches(patches)
	for i, token := range o.tokens {
		require.Equal(t, patches[8*token:8*token+8], got[8*i:8*i+8])
	}
}

// TestVisionAngles computes the angle of each patch from where it lies.
func TestVisionAngles(t *testing.T) {
	f := []float64{1, 0.1, 0.01}
	o := arrange(5, 3, 4, 4)
	r := o.angles(3, 2, f)
	require.Equal(t, 60, r.rows())
	require.Equal(t, 6, r.cols)
	for i := range 60 {
		token := int(o.tokens[i/4])
		row, column := 2*(token/3)+i%4/2, 2*(token%3)+i%2
		for j, turn := range f {
			requireAngle(t, r, i, j, float64(row)*turn)
			requireAngle(t, r, i, 3+j, float64(column)*turn)
		}
	}
}

func requireAngle(t *testing.T, r rotation, row, col int, angle float64) {
	t.Helper()
	require.Equal(t, float32(math.Cos(angle)), r.cos[row*r.cols+col])
	require.Equal(t, float32(math.Sin(angle)), r.sin[row*r.cols+col])
}

// TestPositions is an example with a picture between words and two in a row.
func TestPositions(t *testing.T) {
	p := &prompt.Prompt{IDs: make([]int32, 13), Images: []prompt.Span{{Start: 2, End: 8}, {Start: 9, End: 11}, {Start: 11, End: 12}}}
	got := place(p, []size{{2, 3}, {2, 1}, {1, 1}})
	require.Equal(t, positions{
		{0, 1, 2, 2, 2, 2, 2, 2, 5, 6, 6, 8, 9},
		{0, 1, 2, 2, 2, 3, 3, 3, 5, 6, 7, 8, 9},
		{0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 6, 8, 9},
	}, got)
	require.Equal(t, 9, got.last())
}

// TestLastPosition: a picture at the end may reach further than its last token.
func TestLastPosition(t *testing.T) {
	p := &prompt.Prompt{IDs: make([]int32, 4), Images: []prompt.Span{{Start: 1, End: 4}}}
	require.Equal(t, 3, place(p, []size{{1, 3}}).last())
	require.Equal(t, 3, place(p, []size{{3, 1}}).last())
}

// TestLanguageAngles: sections share the frequencies out to the three axes.
func TestLanguageAngles(t *testing.T) {
	p := positions{{0, 3}, {0, 5}, {0, 7}}
	f := frequencies(100, 4)
	require.InDeltaSlice(t, []float64{1, math.Pow(100, -0.25), 0.1, math.Pow(100, -0.75)}, f, 1e-15)
	r := p.angles([3]int{1, 2, 1}, f)
	require.Equal(t, []float32{1, 1, 1, 1}, r.cos[:4])
	require.Equal(t, []float32{0, 0, 0, 0}, r.sin[:4])
	for j, at := range []float64{3, 5, 5, 7} {
		requireAngle(t, r, 1, j, at*f[j])
	}
}

// TestLateAngles: angles of thousands of radians keep float32's digits.
func TestLateAngles(t *testing.T) {
	at := []int32{127999}
	r := positions{at, at, at}.angles([3]int{1, 0, 0}, []float64{1})
	require.InDelta(t, -0.4620288780100079, float64(r.cos[0]), 1e-7) // math.cos of Python
}
