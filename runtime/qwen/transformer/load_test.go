package transformer

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// TestTakesEveryTensor: of a published checkpoint's 4093 tensors, the constructor takes all
// but what no computation reads.
func TestTakesEveryTensor(t *testing.T) {
	c, err := svdqtest.New(svdqtest.Real(svdqtest.Int4, 128))
	require.NoError(t, err)
	set, err := weights.Describe(c.Header())
	require.NoError(t, err)
	dims, err := identify(set)
	require.NoError(t, err)
	taken := taker{set, dims}.all()
	require.NoError(t, set.Err())
	require.Len(t, taken.blocks, 60)
	require.Len(t, c.Header().Tensors, 4093)
	rest := set.Untaken()
	require.Len(t, rest, 480)
	for _, name := range rest {
		require.True(t, strings.HasSuffix(name, ".smooth_factor_orig"), name)
	}
	for _, b := range taken.blocks {
		require.True(t, b.image.down.Shifted && b.text.down.Shifted)
		require.False(t, b.image.up.Shifted || b.text.qkv.Shifted || b.image.out.Shifted)
	}
}

// changed is the golden checkpoint's header with other tensors and another config.
func changed(t *testing.T, p func(*svdqtest.Params), tensors func([]safetensors.Spec) []safetensors.Spec, config ...string) *safetensors.Header {
	t.Helper()
	h := checkpoint(t, p).Header()
	var specs []safetensors.Spec
	for _, x := range h.Tensors {
		specs = append(specs, safetensors.Spec{Name: x.Name, DType: x.DType, Shape: slices.Clone(x.Shape)})
	}
	if tensors != nil {
		specs = tensors(specs)
	}
	metadata := map[string]string{}
	for k, v := range h.Metadata {
		metadata[k] = strings.NewReplacer(config...).Replace(v)
	}
	if len(config) == 0 {
		metadata = h.Metadata
	}
	out, _, err := safetensors.Layout(metadata, specs)
	require.NoError(t, err)
	return out
}

// without drops a tensor, and reshaped changes one's first side.
func without(name string) func([]safetensors.Spec) []safetensors.Spec {
	return func(specs []safetensors.Spec) []safetensors.Spec {
		return slices.DeleteFunc(specs, func(s safetensors.Spec) bool { return s.Name == name })
	}
}

func reshaped(name string, side int64) func([]safetensors.Spec) []safetensors.Spec {
	return func(specs []safetensors.Spec) []safetensors.Spec {
		for i := range specs {
			if specs[i].Name == name {
				specs[i].Shape[0] = side
			}
		}
		return specs
	}
}

// TestNewRefuses: a file that is no such checkpoint is refused before anything is loaded, here
// into no backend at all.
func TestNewRefuses(t *testing.T) {
	for want, h := range map[string]*safetensors.Header{
		`taking tensor "transformer_blocks.1.txt_mlp.net.2.proj_up": it is not there`:              changed(t, nil, without("transformer_blocks.1.txt_mlp.net.2.proj_up")),
		`taking tensor "norm_out.linear.weight": it is not there`:                                  changed(t, nil, without("norm_out.linear.weight")),
		`"transformer_blocks.0.attn.to_qkv.bias": its shape is [512], the model needs [768]`:       changed(t, nil, reshaped("transformer_blocks.0.attn.to_qkv.bias", 512)),
		`"transformer_blocks.1.img_mod.1.wzeros": its shape is [8 1536], the model needs [4 1536]`: changed(t, nil, reshaped("transformer_blocks.1.img_mod.1.wzeros", 8)),
		"the checkpoint's precision is nvfp4, want int4":                                           changed(t, func(p *svdqtest.Params) { p.Precision = svdqtest.NVFP4 }, nil),
		"axes_dims_rope [8 28 27], want three even widths that make the head's 64":                 changed(t, nil, nil, "28\n", "27\n"),
		"axes_dims_rope [8 28], want":                                                              changed(t, nil, nil, "8,\n    28,\n    28\n", "8,\n    28\n"),
		"axes_dims_rope [], want":                                                                  changed(t, nil, nil, "axes_dims_rope", "x"),
		"use_additional_t_cond true and use_layer3d_rope false: it is one of Qwen-Image-Layered":   changed(t, nil, nil, `"patch_size"`, `"use_additional_t_cond": true, "patch_size"`),
		"use_additional_t_cond false and use_layer3d_rope true: it is one of Qwen-Image-Layered":   changed(t, nil, nil, `"patch_size"`, `"use_layer3d_rope": true, "patch_size"`),
		"guidance_embeds true": changed(t, nil, nil, `"guidance_embeds": false`, `"guidance_embeds": true`),
		"its dimensions make no model: 2 blocks, 4 heads of 64 for a width of 256, rank 32, text 128": changed(t, nil, reshaped("proj_out.weight", 128)),
		"identifying checkpoint: none of": changed(t, nil, func(specs []safetensors.Spec) []safetensors.Spec {
			return slices.DeleteFunc(specs, func(s safetensors.Spec) bool { return strings.HasSuffix(s.Name, "qweight") })
		}),
	} {
		set, err := weights.Describe(h)
		require.NoError(t, err)
		_, err = New(nil, set)
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.Invalid, fault.KindOf(err), want)
		require.NotEmpty(t, fault.HintOf(err), want)
	}
}

// TestHintOfNVFP4: who has the wrong precision hears which one is right.
func TestHintOfNVFP4(t *testing.T) {
	set, err := weights.Describe(changed(t, func(p *svdqtest.Params) { p.Precision = svdqtest.NVFP4 }, nil))
	require.NoError(t, err)
	_, err = New(nil, set)
	require.Contains(t, fault.HintOf(err), "INT4")
}
