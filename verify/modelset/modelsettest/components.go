package modelsettest

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
)

// Gains of weights that end a residual branch or a network; others have gain one.
const (
	branchGain     = 0.5 // keeps the sum of many branches near the stream's own size
	modulationGain = 2   // SiLU shrinks the input: scales and gates come out near 0.6
	pixelGain      = 0.4 // the VAE's last convolution answers values in -1..1
	headGain       = 1
	// patchStd is one over the square root of a patch's 3·2·14·14 values.
	patchStd = 1.0 / 34.29
)

// textEncoder is the state dictionary of Qwen2_5_VLForConditionalGeneration.
func (p Params) textEncoder() tensors {
	var l tensors
	p.visionTower(&l)
	t := p.Text
	l.add("model.embed_tokens.weight", safetensorstest.Normal(0, 1), t.Rows, t.Hidden)
	for i := range t.Layers {
		t.layer(&l, fmt.Sprintf("model.layers.%d.", i))
	}
	l.norm("model.norm.weight", t.Hidden)
	l.matrix("lm_head", t.Rows, t.Hidden, headGain)
	return l
}

// layer is one decoder layer: grouped-query attention with biases on q, k and v, SwiGLU.
func (t Text) layer(l *tensors, at string) {
	kv := t.Hidden / t.Heads * t.KVHeads
	l.linear(at+"self_attn.q_proj", t.Hidden, t.Hidden, 1)
	l.linear(at+"self_attn.k_proj", kv, t.Hidden, 1)
	l.linear(at+"self_attn.v_proj", kv, t.Hidden, 1)
	l.matrix(at+"self_attn.o_proj", t.Hidden, t.Hidden, branchGain)
	l.matrix(at+"mlp.gate_proj", t.Intermediate, t.Hidden, 1)
	l.matrix(at+"mlp.up_proj", t.Intermediate, t.Hidden, 1)
	l.matrix(at+"mlp.down_proj", t.Hidden, t.Intermediate, branchGain)
	l.norm(at+"input_layernorm.weight", t.Hidden)
	l.norm(at+"post_attention_layernorm.weight", t.Hidden)
}

// visionTower is the part under "visual.".
func (p Params) visionTower(l *tensors) {
	v := p.Vision
	l.add("visual.patch_embed.proj.weight", safetensorstest.Normal(0, patchStd), v.Hidden, 3, temporalPatch, visionPatch, visionPatch)
	for i := range v.Depth {
		at := fmt.Sprintf("visual.blocks.%d.", i)
		l.norm(at+"norm1.weight", v.Hidden)
		l.norm(at+"norm2.weight", v.Hidden)
		l.linear(at+"attn.qkv", 3*v.Hidden, v.Hidden, 1)
		l.linear(at+"attn.proj", v.Hidden, v.Hidden, branchGain)
		l.linear(at+"mlp.gate_proj", v.Intermediate, v.Hidden, 1)
		l.linear(at+"mlp.up_proj", v.Intermediate, v.Hidden, 1)
		l.linear(at+"mlp.down_proj", v.Hidden, v.Intermediate, branchGain)
	}
	merged := spatialMerge * spatialMerge * v.Hidden
	l.norm("visual.merger.ln_q.weight", v.Hidden)
	l.linear("visual.merger.mlp.0", merged, merged, 1)
	l.linear("visual.merger.mlp.2", p.Text.Hidden, merged, 1)
}

// transformer is the state dictionary of QwenImageTransformer2DModel.
func (p Params) transformer() tensors {
	var l tensors
	h := p.Transformer.Hidden()
	l.linear("time_text_embed.timestep_embedder.linear_1", h, timeChannels, 1)
	l.linear("time_text_embed.timestep_embedder.linear_2", h, h, 1)
	l.norm("txt_norm.weight", p.Text.Hidden)
	l.linear("img_in", h, Latents*Patch*Patch, 1)
	l.linear("txt_in", h, p.Text.Hidden, 1)
	for i := range p.Transformer.Layers {
		p.Transformer.block(&l, fmt.Sprintf("transformer_blocks.%d.", i))
	}
	l.linear("norm_out.linear", 2*h, h, modulationGain)
	l.linear("proj_out", Latents*Patch*Patch, h, 1)
	return l
}

// block is one double-stream block.
func (t Transformer) block(l *tensors, at string) {
	h := t.Hidden()
	l.linear(at+"img_mod.1", 6*h, h, modulationGain)
	l.norm(at+"attn.norm_q.weight", t.HeadDim)
	l.norm(at+"attn.norm_k.weight", t.HeadDim)
	for _, name := range []string{"to_q", "to_k", "to_v", "add_k_proj", "add_v_proj", "add_q_proj", "to_out.0", "to_add_out"} {
		l.linear(at+"attn."+name, h, h, 1)
	}
	l.norm(at+"attn.norm_added_q.weight", t.HeadDim)
	l.norm(at+"attn.norm_added_k.weight", t.HeadDim)
	l.linear(at+"img_mlp.net.0.proj", 4*h, h, 1)
	l.linear(at+"img_mlp.net.2", h, 4*h, 1)
	l.linear(at+"txt_mod.1", 6*h, h, modulationGain)
	l.linear(at+"txt_mlp.net.0.proj", 4*h, h, 1)
	l.linear(at+"txt_mlp.net.2", h, 4*h, 1)
}

