package values_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
)

// verdict is what container, checkpoint and values together say about a file: findings,
// or the error that ends the matter at the container.
func verdict(t testing.TB, b []byte) (verify.Findings, error) {
	h, err := safetensors.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	findings := svdq.Check(h)
	if findings.Err() != nil {
		return findings, nil
	}
	_, more, err := values.Check(context.Background(), h, bytes.NewReader(b))
	require.NoError(t, err)
	return append(findings, more...), nil
}

// matrixParams is a checkpoint of one block in which each kind of tensor is at least as
// long as two disk sectors.
func matrixParams(precision string) svdqtest.Params {
	p := wide(precision)
	p.Blocks, p.JointDim = 1, 512
	return p
}

// matrixTensors names the longest tensor of each kind in a checkpoint of one block.
func matrixTensors(precision string) []string {
	const b = "transformer_blocks.0."
	out := []string{
		b + "attn.to_qkv.qweight", b + "attn.to_qkv.wscales", b + "attn.to_qkv.bias", b + "img_mlp.net.2.smooth_factor",
		b + "img_mlp.net.2.smooth_factor_orig", b + "img_mlp.net.2.proj_down", b + "attn.to_qkv.proj_up",
		b + "txt_mod.1.qweight", b + "txt_mod.1.wscales", b + "txt_mod.1.wzeros", b + "txt_mod.1.bias",
		"txt_norm.weight", "txt_in.weight", "norm_out.linear.bias",
	}
	if precision == svdqtest.NVFP4 {
		out = append(out, b+"attn.to_qkv.wcscales", b+"attn.to_out.0.wtscale")
	}
	return out
}

// TestTruncation: a file cut or lengthened at any boundary is refused by its container.
func TestTruncation(t *testing.T) {
	f := generate(t, matrixParams(svdqtest.Int4))
	cuts := []int64{0, 1, 7, 8, 9, f.header.DataStart - 1, f.header.DataStart}
	for _, x := range f.header.Tensors {
		end := f.header.DataStart + x.End
		cuts = append(cuts, end-x.Size()/2, end-1, end, end+1)
	}
	longer := append(bytes.Clone(f.bytes), 0)
	for _, n := range cuts {
		_, err := verdict(t, longer[:n])
		if n == int64(len(f.bytes)) {
			require.NoError(t, err)
			continue
		}
		require.Error(t, err, "%d of %d bytes", n, len(f.bytes))
		require.Regexp(t, `short|trailing|length alone takes`, err.Error())
	}
}

// TestHeaderFlips flips bits of every byte of a header. What is accepted afterwards is
// white space in the padding, and text in the metadata that no tensor contradicts: names of
// keys (a claim that is not made is not wrong), diffusers' version, parts of the class's
// name.
func TestHeaderFlips(t *testing.T) {
	p := small(svdqtest.Int4)
	p.Blocks, p.JointDim = 1, 100
	f := generate(t, p)
	intact, err := verdict(t, f.bytes)
	require.NoError(t, err)
	require.Empty(t, intact)
	tensors := bytes.Index(f.bytes, []byte(`"`+f.header.Tensors[0].Name+`":{"dtype"`))
	padding := bytes.LastIndexByte(f.bytes[:f.header.DataStart], '}') + 1
	require.Positive(t, tensors)
	require.Less(t, padding, int(f.header.DataStart), "this header needs padding")
	text, spaces := 0, 0
	for i := range int(f.header.DataStart) {
		mask := []byte{1, 4, 0x2a}[i%3] // 0x2a makes a line feed of a space
		f.bytes[i] ^= mask
		if findings, err := verdict(t, f.bytes); err == nil && findings.Worst() < verify.Warning {
			require.True(t, i < tensors || i >= padding, "byte %d: %q", i, f.bytes[max(0, i-8):i+8])
			if i < tensors {
				text++
			} else {
				spaces++
			}
		}
		f.bytes[i] ^= mask
	}
	t.Logf("of %d flips %d in the metadata's text and %d in the padding are accepted", f.header.DataStart, text, spaces)
}

