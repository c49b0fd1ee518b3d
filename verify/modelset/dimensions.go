package modelset

import (
	"path"
	"slices"
	"strconv"

	"github.com/plimsoll-oci/plimsoll/verify"
)

// Configurations, as far as components depend on each other. Pointers are nil where a key
// is absent.
type (
	transformerConfig struct {
		JointAttentionDim *int64 `json:"joint_attention_dim"`
		InChannels        *int64 `json:"in_channels"`
		OutChannels       *int64 `json:"out_channels"`
		PatchSize         *int64 `json:"patch_size"`
	}
	textConfig struct {
		HiddenSize *int64 `json:"hidden_size"`
		VocabSize  *int64 `json:"vocab_size"`
		Text       struct {
			HiddenSize *int64 `json:"hidden_size"`
			VocabSize  *int64 `json:"vocab_size"`
		} `json:"text_config"`
		Vision struct {
			OutHiddenSize     *int64 `json:"out_hidden_size"`
			PatchSize         *int64 `json:"patch_size"`
			SpatialMergeSize  *int64 `json:"spatial_merge_size"`
			TemporalPatchSize *int64 `json:"temporal_patch_size"`
		} `json:"vision_config"`
	}
	vaeConfig struct {
		ZDim        *int64    `json:"z_dim"`
		LatentsMean []float64 `json:"latents_mean"`
		LatentsStd  []float64 `json:"latents_std"`
	}
	processorConfig struct {
		PatchSize         *int64 `json:"patch_size"`
		MergeSize         *int64 `json:"merge_size"`
		TemporalPatchSize *int64 `json:"temporal_patch_size"`
	}
)

// quantity is a number with its place, for messages. A nil value is not known.
type quantity struct {
	object, name string
	value        *int64
}

// times is a product of two quantities of one component and a third one, nil if one is not
// known or if the product is absurd.
func times(values ...*int64) *int64 {
	product := int64(1)
	for _, v := range values {
		if v == nil || *v < 0 || *v > 1<<20 {
			return nil
		}
		product *= *v
	}
	return &product
}

func number(n int) *int64 { v := int64(n); return &v }

// first is the first value that is known.
func first(values ...*int64) *int64 {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}

// equal reports two quantities that should be one, and either that its configuration does
// not state.
func (c *checker) equal(a, b quantity) {
	switch {
	case a.value == nil:
		c.add(verify.Error, "dimension", a.object, "%s is missing or out of range", a.name)
	case b.value == nil:
		c.add(verify.Error, "dimension", b.object, "%s is missing or out of range", b.name)
	case *a.value != *b.value:
		c.add(verify.Error, "dimension", a.object, "%s is %d, %s of %s is %d", a.name, *a.value, b.name, b.object, *b.value)
	}
}

// checkDimensions compares the components of the pipelines that are known. A component
// without a configuration was reported before, or is replaced without one.
func (c *checker) checkDimensions() {
	if !slices.Contains(imagePipelines, c.index.class) {
		return
	}
	var dit transformerConfig
	var te textConfig
	var vae vaeConfig
	ditAt, ditOK := c.config("transformer", &dit)
	teAt, teOK := c.config("text_encoder", &te)
	vaeAt, vaeOK := c.config("vae", &vae)
	hidden := quantity{teAt, "hidden_size", first(te.Text.HiddenSize, te.HiddenSize)}
	if ditOK && teOK {
		c.equal(quantity{ditAt, "joint_attention_dim", dit.JointAttentionDim}, hidden)
	}
	if ditOK && vaeOK {
		latents := quantity{vaeAt, "patch_size² × z_dim", times(dit.PatchSize, dit.PatchSize, vae.ZDim)}
		if times(dit.PatchSize) == nil {
			latents = quantity{ditAt, "patch_size", nil}
		}
		c.equal(quantity{ditAt, "in_channels", dit.InChannels}, latents)
		c.equal(quantity{ditAt, "out_channels", dit.OutChannels}, quantity{vaeAt, "z_dim", vae.ZDim})
	}
	if vaeOK {
		z := quantity{vaeAt, "z_dim", vae.ZDim}
		c.equal(quantity{vaeAt, "the length of latents_mean", number(len(vae.LatentsMean))}, z)
		c.equal(quantity{vaeAt, "the length of latents_std", number(len(vae.LatentsStd))}, z)
	}
	if teOK {
		c.checkTextEncoder(teAt, te, hidden)
	}
	c.checkShapes(dit, te, vae)
}

