package textencoder

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// TestPublishedConfig: what is read of the published sizes.
func TestPublishedConfig(t *testing.T) {
	require.Equal(t, settings{
		language: language{
			hidden: 3584, layers: 28, heads: 28, kvHeads: 4, intermediate: 18944, vocabulary: 152064,
			positions: 128000, eps: 1e-6, theta: 1e6, sections: [3]int{16, 24, 24},
		},
		vision: vision{
			hidden: 1280, depth: 32, heads: 16, intermediate: 3420, out: 3584, channels: 3, frames: 2, patch: 14,
			merge: 2, window: 4, full: []int{7, 15, 23, 31},
		},
		imageToken: 151655,
	}, generate(t, modelsettest.Real()).settings(t))
}

// edit returns a configuration with keys changed, or removed where nil. Keys of the parts
// are written as part.key; those of the language model are changed wherever they are.
func edit(t testing.TB, data []byte, changes map[string]any) []byte {
	t.Helper()
	var root map[string]any
	require.NoError(t, json.Unmarshal(data, &root))
	for path, value := range changes {
		part, keys := root, strings.Split(path, ".")
		for _, k := range keys[:len(keys)-1] {
			part = part[k].(map[string]any)
		}
		key := keys[len(keys)-1]
		if value == nil {
			delete(part, key)
		} else {
			part[key] = value
		}
	}
	out, err := json.Marshal(root)
	require.NoError(t, err)
	return out
}

// flat is a configuration that states the language model at the top only.
func flat(t testing.TB) []byte {
	return edit(t, generate(t, modelsettest.Golden()).config, map[string]any{"text_config": nil})
}

// TestOneOfTwoStatements: the language model may stand at the top, below text_config, or at
// both places.
func TestOneOfTwoStatements(t *testing.T) {
	both := generate(t, modelsettest.Golden())
	want := both.settings(t)
	s, err := parse(flat(t))
	require.NoError(t, err)
	require.Equal(t, want, s)
	below := map[string]any{}
	for _, key := range []string{"hidden_size", "num_hidden_layers", "rope_scaling", "vocab_size", "rope_theta", "hidden_act"} {
		below[key] = nil
	}
	s, err = parse(edit(t, both.config, below))
	require.NoError(t, err)
	require.Equal(t, want, s)
	_, err = parse(edit(t, both.config, map[string]any{"text_config.hidden_size": 256}))
	require.ErrorContains(t, err, "text_config.hidden_size is stated twice, as 256 and as 128")
	_, err = parse(edit(t, both.config, map[string]any{"rope_scaling.mrope_section": []int{6, 6, 4}}))
	require.ErrorContains(t, err, "text_config.rope_scaling.mrope_section is stated twice, as [4 6 6] and as [6 6 4]")
}

