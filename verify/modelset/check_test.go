package modelset_test

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

func TestGeneratedSetsAreRight(t *testing.T) {
	for name, p := range map[string]modelsettest.Params{
		"tiny": modelsettest.Tiny(), "demo": modelsettest.Demo(), "real": modelsettest.Real(),
	} {
		require.Empty(t, modelset.Check(base(t, p)), name)
	}
}

func TestSlimSet(t *testing.T) {
	m := base(t, modelsettest.Tiny())
	config := content(t, m, "transformer/config.json")
	maps.DeleteFunc(m, func(name string, _ verify.Section) bool { return strings.HasPrefix(name, "transformer/") })

	found := modelset.Check(m)
	require.Len(t, found, 1)
	require.Equal(t, "transformer", found[0].Object)
	require.Empty(t, modelset.Check(m, modelset.Replacement{Component: "transformer"}))
	require.Empty(t, modelset.Check(m, modelset.Replacement{Component: "transformer", Config: config}))

	other := strings.Replace(string(config), `"joint_attention_dim": 64`, `"joint_attention_dim": 65`, 1)
	found = modelset.Check(m, modelset.Replacement{Component: "transformer", Config: []byte(other)})
	require.Len(t, found, 1)
	require.Equal(t, "transformer (replaced): joint_attention_dim is 65, hidden_size of text_encoder/config.json is 64", found[0].String())
	found = modelset.Check(m, modelset.Replacement{Component: "transformer", Config: []byte("{")})
	require.Equal(t, "json", found[0].Code)
}

const (
	shard2 = "text_encoder/model-00002-of-00004.safetensors"
	index  = "text_encoder/model.safetensors.index.json"
	vae    = "vae/diffusion_pytorch_model.safetensors"
)

