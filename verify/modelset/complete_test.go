package modelset_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

const (
	teConfig  = "text_encoder/config.json"
	vaeConfig = "vae/config.json"
)

// patch replaces words of equal length in a file, such as in a header.
func patch(t *testing.T, m modelset.Map, name, old, new string) {
	t.Helper()
	data := content(t, m, name)
	require.Len(t, new, len(old))
	require.Equal(t, 1, bytes.Count(data, []byte(old)), old)
	m[name] = section(string(bytes.Replace(data, []byte(old), []byte(new), 1)))
}

// TestIncompleteComponents: what index and shards agree on may still lack what the
// configuration promises.
func TestIncompleteComponents(t *testing.T) {
	text := func(key string, value any) func(*testing.T, modelset.Map) {
		return func(t *testing.T, m modelset.Map) {
			edit(t, m, teConfig, func(d map[string]any) { d["text_config"].(map[string]any)[key] = value })
		}
	}
	vision := func(key string, value any) func(*testing.T, modelset.Map) {
		return func(t *testing.T, m modelset.Map) {
			edit(t, m, teConfig, func(d map[string]any) { d["vision_config"].(map[string]any)[key] = value })
		}
	}
	auto := func(key string, value any) func(*testing.T, modelset.Map) {
		return func(t *testing.T, m modelset.Map) { edit(t, m, vaeConfig, func(d map[string]any) { d[key] = value }) }
	}
	cases := map[string]struct {
		change                func(*testing.T, modelset.Map)
		code, object, message string
	}{
		"a layer": {text("num_hidden_layers", 2), "component", "text_encoder",
			`12 tensors are missing of `},
		"a vision block": {vision("depth", 3), "component", "text_encoder", `tensor "visual.blocks.2.norm1.weight" and 11 more`},
		"MLP width":      {text("intermediate_size", 97), "dimension", "text_encoder", `tensor "model.layers.0.mlp.gate_proj.weight" and 2 more: shape is [96 64], by text_encoder/config.json it is [97 64]`},
		"heads":          {text("num_key_value_heads", 2), "dimension", "text_encoder", `"model.layers.0.self_attn.k_proj.weight" and 3 more`},
		"no layers":      {text("num_hidden_layers", 0), "dimension", teConfig, "num_hidden_layers is missing or out of range"},
		"absurd layers":  {text("num_hidden_layers", 1<<40), "dimension", teConfig, "num_hidden_layers is missing or out of range"},
		"absurd width":   {vision("intermediate_size", 1<<40), "dimension", teConfig, "vision_config.intermediate_size is missing or out of range"},
		"VAE blocks":     {auto("num_res_blocks", 3), "dimension", "vae", "by vae/config.json it is"},
		"VAE stages":     {auto("temperal_downsample", []bool{true}), "dimension", vaeConfig, "dim_mult has 4 numbers, temperal_downsample 1"},
		"VAE widths":     {auto("dim_mult", []int{1, 2, 4, 1 << 40}), "dimension", vaeConfig, "dim_mult has 4 numbers"},
		"VAE base":       {auto("base_dim", nil), "dimension", vaeConfig, "base_dim is missing or out of range"},
		"VAE time":       {auto("temperal_downsample", []bool{true, true, true}), "component", "vae", `4 tensors are missing of `},
		"tensor renamed": {func(t *testing.T, m modelset.Map) { patch(t, m, vae, `"quant_conv.bias"`, `"quant_conv.bixs"`) }, "component", "vae", `1 tensor is missing of 194 that vae/config.json promises: tensor "quant_conv.bias"`},
		"integer weights": {func(t *testing.T, m modelset.Map) {
			patch(t, m, vae, `"post_quant_conv.bias":{"dtype":"BF16"`, `"post_quant_conv.bias":{"dtype": "I16"`)
		}, "component", "vae", `tensor "post_quant_conv.bias": dtype is I16, want one of [BF16 F16 F32]`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := base(t, modelsettest.Tiny())
			tc.change(t, m)
			found := modelset.Check(m)
			require.NotEmpty(t, found)
			last := found[len(found)-1]
			require.Equal(t, []any{verify.Error, tc.code, tc.object}, []any{last.Severity, last.Code, last.Object})
			require.Contains(t, last.Message, tc.message)
		})
	}
}

// TestCompletenessIsNotReportedTwice: a component with an error is left alone, one that is
// replaced or of another class is not known, and a newer layout of names is a warning.
func TestCompletenessIsNotReportedTwice(t *testing.T) {
	m := base(t, modelsettest.Tiny())
	delete(m, shard2)
	for _, f := range modelset.Check(m) {
		require.NotContains(t, f.Message, "promises")
	}

	m = base(t, modelsettest.Tiny())
	edit(t, m, teConfig, func(d map[string]any) { d["text_config"].(map[string]any)["num_hidden_layers"] = 2 })
	require.NotEmpty(t, modelset.Check(m))
	require.Empty(t, modelset.Check(m, modelset.Replacement{Component: "text_encoder"}))

	m = base(t, modelsettest.Tiny())
	for _, name := range []string{"model-00001-of-00004.safetensors", "model.safetensors.index.json"} {
		path := "text_encoder/" + name
		data := content(t, m, path)
		if bytes.Contains(data, []byte(`"visual.patch_embed.proj.weight"`)) {
			patch(t, m, path, `"visual.patch_embed.proj.weight"`, `"model.visual.patch_embed.weigh"`)
		}
	}
	found := modelset.Check(m)
	require.Len(t, found, 1)
	require.Equal(t, verify.Warning, found[0].Severity)
	require.Contains(t, found[0].Message, `"model.visual.patch_embed.weigh"`)
}
