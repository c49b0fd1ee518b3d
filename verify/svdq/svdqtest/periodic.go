package svdqtest

import (
	"encoding/binary"
	"math"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
)

// The modulation linears interleave their six outputs: output 6·c+j is part j of channel
// c, in the order shift, scale, gate of the attention and then of the MLP. Values that
// depend on j therefore have a period of six elements along biases and rows of scales.

// periodic draws bfloat16 values whose distribution depends on the element's place modulo
// six. A word has four elements, so the pattern repeats after three words.
type periodic [3][4096]uint64

const lanes = 4 // bfloat16 values in a word

// newPeriodic builds the tables: value(j, p) is part j's quantile at p.
func newPeriodic(value func(j int, p float64) float64) *periodic {
	t := &periodic{}
	for phase := range t {
		for i := range t[phase] {
			for lane := range lanes {
				p := (float64(safetensorstest.Mix(normalSeed, uint64(lanes*i+lane))>>11) + 0.5) / (1 << 53)
				j := (lanes*phase + lane) % modParts
				t[phase][i] |= uint64(safetensorstest.BF16(value(j, p))) << (16 * lane)
			}
		}
	}
	return t
}

// scaled returns the tables with every value multiplied and rounded again.
func (t *periodic) scaled(factor float64) *periodic {
	out := &periodic{}
	for phase := range t {
		for i, w := range t[phase] {
			for lane := range lanes {
				v := bf16Value(uint16(w >> (16 * lane)))
				out[phase][i] |= uint64(safetensorstest.BF16(factor*v)) << (16 * lane)
			}
		}
	}
	return out
}

// periodicFill draws from tables that are built at the first read.
func periodicFill(tables func() *periodic) safetensorstest.Fill {
	return func(_ safetensors.Tensor, seed uint64) (safetensorstest.Source, error) {
		return func(p []byte, off int64) { blocks(len(periodic{}), seed, tables().block)(p, off) }, nil
	}
}

// block makes the words of one period.
func (t *periodic) block(dst []byte, seed, i uint64) {
	x := safetensorstest.Mix(seed, i)
	for phase := range t {
		binary.LittleEndian.PutUint64(dst[8*phase:], t[phase][x&4095])
		x >>= 16
	}
}

// bf16Value returns the value of bfloat16 bits.
func bf16Value(b uint16) float64 { return float64(math.Float32frombits(uint32(b) << 16)) }