// TestMutations changes one thing at a time in a right set; the finding must have the code,
// name the object and say the words.
func TestMutations(t *testing.T) {
	doc := func(name string, change func(doc map[string]any)) func(*testing.T, modelset.Map) {
		return func(t *testing.T, m modelset.Map) { edit(t, m, name, change) }
	}
	set := func(name, key string, value any) func(*testing.T, modelset.Map) {
		return doc(name, func(d map[string]any) { d[key] = value })
	}
	inner := func(name, outer, key string, value any) func(*testing.T, modelset.Map) {
		return doc(name, func(d map[string]any) { d[outer].(map[string]any)[key] = value })
	}
	remove := func(name string) func(*testing.T, modelset.Map) {
		return func(_ *testing.T, m modelset.Map) { delete(m, name) }
	}
	unset := func(name, key string) func(*testing.T, modelset.Map) {
		return doc(name, func(d map[string]any) { delete(d, key) })
	}
	replace := func(name, text string) func(*testing.T, modelset.Map) {
		return func(_ *testing.T, m modelset.Map) { m[name] = section(text) }
	}
	copyTo := func(from, to string) func(*testing.T, modelset.Map) {
		return func(_ *testing.T, m modelset.Map) { m[to] = m[from] }
	}
	cases := []struct {
		name                  string
		mutate                func(*testing.T, modelset.Map)
		code, object, message string
	}{
		{"no index", remove("model_index.json"), "component", "model_index.json", "missing"},
		{"index is no JSON", replace("model_index.json", "{"), "json", "model_index.json", "decoding"},
		{"index without class", unset("model_index.json", "_class_name"), "json", "model_index.json", "_class_name"},
		{"index leads outside", set("model_index.json", "../x", []string{"a", "b"}), "json", "model_index.json", `"../x"`},
		{"unknown component", set("model_index.json", "safety", []string{"transformers", "Checker"}), "component", "safety", "safety/config.json is missing"},
		{"other class", set("model_index.json", "vae", []string{"diffusers", "AutoencoderKL"}), "component", "vae/config.json", "AutoencoderKLQwenImage, model_index.json says AutoencoderKL"},
		{"no scheduler", remove("scheduler/scheduler_config.json"), "component", "scheduler", "scheduler/scheduler_config.json is missing"},
		{"no processor", remove("processor/preprocessor_config.json"), "component", "processor", "missing"},
		{"no weights", remove(vae), "component", "vae", "no .safetensors"},
		{"config is no JSON", replace("vae/config.json", "[]"), "json", "vae/config.json", "decoding"},

		{"truncated", func(_ *testing.T, m modelset.Map) { m[vae] = io.NewSectionReader(m[vae], 0, m[vae].Size()-1) }, "container", vae, "1 bytes short"},
		{"not safetensors", replace(shard2, "PK\x03\x04 this is a zip"), "container", shard2, ""},

		{"no shard", remove(shard2), "shards", shard2, "shard is missing"},
		{"no shard index", remove(index), "shards", shard2, index + " is missing"},
		{"extra shard", copyTo(shard2, "text_encoder/model-00005-of-00005.safetensors"), "shards", "text_encoder/model-00005-of-00005.safetensors", "extra shard"},
		{"extra weights", copyTo(shard2, "text_encoder/consolidated.safetensors"), "shards", "text_encoder/consolidated.safetensors", "nothing reads it"},
		{"total", inner(index, "metadata", "total_size", 7), "shards", index, "total_size is 7"},
		{"no total", inner(index, "metadata", "total_size", nil), "shards", index, "total_size is missing"},
		{"map under another key", doc(index, func(d map[string]any) { d["Weight_Map"] = d["weight_map"]; delete(d, "weight_map") }), "shards", index, "weight_map is missing"},
		{"no map", unset(index, "weight_map"), "shards", index, "weight_map"},
		{"index is a list", replace(index, "[1]"), "json", index, "decoding"},
		{"missing tensor", inner(index, "weight_map", "model.ghost", filepath.Base(shard2)), "shards", shard2, `1 tensor is missing, ` + index + ` places tensor "model.ghost" here`},
		{"unplaced tensor", doc(index, func(d map[string]any) { delete(d["weight_map"].(map[string]any), "visual.patch_embed.proj.weight") }), "shards", "text_encoder/model-00001-of-00004.safetensors", `tensor "visual.patch_embed.proj.weight" here`},
		{"shard leads outside", inner(index, "weight_map", "model.ghost", "../vae/x.safetensors"), "shards", index, "no name of a file"},
		{"swapped shards", func(_ *testing.T, m modelset.Map) {
			other := strings.Replace(shard2, "00002-", "00003-", 1)
			m[shard2], m[other] = m[other], m[shard2]
		}, "shards", shard2, "missing"},

		{"joint_attention_dim", set("transformer/config.json", "joint_attention_dim", 32), "dimension", "transformer/config.json", "joint_attention_dim is 32, hidden_size of text_encoder/config.json is 64"},
		{"joint tensor", set("transformer/config.json", "joint_attention_dim", 32), "dimension", "transformer/diffusion_pytorch_model-00001-of-00009.safetensors: txt_in.weight", "should be 32"},
		{"no in_channels", unset("transformer/config.json", "in_channels"), "dimension", "transformer/config.json", "in_channels is missing"},
		{"in_channels", set("transformer/config.json", "in_channels", 16), "dimension", "transformer/config.json", "in_channels is 16, patch_size² × z_dim of vae/config.json is 64"},
		{"out_channels", set("transformer/config.json", "out_channels", 64), "dimension", "transformer/config.json", "out_channels is 64, z_dim"},
		{"z_dim", set("vae/config.json", "z_dim", 4), "dimension", "vae/config.json", "latents_mean is 16, z_dim of vae/config.json is 4"},
		{"absurd z_dim", set("vae/config.json", "z_dim", int64(1)<<62), "dimension", "vae/config.json", "out of range"},
		{"statistics", set("vae/config.json", "latents_std", []float64{1}), "dimension", "vae/config.json", "latents_std is 1"},
		{"vision width", inner("text_encoder/config.json", "vision_config", "out_hidden_size", 128), "dimension", "text_encoder/config.json", "vision_config.out_hidden_size is 128, hidden_size"},
		{"two widths", set("text_encoder/config.json", "hidden_size", 128), "dimension", "text_encoder/config.json", "text_config.hidden_size is 64, hidden_size of text_encoder/config.json is 128"},
		{"two vocabularies", set("text_encoder/config.json", "vocab_size", 641), "dimension", "text_encoder/config.json", "text_config.vocab_size is 640"},
		{"no patch size", unset("transformer/config.json", "patch_size"), "dimension", "transformer/config.json", "patch_size is missing or out of range"},
		{"absurd patch size", set("transformer/config.json", "patch_size", 1<<40), "dimension", "transformer/config.json", "patch_size is missing or out of range"},
		{"patches", set("processor/preprocessor_config.json", "patch_size", 16), "dimension", "processor/preprocessor_config.json", "patch_size is 16"},
		{"merging", set("processor/preprocessor_config.json", "merge_size", 1), "dimension", "processor/preprocessor_config.json", "merge_size is 1"},

		{"no tokenizer", func(t *testing.T, m modelset.Map) {
			delete(m, "tokenizer/vocab.json")
		}, "tokens", "tokenizer", "neither tokenizer.json nor vocab.json"},
		{"no merges", remove("tokenizer/merges.txt"), "tokens", "tokenizer", "merges.txt is missing"},
		{"image token", set("text_encoder/config.json", "image_token_id", 3), "tokens", "tokenizer", "token <|image_pad|> is 612, image_token_id of text_encoder/config.json is 3"},
		{"no image token", unset("text_encoder/config.json", "image_token_id"), "tokens", "text_encoder/config.json", "image_token_id is missing"},
		{"vocabulary too small", inner("text_encoder/config.json", "text_config", "vocab_size", 610), "tokens", "processor", "vocab_size of text_encoder/config.json is 610 (12 such tokens)"},
		{"tokenizers differ", set("tokenizer/added_tokens.json", "<|vision_start|>", 630), "tokens", "processor", `token "<|vision_start|>" differs`},
		{"more tokens", set("tokenizer/added_tokens.json", "<|new|>", 630), "tokens", "processor", "622 tokens, tokenizer has 623"},
		{"shared id", set("tokenizer/added_tokens.json", "<|new|>", 5), "tokens", "tokenizer", "id 5 of token"},
		{"prompt token", func(t *testing.T, m modelset.Map) {
			b := strings.ReplaceAll(string(content(t, m, "processor/tokenizer.json")), "<|im_end|>", "<|im_fin|>")
			m["processor/tokenizer.json"] = section(b)
		}, "tokens", "processor", "token <|im_end|> is missing"},
	}
	right := base(t, modelsettest.Tiny())
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := maps.Clone(right)
			c.mutate(t, m)
			found := modelset.Check(m)
			for _, f := range found {
				if f.Code == c.code && f.Object == c.object && strings.Contains(f.Message, c.message) {
					return
				}
			}
			require.Fail(t, "not found", "%v", found)
		})
	}
}

