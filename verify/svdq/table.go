package svdq

import "github.com/plimsoll-oci/plimsoll/verify/safetensors"

// Constants of the Qwen-Image architecture; everything else follows from a Checkpoint.
const (
	patchSize  = 2   // latent pixels a side in one token
	timeWidth  = 256 // of the sinusoidal timestep embedding
	mlpRatio   = 4   // inner width of an MLP over the hidden width
	modOutputs = 6   // shift, scale and gate for attention and MLP
	awqGroup   = 64  // columns that share a scale in an AWQ linear
	awqRows    = 4   // rows interleaved in an AWQ qweight
)

// want is a tensor that the table demands.
type want struct {
	name     string // inside the block, or the whole name of a global
	dtype    safetensors.DType
	shape    []int64
	optional bool
	// scalar accepts one element of any floating dtype instead of dtype and shape.
	scalar bool
}

func bf16(name string, shape ...int64) want {
	return want{name: name, dtype: safetensors.BF16, shape: shape}
}

// blockTable lists the tensors of one block.
func (c Checkpoint) blockTable() []want {
	h, head := int64(c.Hidden), int64(c.HeadDim)
	var out []want
	for _, l := range []struct {
		name    string
		in, out int64
	}{
		{"attn.to_qkv", h, 3 * h}, {"attn.add_qkv_proj", h, 3 * h}, {"attn.to_out.0", h, h}, {"attn.to_add_out", h, h},
		{"img_mlp.net.0.proj", h, mlpRatio * h}, {"img_mlp.net.2", mlpRatio * h, h},
		{"txt_mlp.net.0.proj", h, mlpRatio * h}, {"txt_mlp.net.2", mlpRatio * h, h},
	} {
		out = append(out, c.linear(l.name, l.in, l.out)...)
	}
	for _, name := range modulations {
		out = append(out, c.modulation(name)...)
	}
	for _, name := range []string{"norm_q", "norm_k", "norm_added_q", "norm_added_k"} {
		out = append(out, bf16("attn."+name+".weight", head))
	}
	return out
}

// linear lists the tensors of an SVDQ linear. The loader is strict about INT4's seven; in
// NVFP4 it fills in a missing second-level scale.
func (c Checkpoint) linear(name string, in, out int64) []want {
	rank := int64(c.Rank)
	scales := bf16(name+".wscales", in/int64(c.group()), out)
	list := []want{
		{name: name + ".qweight", dtype: safetensors.I8, shape: []int64{out, in / 2}},
		bf16(name+".bias", out),
		bf16(name+".smooth_factor", in),
		bf16(name+".smooth_factor_orig", in),
		bf16(name+".proj_down", in, rank),
		bf16(name+".proj_up", out, rank),
	}
	if c.Precision == NVFP4 {
		scales.dtype = safetensors.F8E4M3
		channel := bf16(name+".wcscales", out)
		channel.optional = true
		list = append(list, channel, want{name: name + ".wtscale", optional: true, scalar: true})
	}
	return append(list, scales)
}

// group is the group size that the precision demands.
func (c Checkpoint) group() int {
	if c.Precision == NVFP4 {
		return 16
	}
	return 64
}

// modulations are the two linears of a block that are quantised with AWQ.
var modulations = []string{"img_mod.1", "txt_mod.1"}

// modulation lists the tensors of an AWQ linear.
func (c Checkpoint) modulation(name string) []want {
	h, out := int64(c.Hidden), int64(modOutputs*c.Hidden)
	return []want{
		{name: name + ".qweight", dtype: safetensors.I32, shape: []int64{out / awqRows, h / 2}},
		bf16(name+".wscales", h/awqGroup, out),
		bf16(name+".wzeros", h/awqGroup, out),
		bf16(name+".bias", out),
	}
}

// globalTable lists the tensors outside the blocks.
func (c Checkpoint) globalTable() []want {
	h, joint, tokens := int64(c.Hidden), int64(c.JointDim), int64(patchSize*patchSize*c.OutChannels)
	const time = "time_text_embed.timestep_embedder."
	return []want{
		bf16("img_in.weight", h, int64(c.InChannels)), bf16("img_in.bias", h),
		bf16("txt_norm.weight", joint),
		bf16("txt_in.weight", h, joint), bf16("txt_in.bias", h),
		bf16(time+"linear_1.weight", h, timeWidth), bf16(time+"linear_1.bias", h),
		bf16(time+"linear_2.weight", h, h), bf16(time+"linear_2.bias", h),
		bf16("norm_out.linear.weight", 2*h, h), bf16("norm_out.linear.bias", 2*h),
		bf16("proj_out.weight", tokens, h), bf16("proj_out.bias", tokens),
	}
}
