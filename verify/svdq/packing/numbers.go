package packing

import "math"

// BF16 returns the value of bfloat16 bits, exactly.
func BF16(bits uint16) float32 { return math.Float32frombits(uint32(bits) << 16) }

// magnitudes are the values of e2m1's low three bits.
var magnitudes = [8]float32{0, 0.5, 1, 1.5, 2, 3, 4, 6}

// E2M1 returns the value of an e2m1 code: bit 3 is the sign, the rest one of 0, 0.5, 1,
// 1.5, 2, 3, 4, 6. Only the low four bits count. Code 8 is -0.
func E2M1(code uint8) float32 {
	m := magnitudes[code&7]
	if code&8 != 0 {
		return float32(math.Copysign(float64(m), -1))
	}
	return m
}

// E4M3 returns the value of a float8_e4m3fn code: sign, four bits of exponent with bias 7,
// three of mantissa; no infinities, the largest value is 448 and 0x7f and 0xff are NaN.
func E4M3(code uint8) float32 {
	exponent, mantissa := int(code>>3&15), float64(code&7)
	var v float64
	switch {
	case code&0x7f == 0x7f:
		return float32(math.NaN())
	case exponent == 0:
		v = math.Ldexp(mantissa, -9)
	default:
		v = math.Ldexp(8+mantissa, exponent-10)
	}
	if code&0x80 != 0 {
		v = math.Copysign(v, -1)
	}
	return float32(v)
}
