package textencoder

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/config"
)

// Constants of Qwen2.5-VL that no configuration states (transformers 5.17,
// modeling_qwen2_5_vl.py).
const (
	visionTheta = 10000 // base of the vision tower's rotary frequencies
	visionEps   = 1e-6  // of its norms
)

// Bounds of what a configuration may say, far above every model: they keep products of
// sizes from overflowing and lists of layers from filling memory.
const (
	maxSide   = 1 << 20
	maxLayers = 1 << 10
	maxPatch  = 256
	maxFew    = 16 // frames, channels and patches of a token
)

// language are the sizes of the language model.
type language struct {
	hidden, layers, heads, kvHeads, intermediate int
	vocabulary, positions                        int
	eps, theta                                   float64
	// sections are how many rotary frequencies turn with time, row and column.
	sections [3]int
}

// head is the width of a head.
func (l language) head() int { return l.hidden / l.heads }

// vision are the sizes of the vision tower.
type vision struct {
	hidden, depth, heads, intermediate, out int
	channels, frames, patch                 int
	merge                                   int // patches on a side of a merged token
	window                                  int // merged tokens on a side of a window
	full                                    []int
}

func (v vision) head() int     { return v.hidden / v.heads }
func (v vision) unit() int     { return v.merge * v.merge }
func (v vision) patchLen() int { return v.channels * v.frames * v.patch * v.patch }

// settings are text_encoder/config.json, as far as it decides what is computed.
type settings struct {
	language   language
	vision     vision
	imageToken int32
}

// parse reads config.json. Sizes have to be there; a way to compute that is not implemented,
// and two statements of one key that differ, are refused. Keys of no effect here, such as
// those of generation and training, are passed over. Errors are of kind fault.Invalid.
func parse(data []byte) (settings, error) {
	s, err := parseSettings(data)
	if err != nil {
		return settings{}, fault.Wrap(fault.Invalid, "", fmt.Errorf("reading the text encoder's config.json: %w", err))
	}
	return s, nil
}

func parseSettings(data []byte) (s settings, err error) {
	root, err := config.Parse(data)
	if err != nil {
		return s, err
	}
	r := &reader{objects: []config.Object{root}, err: new(error)}
	r.only("model_type", "qwen2_5_vl")
	s.imageToken = int32(r.size("image_token_id", maxSide))
	text := r
	if !root.Null("text_config") {
		text = r.part("text_config")
		text.objects = append(text.objects, root) // which may state the same once more
	}
	s.language = text.language()
	s.vision = r.part("vision_config").vision()
	switch l, v := s.language, s.vision; {
	case *r.err != nil:
	case v.out != l.hidden:
		r.fail("vision_config.out_hidden_size is %d, hidden_size is %d: a picture's tokens would not fit among words", v.out, l.hidden)
	case int(s.imageToken) >= l.vocabulary:
		r.fail("image_token_id is %d, vocab_size is %d", s.imageToken, l.vocabulary)
	}
	return s, *r.err
}

// language reads the language model's keys.
func (r *reader) language() (l language) {
	r.only("hidden_act", "silu")
	r.off("use_sliding_window")
	r.none("rope_parameters")
	r.none("quantization_config")
	l.hidden, l.layers = r.size("hidden_size", maxSide), r.size("num_hidden_layers", maxLayers)
	l.heads, l.kvHeads = r.size("num_attention_heads", maxSide), r.size("num_key_value_heads", maxSide)
	l.intermediate, l.vocabulary = r.size("intermediate_size", maxSide), r.size("vocab_size", maxSide)
	l.positions = r.size("max_position_embeddings", maxSide)
	l.eps, l.theta = r.positive("rms_norm_eps"), r.positive("rope_theta")
	rope := r.part("rope_scaling")
	rope.only("type", "default", "mrope") // which are the same: sections are all that scales
	rope.only("rope_type", "default", "mrope")
	sections := rope.whole("mrope_section", 0, maxSide)
	switch half := sum(sections); {
	case *r.err != nil:
		return l
	case l.hidden%l.heads != 0 || l.head()%2 != 0:
		r.fail("hidden_size is %d, which %d heads do not divide into even widths", l.hidden, l.heads)
	case l.heads%l.kvHeads != 0:
		r.fail("num_attention_heads is %d, no multiple of num_key_value_heads, %d", l.heads, l.kvHeads)
	case len(sections) != len(l.sections) || 2*half != l.head():
		r.fail("rope_scaling.mrope_section is %v, want 3 numbers that sum to half of a head's width of %d", sections, l.head())
	}
	copy(l.sections[:], sections)
	return l
}

// vision reads the vision tower's keys.
func (r *reader) vision() (v vision) {
	r.only("hidden_act", "silu")
	r.none("rope_parameters")
	v.hidden, v.depth, v.heads = r.size("hidden_size", maxSide), r.size("depth", maxLayers), r.size("num_heads", maxSide)
	v.intermediate, v.out = r.size("intermediate_size", maxSide), r.size("out_hidden_size", maxSide)
	v.patch, v.frames = r.size("patch_size", maxPatch), r.size("temporal_patch_size", maxFew)
	v.channels, v.merge = r.size("in_channels", maxFew), r.size("spatial_merge_size", maxFew)
	window := r.size("window_size", maxSide)
	v.full = r.whole("fullatt_block_indexes", 0, v.depth-1)
	switch {
	case *r.err != nil:
		return v
	case v.hidden%v.heads != 0 || v.head()%4 != 0:
		r.fail("vision_config.hidden_size is %d, which %d heads do not divide into multiples of 4", v.hidden, v.heads)
	case window < v.merge*v.patch:
		r.fail("vision_config.window_size is %d pixels, a merged token has %d", window, v.merge*v.patch)
	}
	v.window = window / (v.merge * v.patch)
	return v
}

func sum(list []int) (n int) {
	for _, v := range list {
		n += v
	}
	return n
}
