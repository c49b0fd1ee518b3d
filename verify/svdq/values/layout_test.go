package values_test

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
)

// Dimensions of the tensors that the tests here lay out wrongly: a square linear of both
// streams' width, and a modulation linear.
const (
	width   = 256
	modRows = 6 * width
	module  = "transformer_blocks.1.attn.to_out.0."
	mod     = "transformer_blocks.1.img_mod.1."
)

// wide is small with room for layouts to differ.
func wide(precision string) svdqtest.Params {
	p := small(precision)
	p.Heads = width / p.HeadDim
	return p
}

// misplaced is a checkpoint with one tensor in a wrong layout.
type misplaced struct {
	name      string
	precision string
	tensor    string
	change    func(t *testing.T, b []byte) // in place
	severity  verify.Severity
	code      string
	text      string // of the message, behind the tensor's name
}

// codes rearranges an SVDQ weight's plain codes.
func codes(pack func(dst, src []uint8) error) func(*testing.T, []byte) {
	return func(t *testing.T, b []byte) {
		plain := make([]uint8, width*width)
		require.NoError(t, packing.UnpackE2M1(plain, b, width, width))
		require.NoError(t, pack(b, plain))
	}
}

// awqCodes rearranges an AWQ weight's plain codes.
func awqCodes(pack func(dst, src []uint8) error) func(*testing.T, []byte) {
	return func(t *testing.T, b []byte) {
		plain := make([]uint8, modRows*width)
		require.NoError(t, packing.UnpackAWQ(plain, b, modRows, width))
		require.NoError(t, pack(b, plain))
	}
}

// tiles packs a plain square of codes after f has changed it.
func tiles(f func(plain []uint8) []uint8) func(dst, src []uint8) error {
	return func(dst, src []uint8) error { return packing.PackE2M1(dst, f(src), width, width) }
}

// rows writes plain codes two in a byte.
func rows(dst, src []uint8) error {
	for i := range dst {
		dst[i] = src[2*i] | src[2*i+1]<<4
	}
	return nil
}

func transposed(plain []uint8) []uint8 {
	out := make([]uint8, len(plain))
	for i, c := range plain {
		out[i%width*width+i/width] = c
	}
	return out
}

