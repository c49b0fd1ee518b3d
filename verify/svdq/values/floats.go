package values

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// floats collects what the values of one floating-point tensor show.
type floats struct {
	dtype safetensors.DType
	// positive is set where every value must be above zero.
	positive bool

	n, zeros, nan, inf int64
	min, max           float64 // of the finite values, if there are any
	sum, squares       float64
	negative           int64 // values below zero, -0 not among them; counted where positive is set
	firstBad           int64 // index of the first NaN or Inf
	firstLow           int64 // index of the first value that is not positive, where that is a rule
	// run is the current run of zeros in whole words, longest the greatest.
	run, longest int64
}

func newFloats(d safetensors.DType, positive bool) *floats {
	return &floats{dtype: d, positive: positive, min: math.Inf(1), max: math.Inf(-1), firstBad: none, firstLow: none}
}

// decoders read the elements of a dtype, one at a time. BF16 and F8_E4M3 have faster ways. F64 is
// not among them: no checkpoint has it, and sums of its squares could overflow.
var decoders = map[safetensors.DType]struct {
	size  int
	value func(p []byte) float64
}{
	safetensors.BF16:   {2, func(p []byte) float64 { return bf16(binary.LittleEndian.Uint16(p)) }},
	safetensors.F16:    {2, func(p []byte) float64 { return half(binary.LittleEndian.Uint16(p)) }},
	safetensors.F32:    {4, func(p []byte) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(p))) }},
	safetensors.F8E4M3: {1, func(p []byte) float64 { return e4m3Values[p[0]] }},
}

// e4m3Values saves computing exponents for each of a tensor's codes.
var e4m3Values = func() (t [256]float64) {
	for c := range t {
		t[c] = float64(packing.E4M3(uint8(c)))
	}
	return t
}()

func bf16(b uint16) float64 { return float64(packing.BF16(b)) }

// half returns the value of float16 bits.
func half(b uint16) float64 {
	exponent, mantissa := int(b>>10&31), float64(b&1023)
	var v float64
	switch exponent {
	case 31:
		if v = math.Inf(1); mantissa != 0 {
			v = math.NaN()
		}
	case 0:
		v = math.Ldexp(mantissa, -24)
	default:
		v = math.Ldexp(1024+mantissa, exponent-25)
	}
	if b&0x8000 != 0 {
		v = -v
	}
	return v
}

// feed takes the next bytes, whole words of eight except in the last piece.
func (f *floats) feed(data ...[]byte) {
	p := data[0]
	switch f.dtype {
	case safetensors.BF16:
		p = f.words(p)
	case safetensors.F8E4M3:
		p = f.bytes(p)
	}
	d := decoders[f.dtype]
	for ; len(p) >= d.size; p = p[d.size:] {
		f.one(d.value(p))
	}
}

// one takes one value.
func (f *floats) one(v float64) {
	switch {
	case math.IsNaN(v):
		f.nan++
	case math.IsInf(v, 0):
		f.inf++
	default:
		f.finite(v)
	}
	if f.firstBad == none && f.nan+f.inf > 0 {
		f.firstBad = f.n
	}
	if f.firstLow == none && f.positive && v <= 0 {
		f.firstLow = f.n
	}
	f.n++
}

func (f *floats) finite(v float64) {
	f.min, f.max = min(f.min, v), max(f.max, v)
	f.sum += v
	f.squares += v * v
	if v == 0 {
		f.zeros++
	} else if f.positive && v < 0 {
		f.negative++
	}
}

// Bits of four bfloat16 values in a word.
const (
	lanes      = 4
	signBits   = 0x8000800080008000
	valueBits  = 0x7fff7fff7fff7fff // all but the signs
	exponents  = 0x7f807f807f807f80
	exponentUp = 0x0080008000800080 // carries a full exponent into the sign's place
)

// words takes whole words of four bfloat16 values and returns the bytes left over. Words
// with a value that breaks a rule go the slow way.
func (f *floats) words(p []byte) []byte {
	var sum0, sum1, sum2, sum3, sq0, sq1, sq2, sq3 float64
	lo, hi := float32(math.Inf(1)), float32(math.Inf(-1))
	for ; len(p) >= 8; p = p[8:] {
		w := binary.LittleEndian.Uint64(p)
		if f.careful(w) {
			continue
		}
		a, b := math.Float32frombits(uint32(w)<<16), math.Float32frombits(uint32(w)&0xffff0000)
		c, d := math.Float32frombits(uint32(w>>32)<<16), math.Float32frombits(uint32(w>>32)&0xffff0000)
		if a < lo || b < lo || c < lo || d < lo {
			lo = min(lo, a, b, c, d)
		}
		if a > hi || b > hi || c > hi || d > hi {
			hi = max(hi, a, b, c, d)
		}
		s, t, u, v := float64(a), float64(b), float64(c), float64(d)
		sum0, sum1, sum2, sum3 = sum0+s, sum1+t, sum2+u, sum3+v
		sq0, sq1, sq2, sq3 = sq0+s*s, sq1+t*t, sq2+u*u, sq3+v*v
	}
	f.min, f.max = min(f.min, float64(lo)), max(f.max, float64(hi))
	f.sum += sum0 + sum1 + sum2 + sum3
	f.squares += sq0 + sq1 + sq2 + sq3
	return p
}

// careful counts a word's values and zeros. It takes a word with a value that breaks a
// rule itself, one value at a time, and reports that it did.
func (f *floats) careful(w uint64) bool {
	nonzero := ((w & valueBits) + valueBits) & signBits
	if f.run++; nonzero != 0 {
		f.run = 0
	}
	f.longest = max(f.longest, f.run)
	if (w&exponents+exponentUp)&signBits != 0 || f.positive && (nonzero != signBits || w&signBits != 0) {
		for i := 0; i < 64; i += 16 {
			f.one(bf16(uint16(w >> i)))
		}
		return true
	}
	f.n += lanes
	f.zeros += int64(lanes - bits.OnesCount64(nonzero))
	return false
}

// bytes takes a piece of e4m3 codes by counting them, unless one breaks a rule: then it
// returns the piece to be looked at one by one.
func (f *floats) bytes(p []byte) []byte {
	var even, odd [256]int64 // two, so that equal neighbours do not wait for each other
	for i := 1; i < len(p); i += 2 {
		even[p[i-1]]++
		odd[p[i]]++
	}
	if len(p)%2 == 1 {
		even[p[len(p)-1]]++
	}
	for c, v := range e4m3Values {
		if even[c]+odd[c] > 0 && (math.IsNaN(v) || f.positive && v <= 0) {
			return p
		}
	}
	for c, v := range e4m3Values {
		if n := even[c] + odd[c]; n > 0 {
			f.several(v, n)
		}
	}
	f.n += int64(len(p))
	return nil
}

// several takes a finite value that keeps the rules n times, all but its count.
func (f *floats) several(v float64, n int64) {
	f.min, f.max = min(f.min, v), max(f.max, v)
	f.sum, f.squares = f.sum+v*float64(n), f.squares+v*v*float64(n)
	if v == 0 {
		f.zeros += n
	}
}
