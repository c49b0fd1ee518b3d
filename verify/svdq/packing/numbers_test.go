package packing_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

func errorAt(kind string, at, in int) string {
	return fmt.Sprintf("packing %s qweight: code of row %d, column %d is 16, want 0 to 15", kind, at/in, at%in)
}

func TestBF16(t *testing.T) {
	for bits, want := range map[uint16]float32{0: 0, 0x3f80: 1, 0xc000: -2, 0x3dcd: 0.10009765625, 0x7f80: float32(math.Inf(1))} {
		require.Equal(t, want, packing.BF16(bits))
	}
	require.True(t, math.IsNaN(float64(packing.BF16(0x7fc0))))
}

func TestE2M1(t *testing.T) {
	for c, want := range []float32{0, 0.5, 1, 1.5, 2, 3, 4, 6} {
		require.Equal(t, want, packing.E2M1(uint8(c)))
		require.Equal(t, -want, packing.E2M1(uint8(c)|8))
		require.Equal(t, want, packing.E2M1(uint8(c)|0xf0&^8))
	}
	require.True(t, math.Signbit(float64(packing.E2M1(8))))
}

// TestE4M3: the named values of the format, and in between each code is larger than the
// one before.
func TestE4M3(t *testing.T) {
	for code, want := range map[uint8]float64{
		0: 0, 1: math.Ldexp(1, -9), 7: math.Ldexp(7, -9), 8: math.Ldexp(1, -6), 0x38: 1, 0x39: 1.125, 0x40: 2, 0x68: 64, 0x77: 240, 0x7e: 448, 0xb8: -1,
	} {
		require.Equal(t, float32(want), packing.E4M3(code), "%#x", code)
	}
	for c := uint8(1); c < 0x7f; c++ {
		require.Greater(t, packing.E4M3(c), packing.E4M3(c-1))
		require.Equal(t, -packing.E4M3(c), packing.E4M3(c|0x80))
	}
	require.True(t, math.IsNaN(float64(packing.E4M3(0x7f))) && math.IsNaN(float64(packing.E4M3(0xff))))
	require.True(t, math.Signbit(float64(packing.E4M3(0x80))))
}
