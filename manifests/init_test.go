package manifests_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// upstream is a listing of the files; the size follows the name where it matters, as in
// "model.safetensors=500000".
func upstream(repo, license, files string) manifests.Listing {
	l := manifests.Listing{Repo: repo, Commit: strings.Repeat("c0ffee00", 5), License: license}
	for _, name := range strings.Fields(files) {
		f := large(name, 1000)
		if at := strings.LastIndex(name, "="); at > 0 {
			f = large(name[:at], 0)
			fmt.Sscan(name[at+1:], &f.Size)
		}
		l.Files = append(l.Files, f)
	}
	return l
}

// proposed is the selection of a proposed manifest, by file: "keep RULE" or "drop RULE".
func proposed(t require.TestingT, l manifests.Listing) map[string]string {
	text, err := manifests.Init(l, manifests.InitOptions{})
	require.NoError(t, err)
	m, err := manifests.Parse(text)
	require.NoError(t, err, string(text))
	s, err := m.Select("", map[string]manifests.Listing{"model": l})
	require.NoError(t, err, string(text))
	out := map[string]string{}
	for _, d := range s.Decisions {
		out[d.Path] = "drop " + d.Rule
		if d.Keep {
			out[d.Path] = "keep " + d.Rule
		}
	}
	require.Len(t, out, len(l.Files))
	return out
}

// decided parses lines of "keep|drop RULE: FILE FILE …".
func decided(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		verdict, files, _ := strings.Cut(strings.TrimSpace(line), ": ")
		for _, f := range strings.Fields(files) {
			out[f] = verdict
		}
	}
	return out
}

const miniLM = `.gitattributes=1175 1_Pooling/config.json=190 README.md=10610 config.json=612
	config_sentence_transformers.json=116 data_config.json=39265 model.safetensors=90868376 modules.json=349
	onnx/model.onnx=90405214 onnx/model_O1.onnx=90360328 onnx/model_qint8_avx512.onnx=23026053
	openvino/openvino_model.bin=90265744 openvino/openvino_model.xml=211315 pytorch_model.bin=90888945
	rust_model.ot=90887379 sentence_bert_config.json=53 special_tokens_map.json=112 tf_model.h5=91005696
	tokenizer.json=466247 tokenizer_config.json=350 train_script.py=13156 vocab.txt=231508`

func TestInitIsTheGoldenFile(t *testing.T) {
	l := upstream("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0", miniLM)
	want, err := os.ReadFile("testdata/all-minilm-l6-v2.yaml")
	require.NoError(t, err)
	got, err := manifests.Init(l, manifests.InitOptions{PartSize: 9_500_000_000})
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
	slices.Reverse(l.Files)
	got, err = manifests.Init(l, manifests.InitOptions{PartSize: 9_500_000_000})
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "the order of the listing does not matter")
}

