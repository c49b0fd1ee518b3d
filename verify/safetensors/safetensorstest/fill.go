package safetensorstest

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// Normal fills a BF16 or F32 tensor with normal values of that mean and standard
// deviation, cut at about four deviations.
func Normal(mean, std float64) Fill {
	return tabled("normal", mean, std, func(p float64) float64 {
		return mean + std*math.Sqrt2*math.Erfinv(2*p-1)
	})
}

// Uniform fills a BF16 or F32 tensor with values spread evenly between lo and hi.
func Uniform(lo, hi float64) Fill {
	return tabled("uniform", lo, hi, func(p float64) float64 { return lo + (hi-lo)*p })
}

// Constant fills a BF16, F32, F64, I32, I64, I8 or U8 tensor with one value.
func Constant(v float64) Fill {
	return func(t safetensors.Tensor, _ uint64) (Source, error) {
		one, err := encode(t.DType, v)
		if err != nil {
			return nil, err
		}
		return Blocks(len(one), func(dst []byte, _ int64) {
			for ; len(dst) > 0; dst = dst[len(one):] {
				copy(dst, one)
			}
		}), nil
	}
}

// Codes fills a tensor of any dtype with width-bit elements, 8, 16, 32 or 64, each one of
// the codes, all equally often.
func Codes(width int, codes []uint64) Fill {
	per := 64 / width
	build := sync.OnceValue(func() *table {
		t := &table{}
		for i, at := range permutation(tableSize * per) {
			t.words[i/per] |= codes[at%len(codes)] << (i % per * width)
		}
		return t
	})
	return func(t safetensors.Tensor, seed uint64) (Source, error) {
		if t.DType.Bits() != width {
			return nil, fmt.Errorf("codes of %d bits given, %s has %d", width, t.DType, t.DType.Bits())
		}
		return func(p []byte, off int64) { build().source(seed)(p, off) }, nil
	}
}

// Bytes gives a tensor of any dtype exactly these bytes.
func Bytes(b []byte) Fill {
	return func(t safetensors.Tensor, _ uint64) (Source, error) {
		if int64(len(b)) != t.Size() {
			return nil, fmt.Errorf("%d bytes given, %s %v takes %d", len(b), t.DType, t.Shape, t.Size())
		}
		return func(p []byte, off int64) { copy(p, b[off:]) }, nil
	}
}

// encode returns v as one element.
func encode(d safetensors.DType, v float64) ([]byte, error) {
	le := binary.LittleEndian
	switch d {
	case safetensors.BF16:
		return le.AppendUint16(nil, BF16(v)), nil
	case safetensors.F32:
		return le.AppendUint32(nil, math.Float32bits(float32(v))), nil
	case safetensors.F64:
		return le.AppendUint64(nil, math.Float64bits(v)), nil
	case safetensors.I32:
		return le.AppendUint32(nil, uint32(int32(v))), nil
	case safetensors.I64:
		return le.AppendUint64(nil, uint64(int64(v))), nil
	case safetensors.I8:
		return []byte{byte(int8(v))}, nil
	case safetensors.U8:
		return []byte{uint8(v)}, nil
	}
	return nil, fmt.Errorf("values of dtype %s cannot be generated", d)
}

// BF16 rounds v to bfloat16, to nearest with ties to even, and returns its bits. v must
// be finite.
func BF16(v float64) uint16 {
	b := math.Float32bits(float32(v))
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// tableKey names a table of values; tables are shared by all tensors that need the same.
type tableKey struct {
	kind  string
	a, b  float64
	dtype safetensors.DType
}

var tables sync.Map // of tableKey to func() *table

// tabled makes a Fill that draws from the quantiles of a distribution. The table is built
// at the first read.
func tabled(kind string, a, b float64, quantile func(p float64) float64) Fill {
	return func(t safetensors.Tensor, seed uint64) (Source, error) {
		if t.DType != safetensors.BF16 && t.DType != safetensors.F32 {
			return nil, fmt.Errorf("%s values need BF16 or F32, not %s", kind, t.DType)
		}
		symmetric := kind == "normal" && a == 0
		build := sync.OnceValue(func() *table { return newTable(t.DType, symmetric, quantile) })
		shared, _ := tables.LoadOrStore(tableKey{kind, a, b, t.DType}, build)
		return func(p []byte, off int64) { shared.(func() *table)().source(seed)(p, off) }, nil
	}
}

// newTable packs the distribution's quantiles, in an order without pattern, into words. A
// symmetric distribution also gets masks that flip signs.
func newTable(d safetensors.DType, symmetric bool, quantile func(p float64) float64) *table {
	width := d.Bits()
	per := 64 / width
	order := permutation(tableSize * per)
	t := &table{}
	for i := range t.words {
		for j := range per {
			p := (float64(order[i*per+j]) + 0.5) / float64(len(order))
			t.words[i] |= bitsOf(d, quantile(p)) << (j * width)
		}
	}
	for m := range t.masks {
		for j := 0; symmetric && j < per; j++ {
			t.masks[m] |= uint64(m>>j&1) << (j*width + width - 1)
		}
	}
	return t
}

// bitsOf returns a BF16 or F32 value's bits.
func bitsOf(d safetensors.DType, v float64) uint64 {
	if d == safetensors.BF16 {
		return uint64(BF16(v))
	}
	return uint64(math.Float32bits(float32(v)))
}

// permutation shuffles 0..n-1, always the same way.
func permutation(n int) []int {
	order := make([]int, n)
	for i := range order {
		j := int(Mix(golden, uint64(i)) % uint64(i+1))
		order[i], order[j] = order[j], i
	}
	return order
}
