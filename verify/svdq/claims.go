package svdq

import (
	"errors"
	"path"
	"strconv"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify"
)

// qwenClass is the diffusers class whose configuration a checkpoint carries.
const qwenClass = "QwenImageTransformer2DModel"

// checkMetadata holds what the metadata claims against the tensors.
func (c Checkpoint) checkMetadata(metadata map[string]string) (out verify.Findings) {
	if config, err := parseConfig(metadata); err != nil {
		absentOrBroken(&out, "config", err, "loaders need it")
	} else {
		c.checkConfig(&out, config)
	}
	if q, err := parseQuantization(metadata); err != nil {
		absentOrBroken(&out, "quantization_config", err, "loaders take rank 32 without it")
	} else {
		c.checkQuantization(&out, q)
	}
	if class := metadata["model_class"]; class == "" {
		absentOrBroken(&out, "model_class", errAbsent, "tools cannot choose a loader by it")
	} else if !strings.Contains(class, "QwenImage") {
		out.Add(verify.Error, CodeMetadata, "", "metadata model_class says %s, the tensors are %s", shorten(class), c.Family)
	}
	return out
}

// absentOrBroken reports a metadata key that cannot be compared.
func absentOrBroken(out *verify.Findings, key string, err error, effect string) {
	if errors.Is(err, errAbsent) {
		out.Add(verify.Warning, CodeMetadata, "", "metadata has no %s: %s", key, effect)
		return
	}
	out.Add(verify.Error, CodeMetadata, "", "%v", err)
}

// checkConfig compares the transformer's configuration. A number that it leaves out is one
// warning, since loaders then take the architecture's default.
func (c Checkpoint) checkConfig(out *verify.Findings, config Config) {
	var absent []string
	for _, claim := range []struct {
		key         string
		says, found int
	}{
		{"num_layers", config.NumLayers, c.Blocks},
		{"num_attention_heads", config.NumAttentionHeads, c.Heads},
		{"attention_head_dim", config.AttentionHeadDim, c.HeadDim},
		{"joint_attention_dim", config.JointAttentionDim, c.JointDim},
		{"in_channels", config.InChannels, c.InChannels},
		{"out_channels", config.OutChannels, c.OutChannels},
		{"patch_size", config.PatchSize, patchSize},
	} {
		switch claim.says {
		case claim.found:
		case 0:
			absent = append(absent, claim.key)
		default:
			out.Add(verify.Error, CodeMetadata, "", "metadata config says %s is %d, by the tensors it is %d", claim.key, claim.says, claim.found)
		}
	}
	if len(absent) > 0 {
		out.Add(verify.Warning, CodeMetadata, "", "metadata config has no %s", strings.Join(absent, ", "))
	}
	if config.ClassName != "" && config.ClassName != qwenClass {
		out.Add(verify.Error, CodeMetadata, "", "metadata config says _class_name is %s, the tensors are a %s", shorten(config.ClassName), qwenClass)
	}
	c.checkRope(out, config.AxesDimsRope)
}

// checkRope: the rotary axes split a head's width among them.
func (c Checkpoint) checkRope(out *verify.Findings, axes []int) {
	sum := 0
	for _, a := range axes {
		sum += a
	}
	if axes != nil && (sum != c.HeadDim || len(axes) != 3) {
		out.Add(verify.Error, CodeMetadata, "", "metadata config says axes_dims_rope is %v, want three numbers with the sum %d, the width of a head", axes[:min(len(axes), 8)], c.HeadDim)
	}
}

// checkQuantization compares the description of the 4-bit format.
func (c Checkpoint) checkQuantization(out *verify.Findings, q quantization) {
	if q.Method != "" && q.Method != "svdquant" {
		out.Add(verify.Error, CodeMetadata, "", "metadata quantization_config says method %s, the tensors are svdquant", shorten(q.Method))
	}
	switch q.Rank {
	case c.Rank:
	case 0:
		out.Add(verify.Warning, CodeMetadata, "", "metadata quantization_config has no rank, loaders will take 32: the tensors have %d", c.Rank)
	default:
		out.Add(verify.Error, CodeMetadata, "", "metadata quantization_config says rank %d, the tensors have %d", q.Rank, c.Rank)
	}
	if q.Weight == nil {
		out.Add(verify.Warning, CodeMetadata, "", "metadata quantization_config does not describe the weight")
	}
	c.checkNumbers(out, "weight", q.Weight)
	c.checkNumbers(out, "activation", q.Activation)
}

// checkNumbers compares one 4-bit format; third-party writers leave parts out.
func (c Checkpoint) checkNumbers(out *verify.Findings, what string, n *numbers) {
	if n == nil {
		return
	}
	if n.DType != "" && precisionOf[n.DType] != c.Precision {
		out.Add(verify.Error, CodeMetadata, "", "metadata quantization_config says %s dtype %s, the tensors are %s", what, shorten(n.DType), c.Precision)
	}
	if n.GroupSize != 0 && n.GroupSize != c.GroupSize {
		out.Add(verify.Error, CodeMetadata, "", "metadata quantization_config says %s group_size %d, the tensors have %d", what, n.GroupSize, c.GroupSize)
	}
}

// familyWords are the spellings of families in file names.
var familyWords = []struct{ word, family string }{
	{"qwen-image", QwenImage}, {"qwen_image", QwenImage}, {"qwenimage", QwenImage},
	{"flux", Flux}, {"z-image", ZImage}, {"z_image", ZImage},
}

// CheckName holds what a file's name claims (rank, precision, family) against what its
// tensors are. A name that claims nothing gives no finding. fileName may be a path with
// slashes; only its last element counts. Objects are left empty, as by Check.
func CheckName(fileName string, c Checkpoint) (out verify.Findings) {
	name := strings.ToLower(path.Base(fileName))
	disagree := func(format string, args ...any) {
		out.Add(verify.Error, CodeName, "", format, args...)
		out.Hint("the tensors decide, not the name: fetch the file that the name means, or correct the name and what refers to it")
	}
	for _, word := range strings.FieldsFunc(name, notAlphanumeric) {
		if rank, ok := rankWord(word); ok && rank != c.Rank {
			disagree("r%d in the name, %d in the tensors", rank, c.Rank)
		}
		if precision, ok := precisionOf[word]; ok && precision != c.Precision {
			disagree("%s in the name, the tensors are %s", word, c.Precision)
		}
	}
	for _, f := range familyWords {
		if strings.Contains(name, f.word) && f.family != c.Family {
			disagree("%s in the name, the tensors are of family %s", f.word, c.Family)
		}
	}
	if strings.Contains(name, "2511") && c.Family == QwenImage && !c.Config.ZeroCondT {
		out.Add(verify.Warning, CodeName, "", "2511 in the name, but the metadata's config does not set zero_cond_t, as Edit-2511 does")
	}
	return out
}

func notAlphanumeric(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }

// rankWord reads "r128" as 128.
func rankWord(word string) (int, bool) {
	digits, ok := strings.CutPrefix(word, "r")
	rank, err := strconv.Atoi(digits)
	return rank, ok && err == nil
}