// element is one element of a tensor, before and after a flip.
type element struct {
	name       string
	was, is    uint16
	index, bit int
}

// flip flips one bit of one element of a tensor and returns how to undo it. Elements of
// qweight are nibbles.
func flip(t *testing.T, f *file, name string, index, bit int) (element, func()) {
	b, width := f.tensor(t, name), 16
	switch x, _ := f.header.Tensor(name); {
	case strings.HasSuffix(name, ".qweight"):
		width = 4
	case x.DType == safetensors.F8E4M3:
		width = 8
	}
	index, bit = index%(len(b)*8/width), bit%width
	at := index*width + bit
	read := func() uint16 {
		if width == 16 {
			return binary.LittleEndian.Uint16(b[2*index:])
		}
		return uint16(b[index*width/8]>>(index*width%8)) & (1<<width - 1)
	}
	e := element{name: name, was: read(), index: index, bit: bit}
	b[at/8] ^= 1 << (at % 8)
	e.is = read()
	return e, func() { b[at/8] ^= 1 << (at % 8) }
}

// visible says by the rules alone whether a flip can be seen without a sum. Groups that
// lose their only peak stay below the share of a whole tensor.
func visible(t *testing.T, f *file, e element) bool {
	suffix := e.name[strings.LastIndexByte(e.name, '.')+1:]
	x, _ := f.header.Tensor(e.name)
	awq := strings.Contains(e.name, "_mod.1.")
	switch {
	case suffix == "qweight":
		return int(e.is) == foreign(f, e.name)
	case x.DType == safetensors.F8E4M3:
		return e.is&0x80 != 0 || e.is&0x7f == 0x7f || e.is == 0
	case awq && suffix == "wscales":
		zeros := values16(f.tensor(t, strings.Replace(e.name, "wscales", "wzeros", 1)))
		return zeroPointOff(e.is, zeros[e.index])
	case awq && suffix == "wzeros":
		scales := values16(f.tensor(t, strings.Replace(e.name, "wzeros", "wscales", 1)))
		return zeroPointOff(scales[e.index], e.is)
	}
	v := float64(packing.BF16(e.is))
	positive := strings.Contains(suffix, "scale") || strings.HasPrefix(suffix, "smooth")
	return math.IsNaN(v) || math.Abs(v) > 65504 || positive && v < 1.0/(1<<24)
}

// foreign is the code that a weight does not have, -1 if it has all.
func foreign(f *file, name string) int {
	module := strings.TrimSuffix(name, ".qweight")
	scales, _ := f.header.Tensor(module + ".wscales")
	switch {
	case strings.HasSuffix(module, "_mod.1"):
		return 15
	case scales.DType == safetensors.F8E4M3:
		return -1
	}
	return 8
}

func zeroPointOff(scale, zero uint16) bool {
	s, z := float64(packing.BF16(scale)), float64(packing.BF16(zero))
	return !(math.Abs(z+7*s) <= math.Abs(7*s)/128) || !(s > 0)
}

// aim returns an element whose bit, flipped, makes the foreign code of its weight.
func aim(t *testing.T, f *file, name string, index, bit int) int {
	is := foreign(f, name)
	if !strings.HasSuffix(name, ".qweight") || is < 0 {
		return index
	}
	for b := f.tensor(t, name); ; index++ {
		if at := index % (2 * len(b)); int(b[at/2]>>(at%2*4)&15) == is^1<<bit {
			return at
		}
	}
}

