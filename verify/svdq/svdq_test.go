package svdq_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// file is a checkpoint's header taken apart, so that a test can change it.
type file struct {
	meta  map[string]string
	specs map[string]safetensors.Spec
}

func generate(t require.TestingT, p svdqtest.Params) file {
	c, err := svdqtest.New(p)
	require.NoError(t, err)
	f := file{maps.Clone(c.Header().Metadata), map[string]safetensors.Spec{}}
	for _, x := range c.Header().Tensors {
		f.put(x.Name, x.DType, x.Shape...)
	}
	return f
}

func (f file) put(name string, d safetensors.DType, shape ...int64) {
	f.specs[name] = safetensors.Spec{Name: name, DType: d, Shape: shape}
}

// header puts the file together again.
func (f file) header(t require.TestingT) *safetensors.Header {
	var specs []safetensors.Spec
	for _, s := range f.specs {
		specs = append(specs, s)
	}
	h, _, err := safetensors.Layout(f.meta, specs)
	require.NoError(t, err)
	return h
}

// small returns parameters of a three-block checkpoint.
func small(precision string) svdqtest.Params {
	return svdqtest.Params{
		Precision: precision, Rank: 32, Blocks: 3, Heads: 4, HeadDim: 32, JointDim: 96, InChannels: 64, OutChannels: 16,
	}
}

func TestIdentifyTheRealDimensions(t *testing.T) {
	for _, precision := range []string{svdq.Int4, svdq.NVFP4} {
		for _, rank := range []int{32, 128} {
			p := svdqtest.Real(precision, rank)
			p.ZeroCondT = rank == 128
			h := generate(t, p).header(t)
			c, err := svdq.Identify(h)
			require.NoError(t, err)
			require.Equal(t, svdq.Checkpoint{
				Family: "qwen-image", Precision: precision, Rank: rank, GroupSize: map[string]int{"int4": 64, "nvfp4": 16}[precision],
				Blocks: 60, Hidden: 3072, Heads: 24, HeadDim: 128, JointDim: 3584, InChannels: 64, OutChannels: 16,
				Config: svdq.Config{
					ClassName: "QwenImageTransformer2DModel", PatchSize: 2, InChannels: 64, OutChannels: 16, NumLayers: 60, AttentionHeadDim: 128,
					NumAttentionHeads: 24, JointAttentionDim: 3584, AxesDimsRope: []int{16, 56, 56}, ZeroCondT: rank == 128,
				},
				DataBytes: h.DataBytes(), Tensors: len(h.Tensors),
			}, c)
			require.Empty(t, svdq.Check(h))
		}
	}
}

// TestAnyWidthAndDepth: whatever the generator can make is identified and accepted.
func TestAnyWidthAndDepth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		headDim := rapid.SampledFrom([]int{32, 64, 128, 256}).Draw(t, "head width")
		unit := max(1, 128/headDim)
		p := svdqtest.Params{
			Precision: rapid.SampledFrom([]string{svdq.Int4, svdq.NVFP4}).Draw(t, "precision"),
			Rank:      16 * rapid.IntRange(1, 16).Draw(t, "rank/16"),
			Blocks:    rapid.IntRange(1, 6).Draw(t, "blocks"),
			Heads:     unit * rapid.IntRange(1, 8).Draw(t, "heads"),
			HeadDim:   headDim, JointDim: rapid.IntRange(1, 5000).Draw(t, "joint"),
			InChannels: rapid.IntRange(1, 128).Draw(t, "in"), OutChannels: rapid.IntRange(1, 32).Draw(t, "out"),
			ZeroCondT: rapid.Bool().Draw(t, "zero_cond_t"),
		}
		h := generate(t, p).header(t)
		c, err := svdq.Identify(h)
		require.NoError(t, err)
		require.Equal(t, p.Precision, c.Precision)
		require.Equal(t, [...]int{p.Rank, p.Blocks, p.Heads, p.HeadDim, p.JointDim, p.InChannels, p.OutChannels},
			[...]int{c.Rank, c.Blocks, c.Heads, c.HeadDim, c.JointDim, c.InChannels, c.OutChannels})
		require.Equal(t, p.ZeroCondT, c.Config.ZeroCondT)
		require.Empty(t, svdq.Check(h))
	})
}

