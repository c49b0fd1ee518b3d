package modelset

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify"
)

// The tables in this file follow the state dictionaries of transformers 4.53's
// Qwen2_5_VLForConditionalGeneration, with the names of published files, and of diffusers
// 0.35's AutoencoderKLQwenImage.

// languageDims are the numbers that the language model's tensors follow from.
type languageDims struct {
	Hidden       *int64 `json:"hidden_size"`
	Layers       *int64 `json:"num_hidden_layers"`
	Heads        *int64 `json:"num_attention_heads"`
	KVHeads      *int64 `json:"num_key_value_heads"`
	Intermediate *int64 `json:"intermediate_size"`
	Rows         *int64 `json:"vocab_size"`
}

// visionDims are those of the vision tower.
type visionDims struct {
	Hidden        *int64 `json:"hidden_size"`
	Depth         *int64 `json:"depth"`
	Intermediate  *int64 `json:"intermediate_size"`
	Out           *int64 `json:"out_hidden_size"`
	Patch         *int64 `json:"patch_size"`
	Merge         *int64 `json:"spatial_merge_size"`
	TemporalPatch *int64 `json:"temporal_patch_size"`
}

// textEncoder is the table of the text encoder, without lm_head, which inference never
// reads. nil if the configuration does not say enough, which is a finding, or if the file
// uses the names of later transformers releases, which are not known here.
func (c *checker) textEncoder(component string) *wanted {
	var doc struct {
		languageDims
		Text   languageDims `json:"text_config"`
		Vision visionDims   `json:"vision_config"`
	}
	at, ok := c.config(component, &doc)
	if !ok || c.renamed(component) {
		return nil
	}
	t, v := doc.Text.or(doc.languageDims), doc.Vision
	ok = c.positive(at, maxLayers, map[string]*int64{
		"num_hidden_layers": t.Layers, "num_attention_heads": t.Heads, "num_key_value_heads": t.KVHeads, "vision_config.depth": v.Depth,
		"vision_config.patch_size": v.Patch, "vision_config.spatial_merge_size": v.Merge, "vision_config.temporal_patch_size": v.TemporalPatch,
	}) && c.positive(at, maxExtent, map[string]*int64{
		"hidden_size": t.Hidden, "intermediate_size": t.Intermediate, "vocab_size": t.Rows,
		"vision_config.hidden_size": v.Hidden, "vision_config.intermediate_size": v.Intermediate, "vision_config.out_hidden_size": v.Out,
	})
	if !ok {
		return nil
	}
	var w wanted
	t.tensors(&w)
	v.tensors(&w)
	return &w
}

// or fills in from the outer statement of the same numbers.
func (t languageDims) or(o languageDims) languageDims {
	return languageDims{
		first(t.Hidden, o.Hidden), first(t.Layers, o.Layers), first(t.Heads, o.Heads),
		first(t.KVHeads, o.KVHeads), first(t.Intermediate, o.Intermediate), first(t.Rows, o.Rows),
	}
}

// renamed warns of a text encoder under the names of later releases.
func (c *checker) renamed(component string) bool {
	for _, p := range c.under(component, ".safetensors") {
		h, err := c.header(p)
		if err != nil {
			continue
		}
		for _, t := range h.Tensors {
			if strings.HasPrefix(t.Name, "model.language_model.") || strings.HasPrefix(t.Name, "model.visual.") {
				c.add(verify.Warning, "component", component, "tensor %q is named as later transformers releases do it: whether all are there was not checked", t.Name)
				return true
			}
		}
	}
	return false
}

func (t languageDims) tensors(w *wanted) {
	h, kv := *t.Hidden, *t.Hidden / *t.Heads * *t.KVHeads
	w.add("model.embed_tokens.weight", *t.Rows, h)
	w.add("model.norm.weight", h)
	for i := range *t.Layers {
		at := fmt.Sprintf("model.layers.%d.", i)
		w.linear(at+"self_attn.q_proj", h, h)
		w.linear(at+"self_attn.k_proj", kv, h)
		w.linear(at+"self_attn.v_proj", kv, h)
		w.add(at+"self_attn.o_proj.weight", h, h)
		w.add(at+"mlp.gate_proj.weight", *t.Intermediate, h)
		w.add(at+"mlp.up_proj.weight", *t.Intermediate, h)
		w.add(at+"mlp.down_proj.weight", h, *t.Intermediate)
		w.add(at+"input_layernorm.weight", h)
		w.add(at+"post_attention_layernorm.weight", h)
	}
}