func TestInitDecides(t *testing.T) {
	cases := map[string]struct{ repo, files, want string }{
		"sentence transformer": {"sentence-transformers/all-MiniLM-L6-v2", miniLM, `
			keep weights: model.safetensors
			keep tokenizer: special_tokens_map.json tokenizer.json tokenizer_config.json vocab.txt
			keep config: config.json config_sentence_transformers.json data_config.json modules.json sentence_bert_config.json
			keep 1_pooling: 1_Pooling/config.json
			drop onnx: onnx/model.onnx onnx/model_O1.onnx onnx/model_qint8_avx512.onnx
			drop openvino: openvino/openvino_model.bin openvino/openvino_model.xml
			drop pytorch: pytorch_model.bin
			drop rust_bert: rust_model.ot
			drop tensorflow: tf_model.h5
			drop docs: .gitattributes README.md
			drop training: train_script.py`},
		"diffusers": {
			"stabilityai/stable-diffusion-xl-base-1.0", `.gitattributes LICENSE.md README.md 01.png comparison.png model_index.json
			scheduler/scheduler_config.json sd_xl_base_1.0.safetensors=6938078334 sd_xl_offset_example-lora_1.0.safetensors=49553604
			text_encoder/config.json text_encoder/flax_model.msgpack=492265168 text_encoder/model.fp16.safetensors=246144152
			text_encoder/model.onnx text_encoder/model.safetensors=492265168 text_encoder/openvino_model.bin text_encoder/openvino_model.xml
			tokenizer/merges.txt tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json
			unet/config.json unet/diffusion_flax_model.msgpack=10269903328 unet/diffusion_pytorch_model.fp16.safetensors=5135149760
			unet/diffusion_pytorch_model.safetensors=10270077736 unet/model.onnx unet/model.onnx_data=10269854720 unet/openvino_model.bin unet/openvino_model.xml
			vae/config.json vae/diffusion_pytorch_model.bin=334643268 vae/diffusion_pytorch_model.safetensors=334643268
			vae_decoder/config.json vae_decoder/model.onnx=198093688`, `
			keep config: model_index.json
			keep weights: sd_xl_offset_example-lora_1.0.safetensors
			keep scheduler: scheduler/scheduler_config.json
			keep text_encoder: text_encoder/config.json text_encoder/model.safetensors
			keep tokenizer: tokenizer/merges.txt tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json
			keep unet: unet/config.json unet/diffusion_pytorch_model.safetensors
			keep vae: vae/config.json vae/diffusion_pytorch_model.safetensors
			keep vae_decoder: vae_decoder/config.json vae_decoder/model.onnx
			drop docs: .gitattributes LICENSE.md README.md 01.png comparison.png
			drop flax: text_encoder/flax_model.msgpack unet/diffusion_flax_model.msgpack
			drop onnx: text_encoder/model.onnx unet/model.onnx unet/model.onnx_data
			drop openvino: text_encoder/openvino_model.bin text_encoder/openvino_model.xml unet/openvino_model.bin unet/openvino_model.xml
			drop pytorch: vae/diffusion_pytorch_model.bin
			drop fp16: text_encoder/model.fp16.safetensors unet/diffusion_pytorch_model.fp16.safetensors
			drop single-file: sd_xl_base_1.0.safetensors`,
		},
		"gguf alone": {
			"bartowski/Tiny-Instruct-GGUF", `.gitattributes README.md Tiny-Instruct-Q4_K_M.gguf Tiny-Instruct-Q8_0.gguf Tiny-Instruct-IQ2_XS.gguf
			Tiny-Instruct.imatrix mmproj-Tiny-f16.gguf Tiny-Instruct-f32-00001-of-00002.gguf Tiny-Instruct-f32-00002-of-00002.gguf
			Tiny-Instruct-bf16/Tiny-Instruct-bf16-00001-of-00002.gguf Tiny-Instruct-bf16/Tiny-Instruct-bf16-00002-of-00002.gguf`, `
			keep tiny-instruct-q4_k_m: Tiny-Instruct-Q4_K_M.gguf
			keep tiny-instruct-q8_0: Tiny-Instruct-Q8_0.gguf
			keep tiny-instruct-iq2_xs: Tiny-Instruct-IQ2_XS.gguf
			keep mmproj-tiny-f16: mmproj-Tiny-f16.gguf
			keep tiny-instruct-f32: Tiny-Instruct-f32-00001-of-00002.gguf Tiny-Instruct-f32-00002-of-00002.gguf
			keep tiny-instruct-bf16: Tiny-Instruct-bf16/Tiny-Instruct-bf16-00001-of-00002.gguf Tiny-Instruct-bf16/Tiny-Instruct-bf16-00002-of-00002.gguf
			keep other: Tiny-Instruct.imatrix
			drop docs: .gitattributes README.md`,
		},
		"gguf beside safetensors": {
			"google/gemma-2b", `config.json gemma-2b.gguf model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json
			other.safetensors other-Q4_0.gguf tokenizer.model`, `
			keep weights: model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json other.safetensors
			keep tokenizer: tokenizer.model
			keep config: config.json
			drop gguf: gemma-2b.gguf other-Q4_0.gguf`,
		},
		"the publisher's own layout": {
			"meta-llama/Llama-3.2-1B", `.gitattributes LICENSE.txt USE_POLICY.md config.json model.safetensors original/consolidated.00.pth original/params.json original/tokenizer.model tokenizer.json`, `
			keep weights: model.safetensors
			keep tokenizer: tokenizer.json
			keep config: config.json
			drop original: original/consolidated.00.pth original/params.json original/tokenizer.model
			drop docs: .gitattributes LICENSE.txt USE_POLICY.md`,
		},
		"consolidated at the top": {
			"mistralai/Mistral-7B-v0.3", `consolidated.safetensors config.json model-00001-of-00003.safetensors model-00002-of-00003.safetensors model-00003-of-00003.safetensors model.safetensors.index.json params.json tokenizer.model.v3`, `
			keep weights: model-00001-of-00003.safetensors model-00002-of-00003.safetensors model-00003-of-00003.safetensors model.safetensors.index.json
			keep tokenizer: tokenizer.model.v3
			keep config: config.json params.json
			drop original: consolidated.safetensors`,
		},
		"PyTorch is the best there is": {
			"old/bert", "config.json pytorch_model.bin tf_model.h5 flax_model.msgpack vocab.txt optimizer.pt training_args.bin trainer_state.json runs/events.out.tfevents.1.host", `
			keep weights: pytorch_model.bin
			keep tokenizer: vocab.txt
			keep config: config.json
			drop tensorflow: tf_model.h5
			drop flax: flax_model.msgpack
			drop training: optimizer.pt training_args.bin trainer_state.json runs/events.out.tfevents.1.host`,
		},
		"one format alone": {
			"onnx-community/whisper", "config.json onnx/decoder_model.onnx onnx/encoder_model.onnx", `
			keep config: config.json
			keep onnx: onnx/decoder_model.onnx onnx/encoder_model.onnx`,
		},
		"half precision alone": {
			"some/half", "model_index.json unet/diffusion_pytorch_model.fp16.safetensors unet/diffusion_pytorch_model.fp16.bin", `
			keep config: model_index.json
			keep unet: unet/diffusion_pytorch_model.fp16.safetensors
			drop pytorch: unet/diffusion_pytorch_model.fp16.bin`,
		},
		"sharded half precision": {
			"some/sharded", `model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json
			model.fp16-00001-of-00002.safetensors model.fp16-00002-of-00002.safetensors model.safetensors.index.fp16.json`, `
			keep weights: model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json
			drop fp16: model.fp16-00001-of-00002.safetensors model.fp16-00002-of-00002.safetensors model.safetensors.index.fp16.json`,
		},
		"the model's own code": {
			"custom/model", "config.json configuration_x.py modeling_x.py model.safetensors strange.xyz", `
			keep weights: model.safetensors
			keep config: config.json
			keep code: configuration_x.py modeling_x.py
			keep other: strange.xyz`,
		},
		"names that meet": {
			"some/names", "A/x a/x weights/x model.safetensors docs/x README.md -- ...", `
			keep weights: model.safetensors
			keep other: -- ...
			keep a: A/x
			keep a-2: a/x
			keep weights-2: weights/x
			keep docs: docs/x
			drop docs-2: README.md`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, decided(c.want), proposed(t, upstream(c.repo, "", c.files)))
		})
	}
}

