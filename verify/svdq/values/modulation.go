package values

import (
	"encoding/binary"
	"math"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// zeroPoints compares the wscales of an AWQ linear with its wzeros.
type zeroPoints struct {
	scales, zeros *floats
	n, off        int64
	first         int64 // index of the first zero that is off, -1 if none
	scale, zero   float64
}

func newZeroPoints() probe {
	return &zeroPoints{scales: newFloats(safetensors.BF16, true), zeros: newFloats(safetensors.BF16, false), first: none}
}

func (z *zeroPoints) feed(pieces ...[]byte) {
	s, p := pieces[0], pieces[1]
	z.scales.feed(s)
	z.zeros.feed(p)
	for len(s) >= 2 && len(p) >= 2 {
		z.compare(bf16(binary.LittleEndian.Uint16(s)), bf16(binary.LittleEndian.Uint16(p)))
		s, p = s[2:], p[2:]
	}
}

// compare takes one scale and its zero. Written so that NaN is off.
func (z *zeroPoints) compare(scale, zero float64) {
	want := -awqZero * scale
	if !(math.Abs(zero-want) <= ZeroPointError*math.Abs(want)) {
		z.off++
		if z.first == none {
			z.first, z.scale, z.zero = z.n, scale, zero
		}
	}
	z.n++
}

// modulationBias looks at the bias of a modulation linear: besides its values at where the
// parts shift, scale and gate lie.
type modulationBias struct {
	*floats
	size int64 // elements
	at   int64
	// sums of the parts, if they are interleaved as they should be, and if they lie one
	// after the other.
	interleaved, planar [packing.ModulationParts]float64
}

func newModulationBias(t safetensors.Tensor) probe {
	return &modulationBias{floats: newFloats(t.DType, false), size: t.Elements()}
}

func (m *modulationBias) feed(pieces ...[]byte) {
	m.floats.feed(pieces...)
	for p := pieces[0]; len(p) >= 2; p = p[2:] {
		v := bf16(binary.LittleEndian.Uint16(p))
		m.interleaved[m.at%packing.ModulationParts] += v
		m.planar[m.at*packing.ModulationParts/m.size] += v
		m.at++
	}
}

// means turns the sums of parts into means.
func (m *modulationBias) means(sums [packing.ModulationParts]float64) (out [packing.ModulationParts]float64) {
	for j, s := range sums {
		out[j] = s * packing.ModulationParts / float64(m.size)
	}
	return out
}

// raised is how much the two scales' means are above those of the other parts, at the
// least.
func raised(means [packing.ModulationParts]float64) float64 {
	others := max(means[0], means[2], means[3], means[5])
	return min(means[1], means[4]) - others
}
