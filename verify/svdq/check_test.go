package svdq_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// eachBlock calls change with the name of a tensor in every block.
func eachBlock(blocks int, local string, change func(name string)) {
	for b := range blocks {
		change(fmt.Sprintf("transformer_blocks.%d.%s", b, local))
	}
}

// TestGroupedMessages: a problem of many blocks is one sentence.
func TestGroupedMessages(t *testing.T) {
	remove := func(f file) func(string) { return func(n string) { delete(f.specs, n) } }
	cases := []struct {
		name   string
		change func(f file)
		want   []string // messages of all errors, in order
	}{
		{"all blocks", func(f file) { eachBlock(60, "img_mod.1.qweight", remove(f)) }, []string{"60 × img_mod.1.qweight missing"}},
		{"some blocks", func(f file) {
			for _, b := range []int{3, 4, 5, 17, 59} {
				delete(f.specs, fmt.Sprintf("transformer_blocks.%d.attn.to_out.0.bias", b))
			}
		}, []string{"5 × attn.to_out.0.bias missing (blocks 3-5, 17, 59)"}},
		{"one block", func(f file) { delete(f.specs, "transformer_blocks.7.attn.norm_q.weight") }, []string{"transformer_blocks.7.attn.norm_q.weight missing"}},
		{"a global", func(f file) { delete(f.specs, "txt_in.bias") }, []string{"txt_in.bias missing"}},
		{"a whole block", func(f file) {
			for n := range f.specs {
				if strings.HasPrefix(n, "transformer_blocks.30.") {
					delete(f.specs, n)
				}
			}
		}, []string{"block 30 missing: none of its tensors is there"}},
		{"stray names", func(f file) {
			f.put("transformer_blocks.900.x", safetensors.U8, 1)
			f.put("transformer_blocks.01.x", safetensors.U8, 1)
			f.put("lora\n", safetensors.U8, 1)
		}, []string{`"lora\n" unexpected`, "transformer_blocks.01.x unexpected", "transformer_blocks.900.x unexpected"}},
		{"another rank in one layer", func(f file) {
			f.put("transformer_blocks.2.img_mlp.net.2.proj_up", safetensors.BF16, 3072, 32)
		}, []string{"transformer_blocks.2.img_mlp.net.2.proj_up has shape [3072 32], want [3072 128]"}},
		{"another precision in one linear", func(f file) {
			eachBlock(60, "attn.to_qkv.wscales", func(n string) { f.put(n, safetensors.F8E4M3, 192, 9216) })
		}, []string{"60 × attn.to_qkv.wscales has dtype F8_E4M3, want BF16", "60 × attn.to_qkv.wscales has shape [192 9216], want [48 9216]"}},
		{"half precision", func(f file) {
			f.put("proj_out.weight", safetensors.F16, 64, 3072)
		}, []string{"proj_out.weight has dtype F16, want BF16"}},
		{"NVFP4's scales in an INT4 file", func(f file) { f.put("transformer_blocks.0.attn.to_qkv.wcscales", safetensors.BF16, 9216) },
			[]string{"transformer_blocks.0.attn.to_qkv.wcscales unexpected"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := generate(t, svdqtest.Real(svdq.Int4, 128))
			c.change(f)
			var got []string
			for _, x := range svdq.Check(f.header(t)) {
				require.Equal(t, verify.Error, x.Severity)
				require.Empty(t, x.Object)
				got = append(got, x.Message)
			}
			require.Equal(t, c.want, got)
		})
	}
}

// TestLookAlikeModulation: the known third-party kind of file, whose modulation is SVDQ
// in most layers and plain in the others, is named in one sentence.
func TestLookAlikeModulation(t *testing.T) {
	f := generate(t, svdqtest.Real(svdq.Int4, 32))
	for b := range 60 {
		for _, m := range []string{"img_mod.1", "txt_mod.1"} {
			p := fmt.Sprintf("transformer_blocks.%d.%s.", b, m)
			for _, s := range []string{"qweight", "wscales", "wzeros", "bias"} {
				delete(f.specs, p+s)
			}
			f.put(p+"bias", safetensors.BF16, 18432)
			if b >= 58 {
				f.put(p+"weight", safetensors.F16, 18432, 3072)
				continue
			}
			f.put(p+"qweight", safetensors.I8, 18432, 1536)
			f.put(p+"wscales", safetensors.BF16, 48, 18432)
			f.put(p+"proj_down", safetensors.BF16, 3072, 32)
			f.put(p+"proj_up", safetensors.BF16, 18432, 32)
		}
	}
	findings := svdq.Check(f.header(t))
	require.Len(t, findings, 1)
	require.Equal(t, svdq.CodeModulation, findings[0].Code)
	require.Equal(t, "of 120 modulation layers (img_mod.1, txt_mod.1) 116 SVDQ I8 and 4 plain F16; want AWQ, an I32 qweight with wzeros, in all", findings[0].Message)
	require.NotEmpty(t, findings[0].Hint)
}