func TestInitWritesShortPatternsAndNotes(t *testing.T) {
	text, err := manifests.Init(upstream("o/r", "", `q-Q4_0-00001-of-00009.gguf q-Q4_0-00002-of-00009.gguf q-Q8_0.gguf what.ever
		vae/a.json vae/deep/b.json unet/x.bin unet/deep/y.json unet/README.md`), manifests.InitOptions{})
	require.NoError(t, err)
	for _, want := range []string{
		"          - \"q-Q4_0-?????-of-00009.gguf\"\n        reason: the weights q-Q4_0\n",
		"          - \"vae/**\"\n        reason: the component vae\n",
		"          - \"unet/deep/**\"\n          - unet/x.bin\n",
		"      # The repository holds 2 alternatives of one model. Most images need one of them:\n" +
			"      # drop the others, because precision.\n      - name: q-q4_0\n",
		"      # Nothing is known about these files: keep or drop them yourself.\n      - name: other\n",
	} {
		require.Contains(t, string(text), want)
	}
}

func TestInitDropsIdenticalFiles(t *testing.T) {
	l := upstream("some/copies", "", `a/model.safetensors=5000000 model.safetensors=5000000 b/copy.safetensors=5000000 other.safetensors=5000000
		tokenizer.json=2000000 a/tokenizer.json=2000000 a/tokenizer-copy.json=2000000 added_tokens.json=2 special_tokens_map.json=2 x.bin=0 y.bin=0`)
	for i, sum := range []string{"m", "m", "m", "o", "t", "t", "t", "e", "e", "0", "0"} {
		l.Files[i].SHA256 = large(sum, 0).SHA256
	}
	require.Equal(t, decided(`
		keep weights: model.safetensors other.safetensors x.bin y.bin
		keep tokenizer: tokenizer.json added_tokens.json special_tokens_map.json
		keep a: a/tokenizer.json
		drop identical: a/model.safetensors b/copy.safetensors a/tokenizer-copy.json`), proposed(t, l))
}