// TestDataFlips flips each bit of elements of each kind of tensor. Exactly those flips are
// accepted that leave a possible value behind; every other one is found, and the finding
// names the linear.
func TestDataFlips(t *testing.T) {
	for _, precision := range []string{svdqtest.Int4, svdqtest.NVFP4} {
		p := small(precision)
		p.Blocks = 1
		f := generate(t, p)
		for _, name := range matrixTensors(precision) {
			accepted, found := 0, 0
			for i := range 32 {
				index := int(safetensorstest.Mix(9, uint64(i)) % 1e9)
				if i%8 < 4 {
					index = aim(t, f, name, index, i%4)
				}
				e, undo := flip(t, f, name, index, i)
				findings, err := verdict(t, f.bytes)
				require.NoError(t, err)
				seen := visible(t, f, e)
				require.Equal(t, seen, findings.Worst() >= verify.Warning, "%s: %#x became %#x: %v", name, e.was, e.is, findings)
				for _, x := range findings {
					require.True(t, strings.HasPrefix(x.Message, name[:strings.LastIndexByte(name, '.')]), "%s: %s", name, x.Message)
				}
				if seen {
					found++
				} else {
					accepted++
				}
				undo()
			}
			t.Logf("%-6s %-52s %2d found, %2d accepted", precision, name, found, accepted)
		}
	}
}

// damage is what a disk or a network makes of 512 bytes.
var damage = map[string]func(b []byte){
	"erased": func(b []byte) { clear(b) },
	"filled": func(b []byte) {
		for i := range b {
			b[i] = 0xff
		}
	},
	"noise": func(b []byte) {
		for i := 0; i+8 <= len(b); i += 8 {
			binary.LittleEndian.PutUint64(b[i:], safetensorstest.Mix(17, uint64(i)))
		}
	},
}

// TestDamagedSectors erases, fills or overwrites a sector in each kind of tensor. All are
// found but noise in e2m1 codes, each of which is possible, and no error of a neighbour is
// reported.
func TestDamagedSectors(t *testing.T) {
	const sector = 512
	for _, precision := range []string{svdqtest.Int4, svdqtest.NVFP4} {
		f := generate(t, matrixParams(precision))
		for _, name := range matrixTensors(precision) {
			b := f.tensor(t, name)
			from := min(37*2, len(b)/2) // not where the layout begins a unit
			part := b[from:min(len(b), from+sector)]
			for kind, change := range damage {
				whole := bytes.Clone(part)
				change(part)
				findings, err := verdict(t, f.bytes)
				require.NoError(t, err)
				copy(part, whole)
				possible := kind == "noise" && precision == svdqtest.NVFP4 && strings.HasSuffix(name, "qkv.qweight") || len(b) < sector
				require.True(t, possible || findings.Worst() >= verify.Warning, "%s %s %s", precision, name, kind)
				for _, x := range findings {
					require.True(t, strings.HasPrefix(x.Message, name[:strings.LastIndexByte(name, '.')]), "%s: %s", name, x.Message)
				}
			}
		}
	}
}

// TestMisplacedSectors puts bytes of one tensor where those of another kind should be.
func TestMisplacedSectors(t *testing.T) {
	f := generate(t, matrixParams(svdqtest.Int4))
	const b = "transformer_blocks.0."
	for to, from := range map[string]string{
		b + "attn.to_qkv.qweight": b + "attn.to_qkv.proj_up", b + "txt_mod.1.qweight": b + "attn.to_qkv.qweight",
		b + "attn.to_qkv.proj_up": b + "attn.to_qkv.qweight", "txt_in.weight": b + "txt_mod.1.qweight",
		b + "attn.to_qkv.wscales": "txt_in.weight", b + "txt_mod.1.wzeros": b + "txt_mod.1.wscales",
	} {
		t.Run(fmt.Sprintf("%s in %s", from, to), func(t *testing.T) {
			findings, err := verdict(t, f.with(func(f *file) { copy(f.tensor(t, to)[512:1024], f.tensor(t, from)) }).bytes)
			require.NoError(t, err)
			require.GreaterOrEqual(t, findings.Worst(), verify.Warning)
			require.True(t, strings.HasPrefix(findings[0].Message, to+" "), findings[0].Message)
		})
	}
}
