package modelsettest

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// What the published checkpoints of nunchaku-ai/nunchaku-qwen-image-edit combine: rank 64
// was never published.
var (
	precisions = []struct{ word, precision string }{{"int4", svdqtest.Int4}, {"fp4", svdqtest.NVFP4}}
	ranks      = []int{32, 128}
	variants   = []string{"", "-lightningv1.0-4steps", "-lightningv1.0-8steps"}
)

// Checkpoints returns the 12 published quantised transformers by name, at the dimensions
// of the base's transformer. Each variant has weights of its own, as a tuned model would;
// the layout of the weights is package svdqtest's. It fails for dimensions that such a
// checkpoint cannot have: the transformer's width must be a multiple of 128.
func Checkpoints(p Params) (map[string]File, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	files := map[string]File{}
	for _, precision := range precisions {
		for _, rank := range ranks {
			for _, variant := range variants {
				name := fmt.Sprintf("svdq-%s_r%d-qwen-image-edit%s.safetensors", precision.word, rank, variant)
				c, err := svdqtest.New(p.quantised(precision.precision, rank, variant))
				if err != nil {
					return nil, fmt.Errorf("making %s: %w", name, err)
				}
				files[name] = File{Content: c, LFS: true}
			}
		}
	}
	return files, nil
}

// GoldenCheckpoint is the quantised transformer of the golden vectors: INT4 at rank 32, of
// Golden's dimensions.
func GoldenCheckpoint() (File, error) {
	c, err := svdqtest.New(Golden().quantised(svdqtest.Int4, 32, ""))
	if err != nil {
		return File{}, fmt.Errorf("making the golden checkpoint: %w", err)
	}
	return File{Content: c, LFS: true}, nil
}

// quantised are the parameters of one checkpoint.
func (p Params) quantised(precision string, rank int, variant string) svdqtest.Params {
	return svdqtest.Params{
		Precision:   precision,
		Rank:        rank,
		Blocks:      p.Transformer.Layers,
		Heads:       p.Transformer.Heads,
		HeadDim:     p.Transformer.HeadDim,
		JointDim:    p.Text.Hidden,
		InChannels:  Latents * Patch * Patch,
		OutChannels: Latents,
		Seed:        safetensorstest.Seed(p.Seed, "checkpoint"+variant),
	}
}