// The proposal for the base repository keeps what our own manifest keeps; it cannot know
// that a checkpoint of another repository replaces the transformer.
func TestInitQwenImageEdit(t *testing.T) {
	s, err := load(t, "qwen-image-edit.yaml").Select("", qwenListings())
	require.NoError(t, err)
	got := proposed(t, baseListing())
	for _, d := range s.Decisions {
		if d.Source == "base" {
			keep := d.Keep || d.Because == manifests.BecauseReplaced
			require.Equal(t, keep, strings.HasPrefix(got[d.Path], "keep "), d.Path)
		}
	}
}

func TestInitEscapesPatterns(t *testing.T) {
	files := []string{
		"a[b].json", "ab.json", "a{b,c}.json", "ac.json", "a*.json", "a**.json", "a?.json", "[!a].json", "!x.json", "{}", "[", "]", "}",
		"d*/x", "d*/y", "dd/x", "d[1]/x", "d1/y.md", "sh[0]-00001-of-00002.safetensors", "sh[0]-00002-of-00002.safetensors",
		"sh0-00001-of-00002.bin", "- x", "a: b", "# c", "'q'", `"q"`, "null", "true", "1.0", "ä/日本\u2028.json", "%41", "~", "a b",
	}
	l := manifests.Listing{Repo: "some/odd", Commit: strings.Repeat("12345678", 5)}
	for _, name := range files {
		l.Files = append(l.Files, large(name, 10))
	}
	got := proposed(t, l)
	require.Equal(t, "keep d", got["d*/x"])
	require.Equal(t, "keep dd", got["dd/x"])
	require.Equal(t, "keep d-1", got["d[1]/x"])
	require.Equal(t, "drop docs", got["d1/y.md"])
}

func TestInitHead(t *testing.T) {
	for declared, want := range map[string]string{
		"apache-2.0": "Apache-2.0", "MIT": "MIT", "cc-by-nc-4.0": "CC-BY-NC-4.0", "": "NOASSERTION", "other": "LicenseRef-other",
		"mit, llama 3": "LicenseRef-mit-llama-3", "a\"b\n": "LicenseRef-a-b", "::": "NOASSERTION",
	} {
		text, err := manifests.Init(upstream("Org/My.Model_2", declared, "model.safetensors"), manifests.InitOptions{})
		require.NoError(t, err)
		m, err := manifests.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, m.Sources[0].License)
		require.Equal(t, []string{"my.model_2", "Org/My.Model_2", "Org--My.Model_2"}, []string{m.Name, m.Title, m.Sources[0].Path})
		require.True(t, m.Sources[0].Pinned())
		require.Equal(t, manifests.RuntimeNone, m.Runtime)
		require.Empty(t, validate(t, asJSON(t, text)), "the proposal fits the schema")
	}
	text, err := manifests.Init(upstream("o/r", "", "x"), manifests.InitOptions{Name: "mine", PartSize: 4 << 30})
	require.NoError(t, err)
	m, err := manifests.Parse(text)
	require.NoError(t, err)
	require.Equal(t, []any{"mine", manifests.Size(4 << 30)}, []any{m.Name, m.PartSize})

	long := strings.Repeat("x", 70)
	text, err = manifests.Init(upstream("o/"+long, "", "x"), manifests.InitOptions{})
	require.NoError(t, err)
	m, err = manifests.Parse(text)
	require.NoError(t, err)
	require.Equal(t, long[:63], m.Name)
}

