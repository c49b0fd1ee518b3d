package bf16_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
)

func TestBits(t *testing.T) {
	inf := float32(math.Inf(1))
	cases := map[string]struct {
		in   float32
		want uint16
	}{
		"one":                   {1, 0x3f80},
		"minus zero":            {float32(math.Copysign(0, -1)), 0x8000},
		"tie to even, down":     {math.Float32frombits(0x3f808000), 0x3f80},
		"tie to even, up":       {math.Float32frombits(0x3f818000), 0x3f82},
		"just over a tie":       {math.Float32frombits(0x3f808001), 0x3f81},
		"just below a tie":      {math.Float32frombits(0x3f817fff), 0x3f81},
		"carry into exponent":   {math.Float32frombits(0x3fffffff), 0x4000},
		"negative tie":          {math.Float32frombits(0xbf818000), 0xbf82},
		"largest":               {math.MaxFloat32, 0x7f80},
		"infinity":              {inf, 0x7f80},
		"minus infinity":        {-inf, 0xff80},
		"NaN":                   {float32(math.NaN()), 0x7fc0},
		"NaN of low bits":       {math.Float32frombits(0xff800001), 0x7fc0},
		"smallest subnormal":    {math.SmallestNonzeroFloat32, 0},
		"subnormal of bfloat":   {math.Float32frombits(0x00010000), 0x0001},
		"thousand is in it":     {1000, 0x447a},
		"257 is not, goes down": {257, 0x4380},
	}
	for name, tc := range cases {
		require.Equal(t, tc.want, bf16.Bits(tc.in), name)
	}
}

// TestValues: every value of the format is its own nearest.
func TestValues(t *testing.T) {
	for b := range 1 << 16 {
		v := bf16.Value(uint16(b))
		if v != v {
			require.Equal(t, uint16(0x7fc0), bf16.Bits(v))
			continue
		}
		if bf16.Bits(v) != uint16(b) || bf16.Round(v) != v {
			t.Fatalf("bits %#04x become %#04x", b, bf16.Bits(v))
		}
	}
}
