package svdq

import (
	"errors"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/verify/exactjson"
)

// Config is the diffusers configuration that a checkpoint carries as metadata. Numbers are
// 0 where it says nothing.
type Config struct {
	ClassName         string `json:"_class_name"`
	PatchSize         int    `json:"patch_size"`
	InChannels        int    `json:"in_channels"`
	OutChannels       int    `json:"out_channels"`
	NumLayers         int    `json:"num_layers"`
	AttentionHeadDim  int    `json:"attention_head_dim"`
	NumAttentionHeads int    `json:"num_attention_heads"`
	JointAttentionDim int    `json:"joint_attention_dim"`
	GuidanceEmbeds    bool   `json:"guidance_embeds"`
	AxesDimsRope      []int  `json:"axes_dims_rope"`
	// ZeroCondT is set by Edit-2511: reference tokens are modulated for time 0. No tensor
	// shows it.
	ZeroCondT bool `json:"zero_cond_t"`
	// UseAdditionalTCond and UseLayer3DRope belong to Qwen-Image-Layered.
	UseAdditionalTCond bool `json:"use_additional_t_cond"`
	UseLayer3DRope     bool `json:"use_layer3d_rope"`
}

// errAbsent is returned for a metadata key that a file lacks.
var errAbsent = errors.New("absent")

// parseConfig reads the metadata's "config".
func parseConfig(metadata map[string]string) (Config, error) {
	var c Config
	err := parse(metadata, "config", &c)
	return c, err
}

// quantization is the metadata's "quantization_config", as nunchaku's merge tool and
// third parties write it.
type quantization struct {
	Method     string   `json:"method"`
	Weight     *numbers `json:"weight"`
	Activation *numbers `json:"activation"`
	Rank       int      `json:"rank"`
}

// numbers describes a 4-bit format.
type numbers struct {
	DType     string `json:"dtype"`
	GroupSize int    `json:"group_size"`
}

func parseQuantization(metadata map[string]string) (quantization, error) {
	var q quantization
	err := parse(metadata, "quantization_config", &q)
	return q, err
}

// parse decodes the JSON text under a metadata key.
func parse(metadata map[string]string, key string, into any) error {
	text, ok := metadata[key]
	if !ok {
		return errAbsent
	}
	if err := exactjson.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("reading metadata %s: %w", key, err)
	}
	return nil
}

// precisionOf maps the names of 4-bit formats in metadata and file names.
var precisionOf = map[string]string{
	"int4": Int4, "fp4": NVFP4, "nvfp4": NVFP4, "fp4_e2m1": NVFP4, "fp4_e2m1_all": NVFP4,
}