func TestInitRefuses(t *testing.T) {
	cases := map[string]struct {
		listing manifests.Listing
		options manifests.InitOptions
		want    string
		kind    fault.Kind
	}{
		"empty":        {upstream("o/r", "", ""), manifests.InitOptions{}, "proposing a manifest for o/r: the listing is empty", fault.Upstream},
		"unsafe path":  {upstream("o/r", "", "a ../b"), manifests.InitOptions{}, `proposing a manifest for o/r: "../b" is not clean or leaves its folder`, fault.Upstream},
		"no commit":    {manifests.Listing{Repo: "o/r", Commit: "main"}, manifests.InitOptions{}, `proposing a manifest for o/r: the listing is of repo "o/r" at commit "main"`, fault.Upstream},
		"no owner":     {upstream("bert", "", "a"), manifests.InitOptions{}, `proposing a manifest for bert: the listing is of repo "bert" at commit "` + strings.Repeat("c0ffee00", 5) + `"`, fault.Upstream},
		"nothing kept": {upstream("o/r", "", "README.md LICENSE"), manifests.InitOptions{}, "proposing a manifest for o/r: selecting files of r: the rules keep none of 2 files", fault.Usage},
		"twice":        {upstream("o/r", "", "a a"), manifests.InitOptions{}, "proposing a manifest for o/r: selecting files of o/r: a is listed twice", fault.Usage},
		"bad name":     {upstream("o/r", "", "a"), manifests.InitOptions{Name: "A/B"}, `proposing a manifest for o/r: name is "A/B": ` + nameRule, fault.Usage},
		"tiny parts":   {upstream("o/r", "", "a"), manifests.InitOptions{PartSize: 5}, "proposing a manifest for o/r: partSize is 5, the smallest is 2097152", fault.Usage},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			text, err := manifests.Init(c.listing, c.options)
			require.EqualError(t, err, c.want)
			require.Equal(t, c.kind, fault.KindOf(err))
			require.Nil(t, text)
		})
	}
}

// Whatever the names, the proposal claims each file once and fits the schema.
func TestInitIsTotal(t *testing.T) {
	element := rapid.OneOf(
		rapid.StringMatching(`[a-cA-C0-2*?\[\]{}!,. "'#:&%@|>~-]{1,8}`),
		rapid.SampledFrom([]string{"model", "onnx", "original", "unet", "Ä", "日本"}),
	)
	suffix := rapid.SampledFrom([]string{
		"", ".json", ".safetensors", ".bin", ".gguf", "-Q4_0.gguf", ".fp16.safetensors", "-00001-of-00002.safetensors",
		"-00002-of-00002.safetensors", ".safetensors.index.json", ".onnx", ".md", ".py",
	})
	name := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(element, 1, 3).Draw(t, "elements"), "/") + suffix.Draw(t, "suffix")
	})
	rapid.Check(t, func(rt *rapid.T) {
		l := manifests.Listing{Repo: "o/r", Commit: strings.Repeat("c0ffee00", 5), Files: []manifests.File{large("zz/kept.safetensors", 7)}}
		for _, path := range rapid.SliceOfNDistinct(name, 0, 20, rapid.ID).Draw(rt, "paths") {
			if manifests.CheckPath(path) == nil && path != "zz/kept.safetensors" {
				l.Files = append(l.Files, large(path, rapid.Int64Range(0, 3<<20).Draw(rt, "size")))
			}
		}
		text, err := manifests.Init(l, manifests.InitOptions{})
		if err != nil {
			require.ErrorContains(rt, err, "is a file, and a folder for", "only a file that is a folder too is refused")
			return
		}
		proposed(rt, l)
		require.Empty(rt, validate(t, asJSON(t, text)))
	})
}
