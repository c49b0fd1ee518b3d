package packing_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// calls are all bulk functions of a linear, over slices of any length: plain elements,
// packed bytes, and the two dimensions.
var calls = map[string]func(plain, packed, a, b int) error{
	"UnpackNibbles":    func(p, q, a, b int) error { return packing.UnpackNibbles(make([]byte, p/2), make([]byte, q), a, b) },
	"PackNibbles":      func(p, q, a, b int) error { return packing.PackNibbles(make([]byte, q), make([]byte, p/2), a, b) },
	"UnpackInt4":       func(p, q, a, b int) error { return packing.UnpackInt4(make([]int8, p), make([]byte, q), a, b) },
	"PackInt4":         func(p, q, a, b int) error { return packing.PackInt4(make([]byte, q), make([]int8, p), a, b) },
	"UnpackE2M1":       func(p, q, a, b int) error { return packing.UnpackE2M1(make([]uint8, p), make([]byte, q), a, b) },
	"PackE2M1":         func(p, q, a, b int) error { return packing.PackE2M1(make([]byte, q), make([]uint8, p), a, b) },
	"UnpackAWQNibbles": func(p, q, a, b int) error { return packing.UnpackAWQNibbles(make([]byte, p/2), make([]byte, q), a, b) },
	"PackAWQNibbles":   func(p, q, a, b int) error { return packing.PackAWQNibbles(make([]byte, q), make([]byte, p/2), a, b) },
	"UnpackAWQ":        func(p, q, a, b int) error { return packing.UnpackAWQ(make([]uint8, p), make([]byte, q), a, b) },
	"PackAWQ":          func(p, q, a, b int) error { return packing.PackAWQ(make([]byte, q), make([]uint8, p), a, b) },
	"UnpackScales":     func(p, q, a, b int) error { return packing.UnpackScales(make([]uint16, p), make([]byte, q), a, b) },
	"PackScales":       func(p, q, a, b int) error { return packing.PackScales(make([]byte, q), make([]uint16, p), a, b) },
	"UnpackNVFP4Scales": func(p, q, a, b int) error {
		return packing.UnpackNVFP4Scales(make([]uint8, p), make([]byte, q), a, b)
	},
	"PackNVFP4Scales": func(p, q, a, b int) error { return packing.PackNVFP4Scales(make([]byte, q), make([]uint8, p), a, b) },
	"UnpackUp":        func(p, q, a, b int) error { return packing.UnpackUp(make([]uint16, p), make([]byte, q), a, b) },
	"PackUp":          func(p, q, a, b int) error { return packing.PackUp(make([]byte, q), make([]uint16, p), a, b) },
	"UnpackDown":      func(p, q, a, b int) error { return packing.UnpackDown(make([]uint16, p), make([]byte, q), a, b) },
	"PackDown":        func(p, q, a, b int) error { return packing.PackDown(make([]byte, q), make([]uint16, p), a, b) },
	"UnpackVector":    func(p, q, _, _ int) error { return packing.UnpackVector(make([]uint16, p), make([]byte, q)) },
	"PackVector":      func(p, q, _, _ int) error { return packing.PackVector(make([]byte, q), make([]uint16, p)) },
}

// sizes are what 256 outputs and 128 inputs (or rank) take, for each kind of tensor.
func sizes(name string) (plain, packed int) {
	const out, in = 256, 128
	switch name {
	case "UnpackScales", "PackScales":
		return out * in / 64, out * in / 32
	case "UnpackNVFP4Scales", "PackNVFP4Scales":
		return out * in / 16, out * in / 16
	case "UnpackUp", "PackUp", "UnpackDown", "PackDown":
		return out * in, 2 * out * in
	case "UnpackVector", "PackVector":
		return out, 2 * out
	}
	return out * in, out * in / 2
}

func TestWrongShapesAreErrors(t *testing.T) {
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			plain, packed := sizes(name)
			require.NoError(t, call(plain, packed, 256, 128))
			require.ErrorContains(t, call(plain+128, packed, 256, 128), "the shape takes")
			require.ErrorContains(t, call(plain, packed-2, 256, 128), "the shape takes")
			require.ErrorContains(t, call(0, 0, 256, 128), "packing ")
			if name == "UnpackVector" || name == "PackVector" {
				require.ErrorContains(t, call(100, 200, 0, 0), "length is 100, want a positive multiple of 128")
				return
			}
			for _, bad := range []int{0, -128, 130, math.MinInt, math.MaxInt, 1 << 25, math.MaxInt &^ 127} {
				require.ErrorContains(t, call(plain, packed, bad, 128), "want a positive multiple of", "%d", bad)
				require.ErrorContains(t, call(plain, packed, 256, bad), "want a positive multiple of", "%d", bad)
			}
		})
	}
}

// TestNoCallPanics: whatever dimensions and lengths come, it is an error or it fits.
func TestNoCallPanics(t *testing.T) {
	dimension := rapid.OneOf(rapid.IntRange(-1, 600), rapid.SampledFrom([]int{64, 128, 256, 512, 1 << 24, 1 << 30, math.MaxInt &^ 127, math.MaxInt}))
	rapid.Check(t, func(t *rapid.T) {
		a, b := dimension.Draw(t, "a"), dimension.Draw(t, "b")
		plain, packed := rapid.IntRange(0, 70_000).Draw(t, "plain"), rapid.IntRange(0, 70_000).Draw(t, "packed")
		for name, call := range calls {
			if err := call(plain, packed, a, b); err == nil && name != "UnpackVector" && name != "PackVector" {
				require.True(t, a > 0 && b > 0 && packed > 0, name)
			}
		}
	})
}

func TestCodesThatDoNotFit(t *testing.T) {
	const out, in = 128, 128
	packed := make([]byte, out*in/2)
	for _, at := range []int{0, 63, 8*in + 64, out*in - 1} {
		for _, c := range []int8{-9, 8, 127, -128} {
			codes := make([]int8, out*in)
			codes[at] = c
			require.ErrorContains(t, packing.PackInt4(packed, codes, out, in), "want -8 to 7")
		}
		codes := make([]uint8, out*in)
		codes[at] = 16
		require.EqualError(t, packing.PackE2M1(packed, codes, 128, in), errorAt("nvfp4", at, in))
		require.EqualError(t, packing.PackAWQ(packed, codes, 128, in), errorAt("AWQ", at, in))
	}
}