// TestEveryTensorCounts removes, renames, retypes and reshapes each tensor in turn. Each
// change is an error that names the tensor, and the checkpoint is still identified as
// what it was.
func TestEveryTensorCounts(t *testing.T) {
	for _, precision := range []string{svdq.Int4, svdq.NVFP4} {
		f := generate(t, small(precision))
		intact, err := svdq.Identify(f.header(t))
		require.NoError(t, err)
		for name, spec := range f.specs {
			if !strings.Contains(name, "blocks.1.") && strings.HasPrefix(name, "transformer_blocks.") {
				continue // one block stands for all
			}
			optional := strings.HasSuffix(name, ".wtscale") || strings.HasSuffix(name, ".wcscales")
			damage := map[string]func(){
				"missing":    func() { delete(f.specs, name) },
				"unexpected": func() { delete(f.specs, name); f.put(name+"_", spec.DType, spec.Shape...) },
				"dtype":      func() { f.put(name, safetensors.U16, spec.Shape...) },
				"shape":      func() { f.put(name, spec.DType, append([]int64{2}, spec.Shape...)...) },
			}
			for kind, change := range damage {
				change()
				findings := svdq.Check(f.header(t))
				if optional && kind == "missing" {
					require.NoError(t, findings.Err())
					requireFinding(t, findings, svdq.CodeScale, strings.TrimSuffix(name, name[strings.LastIndexByte(name, '.'):]))
				} else {
					require.Equal(t, verify.Error, findings.Worst(), "%s %s", name, kind)
					requireFinding(t, findings, "", name)
				}
				again, err := svdq.Identify(f.header(t))
				require.NoError(t, err)
				require.Equal(t, dims(intact), dims(again), "%s %s", name, kind)
				delete(f.specs, name+"_")
				f.specs[name] = spec
			}
		}
		require.Empty(t, svdq.Check(f.header(t)), "the loop restores what it changed")
	}
}

// dims leaves out what damage changes rightly: the bytes and the count.
func dims(c svdq.Checkpoint) svdq.Checkpoint {
	c.DataBytes, c.Tensors = 0, 0
	// One tensor alone shows these; without it there is nothing to identify them by.
	c.InChannels, c.OutChannels = 0, 0
	return c
}

// requireFinding looks for a finding with that code (any if empty) and text.
func requireFinding(t require.TestingT, findings verify.Findings, code, text string) verify.Finding {
	for _, f := range findings {
		if (code == "" || f.Code == code) && strings.Contains(f.Message, text) {
			return f
		}
	}
	require.Fail(t, "no such finding", "%s %q in %v", code, text, findings)
	return verify.Finding{}
}

func TestIdentifyRefuses(t *testing.T) {
	bf16 := func(names ...string) file {
		f := file{specs: map[string]safetensors.Spec{}}
		for _, n := range names {
			f.put(n, safetensors.BF16, 4, 4)
		}
		return f
	}
	stray := bf16("x.wscales")
	stray.put("x.qweight", safetensors.I8, 4, 128)
	awq := bf16("x.wscales")
	awq.put("x.qweight", safetensors.I32, 4, 128)
	odd := bf16()
	odd.put("x.qweight", safetensors.I8, 4, 128)
	odd.put("x.wscales", safetensors.F64, 4, 128)
	cases := []struct {
		name string
		in   file
		want string
	}{
		{"empty", bf16(), "none of 0 tensors"},
		{"plain transformer", bf16("transformer_blocks.0.attn.to_q.weight"), "looks like an unquantised transformer"},
		{"text encoder", bf16("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"), "looks like a text encoder"},
		{"VAE", bf16("encoder.conv_in.weight"), "looks like a VAE"},
		{"anything", bf16("weight"), "of no known kind"},
		{"AWQ alone", awq, "none of 2 tensors is an SVDQuant weight"},
		{"scales of another dtype", odd, "none of 2 tensors is an SVDQuant weight"},
		{"unknown family", stray, "no known family"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := c.in.header(t)
			_, err := svdq.Identify(h)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			findings := svdq.Check(h)
			require.Len(t, findings, 1)
			require.Equal(t, svdq.CodeUnknown, findings[0].Code)
			require.Contains(t, findings[0].Message, c.want)
			require.NotEmpty(t, findings[0].Hint)
		})
	}
}

func TestOtherFamilies(t *testing.T) {
	for family, names := range map[string][2]string{
		svdq.Flux:   {"single_transformer_blocks.0.mlp_fc1", "lora_down"},
		svdq.ZImage: {"context_refiner.0.attention.to_qkv", "proj_down"},
	} {
		f := file{specs: map[string]safetensors.Spec{}}
		f.put(names[0]+".qweight", safetensors.I8, 256, 64)
		f.put(names[0]+".wscales", safetensors.F8E4M3, 8, 256)
		f.put(names[0]+"."+names[1], safetensors.BF16, 128, 48)
		h := f.header(t)
		c, err := svdq.Identify(h)
		require.NoError(t, err)
		require.Equal(t, svdq.Checkpoint{Family: family, Precision: svdq.NVFP4, Rank: 48, GroupSize: 16, DataBytes: h.DataBytes(), Tensors: 3}, c)
		findings := svdq.Check(h)
		require.Len(t, findings, 1)
		require.Equal(t, verify.Warning, findings[0].Severity)
		require.Contains(t, findings[0].Message, "family is "+family)
	}
}