// shuffled permutes codes over the whole tensor.
func shuffled(plain []uint8) []uint8 {
	out := slices.Clone(plain)
	for i := range out {
		j := int(safetensorstest.Mix(1, uint64(i)) % uint64(i+1))
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// halved makes every second group of 64 columns as if it shared its neighbour's scale.
func halved(plain []uint8) []uint8 {
	out := slices.Clone(plain)
	for i, c := range out {
		if i/64%2 == 1 {
			out[i] = uint8(int8(c<<4)>>4/2) & 15
		}
	}
	return out
}

// each changes every nibble of packed bytes.
func each(f func(c uint8) uint8) func(*testing.T, []byte) {
	return func(_ *testing.T, b []byte) {
		for i, x := range b {
			b[i] = f(x&15)&15 | f(x>>4)<<4
		}
	}
}

// words changes every bfloat16 value of a tensor by its place.
func words(f func(v []uint16)) func(*testing.T, []byte) {
	return func(_ *testing.T, b []byte) {
		v := values16(b)
		f(v)
		for i, x := range v {
			put(b, i, x)
		}
	}
}

func swapBytes(v []uint16) {
	for i := range v {
		v[i] = bits.ReverseBytes16(v[i])
	}
}

// asHalf writes float16 where the header says bfloat16. Values are between 2^-14 and 2.
func asHalf(v []uint16) {
	for i, b := range v {
		exponent := int(b>>7&255) - 127 + 15
		v[i] = b&0x8000 | uint16(max(1, exponent))<<10 | b&127<<3
	}
}

func planar(v []uint16) {
	plain := make([]uint16, len(v))
	if err := packing.Deinterleave(plain, v, len(v)); err != nil {
		panic(err)
	}
	copy(v, plain)
}

// rowsPlanar undoes the interleave in each row of wscales or wzeros.
func rowsPlanar(v []uint16) {
	for ; len(v) > 0; v = v[modRows:] {
		planar(v[:modRows])
	}
}

// lowered takes the 1 out of the scales of a modulation bias.
func lowered(v []uint16) {
	for i := range v {
		if j := i % 6; j == 1 || j == 4 {
			v[i] = safetensorstest.BF16(float64(packing.BF16(v[i])) - 1)
		}
	}
}

// found lists wrong layouts that the values show, and what shows them.
func found(fp4, int4 *file, t *testing.T) []misplaced {
	const i4, f4, q = svdqtest.Int4, svdqtest.NVFP4, module + "qweight"
	overwrite := func(from *file, name string) func(*testing.T, []byte) {
		return func(t *testing.T, b []byte) { copy(b, from.tensor(t, name)) }
	}
	awqTiles := func(dst, src []uint8) error { return packing.PackE2M1(dst, src, modRows, width) }
	awqOrder := func(dst, src []uint8) error { return packing.PackAWQ(dst, src, width, width) }
	return []misplaced{
		{"row-major", i4, q, codes(rows), verify.Error, values.CodeLayout, "lies in rows, not in tiles: 100 % of its groups"},
		{"row-major", f4, q, codes(rows), verify.Error, values.CodeLayout, "lies in rows, not in tiles: 100 % of its groups"},
		{"AWQ's order in an SVDQ weight", i4, q, codes(awqOrder), verify.Error, values.CodeLayout, "lies in rows, not in tiles"},
		{"AWQ's order in an SVDQ weight", f4, q, codes(awqOrder), verify.Warning, values.CodePeak, "has the largest code in 96"},
		{"transposed", i4, q, codes(tiles(transposed)), verify.Warning, values.CodePeak, "has the largest code in 92"},
		{"transposed", f4, q, codes(tiles(transposed)), verify.Warning, values.CodePeak, "has the largest code in 96"},
		{"shuffled", i4, q, codes(tiles(shuffled)), verify.Warning, values.CodePeak, "has the largest code in 9"},
		{"shuffled", f4, q, codes(tiles(shuffled)), verify.Warning, values.CodePeak, "has the largest code in 9"},
		{"groups of 128 columns", i4, q, codes(tiles(halved)), verify.Warning, values.CodePeak, "has the largest code in 5"},
		{"e2m1 codes in an INT4 file", i4, q, overwrite(fp4, q), verify.Error, values.CodeFormat, "holds e2m1 codes, not int4"},
		{"int4 codes in an NVFP4 file", f4, q, overwrite(int4, q), verify.Error, values.CodeFormat, "holds int4 codes, not e2m1"},
		{"codes from -8", i4, q, each(func(c uint8) uint8 { return c ^ 8 }), verify.Error, values.CodeForeign, "has the code -8"},
		{"tiles in an AWQ weight", i4, mod + "qweight", awqCodes(awqTiles), verify.Error, values.CodeLayout, "lies in tiles, not in rows"},
		{"signed codes in an AWQ weight", i4, mod + "qweight", each(func(c uint8) uint8 { return c - 7 }), verify.Error, values.CodeFormat, "holds int4 codes, not AWQ"},
		{"zero point 8", i4, mod + "qweight", each(func(c uint8) uint8 { return c + 1 }), verify.Warning, values.CodeForeign, "has the code 15"},
		{"wzeros not interleaved", i4, mod + "wzeros", words(rowsPlanar), verify.Warning, values.CodeZeroPoint, "is not -7·wscales in"},
		{"modulation bias not interleaved", i4, mod + "bias", words(planar), verify.Error, values.CodeLayout, "is not interleaved"},
		{"modulation bias without the 1", i4, mod + "bias", words(lowered), verify.Warning, values.CodeModulation, "want about 1"},
		{"big-endian scales", i4, module + "wscales", words(swapBytes), verify.Error, values.CodeNotPositive, "not above zero"},
		{"big-endian factors", i4, module + "proj_up", words(swapBytes), verify.Error, values.CodeNotFinite, " NaN and "},
		{"float16 scales", i4, module + "wscales", words(asHalf), verify.Warning, values.CodeRange, "which is zero in float16"},
		{"float16 factors", i4, module + "proj_down", words(asHalf), verify.Warning, values.CodeRange, "which is zero in float16"},
	}
}

// TestWrongLayoutsAreFound makes each kind of wrong layout in one tensor of a checkpoint.
// The worst finding is the one expected, and no other tensor is accused.
func TestWrongLayoutsAreFound(t *testing.T) {
	base := map[string]*file{}
	for _, precision := range []string{svdqtest.Int4, svdqtest.NVFP4} {
		base[precision] = generate(t, wide(precision))
	}
	for _, c := range found(base[svdqtest.NVFP4], base[svdqtest.Int4], t) {
		t.Run(c.name+" "+c.precision, func(t *testing.T) {
			_, findings := base[c.precision].with(func(f *file) { c.change(t, f.tensor(t, c.tensor)) }).check(t)
			require.Equal(t, c.severity, findings.Worst(), "%v", findings)
			seen := false
			for _, f := range findings {
				require.True(t, strings.HasPrefix(f.Message, c.tensor+" "), f.Message)
				require.NotEmpty(t, f.Hint)
				seen = seen || f.Severity == c.severity && f.Code == c.code && strings.Contains(f.Message, c.text)
			}
			require.True(t, seen, "%v", findings)
		})
	}
}

// TestWrongLayoutsWithoutTrace makes the faults that the package comment lists as
// invisible: were one of them seen, the list would be wrong.
func TestWrongLayoutsWithoutTrace(t *testing.T) {
	reverse := words(func(v []uint16) { slices.Reverse(v) })
	unpack := func(f func(dst []uint16, src []byte) error) func(*testing.T, []byte) {
		return func(t *testing.T, b []byte) {
			plain := make([]uint16, len(b)/2)
			require.NoError(t, f(plain, b))
			words(func(v []uint16) { copy(v, plain) })(t, b)
		}
	}
	upsideDown := func(plain []uint8) []uint8 {
		out := make([]uint8, 0, len(plain))
		for i := len(plain); i > 0; i -= width {
			out = append(out, plain[i-width:i]...)
		}
		return out
	}
	swapNibbles := func(_ *testing.T, b []byte) {
		for i, x := range b {
			b[i] = bits.RotateLeft8(x, 4)
		}
	}
	negative := func(_ *testing.T, b []byte) {
		for i := 0; i < len(b); i += 64 { // the signs of two groups of one fragment
			if i/64%2 == 0 {
				each(func(c uint8) uint8 { return -c })(nil, b[i:i+64])
			}
		}
	}
	for _, c := range []struct {
		name, tensor string
		change       func(*testing.T, []byte)
	}{
		{"nibbles swapped in bytes", "qweight", swapNibbles},
		{"bytes swapped in words", "qweight", words(swapBytes)},
		{"rows in another order", "qweight", codes(tiles(upsideDown))},
		{"signs of groups", "qweight", negative},
		{"wscales in row-major order", "wscales", unpack(func(d []uint16, s []byte) error { return packing.UnpackScales(d, s, width, width) })},
		{"bias not permuted", "bias", unpack(packing.UnpackVector)},
		{"smooth_factor not permuted", "smooth_factor", unpack(packing.UnpackVector)},
		{"smooth_factor reversed", "smooth_factor", reverse},
		{"proj_up in row-major order", "proj_up", unpack(func(d []uint16, s []byte) error { return packing.UnpackUp(d, s, width, 16) })},
		{"proj_down in row-major order", "proj_down", unpack(func(d []uint16, s []byte) error { return packing.UnpackDown(d, s, width, 16) })},
		{"scales of half the size", "wscales", words(func(v []uint16) {
			for i := range v {
				v[i] -= 1 << 7
			}
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := generate(t, wide(svdqtest.Int4))
			before := slices.Clone(f.tensor(t, module+c.tensor))
			c.change(t, f.tensor(t, module+c.tensor))
			require.NotEqual(t, before, f.tensor(t, module+c.tensor), "the change changes something")
			_, findings := f.check(t)
			require.Empty(t, findings)
		})
	}
}

// TestModulationWithoutTrace: the same for the modulation layers, and for tensors of one
// kind exchanged.
func TestModulationWithoutTrace(t *testing.T) {
	exchange := func(a, b string) func(f *file) {
		return func(f *file) {
			x, y := f.tensor(t, a), f.tensor(t, b)
			require.Len(t, x, len(y))
			for i := range x {
				x[i], y[i] = y[i], x[i]
			}
		}
	}
	for name, change := range map[string]func(f *file){
		"AWQ in row-major order": func(f *file) { awqCodes(rows)(t, f.tensor(t, mod+"qweight")) },
		"AWQ rows not interleaved": func(f *file) {
			awqCodes(func(dst, src []uint8) error {
				plain := make([]uint8, len(src))
				require.NoError(t, packing.Deinterleave(plain, src, modRows))
				return packing.PackAWQ(dst, plain, modRows, width)
			})(t, f.tensor(t, mod+"qweight"))
		},
		"wscales and wzeros not interleaved": func(f *file) {
			words(rowsPlanar)(t, f.tensor(t, mod+"wscales"))
			words(rowsPlanar)(t, f.tensor(t, mod+"wzeros"))
		},
		"two blocks":            exchange("transformer_blocks.0.attn.to_qkv.qweight", "transformer_blocks.2.attn.to_qkv.qweight"),
		"proj_up and proj_down": exchange(module+"proj_up", module+"proj_down"),
		"the two streams":       exchange(mod+"qweight", strings.Replace(mod, "img", "txt", 1)+"qweight"),
		"norm_q and norm_k":     exchange("transformer_blocks.0.attn.norm_q.weight", "transformer_blocks.0.attn.norm_k.weight"),
	} {
		t.Run(name, func(t *testing.T) {
			f := generate(t, wide(svdqtest.Int4)).with(change)
			_, findings := f.check(t)
			require.Empty(t, findings)
		})
	}
}

// TestNoiseInNVFP4Groups: a sector of noise in an NVFP4 weight is below any threshold of
// a whole tensor.
func TestNoiseInNVFP4Groups(t *testing.T) {
	f := generate(t, wide(svdqtest.NVFP4))
	b := f.tensor(t, module+"qweight")
	for i := range 64 {
		binary.LittleEndian.PutUint64(b[8*i:], safetensorstest.Mix(3, uint64(i)))
	}
	_, findings := f.check(t)
	require.Empty(t, findings)
}