func TestImpossibleDimensions(t *testing.T) {
	cases := []struct {
		name   string
		change func(f file)
		want   string
	}{
		{"no head norms", func(f file) {
			for _, n := range []string{"norm_q", "norm_k", "norm_added_q", "norm_added_k"} {
				eachBlock(3, "attn."+n+".weight", func(name string) { delete(f.specs, name) })
			}
		}, "width of a head is 0"},
		{"heads that do not divide", func(f file) {
			for _, n := range []string{"norm_q", "norm_k", "norm_added_q", "norm_added_k"} {
				eachBlock(3, "attn."+n+".weight", func(name string) { f.put(name, safetensors.BF16, 48) })
			}
		}, "hidden size 128 is no multiple of the heads' width 48"},
		{"rank not a multiple of 16", func(f file) {
			for n, s := range f.specs {
				if strings.HasSuffix(n, ".proj_down") || strings.HasSuffix(n, ".proj_up") {
					f.put(n, s.DType, s.Shape[0], 24)
				}
			}
		}, "rank is 24"},
		{"groups of 128", func(f file) {
			for n, s := range f.specs {
				if strings.HasSuffix(n, ".wscales") && !strings.Contains(n, "_mod.") {
					f.put(n, s.DType, s.Shape[0]/2, s.Shape[1])
				}
			}
		}, "group size is 128 by the scales, int4 has 64"},
		{"a hostile width", func(f file) {
			eachBlock(3, "attn.to_out.0.qweight", func(n string) { f.put(n, safetensors.I8, 1<<40, 0) })
		}, "hidden size is 1099511627776"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := generate(t, small(svdq.Int4))
			c.change(f)
			requireFinding(t, svdq.Check(f.header(t)), svdq.CodeDimensions, c.want)
		})
	}
}

// TestUnknownWidths: where the only tensors that show a width are gone or misshapen, it is
// these tensors that are reported.
func TestUnknownWidths(t *testing.T) {
	f := generate(t, small(svdq.Int4))
	delete(f.specs, "txt_norm.weight")
	delete(f.specs, "txt_in.weight")
	f.put("img_in.weight", safetensors.BF16, 128)
	f.put("proj_out.weight", safetensors.BF16, 0, 128)
	findings := svdq.Check(f.header(t))
	requireFinding(t, findings, svdq.CodeMissing, "txt_norm.weight missing")
	requireFinding(t, findings, svdq.CodeMissing, "txt_in.weight missing")
	requireFinding(t, findings, svdq.CodeShape, "img_in.weight has shape [128], want [128 ?]")
	requireFinding(t, findings, svdq.CodeShape, "proj_out.weight has shape [0 128], want [? 128]")
	for _, w := range []string{"text encoder's width is not shown", "input channels is not shown", "output channels is not shown"} {
		requireFinding(t, findings, svdq.CodeDimensions, w)
	}
}

// TestFractionOfAToken: fewer rows than a token has pixels are no output at all.
func TestFractionOfAToken(t *testing.T) {
	f := generate(t, small(svdq.Int4))
	f.put("proj_out.weight", safetensors.BF16, 3, 128)
	f.put("proj_out.bias", safetensors.BF16, 3)
	f.meta = nil
	require.Error(t, svdq.Check(f.header(t)).Err())
	f.put("proj_out.weight", safetensors.BF16, 63, 128)
	f.put("proj_out.bias", safetensors.BF16, 63)
	requireFinding(t, svdq.Check(f.header(t)), svdq.CodeShape, "proj_out.weight has shape [63 128], want [60 128]")
}

func TestNVFP4GlobalScales(t *testing.T) {
	f := generate(t, small(svdq.NVFP4))
	eachBlock(3, "attn.to_qkv.wcscales", func(n string) { delete(f.specs, n) })
	findings := svdq.Check(f.header(t))
	require.NoError(t, findings.Err(), "loaders fill a missing scale in")
	requireFinding(t, findings, svdq.CodeScale, "3 × attn.to_qkv has neither wcscales nor wtscale")

	eachBlock(3, "attn.to_qkv.wtscale", func(n string) { f.put(n, safetensors.F32) })
	require.Empty(t, svdq.Check(f.header(t)), "a scalar of another floating dtype will do")

	eachBlock(3, "attn.to_qkv.wtscale", func(n string) { f.put(n, safetensors.F32, 2) })
	requireFinding(t, svdq.Check(f.header(t)), svdq.CodeShape, "3 × attn.to_qkv.wtscale is F32 [2], want one floating-point number")
}

// TestHostileFilesGiveShortReports: a file full of foreign names.
func TestHostileFilesGiveShortReports(t *testing.T) {
	f := generate(t, small(svdq.Int4))
	for i := range 5000 {
		f.put(fmt.Sprintf("%0300d", i), safetensors.U8, 1)
		f.put(fmt.Sprintf("transformer_blocks.%d.x", 2*i), safetensors.U8, 1)
	}
	findings := svdq.Check(f.header(t))
	require.LessOrEqual(t, len(findings), 30)
	total := 0
	for _, x := range findings {
		total += len(x.Message)
	}
	require.Less(t, total, 20_000)
	requireFinding(t, findings, svdq.CodeUnexpected, "more findings of this kind")
}

// TestDeepGap: blocks far apart do not make a table of a thousand messages.
func TestDeepGap(t *testing.T) {
	f := generate(t, small(svdq.Int4))
	for i := range 8 {
		f.put(fmt.Sprintf("transformer_blocks.1023.t%d", i), safetensors.U8, 1)
		f.put(fmt.Sprintf("transformer_blocks.1024.t%d", i), safetensors.U8, 1)
	}
	findings := svdq.Check(f.header(t))
	requireFinding(t, findings, svdq.CodeMissing, "blocks 3-1022 missing")
	requireFinding(t, findings, svdq.CodeUnexpected, "transformer_blocks.1024.t0 unexpected")
}
