// Package transformer is the diffusion transformer of Qwen-Image-Edit, diffusers'
// QwenImageTransformer2DModel, over the packed weights of an SVDQuant INT4 checkpoint: it
// predicts, for the tokens of a noisy picture, which way they have to move.
//
//	target tokens ────┐
//	                  ├─ img_in ───────▶ image ─┐          ┌─▶ image ─ norm_out ─ proj_out ─▶ prediction
//	reference tokens ─┘                         ├─ blocks ─┤
//	text ─ RMSNorm ─ txt_in ───────────▶ text ──┘          └─▶ text, not read
//
// The two streams have weights of their own in every block and meet in its attention, where
// all tokens see all, text first. What a block does to a stream depends on the time through
// a modulation m of six parts a channel:
//
//	a      = LN(s)·m[1] + m[0]
//	q,k,v  = rope(RMSNorm(heads of qkv(a)))          v is neither normalised nor rotated
//	s     += m[2]·out(attention)
//	s     += m[5]·down(GELU(up(LN(s)·m[4] + m[3])))
//
// An edit's fixed parts are computed once, by Begin and Text: the modulations of all its
// steps in one pass over their weights, the rotary angles, and the texts at the streams'
// width. Forward is what is left: the blocks. Of the last block's results the target's are
// all that is read, so behind its keys and values only they are computed; this is exact.
//
// In files made for zero_cond_t (Edit-2511) reference tokens are modulated for time 0, which
// no tensor shows: the flag is read from the file's metadata, and a file without metadata is
// refused. So are Layered's flags and NVFP4.
//
// # Floors
//
// With h the streams' width, B blocks, rank R, n text, t target and r reference tokens and
// N = n + t + r, the operations of one Forward (a product and a sum are two) are
//
//	quantised linears   24·h²·N·B − 18·h²·(n+r)
//	low-rank branches   32·h·R·N·B − 24·h·R·(n+r)
//	attention           4·h·N²·B − 4·h·N·(n+r)
//	img_in, proj_out    2·h·c·(2t+r)                  c values a token
//
// At the published dimensions (h 3072, B 60, R 128) and 1024² pixels with one reference
// (t = r = 4096, n = 1406) that is 129.5, 7.2 and 67.3 T, 204 T in all; for n = 241, 172 T.
//
// In bytes, Forward reads the quantised linears once, (12.75·h² + 64·h·R)·B, 8.7 GB: the codes
// of both streams, their scales and the low-rank factors. Its operations hand each other
// 28·N·h·B activations, reads and writes together, 99 GB of two bytes for n = 1406. Begin reads
// the modulations once, 6.75·h²·B, 3.8 GB, however many steps there are.
//
// An edit of S steps holds 48·h·B·S + 8·h·S bytes of modulations in the arena (8.8 MB a step,
// and 24·h·B more for time 0 with zero_cond_t), 4·d·(t+r) of rotary angles with d values a head,
// and for each text 4·d·n of angles and n·h activations. Forward takes at most 7·N·h
// activations on top of that and its result, 0.41 GB of two bytes for n = 1406.
package transformer