func TestMissingKeys(t *testing.T) {
	for _, key := range []string{
		"image_token_id", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
		"intermediate_size", "vocab_size", "max_position_embeddings", "rms_norm_eps", "rope_theta",
		"rope_scaling", "rope_scaling.mrope_section", "vision_config", "vision_config.hidden_size", "vision_config.depth",
		"vision_config.num_heads", "vision_config.intermediate_size", "vision_config.out_hidden_size",
		"vision_config.patch_size", "vision_config.temporal_patch_size", "vision_config.in_channels",
		"vision_config.spatial_merge_size", "vision_config.window_size", "vision_config.fullatt_block_indexes",
	} {
		_, err := parse(edit(t, flat(t), map[string]any{key: nil}))
		require.ErrorContains(t, err, key+" is missing")
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}

func TestRefusals(t *testing.T) {
	type object = map[string]any
	for _, c := range []struct {
		change object
		want   string
	}{
		{object{"model_type": "qwen3_vl"}, `model_type is "qwen3_vl", only "qwen2_5_vl" is implemented`},
		{object{"hidden_act": "gelu"}, `hidden_act is "gelu", only "silu" is implemented`},
		{object{"vision_config.hidden_act": "quick_gelu"}, `vision_config.hidden_act is "quick_gelu"`},
		{object{"use_sliding_window": true}, "use_sliding_window is true, which is not implemented"},
		{object{"rope_scaling.rope_type": "yarn"}, `rope_scaling.rope_type is "yarn", only "default" or "mrope" is implemented`},
		{object{"rope_scaling.type": "linear"}, `rope_scaling.type is "linear"`},
		{object{"rope_scaling": 3}, "rope_scaling: the document begins with 3, want a JSON object"},
		{object{"rope_parameters": object{"rope_theta": 1}}, `rope_parameters is {"rope_theta":1}, which is not implemented`},
		{object{"vision_config.rope_parameters": object{}}, "vision_config.rope_parameters is {}"},
		{object{"quantization_config": object{"bits": 4}}, "quantization_config is"},
		{object{"hidden_size": 0}, "hidden_size is 0, want 1 to 1048576"},
		{object{"hidden_size": "128"}, `hidden_size is "128", want a whole number`},
		{object{"hidden_size": 130}, "hidden_size is 130, which 4 heads do not divide"},
		{object{"num_hidden_layers": 1e9}, "num_hidden_layers is 1000000000, want 1 to 1024"},
		{object{"num_key_value_heads": 3}, "num_attention_heads is 4, no multiple of num_key_value_heads, 3"},
		{object{"rms_norm_eps": 0}, "rms_norm_eps is 0, want a number above 0"},
		{object{"rope_theta": -1}, "rope_theta is -1, want a number above 0"},
		{object{"rope_scaling.mrope_section": []int{4, 6, 5}}, "rope_scaling.mrope_section is [4 6 5], want 3 numbers that sum to half of a head's width of 32"},
		{object{"rope_scaling.mrope_section": []int{8, 8}}, "rope_scaling.mrope_section is [8 8], want 3 numbers"},
		{object{"rope_scaling.mrope_section": []int{20, -10, 6}}, "rope_scaling.mrope_section is [20 -10 6], want numbers from 0"},
		{object{"vision_config.out_hidden_size": 64}, "vision_config.out_hidden_size is 64, hidden_size is 128"},
		{object{"vision_config.hidden_size": 50}, "vision_config.hidden_size is 50, which 2 heads do not divide into multiples of 4"},
		{object{"vision_config.window_size": 27}, "vision_config.window_size is 27 pixels, a merged token has 28"},
		{object{"vision_config.fullatt_block_indexes": []int{1, 3}}, "vision_config.fullatt_block_indexes is [1 3], want numbers from 0 to 2"},
		{object{"vision_config.spatial_merge_size": 17}, "vision_config.spatial_merge_size is 17, want 1 to 16"},
		{object{"image_token_id": 640}, "image_token_id is 640, vocab_size is 640"},
	} {
		_, err := parse(edit(t, flat(t), c.change))
		require.ErrorContains(t, err, "reading the text encoder's config.json: "+c.want)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
	_, err := parse([]byte("[]"))
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// FuzzConfig: whatever is read can be computed with.
func FuzzConfig(f *testing.F) {
	f.Add(generate(f, modelsettest.Golden()).config)
	f.Add(flat(f))
	f.Add([]byte(`{"image_token_id": 1, "text_config": {}, "vision_config": null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parse(data)
		if err != nil {
			require.Equal(t, settings{}, s)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		l, v := s.language, s.vision
		require.Equal(t, l.hidden, l.head()*l.heads)
		require.Equal(t, l.head(), 2*(l.sections[0]+l.sections[1]+l.sections[2]))
		require.Equal(t, v.hidden, v.head()*v.heads)
		require.Positive(t, min(l.kvHeads, l.positions, v.window, v.patchLen(), v.unit(), int(s.imageToken)))
	})
}
