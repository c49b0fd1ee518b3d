package values_test

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

func TestProbe(t *testing.T) {
	base := generate(t, svdqtest.Params{
		Precision: "int4", Rank: 16, Blocks: 3, Heads: 8, HeadDim: 32, JointDim: 96, InChannels: 64, OutChannels: 16, Seed: 5,
	})
	fp4 := generate(t, svdqtest.Params{
		Precision: "nvfp4", Rank: 16, Blocks: 3, Heads: 8, HeadDim: 32, JointDim: 96, InChannels: 64, OutChannels: 16, Seed: 5,
	})
	_, f := base.check(t)
	require.Empty(t, f)
	_, f = fp4.check(t)
	require.Empty(t, f)
	show := func(name string, base *file, change func(f *file)) {
		_, got := base.with(change).check(t)
		fmt.Println("--", name)
		for _, x := range got {
			fmt.Println("   ", x.Severity, x.Code, x.Message)
		}
	}
	const p = "transformer_blocks.1."
	out, in := 256, 256
	for _, b := range []*file{base, fp4} {
		q := p + "attn.to_out.0.qweight"
		show("row-major", b, func(f *file) {
			require.NoError(t, packing.UnpackNibbles(f.tensor(t, q), b.tensor(t, q), out, in))
		})
		show("transposed", b, func(f *file) {
			c := make([]uint8, out*in)
			d := make([]uint8, out*in)
			require.NoError(t, packing.UnpackE2M1(c, b.tensor(t, q), out, in))
			for i := range c {
				d[i%in*out+i/in] = c[i]
			}
			require.NoError(t, packing.PackE2M1(f.tensor(t, q), d, out, in))
		})
		show("awq order", b, func(f *file) {
			c := make([]uint8, out*in)
			require.NoError(t, packing.UnpackE2M1(c, b.tensor(t, q), out, in))
			require.NoError(t, packing.PackAWQ(f.tensor(t, q), c, out, in))
		})
		show("other precision", b, func(f *file) {
			o := fp4
			if b == fp4 {
				o = base
			}
			copy(f.tensor(t, q), o.tensor(t, q))
		})
		show("nibbles", b, func(f *file) {
			x := f.tensor(t, q)
			for i := range x {
				x[i] = bits.RotateLeft8(x[i], 4)
			}
		})
		a := p + "img_mod.1.qweight"
		show("awq in svdq order", b, func(f *file) {
			c := make([]uint8, 6*out*in)
			require.NoError(t, packing.UnpackAWQ(c, b.tensor(t, a), 6*out, in))
			require.NoError(t, packing.PackE2M1(f.tensor(t, a), c, 6*out, in))
		})
		show("awq row-major", b, func(f *file) {
			require.NoError(t, packing.UnpackAWQNibbles(f.tensor(t, a), b.tensor(t, a), 6*out, in))
		})
		show("awq signed", b, func(f *file) {
			x := f.tensor(t, a)
			for i := 0; i < len(x); i += 8 {
				w := binary.LittleEndian.Uint64(x[i:])
				var o uint64
				for j := 0; j < 64; j += 4 {
					o |= ((w>>j&15 - 7) & 15) << j
				}
				binary.LittleEndian.PutUint64(x[i:], o)
			}
		})
	}
}