// The structure of AutoencoderKLQwenImage that no configuration of ours changes.
var (
	vaeMultipliers = []int{1, 2, 4, 4}
	vaeTemporal    = []bool{false, true, true} // which downsamplers also halve the frames
)

const vaeResBlocks = 2

// autoencoder is the state dictionary of AutoencoderKLQwenImage.
func (p Params) autoencoder() tensors {
	var l tensors
	p.VAE.encoder(&l)
	l.conv("quant_conv", 2*Latents, 2*Latents, 1, 1, 1, 1)
	l.conv("post_quant_conv", Latents, Latents, 1, 1, 1, 1)
	p.VAE.decoder(&l)
	return l
}

func (v VAE) encoder(l *tensors) {
	l.conv("encoder.conv_in", v.Base, 3, 1, 3, 3, 3)
	in, n := v.Base, 0
	at := func() string { n++; return fmt.Sprintf("encoder.down_blocks.%d", n-1) }
	for i, m := range vaeMultipliers {
		out := m * v.Base
		for range vaeResBlocks {
			resBlock(l, at(), in, out)
			in = out
		}
		if i < len(vaeTemporal) {
			down := at()
			l.conv(down+".resample.1", out, out, 1, 3, 3)
			if vaeTemporal[i] {
				l.conv(down+".time_conv", out, out, 1, 3, 1, 1)
			}
		}
	}
	midBlock(l, "encoder.mid_block", in)
	l.norm("encoder.norm_out.gamma", in, 1, 1, 1)
	l.conv("encoder.conv_out", 2*Latents, in, 1, 3, 3, 3)
}

func (v VAE) decoder(l *tensors) {
	last := len(vaeMultipliers) - 1
	in := vaeMultipliers[last] * v.Base
	l.conv("decoder.conv_in", in, Latents, 1, 3, 3, 3)
	midBlock(l, "decoder.mid_block", in)
	for i := range vaeMultipliers {
		at, out := fmt.Sprintf("decoder.up_blocks.%d", i), vaeMultipliers[last-i]*v.Base
		for j := range vaeResBlocks + 1 {
			resBlock(l, fmt.Sprintf("%s.resnets.%d", at, j), in, out)
			in = out
		}
		if i < last {
			in = out / 2 // upsampling halves the channels
			l.conv(at+".upsamplers.0.resample.1", in, out, 1, 3, 3)
			if vaeTemporal[last-1-i] {
				l.conv(at+".upsamplers.0.time_conv", 2*out, out, 1, 3, 1, 1)
			}
		}
	}
	l.norm("decoder.norm_out.gamma", in, 1, 1, 1)
	l.conv("decoder.conv_out", 3, in, pixelGain, 3, 3, 3)
}

// resBlock is norm, SiLU and convolution, twice, beside a shortcut where widths differ.
func resBlock(l *tensors, at string, in, out int) {
	l.norm(at+".norm1.gamma", in, 1, 1, 1)
	l.conv(at+".conv1", out, in, 1, 3, 3, 3)
	l.norm(at+".norm2.gamma", out, 1, 1, 1)
	l.conv(at+".conv2", out, out, 1, 3, 3, 3)
	if in != out {
		l.conv(at+".conv_shortcut", out, in, 1, 1, 1, 1)
	}
}

// midBlock is a single attention head over all pixels between two residual blocks.
func midBlock(l *tensors, at string, width int) {
	l.norm(at+".attentions.0.norm.gamma", width, 1, 1)
	l.conv(at+".attentions.0.to_qkv", 3*width, width, 1, 1, 1)
	l.conv(at+".attentions.0.proj", width, width, branchGain, 1, 1)
	resBlock(l, at+".resnets.0", width, width)
	resBlock(l, at+".resnets.1", width, width)
}

func (p Params) textEncoderFiles() (map[string]File, error) {
	return p.textEncoder().sharded("text_encoder", "model", TextShards, p.ShardLimit, p.Seed)
}

func (p Params) transformerFiles() (map[string]File, error) {
	return p.transformer().sharded("transformer", "diffusion_pytorch_model", TransformerShards, p.ShardLimit, p.Seed)
}

func (p Params) vaeFiles() (map[string]File, error) {
	f, err := p.autoencoder().file(p.Seed)
	return map[string]File{"vae/diffusion_pytorch_model.safetensors": f}, err
}
