package latents_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
)

// golden is testdata/golden.json, which testdata/golden.py writes with diffusers.
type golden struct {
	Versions  map[string]string
	Mean, Std []float64
	Packings  []struct {
		Channels, Height, Width int
		Shape                   []int
		Tokens                  []float32 // for each value of a token, its index in the latents
	}
	Statistics struct{ Z, Normal, Latents, Denormal []float32 }
	Guidances  []struct {
		Scale                        float32
		Positive, Negative, Combined []float32
	}
}

func readGolden(t testing.TB) (g golden) {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &g))
	require.Equal(t, "0.42.1", g.Versions["diffusers"])
	return g
}

// counted is the slice 0, 1, 2, …, n-1, all of which float32 holds.
func counted(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(i)
	}
	return out
}

func TestPackingOfDiffusers(t *testing.T) {
	cases := readGolden(t).Packings
	require.Len(t, cases, 3)
	for _, g := range cases {
		s, err := latents.Of(g.Channels, 8*g.Height, 8*g.Width)
		require.NoError(t, err)
		require.Equal(t, g.Shape, []int{s.Tokens(), s.TokenWidth()})
		tokens, back := make([]float32, s.Len()), make([]float32, s.Len())
		s.Pack(tokens, counted(s.Len()))
		require.Equal(t, g.Tokens, tokens)
		s.Unpack(back, tokens)
		require.Equal(t, counted(s.Len()), back)
	}
}

// TestPacking: every value goes where the package's comment says, in whatever shape, and
// comes back.
func TestPacking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 12)
		channels, rows, columns := side.Draw(t, "channels"), side.Draw(t, "rows"), side.Draw(t, "columns")
		s, err := latents.Of(channels, 16*rows, 16*columns)
		require.NoError(t, err)
		require.Equal(t, latents.Shape{Channels: channels, Height: 2 * rows, Width: 2 * columns}, s)
		require.Equal(t, []int{rows, columns, rows * columns, 4 * channels}, []int{s.TokenRows(), s.TokenColumns(), s.Tokens(), s.TokenWidth()})
		z := counted(s.Len())
		tokens, back := make([]float32, s.Len()), make([]float32, s.Len())
		s.Pack(tokens, z)
		for c := range channels {
			for y := range s.Height {
				for x := range s.Width {
					token, value := y/2*columns+x/2, 4*c+2*(y%2)+x%2
					require.Equal(t, z[(c*s.Height+y)*s.Width+x], tokens[token*s.TokenWidth()+value])
				}
			}
		}
		s.Unpack(back, tokens)
		require.Equal(t, z, back)
	})
}

// TestChannelsLast: a position's channels end up side by side, and come back.
func TestChannelsLast(t *testing.T) {
	s := latents.Shape{Channels: 3, Height: 2, Width: 4}
	z := counted(s.Len())
	rows, back := make([]float32, s.Len()), make([]float32, s.Len())
	s.ChannelsLast(rows, z)
	require.Equal(t, []float32{0, 8, 16, 1, 9, 17, 2, 10, 18}, rows[:9])
	for c := range s.Channels {
		for position := range s.Height * s.Width {
			require.Equal(t, z[c*8+position], rows[position*3+c])
		}
	}
	s.ChannelsFirst(back, rows)
	require.Equal(t, z, back)
}

func TestOfRefuses(t *testing.T) {
	for _, side := range [][3]int{{16, 0, 16}, {16, 16, -16}, {16, 24, 16}, {16, 16, 8}, {0, 16, 16}, {16, 17, 16}} {
		_, err := latents.Of(side[0], side[1], side[2])
		require.ErrorContains(t, err, "want sides that are multiples of 16")
	}
	_, err := latents.Of(16, 1024, 1000)
	require.EqualError(t, err, "shaping latents of 16 channels for 1000×1024 pixels: want sides that are multiples of 16")
}

func TestPanics(t *testing.T) {
	s := latents.Shape{Channels: 16, Height: 2, Width: 2}
	right := make([]float32, s.Len())
	require.PanicsWithValue(t, "latents: packing {Channels:16 Height:2 Width:2} between 63 and 64 values", func() { s.Pack(right[1:], right) })
	require.Panics(t, func() { s.Unpack(right, right[1:]) })
	require.Panics(t, func() { s.ChannelsLast(right, right[1:]) })
	require.Panics(t, func() { s.ChannelsFirst(right[1:], right) })
	require.Panics(t, func() { latents.Shape{Channels: 1, Height: 1, Width: 2}.Pack(right[:2], right[:2]) }, "an odd side")
	require.Panics(t, func() { latents.Guide(right, right, right[1:], 1, 64) })
	require.Panics(t, func() { latents.Guide(right, right, right, 1, 63) })
	require.Panics(t, func() { latents.Guide(right, right, right, 1, 0) })
	require.Panics(t, func() { latents.Statistics{}.Normalise(right) })
}

