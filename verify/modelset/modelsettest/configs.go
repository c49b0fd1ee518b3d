package modelsettest

import (
	"bytes"
	"encoding/json"
)

// Constants of the published configurations that have no parameter.
const (
	visionPatch   = 14
	temporalPatch = 2
	spatialMerge  = 2
	visionWindow  = 112
	timeChannels  = 256 // the transformer's sinusoidal embedding of the timestep
	maxPositions  = 128000
	minPixels     = 56 * 56
	maxPixels     = 16384 * 28 * 28

	diffusersVersion    = "0.35.0.dev0"
	transformersVersion = "4.53.1"
)

// object is a JSON object; keys are written in ascending order, as Python's writers do.
type object = map[string]any

// float is a number that Python must read as a float: Go would write 1e6 as 1000000.
type float = json.Number

// document is a file of indented JSON.
func document(v any) File {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		panic(err) // everything encoded here is a literal of this package
	}
	return File{Content: bytes.NewReader(b.Bytes())}
}

// configs are the configuration files of all components but the tokenizers.
func (p Params) configs() map[string]File {
	return map[string]File{
		"model_index.json":                         document(modelIndex),
		"scheduler/scheduler_config.json":          document(scheduler),
		"text_encoder/config.json":                 document(p.textConfig()),
		"text_encoder/generation_config.json":      document(p.generationConfig()),
		"transformer/config.json":                  document(p.TransformerConfig()),
		"vae/config.json":                          document(p.vaeConfig()),
		"processor/preprocessor_config.json":       document(imageProcessor("image_processor_type", "Qwen2VLImageProcessor")),
		"processor/video_preprocessor_config.json": document(imageProcessor("video_processor_type", "Qwen2VLVideoProcessor")),
	}
}

var modelIndex = object{
	"_class_name":        "QwenImageEditPipeline",
	"_diffusers_version": diffusersVersion,
	"processor":          []string{"transformers", "Qwen2VLProcessor"},
	"scheduler":          []string{"diffusers", "FlowMatchEulerDiscreteScheduler"},
	"text_encoder":       []string{"transformers", "Qwen2_5_VLForConditionalGeneration"},
	"tokenizer":          []string{"transformers", "Qwen2Tokenizer"},
	"transformer":        []string{"diffusers", "QwenImageTransformer2DModel"},
	"vae":                []string{"diffusers", "AutoencoderKLQwenImage"},
}

var scheduler = object{
	"_class_name":            "FlowMatchEulerDiscreteScheduler",
	"_diffusers_version":     diffusersVersion,
	"base_image_seq_len":     256,
	"base_shift":             float("0.5"),
	"invert_sigmas":          false,
	"max_image_seq_len":      8192,
	"max_shift":              float("0.9"),
	"num_train_timesteps":    1000,
	"shift":                  float("1.0"),
	"shift_terminal":         float("0.02"),
	"stochastic_sampling":    false,
	"time_shift_type":        "exponential",
	"use_beta_sigmas":        false,
	"use_dynamic_shifting":   true,
	"use_exponential_sigmas": false,
	"use_karras_sigmas":      false,
}

// TransformerConfig is the configuration of the diffusion transformer, as it stands in
// transformer/config.json and in the metadata of quantised checkpoints.
func (p Params) TransformerConfig() map[string]any {
	d := p.Transformer.HeadDim
	return object{
		"_class_name":         "QwenImageTransformer2DModel",
		"_diffusers_version":  diffusersVersion,
		"attention_head_dim":  d,
		"axes_dims_rope":      []int{d / 8, 7 * d / 16, 7 * d / 16},
		"guidance_embeds":     false,
		"in_channels":         Latents * Patch * Patch,
		"joint_attention_dim": p.Text.Hidden,
		"num_attention_heads": p.Transformer.Heads,
		"num_layers":          p.Transformer.Layers,
		"out_channels":        Latents,
		"patch_size":          Patch,
	}
}

func (p Params) vaeConfig() object {
	return object{
		"_class_name":         "AutoencoderKLQwenImage",
		"_diffusers_version":  diffusersVersion,
		"attn_scales":         []float{},
		"base_dim":            p.VAE.Base,
		"dim_mult":            vaeMultipliers,
		"dropout":             float("0.0"),
		"latents_mean":        latentsMean,
		"latents_std":         latentsStd,
		"num_res_blocks":      vaeResBlocks,
		"temperal_downsample": vaeTemporal,
		"z_dim":               Latents,
	}
}

// The published statistics of the latent space, one value a channel.
var (
	latentsMean = [Latents]float64{-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
		0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921}
	latentsStd = [Latents]float64{2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
		3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160}
)

