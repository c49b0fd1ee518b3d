package svdqtest

import (
	"encoding/json"
	"fmt"
	"strings"
)

// config is the diffusers configuration of the transformer, in the alphabetical order in
// which diffusers writes it.
type config struct {
	ClassName         string `json:"_class_name"`
	DiffusersVersion  string `json:"_diffusers_version"`
	AttentionHeadDim  int    `json:"attention_head_dim"`
	AxesDimsRope      [3]int `json:"axes_dims_rope"`
	GuidanceEmbeds    bool   `json:"guidance_embeds"`
	InChannels        int    `json:"in_channels"`
	JointAttentionDim int    `json:"joint_attention_dim"`
	NumAttentionHeads int    `json:"num_attention_heads"`
	NumLayers         int    `json:"num_layers"`
	OutChannels       int    `json:"out_channels"`
	PatchSize         int    `json:"patch_size"`
	ZeroCondT         bool   `json:"zero_cond_t,omitempty"`
}

// metadata returns the file's string map with the keys that loaders read.
func metadata(p Params) (map[string]string, error) {
	c, err := json.MarshalIndent(config{
		ClassName: "QwenImageTransformer2DModel", DiffusersVersion: "0.35.0",
		AttentionHeadDim: p.HeadDim, AxesDimsRope: p.axes(), InChannels: p.InChannels,
		JointAttentionDim: p.JointDim, NumAttentionHeads: p.Heads, NumLayers: p.Blocks,
		OutChannels: p.OutChannels, PatchSize: patch, ZeroCondT: p.ZeroCondT,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the transformer's config: %w", err)
	}
	return map[string]string{
		"config":              string(c) + "\n",
		"model_class":         "NunchakuQwenImageTransformer2DModel",
		"quantization_config": quantization(p),
	}, nil
}

// quantization is the quantization_config in the spelling of Python's json.dumps, which
// puts a space behind each comma and colon.
func quantization(p Params) string {
	dtype, weightScale, activationScale := `"int4"`, "null", "null"
	if p.Precision == NVFP4 {
		dtype, weightScale, activationScale = `"fp4_e2m1_all"`, `[null, "fp8_e4m3_nan"]`, `"fp8_e4m3_nan"`
	}
	part := func(scale string) string {
		return fmt.Sprintf(`{"dtype": %s, "scale_dtype": %s, "group_size": %d}`, dtype, scale, p.group())
	}
	return strings.Join([]string{
		`{"method": "svdquant"`,
		`"weight": ` + part(weightScale),
		`"activation": ` + part(activationScale),
		fmt.Sprintf(`"rank": %d}`, p.Rank),
	}, ", ")
}
