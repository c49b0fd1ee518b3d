package modelset

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// UnusedPart is a group of tensors in one file of which some or all bytes are never read
// at inference.
type UnusedPart struct {
	// Path is the file's path in the file system.
	Path string `json:"path"`
	// Group names the tensors, such as "lm_head.*".
	Group string `json:"group"`
	// Tensors is the number of tensors in the group.
	Tensors int `json:"tensors"`
	// Bytes is the number of their bytes that are not used, data alone, without headers.
	Bytes int64 `json:"bytes"`
	// Reason says in a sentence why.
	Reason string `json:"reason"`
}

// rule finds unused bytes in the component of one class.
type rule struct {
	component, class string
	group, reason    string
	// unused is the number of bytes of a tensor that are not used.
	unused func(safetensors.Tensor) int64
}

// imagePipelines are the pipelines whose code the rules describe (diffusers 0.35): each
// encodes and decodes single frames and takes the text encoder's last hidden states.
var imagePipelines = []string{"QwenImagePipeline", "QwenImageEditPipeline", "QwenImageEditPlusPipeline"}

// The VAE is a causal video model. In front of the first frame it sees two frames of
// zeros, so a kernel of three frames acts with its last slice only; and a downsampler or
// upsampler of time skips its time_conv at the first chunk, which is the only one.
var rules = []rule{
	{
		component: "text_encoder", class: "Qwen2_5_VLForConditionalGeneration", group: "lm_head.*",
		reason: "the pipeline takes hidden states and never asks for the next token",
		unused: func(t safetensors.Tensor) int64 { return when(strings.HasPrefix(t.Name, "lm_head."), t.Size()) },
	},
	{
		component: "vae", class: "AutoencoderKLQwenImage", group: "*.time_conv.*",
		reason: "a single image has no frames to merge or to add",
		unused: func(t safetensors.Tensor) int64 { return when(isTimeConv(t.Name), t.Size()) },
	},
	{
		component: "vae", class: "AutoencoderKLQwenImage", group: "kernels of 3 frames, slices 0 and 1",
		reason: "a single image meets only the last slice of a causal kernel",
		unused: func(t safetensors.Tensor) int64 {
			return when(!isTimeConv(t.Name) && len(t.Shape) == 5 && t.Shape[2] == 3, t.Size()/3*2)
		},
	},
}

func isTimeConv(name string) bool { return strings.Contains(name, ".time_conv.") }

func when(yes bool, n int64) int64 {
	if yes {
		return n
	}
	return 0
}

// Unused lists the bytes that are in the set but not used at inference, by path, then in
// the order of the rules. It looks at every model_index.json in the file system, so a set
// may lie in a folder; a set without one, of another pipeline, or without the component
// yields nothing. An error means that a file that matters could not be read.
func Unused(fsys fs.FS) ([]UnusedPart, error) {
	s, err := openSet(fsys)
	if err != nil {
		return nil, err
	}
	var parts []UnusedPart
	for _, p := range s.paths {
		if path.Base(p) != indexName {
			continue
		}
		found, err := s.unused(p)
		if err != nil {
			return nil, err
		}
		parts = append(parts, found...)
	}
	slices.SortStableFunc(parts, func(a, b UnusedPart) int { return strings.Compare(a.Path, b.Path) })
	return parts, nil
}

// unused applies the rules to the set of one index.
func (s *set) unused(indexPath string) ([]UnusedPart, error) {
	index, err := s.readIndex(indexPath)
	if err != nil {
		return nil, fmt.Errorf("looking for unused bytes: reading %s: %w", indexPath, err)
	}
	if !slices.Contains(imagePipelines, index.class) {
		return nil, nil
	}
	var parts []UnusedPart
	for _, r := range rules {
		if index.components[r.component].class != r.class {
			continue
		}
		for _, p := range s.under(path.Join(path.Dir(indexPath), r.component), ".safetensors") {
			h, err := s.header(p)
			if err != nil {
				return nil, fmt.Errorf("looking for unused bytes: %s: %w", p, err)
			}
			if part := r.apply(p, h); part.Tensors > 0 {
				parts = append(parts, part)
			}
		}
	}
	return parts, nil
}

// apply sums up what a rule finds in one file.
func (r rule) apply(p string, h *safetensors.Header) UnusedPart {
	part := UnusedPart{Path: p, Group: r.group, Reason: r.reason}
	for _, t := range h.Tensors {
		if n := r.unused(t); n > 0 {
			part.Tensors++
			part.Bytes += n
		}
	}
	return part
}
