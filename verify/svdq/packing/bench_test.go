package packing_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

func BenchmarkKinds(b *testing.B) {
	const out, in, rank = 3072, 3072, 128
	weight, codes := make([]byte, out*in/2), make([]int8, out*in)
	nibbles, unsigned := make([]byte, out*in/2), make([]uint8, out*in)
	scales, scaleValues := make([]byte, out*in/32), make([]uint16, out*in/64)
	low, lowValues := make([]byte, 2*out*rank), make([]uint16, out*rank)
	for _, c := range []struct {
		name  string
		bytes int
		run   func() error
	}{
		{"UnpackNibbles", len(weight), func() error { return packing.UnpackNibbles(nibbles, weight, out, in) }},
		{"PackNibbles", len(weight), func() error { return packing.PackNibbles(nibbles, weight, out, in) }},
		{"UnpackInt4", len(weight), func() error { return packing.UnpackInt4(codes, weight, out, in) }},
		{"PackInt4", len(weight), func() error { return packing.PackInt4(weight, codes, out, in) }},
		{"UnpackE2M1", len(weight), func() error { return packing.UnpackE2M1(unsigned, weight, out, in) }},
		{"UnpackAWQNibbles", len(weight), func() error { return packing.UnpackAWQNibbles(nibbles, weight, out, in) }},
		{"UnpackAWQ", len(weight), func() error { return packing.UnpackAWQ(unsigned, weight, out, in) }},
		{"PackAWQ", len(weight), func() error { return packing.PackAWQ(weight, unsigned, out, in) }},
		{"UnpackScales", len(scales), func() error { return packing.UnpackScales(scaleValues, scales, out, in) }},
		{"UnpackUp", len(low), func() error { return packing.UnpackUp(lowValues, low, out, rank) }},
		{"UnpackDown", len(low), func() error { return packing.UnpackDown(lowValues, low, out, rank) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(c.bytes))
			for b.Loop() {
				require.NoError(b, c.run())
			}
		})
	}
}
