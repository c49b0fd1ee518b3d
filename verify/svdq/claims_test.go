package svdq_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

func TestMetadataAgainstTensors(t *testing.T) {
	replace := func(key, old, new string) func(map[string]string) {
		return func(m map[string]string) {
			if !strings.Contains(m[key], old) {
				panic("nothing to replace: " + old)
			}
			m[key] = strings.Replace(m[key], old, new, 1)
		}
	}
	drop := func(key string) func(map[string]string) { return func(m map[string]string) { delete(m, key) } }
	quant := func(text string) func(map[string]string) {
		return func(m map[string]string) { m["quantization_config"] = text }
	}
	cases := []struct {
		name     string
		change   func(map[string]string)
		severity verify.Severity
		want     string
	}{
		{"no config", drop("config"), verify.Warning, "metadata has no config"},
		{"no quantization_config", drop("quantization_config"), verify.Warning, "metadata has no quantization_config: loaders take rank 32 without it"},
		{"no model_class", drop("model_class"), verify.Warning, "metadata has no model_class"},
		{"config not JSON", func(m map[string]string) { m["config"] = "{" }, verify.Error, "reading metadata config"},
		{"config a number as text", replace("config", `"num_layers": 3`, `"num_layers": "3"`), verify.Error, "reading metadata config"},
		{"quantization_config not JSON", quant("x"), verify.Error, "reading metadata quantization_config"},
		{"layers", replace("config", `"num_layers": 3`, `"num_layers": 4`), verify.Error, "num_layers is 4, by the tensors it is 3"},
		{"heads", replace("config", `"num_attention_heads": 4`, `"num_attention_heads": 8`), verify.Error, "num_attention_heads is 8, by the tensors it is 4"},
		{"head width", replace("config", `"attention_head_dim": 32`, `"attention_head_dim": 16`), verify.Error, "attention_head_dim is 16, by the tensors it is 32"},
		{"joint width", replace("config", `"joint_attention_dim": 96`, `"joint_attention_dim": 95`), verify.Error, "joint_attention_dim is 95, by the tensors it is 96"},
		{"in channels", replace("config", `"in_channels": 64`, `"in_channels": 16`), verify.Error, "in_channels is 16, by the tensors it is 64"},
		{"out channels", replace("config", `"out_channels": 16`, `"out_channels": 64`), verify.Error, "out_channels is 64, by the tensors it is 16"},
		{"patch size", replace("config", `"patch_size": 2`, `"patch_size": 1`), verify.Error, "patch_size is 1, by the tensors it is 2"},
		{"number left out", replace("config", `"num_layers": 3,`, ``), verify.Warning, "metadata config has no num_layers"},
		{"class", replace("config", "QwenImageTransformer2DModel", "FluxTransformer2DModel"), verify.Error, "_class_name is FluxTransformer2DModel"},
		{"rotary axes", replace("config", "14,", "12,"), verify.Error, "axes_dims_rope is [4 12 14], want three numbers with the sum 32"},
		{"model class", replace("model_class", "QwenImage", "Flux"), verify.Error, "model_class says NunchakuFluxTransformer2DModel, the tensors are qwen-image"},
		{"rank", replace("quantization_config", `"rank": 32`, `"rank": 128`), verify.Error, "quantization_config says rank 128, the tensors have 32"},
		{"no rank", replace("quantization_config", `, "rank": 32`, ``), verify.Warning, "has no rank, loaders will take 32: the tensors have 32"},
		{"method", replace("quantization_config", "svdquant", "gptq"), verify.Error, "method gptq"},
		{"weight dtype", replace("quantization_config", `"int4"`, `"fp4_e2m1_all"`), verify.Error, "weight dtype fp4_e2m1_all, the tensors are int4"},
		{"unknown dtype", replace("quantization_config", `"int4"`, `"int3"`), verify.Error, "weight dtype int3, the tensors are int4"},
		{"group size", replace("quantization_config", `"group_size": 64`, `"group_size": 128`), verify.Error, "weight group_size 128, the tensors have 64"},
		{"activation", quant(`{"weight":{},"activation":{"dtype":"nvfp4","group_size":64},"rank":32}`), verify.Error, "activation dtype nvfp4, the tensors are int4"},
		{"rank under another key", replace("quantization_config", `"rank"`, `"Rank"`), verify.Warning, "has no rank, loaders will take 32"},
		{"rank twice", replace("quantization_config", `"rank": 32`, `"rank": 128, "rank": 32`), verify.Error, `reading metadata quantization_config: key "rank" occurs twice`},
		{"no weight", quant(`{"rank":32}`), verify.Warning, "does not describe the weight"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := generate(t, small(svdq.Int4))
			c.change(f.meta)
			findings := svdq.Check(f.header(t))
			require.Len(t, findings, 1, "%v", findings)
			require.Equal(t, svdq.CodeMetadata, findings[0].Code)
			require.Equal(t, c.severity, findings[0].Severity)
			require.Contains(t, findings[0].Message, c.want)
		})
	}
}