// textConfig is the text encoder's configuration. The published file states the language
// model twice, at the top and under text_config.
func (p Params) textConfig() object {
	inner := p.languageConfig()
	inner["model_type"] = "qwen2_5_vl_text"
	inner["layer_types"] = repeat("full_attention", p.Text.Layers)
	inner["sliding_window"] = nil
	inner["torch_dtype"] = "float32"
	outer := p.languageConfig()
	outer["model_type"] = "qwen2_5_vl"
	outer["sliding_window"] = 32768
	outer["torch_dtype"] = "bfloat16"
	outer["text_config"] = inner
	outer["vision_config"] = p.visionConfig()
	outer["tie_word_embeddings"] = false
	outer["transformers_version"] = transformersVersion
	outer["image_token_id"] = p.Text.ID("<|image_pad|>")
	outer["video_token_id"] = p.Text.ID("<|video_pad|>")
	return outer
}

// languageConfig holds the keys that both statements of the language model share.
func (p Params) languageConfig() object {
	t := p.Text
	d := t.Hidden / t.Heads
	return object{
		"architectures":           []string{"Qwen2_5_VLForConditionalGeneration"},
		"attention_dropout":       float("0.0"),
		"bos_token_id":            t.ID("<|endoftext|>"),
		"eos_token_id":            t.ID("<|im_end|>"),
		"hidden_act":              "silu",
		"hidden_size":             t.Hidden,
		"initializer_range":       float("0.02"),
		"intermediate_size":       t.Intermediate,
		"max_position_embeddings": maxPositions,
		"max_window_layers":       t.Layers,
		"num_attention_heads":     t.Heads,
		"num_hidden_layers":       t.Layers,
		"num_key_value_heads":     t.KVHeads,
		"rms_norm_eps":            float("1e-06"),
		"rope_scaling": object{
			"mrope_section": []int{d / 8, 3 * d / 16, 3 * d / 16},
			"rope_type":     "default",
			"type":          "default",
		},
		"rope_theta":            float("1000000.0"),
		"use_cache":             true,
		"use_sliding_window":    false,
		"vision_end_token_id":   t.ID("<|vision_end|>"),
		"vision_start_token_id": t.ID("<|vision_start|>"),
		"vision_token_id":       t.ID("<|vision_pad|>"),
		"vocab_size":            t.Rows,
	}
}

func (p Params) visionConfig() object {
	v := p.Vision
	return object{
		"depth":                 v.Depth,
		"fullatt_block_indexes": v.Full,
		"hidden_act":            "silu",
		"hidden_size":           v.Hidden,
		"in_channels":           3,
		"in_chans":              3,
		"initializer_range":     float("0.02"),
		"intermediate_size":     v.Intermediate,
		"model_type":            "qwen2_5_vl",
		"num_heads":             v.Heads,
		"out_hidden_size":       p.Text.Hidden,
		"patch_size":            visionPatch,
		"spatial_merge_size":    spatialMerge,
		"spatial_patch_size":    visionPatch,
		"temporal_patch_size":   temporalPatch,
		"tokens_per_second":     2,
		"torch_dtype":           "float32",
		"window_size":           visionWindow,
	}
}

func (p Params) generationConfig() object {
	return object{
		"bos_token_id":         p.Text.ID("<|endoftext|>"),
		"do_sample":            true,
		"eos_token_id":         []int{p.Text.ID("<|im_end|>"), p.Text.ID("<|endoftext|>")},
		"pad_token_id":         p.Text.ID("<|endoftext|>"),
		"repetition_penalty":   float("1.05"),
		"temperature":          float("1e-06"),
		"transformers_version": transformersVersion,
	}
}

// imageProcessor is the configuration of the image or the video processor, which share
// all values.
func imageProcessor(kind, class string) object {
	return object{
		kind:                  class,
		"do_convert_rgb":      true,
		"do_normalize":        true,
		"do_rescale":          true,
		"do_resize":           true,
		"image_mean":          []float{"0.48145466", "0.4578275", "0.40821073"},
		"image_std":           []float{"0.26862954", "0.26130258", "0.27577711"},
		"max_pixels":          maxPixels,
		"merge_size":          spatialMerge,
		"min_pixels":          minPixels,
		"patch_size":          visionPatch,
		"processor_class":     "Qwen2VLProcessor",
		"resample":            3, // bicubic, in Pillow's numbering
		"rescale_factor":      float("0.00392156862745098"),
		"size":                object{"longest_edge": maxPixels, "shortest_edge": minPixels},
		"temporal_patch_size": temporalPatch,
	}
}

func repeat(s string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = s
	}
	return list
}
