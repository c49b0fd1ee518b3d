package values_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
)

// TestRules breaks each rule once and compares whole findings.
func TestRules(t *testing.T) {
	const b = "transformer_blocks.1."
	fill := func(name string, bits uint16) func(f *file) {
		return func(f *file) {
			x := f.tensor(t, name)
			for i := range len(x) / 2 {
				put(x, i, bits)
			}
		}
	}
	set := func(name string, element int, bits ...uint16) func(f *file) {
		return func(f *file) {
			for i, v := range bits {
				put(f.tensor(t, name), element+i, v)
			}
		}
	}
	byteOf := func(name string, at int, value byte) func(f *file) {
		return func(f *file) { f.tensor(t, name)[at] = value }
	}
	for _, c := range []struct {
		name, precision string
		change          func(f *file)
		severity        verify.Severity
		code, message   string
	}{
		{
			"NaN and Inf", svdqtest.Int4, set("proj_out.weight", 41, 0x7fc0, 0xff80, 0x7f80), verify.Error, values.CodeNotFinite,
			"proj_out.weight has 1 NaN and 2 Inf among 8192 values, the first at element 41 as stored",
		},
		{
			"scale of zero", svdqtest.Int4, set(b+"attn.to_qkv.wscales", 7, 0), verify.Error, values.CodeNotPositive,
			b + "attn.to_qkv.wscales has 1 value of 768 not above zero, the first at element 7 as stored",
		},
		{
			"negative smooth factor", svdqtest.NVFP4, set(b+"img_mlp.net.2.smooth_factor", 500, 0xbf80, 0xbf80), verify.Error, values.CodeNotPositive,
			b + "img_mlp.net.2.smooth_factor has 2 values of 512 not above zero, the first at element 500 as stored",
		},
		{
			"negative global scale", svdqtest.NVFP4, set(b+"attn.to_out.0.wtscale", 0, 0xb800), verify.Error, values.CodeNotPositive,
			b + "attn.to_out.0.wtscale has 1 value of 1 not above zero, the first at element 0 as stored",
		},
		{
			"e4m3 underflow", svdqtest.NVFP4, byteOf(b+"attn.to_qkv.wscales", 9, 0), verify.Warning, values.CodeNotPositive,
			b + "attn.to_qkv.wscales has 1 scale of 3072 at zero, the first at element 9 as stored",
		},
		{
			"e4m3 NaN", svdqtest.NVFP4, byteOf(b+"attn.to_qkv.wscales", 9, 0x7f), verify.Error, values.CodeNotFinite,
			b + "attn.to_qkv.wscales has 1 NaN and 0 Inf among 3072 values, the first at element 9 as stored",
		},
		{
			"beyond float16", svdqtest.Int4, set(b+"attn.to_qkv.bias", 3, 0xc780), verify.Warning, values.CodeRange,
			b + "attn.to_qkv.bias reaches from -6.554e+04 to 0.06787, float16 ends at 65504",
		},
		{
			"below float16", svdqtest.Int4, set(b+"attn.to_qkv.wscales", 3, 0x3300), verify.Warning, values.CodeRange,
			b + "attn.to_qkv.wscales has values down to 2.98e-08, the smallest of float16 is 5.96e-08",
		},
		{
			"identity", svdqtest.Int4, fill(b+"attn.to_out.0.smooth_factor", 0x3f80), verify.Info, values.CodeIdentity,
			b + "attn.to_out.0.smooth_factor is 1 everywhere: the layer was not smoothed",
		},
		{
			"no bias", svdqtest.Int4, fill(b+"attn.to_qkv.bias", 0), verify.Warning, values.CodeErased,
			b + "attn.to_qkv.bias has a run of 384 zeros, as long as a disk sector",
		},
		{
			"one constant row", svdqtest.Int4, func(f *file) {
				for lane := range 4 {
					copy(f.tensor(t, b+"attn.to_qkv.qweight")[64+16*lane:], []byte{0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77})
				}
			}, verify.Warning, values.CodeErased, b + "attn.to_qkv.qweight has 1 row of 64 columns with a single code",
		},
		{
			"zero point", svdqtest.Int4, set(b+"txt_mod.1.wzeros", 11, 0xbc00), verify.Warning, values.CodeZeroPoint,
			b + "txt_mod.1.wzeros is not -7·wscales in 1 of 1536 places, first at element 11 as stored, where it is -0.0078125 beside a scale of 0.0061646",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, findings := generate(t, small(c.precision)).with(c.change).check(t)
			require.Len(t, findings, 1, "%v", findings)
			require.Equal(t, c.severity > verify.Info, findings[0].Hint != "")
			require.Equal(t, c.severity, findings[0].Severity)
			require.Equal(t, c.code, findings[0].Code)
			require.Equal(t, c.message, findings[0].Message)
		})
	}
}
