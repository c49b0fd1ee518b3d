package transformer

import (
	"math"
	"math/cmplx"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
)

// published are the widths of the published model's axes; unlike ones show which is which.
var (
	published = [3]int{16, 56, 56}
	unlike    = [3]int{16, 48, 64}
)

// direct is the angle's e^(iφ) of a pair at positions, in float64.
func direct(axes [3]int, pair int, at [3]int) complex128 {
	for axis, width := range axes {
		if pair < width/2 {
			return cmplx.Exp(complex(0, float64(at[axis])*math.Pow(10000, -2*float64(pair)/float64(width))))
		}
		pair -= width / 2
	}
	panic("no such pair")
}

// requireAngles compares tokens' angles with the definition.
func requireAngles(t *testing.T, axes [3]int, a angles, positions [][3]int, tolerance float64) {
	t.Helper()
	require.Len(t, a.cos, 64*len(positions))
	require.Len(t, a.sin, 64*len(positions))
	for token, at := range positions {
		for pair := range 64 {
			got := complex(float64(a.cos[64*token+pair]), float64(a.sin[64*token+pair]))
			d := cmplx.Abs(got - direct(axes, pair, at))
			require.LessOrEqual(t, d, tolerance, "token %d at %v, pair %d", token, at, pair)
		}
	}
}

// TestAnglesOfPictures: rows and columns count from the middle, the frame is the picture's
// number.
func TestAnglesOfPictures(t *testing.T) {
	r := newRotary(unlike)
	var a angles
	r.picture(&a, 0, latents.Shape{Channels: 16, Height: 6, Width: 8})
	r.picture(&a, 2, latents.Shape{Channels: 16, Height: 2, Width: 10})
	var positions [][3]int
	for y := -2; y <= 0; y++ {
		for x := -2; x <= 1; x++ {
			positions = append(positions, [3]int{0, y, x})
		}
	}
	for x := -3; x <= 1; x++ {
		positions = append(positions, [3]int{2, -1, x})
	}
	requireAngles(t, unlike, a, positions, 1e-6)
}

// TestAnglesOfText: all axes are at one position, to the table's end.
func TestAnglesOfText(t *testing.T) {
	r := newRotary(published)
	var near, far [][3]int
	for i := 3; i < 20; i++ {
		near = append(near, [3]int{i, i, i})
	}
	requireAngles(t, published, r.text(3, 17), near, 3e-6)
	for i := 4000; i < 4096; i++ {
		far = append(far, [3]int{i, i, i})
	}
	requireAngles(t, published, r.text(4000, 96), far, 5e-4) // float32's rounding of a product of 4000
}

// TestAnglesOfDiffusers: the tables are diffusers' own at small and large positions, on both
// sides of 0.
func TestAnglesOfDiffusers(t *testing.T) {
	g := readGolden(t)
	positions, _ := g.values(t, "rotary.positions")
	cos, columns := g.values(t, "rotary.cos")
	sin, _ := g.values(t, "rotary.sin")
	require.Equal(t, 64, columns)
	r := newRotary(published)
	for i, p := range positions {
		a := r.text(int(p), 1)
		for pair := range columns {
			at := columns*i + pair
			require.InDelta(t, cos[at], a.cos[pair], 5e-7, "position %g, pair %d", p, pair)
			require.InDelta(t, sin[at], a.sin[pair], 5e-7, "position %g, pair %d", p, pair)
		}
	}
}