func (v visionDims) tensors(w *wanted) {
	h := *v.Hidden
	w.add("visual.patch_embed.proj.weight", h, 3, *v.TemporalPatch, *v.Patch, *v.Patch)
	for i := range *v.Depth {
		at := fmt.Sprintf("visual.blocks.%d.", i)
		w.add(at+"norm1.weight", h)
		w.add(at+"norm2.weight", h)
		w.linear(at+"attn.qkv", 3*h, h)
		w.linear(at+"attn.proj", h, h)
		w.linear(at+"mlp.gate_proj", *v.Intermediate, h)
		w.linear(at+"mlp.up_proj", *v.Intermediate, h)
		w.linear(at+"mlp.down_proj", h, *v.Intermediate)
	}
	merged := *v.Merge * *v.Merge * h
	w.add("visual.merger.ln_q.weight", h)
	w.linear("visual.merger.mlp.0", merged, merged)
	w.linear("visual.merger.mlp.2", *v.Out, merged)
}

// vaeDims are the numbers that the VAE's tensors follow from.
type vaeDims struct {
	Base     *int64  `json:"base_dim"`
	Z        *int64  `json:"z_dim"`
	Blocks   *int64  `json:"num_res_blocks"`
	Mult     []int64 `json:"dim_mult"`
	Temporal []bool  `json:"temperal_downsample"` // spelled so
}

// autoencoder is the table of the VAE; nil if the configuration does not say enough.
func (c *checker) autoencoder(component string) *wanted {
	var d vaeDims
	at, ok := c.config(component, &d)
	if !ok || !c.positive(at, maxLayers, map[string]*int64{"base_dim": d.Base, "z_dim": d.Z, "num_res_blocks": d.Blocks}) {
		return nil
	}
	tooMuch := func(m int64) bool { return m < 1 || m > maxLayers }
	if len(d.Mult) == 0 || len(d.Mult) > maxStages || len(d.Temporal) != len(d.Mult)-1 || slices.ContainsFunc(d.Mult, tooMuch) {
		c.add(verify.Error, "dimension", at, "dim_mult has %d numbers, temperal_downsample %d: want positive numbers, and one less", len(d.Mult), len(d.Temporal))
		return nil
	}
	var w wanted
	d.encoder(&w)
	w.conv("quant_conv", 2**d.Z, 2**d.Z, 1, 1, 1)
	w.conv("post_quant_conv", *d.Z, *d.Z, 1, 1, 1)
	d.decoder(&w)
	return &w
}

func (d vaeDims) encoder(w *wanted) {
	w.conv("encoder.conv_in", *d.Base, 3, 3, 3, 3)
	in, n := *d.Base, 0
	at := func() string { n++; return fmt.Sprintf("encoder.down_blocks.%d", n-1) }
	for i, m := range d.Mult {
		for range *d.Blocks {
			w.residual(at(), in, m**d.Base)
			in = m * *d.Base
		}
		if i < len(d.Temporal) {
			down := at()
			w.conv(down+".resample.1", in, in, 3, 3)
			if d.Temporal[i] {
				w.conv(down+".time_conv", in, in, 3, 1, 1)
			}
		}
	}
	w.middle("encoder.mid_block", in)
	w.add("encoder.norm_out.gamma", in, 1, 1, 1)
	w.conv("encoder.conv_out", 2**d.Z, in, 3, 3, 3)
}

func (d vaeDims) decoder(w *wanted) {
	last := len(d.Mult) - 1
	in := d.Mult[last] * *d.Base
	w.conv("decoder.conv_in", in, *d.Z, 3, 3, 3)
	w.middle("decoder.mid_block", in)
	for i := range d.Mult {
		at, out := fmt.Sprintf("decoder.up_blocks.%d", i), d.Mult[last-i]**d.Base
		for j := range *d.Blocks + 1 {
			w.residual(fmt.Sprintf("%s.resnets.%d", at, j), in, out)
			in = out
		}
		if i < last {
			in = out / 2 // an upsampler halves the channels
			w.conv(at+".upsamplers.0.resample.1", in, out, 3, 3)
			if d.Temporal[last-1-i] {
				w.conv(at+".upsamplers.0.time_conv", 2*out, out, 3, 1, 1)
			}
		}
	}
	w.add("decoder.norm_out.gamma", in, 1, 1, 1)
	w.conv("decoder.conv_out", 3, in, 3, 3, 3)
}

// residual is a block of two convolutions, with a third on its shortcut where the number of
// channels changes.
func (w *wanted) residual(at string, in, out int64) {
	w.add(at+".norm1.gamma", in, 1, 1, 1)
	w.conv(at+".conv1", out, in, 3, 3, 3)
	w.add(at+".norm2.gamma", out, 1, 1, 1)
	w.conv(at+".conv2", out, out, 3, 3, 3)
	if in != out {
		w.conv(at+".conv_shortcut", out, in, 1, 1, 1)
	}
}

// middle is the attention between two residual blocks.
func (w *wanted) middle(at string, width int64) {
	w.add(at+".attentions.0.norm.gamma", width, 1, 1)
	w.conv(at+".attentions.0.to_qkv", 3*width, width, 1, 1)
	w.conv(at+".attentions.0.proj", width, width, 1, 1)
	w.residual(at+".resnets.0", width, width)
	w.residual(at+".resnets.1", width, width)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