func TestErrorsAreGroupedAndInvalid(t *testing.T) {
	m := base(t, modelsettest.Tiny())
	m["vae/config.json"] = section("{")
	found := modelset.Check(m)
	require.Len(t, found, 1, "a broken file is reported once, however many checks read it")
	require.Equal(t, fault.Invalid, fault.KindOf(found.Err()))
}

// sealed is a file system that refuses to open one file.
type sealed struct {
	fs.FS
	name string
}

func (s sealed) Open(name string) (fs.File, error) {
	if name == s.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return s.FS.Open(name)
}

func TestUnreadableIsNotInvalid(t *testing.T) {
	m := base(t, modelsettest.Tiny())
	for _, name := range []string{vae, "vae/config.json", index} {
		found := modelset.Check(sealed{m, name})
		require.NotEmpty(t, found)
		require.Equal(t, "unreadable", found[0].Code)
		require.Equal(t, name, found[0].Object)
	}
	found := modelset.Check(os.DirFS(filepath.Join(t.TempDir(), "absent")))
	require.Equal(t, "unreadable", found[0].Code)
}

func TestEmptyFileSystem(t *testing.T) {
	found := modelset.Check(modelset.Map{})
	require.Len(t, found, 1)
	require.Contains(t, found[0].Message, "not a diffusers model set")
}

// TestCheckpointsFitTheBase: the configuration inside every quantised checkpoint agrees
// with the components of the base repository.
func TestCheckpointsFitTheBase(t *testing.T) {
	m := base(t, modelsettest.Tiny())
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(t, err)
	for name, f := range checkpoints {
		h, err := safetensors.Read(f.Content, f.Content.Size())
		require.NoError(t, err, name)
		config := []byte(h.Metadata["config"])
		require.NotEmpty(t, config)
		require.Empty(t, modelset.Check(m, modelset.Replacement{Component: "transformer", Config: config}), name)
	}
}