// checkTextEncoder compares the parts of the text encoder, and the image processor that
// feeds it.
func (c *checker) checkTextEncoder(at string, te textConfig, hidden quantity) {
	c.equal(quantity{at, "vision_config.out_hidden_size", te.Vision.OutHiddenSize}, hidden)
	if te.Text.HiddenSize != nil && te.HiddenSize != nil {
		c.equal(quantity{at, "text_config.hidden_size", te.Text.HiddenSize}, quantity{at, "hidden_size", te.HiddenSize})
	}
	if te.Text.VocabSize != nil && te.VocabSize != nil {
		c.equal(quantity{at, "text_config.vocab_size", te.Text.VocabSize}, quantity{at, "vocab_size", te.VocabSize})
	}
	var p processorConfig
	processor, ok := c.document("processor/preprocessor_config.json", &p)
	if !ok {
		return
	}
	c.equal(quantity{processor, "patch_size", p.PatchSize}, quantity{at, "vision_config.patch_size", te.Vision.PatchSize})
	c.equal(quantity{processor, "merge_size", p.MergeSize}, quantity{at, "vision_config.spatial_merge_size", te.Vision.SpatialMergeSize})
	c.equal(quantity{processor, "temporal_patch_size", p.TemporalPatchSize}, quantity{at, "vision_config.temporal_patch_size", te.Vision.TemporalPatchSize})
}

// checkShapes holds dimensions from configurations against the tensors that have them.
func (c *checker) checkShapes(dit transformerConfig, te textConfig, vae vaeConfig) {
	for _, s := range []struct {
		component, tensor string
		axis              int
		want              *int64
		name              string
	}{
		{"text_encoder", "model.embed_tokens.weight", 0, first(te.Text.VocabSize, te.VocabSize), "vocab_size"},
		{"text_encoder", "model.embed_tokens.weight", 1, first(te.Text.HiddenSize, te.HiddenSize), "hidden_size"},
		{"text_encoder", "visual.merger.mlp.2.weight", 0, te.Vision.OutHiddenSize, "vision_config.out_hidden_size"},
		{"transformer", "txt_in.weight", 1, dit.JointAttentionDim, "joint_attention_dim"},
		{"transformer", "img_in.weight", 1, dit.InChannels, "in_channels"},
		{"transformer", "proj_out.weight", 0, times(dit.PatchSize, dit.PatchSize, dit.OutChannels), "patch_size² × out_channels"},
		{"vae", "decoder.conv_in.weight", 1, vae.ZDim, "z_dim"},
		{"vae", "post_quant_conv.weight", 0, vae.ZDim, "z_dim"},
	} {
		if s.want != nil && !c.replaced(s.component) {
			c.checkShape(s.component, s.tensor, s.axis, *s.want, s.name)
		}
	}
}

// checkShape looks for the tensor in all files of the component. One that is nowhere, or
// twice, is another check's matter.
func (c *checker) checkShape(component, tensor string, axis int, want int64, name string) {
	for _, p := range c.under(component, ".safetensors") {
		h, err := c.header(p)
		if err != nil {
			continue
		}
		t, ok := h.Tensor(tensor)
		if ok && (axis >= len(t.Shape) || t.Shape[axis] != want) {
			c.add(verify.Error, "dimension", p+": "+tensor, "shape is %v, dimension %d should be %d, %s of %s",
				t.Shape, axis, want, name, path.Join(component, "config.json"))
		}
	}
}

// some names the first of a list and counts the others.
func some(names []string) string {
	if len(names) == 1 {
		return "tensor " + strconv.Quote(names[0])
	}
	return "tensor " + strconv.Quote(names[0]) + " and " + strconv.Itoa(len(names)-1) + " more"
}

// isAre is "1 tensor is" or "2 tensors are".
func isAre(names []string) string {
	if len(names) == 1 {
		return "1 tensor is"
	}
	return strconv.Itoa(len(names)) + " tensors are"
}
