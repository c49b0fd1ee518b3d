// Package bf16 rounds to bfloat16, the number format that the published model computes in:
// a float32 without its low 16 bits, so 8 bits of precision and float32's range.
//
// Values travel as float32 here; what is stored or compared with a file travels as bits.
// The rounding is that of every framework and GPU: to nearest, ties to even; what is too
// large becomes an infinity.
package bf16

import "math"

// quietNaN is what every NaN becomes, as in PyTorch.
const quietNaN = 0x7fc0

// Bits returns the bits of the bfloat16 that is nearest to v.
func Bits(v float32) uint16 {
	if v != v {
		return quietNaN
	}
	b := math.Float32bits(v)
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// Value returns the value of bfloat16 bits, exactly.
func Value(bits uint16) float32 { return math.Float32frombits(uint32(bits) << 16) }

// Round returns the bfloat16 that is nearest to v, as a float32.
func Round(v float32) float32 { return Value(Bits(v)) }