func TestNoMetadataIsNoError(t *testing.T) {
	f := generate(t, small(svdq.NVFP4))
	f.meta = nil
	h := f.header(t)
	findings := svdq.Check(h)
	require.NoError(t, findings.Err())
	require.Len(t, findings, 3)
	c, err := svdq.Identify(h)
	require.NoError(t, err)
	require.Zero(t, c.Config)
	require.Equal(t, 32, c.Rank, "the tensors say it without metadata")
}

// TestThirdPartySpellings: writers that name the format otherwise or leave out a part.
func TestThirdPartySpellings(t *testing.T) {
	for _, text := range []string{
		`{"method":"svdquant","weight":{"dtype":"nvfp4","group_size":16},"rank":32}`,
		`{"weight":{"dtype":"fp4","scale_dtype":[null,"x"]},"rank":32,"skip_refiners":true}`,
	} {
		f := generate(t, small(svdq.NVFP4))
		f.meta["quantization_config"] = text
		require.Empty(t, svdq.Check(f.header(t)))
	}
}

func TestCheckName(t *testing.T) {
	int4 := svdq.Checkpoint{Family: svdq.QwenImage, Precision: svdq.Int4, Rank: 32}
	nvfp4 := svdq.Checkpoint{Family: svdq.QwenImage, Precision: svdq.NVFP4, Rank: 128, Config: svdq.Config{ZeroCondT: true}}
	cases := []struct {
		name string
		c    svdq.Checkpoint
		want []string
	}{
		{"svdq-int4_r32-qwen-image-edit.safetensors", int4, nil},
		{"model.safetensors", int4, nil},
		{"dir-r128/svdq-int4_r32-qwen-image.safetensors", int4, nil},
		{"svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors", int4, []string{"r128 in the name, 32 in the tensors"}},
		{"SVDQ-FP4_R32-Qwen-Image.safetensors", int4, []string{"fp4 in the name, the tensors are int4"}},
		{"svdq-fp4_r128-qwen-image.safetensors", nvfp4, nil},
		{"svdq-int4_r128.safetensors", nvfp4, []string{"int4 in the name, the tensors are nvfp4"}},
		{"svdq-int4_r64-flux.1-dev.safetensors", int4, []string{"r64 in the name, 32 in the tensors", "flux in the name, the tensors are of family qwen-image"}},
		{"r32-r128.safetensors", int4, []string{"r128 in the name, 32 in the tensors"}},
		{"error32 xr128 r r12x.safetensors", int4, nil},
		{"svdq-int4_r32-qwen-image-edit-2511.safetensors", int4, []string{"2511 in the name, but"}},
		{"svdq-nvfp4_r128-qwen-image-edit-2511.safetensors", nvfp4, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			findings := svdq.CheckName(c.name, c.c)
			require.Len(t, findings, len(c.want))
			for i, want := range c.want {
				require.Equal(t, svdq.CodeName, findings[i].Code)
				require.Contains(t, findings[i].Message, want)
			}
		})
	}
}

// FuzzClaims feeds foreign text and one foreign tensor through everything. Whatever the
// strings say, the tensors decide what the file is, and a foreign tensor is an error.
func FuzzClaims(f *testing.F) {
	good := generate(f, small(svdq.Int4))
	f.Add(good.meta["config"], good.meta["quantization_config"], good.meta["model_class"], "svdq-int4_r128-qwen-image.safetensors", "extra", int64(3), uint8(0))
	f.Add(`{"num_layers":3,"axes_dims_rope":[]}`, `{"weight":null,"rank":-1}`, "", "r99999999999999999999", "transformer_blocks.5.attn.to_out.0.qweight", int64(0), uint8(9))
	f.Add("null", "[]", "x", "", "single_transformer_blocks.0.qweight", int64(1<<40), uint8(3))
	f.Fuzz(func(t *testing.T, config, quantization, class, name, tensor string, dim int64, dtype uint8) {
		x := file{specs: good.specs}
		x.meta = map[string]string{"config": config, "quantization_config": quantization, "model_class": class}
		specs := make([]safetensors.Spec, 0, len(x.specs)+1)
		_, known := x.specs[tensor]
		for _, s := range x.specs {
			specs = append(specs, s)
		}
		all := safetensors.DTypes()
		extra := safetensors.Spec{Name: tensor, DType: all[int(dtype)%len(all)], Shape: []int64{dim, 4}}
		h, _, err := safetensors.Layout(x.meta, append(specs, extra))
		if err != nil {
			return // no file can hold this
		}
		require.False(t, known)
		c, err := svdq.Identify(h)
		require.NoError(t, err)
		require.Equal(t, 32, c.Rank)
		require.Equal(t, svdq.Int4, c.Precision)
		findings := svdq.Check(h)
		if c.Family == svdq.QwenImage {
			require.Equal(t, verify.Error, findings.Worst(), "an unknown tensor passes")
		}
		svdq.CheckName(name, c)
	})
}

// BenchmarkCheck measures the whole check of a real header.
func BenchmarkCheck(b *testing.B) {
	h := generate(b, svdqtest.Real(svdq.Int4, 128)).header(b)
	for b.Loop() {
		require.Empty(b, svdq.Check(h))
	}
}