import (
	"errors"
	"fmt"
	"math"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

// eps is that of all norms of the model (diffusers: QwenImageTransformerBlock, eps).
const eps = 1e-6

// Model is a loaded transformer. It is used by one goroutine at a time, as its backend is.
type Model struct {
	loaded
	backend compute.Backend
	// dims are what the tensors say, and the metadata's flags.
	dims   svdq.Checkpoint
	rotary rotary
	// scale is that of the attention.
	scale float32
}

// New loads a checkpoint into a backend. Dimensions come from the tensors, flags from the
// metadata. The set stays open until the backend is closed, which gives the model back.
//
// Files that are no such checkpoint are errors of kind fault.Invalid, with nothing loaded if
// names, shapes or flags show it; what the backend refuses is an error of its kind.
func New(backend compute.Backend, set *weights.Set) (*Model, error) {
	dims, err := identify(set)
	if err != nil {
		return nil, fmt.Errorf("loading the transformer: %w", err)
	}
	t := taker{set, dims}.all()
	if err := set.Err(); err != nil {
		return nil, fmt.Errorf("loading the transformer: %w", err)
	}
	m := &Model{
		backend: backend, dims: dims,
		rotary: newRotary([3]int(dims.Config.AxesDimsRope)),
		scale:  float32(1 / math.Sqrt(float64(dims.HeadDim))),
	}
	if m.loaded, err = load(backend, t); err != nil {
		return nil, fmt.Errorf("loading the transformer: %w", err)
	}
	return m, nil
}

// Checkpoint is what the model was loaded from.
func (m *Model) Checkpoint() svdq.Checkpoint { return m.dims }

// identify reads the dimensions and refuses what this package can't compute.
func identify(set *weights.Set) (svdq.Checkpoint, error) {
	h := set.Header()
	if h == nil {
		return svdq.Checkpoint{}, refuse("", errors.New("a checkpoint is one file, these are several or none"))
	}
	c, err := svdq.Identify(h)
	if err != nil {
		return c, err
	}
	for _, check := range []func(svdq.Checkpoint) error{checkFormat, checkDimensions, checkConfig} {
		if err := check(c); err != nil {
			return c, err
		}
	}
	return c, nil
}

func refuse(hint string, err error) error { return fault.Wrap(fault.Invalid, hint, err) }

// checkFormat refuses other families and precisions.
func checkFormat(c svdq.Checkpoint) error {
	switch {
	case c.Family != svdq.QwenImage:
		return refuse("name a checkpoint of Qwen-Image-Edit", fmt.Errorf("the checkpoint is of family %s, want %s", c.Family, svdq.QwenImage))
	case c.Precision != svdq.Int4:
		return refuse("take the INT4 checkpoint of the same name, svdq-int4_… instead of svdq-fp4_…",
			fmt.Errorf("the checkpoint's precision is %s, want %s", c.Precision, svdq.Int4))
	}
	return nil
}

// checkDimensions refuses dimensions that make no model; shapes are compared with them later.
func checkDimensions(c svdq.Checkpoint) error {
	ok := min(c.Blocks, c.Hidden, c.HeadDim, c.Rank, c.JointDim, c.InChannels, c.OutChannels) > 0 &&
		c.Hidden == c.Heads*c.HeadDim && c.InChannels == tokenPositions*c.OutChannels
	if !ok {
		return refuse("verify the checkpoint", fmt.Errorf("its dimensions make no model: %d blocks, %d heads of %d for a width of %d, rank %d, text %d wide, tokens of %d values in and %d channels out",
			c.Blocks, c.Heads, c.HeadDim, c.Hidden, c.Rank, c.JointDim, c.InChannels, c.OutChannels))
	}
	return nil
}

// checkConfig refuses what the metadata's configuration asks for and isn't here, and metadata
// that leave open what no tensor shows.
func checkConfig(c svdq.Checkpoint) error {
	config, sum := c.Config, 0
	for _, width := range config.AxesDimsRope {
		if width <= 0 || width%2 != 0 {
			sum = -1
			break
		}
		sum += width
	}
	switch {
	case len(config.AxesDimsRope) != 3 || sum != c.HeadDim:
		return refuse("take a checkpoint with its publisher's metadata", fmt.Errorf("its metadata's config has axes_dims_rope %v, want three even widths that make the head's %d", config.AxesDimsRope, c.HeadDim))
	case config.UseAdditionalTCond || config.UseLayer3DRope:
		return refuse("name a checkpoint of Qwen-Image-Edit", fmt.Errorf("its config has use_additional_t_cond %t and use_layer3d_rope %t: it is one of Qwen-Image-Layered", config.UseAdditionalTCond, config.UseLayer3DRope))
	case config.GuidanceEmbeds:
		return refuse("name a checkpoint of Qwen-Image-Edit", errors.New("its config has guidance_embeds true, and its tensors have no embedding of a guidance"))
	}
	return nil
}