func TestGuidanceOfDiffusers(t *testing.T) {
	cases := readGolden(t).Guidances
	require.Len(t, cases, 3)
	for _, g := range cases {
		got := make([]float32, len(g.Positive))
		latents.Guide(got, g.Positive, g.Negative, g.Scale, 64)
		require.InDeltaSlice(t, g.Combined, got, 2e-6, "scale %g", g.Scale)
	}
}

// TestGuide: a token keeps the length of the prompt's prediction, lies where guidance moves it,
// and scale 1 changes nothing. dst may be an input.
func TestGuide(t *testing.T) {
	value := rapid.Float32Range(-1e3, 1e3)
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 9).Draw(t, "width")
		n := width * rapid.IntRange(0, 4).Draw(t, "tokens")
		p, m := rapid.SliceOfN(value, n, n).Draw(t, "positive"), rapid.SliceOfN(value, n, n).Draw(t, "negative")
		scale := rapid.Float32Range(1, 10).Draw(t, "scale")
		got := make([]float32, n)
		latents.Guide(got, p, m, scale, width)
		for at := 0; at < n; at += width {
			c := make([]float32, width)
			for i := range c {
				c[i] = m[at+i] + float32(scale*(p[at+i]-m[at+i]))
			}
			want, have := norm(p[at:at+width]), norm(c)
			if have == 0 {
				require.Zero(t, norm(got[at:at+width]))
				continue
			}
			for i := range c {
				require.InDelta(t, float64(c[i])*want/have, float64(got[at+i]), 1e-6*want+1e-44, "1e-44: float32's least numbers are 1.4e-45 apart")
			}
		}
		first, second := slices.Clone(p), slices.Clone(m)
		latents.Guide(first, first, m, scale, width)
		latents.Guide(second, p, second, scale, width)
		require.Equal(t, got, first)
		require.Equal(t, got, second)
	})
}

func norm(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

func TestGuideAtZero(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	cases := map[string]struct {
		positive, negative, want []float32
		scale                    float32
	}{
		"both zero":            {[]float32{0, 0}, []float32{0, 0}, []float32{0, 0}, 4},
		"they cancel out":      {[]float32{1, -2}, []float32{2, -4}, []float32{0, 0}, 2}, // c = 2p − n
		"positive zero":        {[]float32{0, 0}, []float32{3, 4}, []float32{0, 0}, 4},
		"negative zero":        {[]float32{3, 4}, []float32{0, 0}, []float32{3, 4}, 4},
		"too large for square": {[]float32{3e30, 4e30}, []float32{0, 0}, []float32{3e30, 4e30}, 4},
		"too small for square": {[]float32{3e-30, 4e-30}, []float32{0, 0}, []float32{3e-30, 4e-30}, 4},
	}
	for name, tc := range cases {
		got := make([]float32, 2)
		latents.Guide(got, tc.positive, tc.negative, tc.scale, 2)
		for i := range got {
			require.InEpsilon(t, 1+tc.want[i], 1+got[i], 1e-6, name)
			if tc.want[i] != 0 {
				require.InEpsilon(t, tc.want[i], got[i], 1e-6, name)
			}
		}
	}
	for _, bad := range []float32{inf, -inf, nan} {
		got := make([]float32, 2)
		latents.Guide(got, []float32{1, bad}, []float32{1, 1}, 4, 2)
		require.False(t, math.Abs(float64(got[1])) <= math.MaxFloat32, "%g must not become %g", bad, got[1])
	}
}

// largest is 2048², of a bit over a million values.
var largest = latents.Shape{Channels: 16, Height: 256, Width: 256}

func BenchmarkPack(b *testing.B) {
	dst, z := make([]float32, largest.Len()), make([]float32, largest.Len())
	b.SetBytes(4 * int64(len(z)))
	for b.Loop() {
		largest.Pack(dst, z)
	}
}

func BenchmarkUnpack(b *testing.B) {
	dst, tokens := make([]float32, largest.Len()), make([]float32, largest.Len())
	b.SetBytes(4 * int64(len(tokens)))
	for b.Loop() {
		largest.Unpack(dst, tokens)
	}
}

func BenchmarkGuide(b *testing.B) {
	dst, p, n := make([]float32, largest.Len()), counted(largest.Len()), make([]float32, largest.Len())
	b.SetBytes(4 * int64(len(p)))
	for b.Loop() {
		latents.Guide(dst, p, n, 4, 64)
	}
}

// BenchmarkLayouts are the arithmetic of an edit on latents of a picture of 1 megapixel, 1 MB,
// which a core copies in 0.1 ms.
func BenchmarkLayouts(b *testing.B) {
	s, err := latents.Of(16, 1024, 1024)
	require.NoError(b, err)
	x, y := make([]float32, s.Len()), make([]float32, s.Len())
	for name, do := range map[string]func(){
		"Pack": func() { s.Pack(y, x) }, "Unpack": func() { s.Unpack(y, x) },
		"ChannelsLast": func() { s.ChannelsLast(y, x) }, "ChannelsFirst": func() { s.ChannelsFirst(y, x) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(4 * int64(len(x)))
			for b.Loop() {
				do()
			}
		})
	}
}
