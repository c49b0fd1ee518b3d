// Package textencoder makes of a prompt and its pictures what Qwen-Image-Edit's transformer
// reads: the last hidden states of Qwen2.5-VL, over any backend.
//
//	patches ─▶ vision tower ─▶ merger ─▶ a picture's tokens ─┐ in place of their ids' rows
//	ids ──────────────────────────────▶ rows of the table ───┴▶ language model ─▶ norm ─▶ [L − Drop, Hidden]
//
// # Positions
//
// A token has three: time, row and column. Words count on in all of them; a picture's tokens
// share the time of its beginning, while their rows and columns count from there. Of the
// rotary frequencies the first turn with time, the next with rows, the last with columns
// (mrope_section). transformers 4 found a picture's tokens by their ids; transformers 5 has
// to be told which they are (mm_token_type_ids), which diffusers 0.42 does not do, and
// numbers them like words then. Here they are always a picture's.
//
// # Windows
//
// The vision tower attends within windows of 8×8 patches, those at the right and at the
// bottom smaller, but for a few blocks that see all. Patches are put into the order of
// windows before they are uploaded, angles with them, and only the merged tokens are put
// back.
//
// # Precision
//
// The stream, and all that is stored, is of the backend's own format. Angles are float32,
// made in float64; the original computes them in float32 and rounds the language model's
// cosines and sines to bfloat16.
//
// # Memory
//
// Encode leaves its results in the arena and nothing else. At its peak it holds, beside the
// results and the tokens of all pictures, for each patch of one picture 7 rows of the vision
// tower's width, and later for each token of one prompt a row of the language model's width
// and one of gate and up. With the published sizes in bfloat16 that are 18 kB a patch and 84
// kB a token: 100 MB for a picture of 1024², then 125 MB for its prompt.
//
// # Floors
//
// A picture of P patches and a prompt of n tokens cost, with h, i the widths of a stream and
// its linear unit and k that of k and v, in operations (a product and a sum are two),
//
//	vision    depth·P·(8·h² + 6·h·i + 4·h·seen)      seen is P, or a window's patches
//	language  layers·n·(4·h² + 4·h·k + 6·h·i + 2·h·n)
//
// and patches and merger 2% of the tower's on top. With the published sizes that are 7.7 T
// for a picture of 1024² and 19 T for its prompt of 1440 tokens; in bytes, each reads its
// weights once, 1.35 GB and 13.1 GB of the language model's 14.1 GB, of which the rest is
// the table of words.
//
// Sources: modeling_qwen2_5_vl.py and vision_utils.py of transformers 5.17, and the
// pipelines QwenImageEditPipeline and QwenImageEditPlusPipeline of diffusers 0.42.
package textencoder

import (
	"context"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
)

// Model is a text encoder whose weights are in a backend. It is used by one goroutine at a
// time, as the backend is, and ends with it.
type Model struct {
	backend    compute.Backend
	imageToken int32
	tower      *tower
	decoder    *decoder
}

// New loads the model that text_encoder/config.json describes from the tensors of its files.
// The head, lm_head, is not needed and not read. Errors about the configuration, and about
// tensors that are missing or of another shape, are of kind fault.Invalid, name what is
// wrong and come before anything is loaded; others are the backend's.
func New(b compute.Backend, configJSON []byte, set *weights.Set) (*Model, error) {
	s, err := parse(configJSON)
	if err != nil {
		return nil, err
	}
	l := &loading{set: set}
	m := &Model{backend: b, imageToken: s.imageToken, tower: newTower(l, s.vision), decoder: newDecoder(l, s.language)}
	if err := l.into(b); err != nil {
		return nil, fmt.Errorf("loading the text encoder: %w", err)
	}
	return m, nil
}

// Hidden is the width of an embedding: 3584 in the published model.
func (m *Model) Hidden() int { return m.decoder.hidden }

// Image is a picture as picture.Processor prepares it.
type Image struct {
	// Patches are the grid's patches, rows of channel, frame, row and column, those of a
	// merged token next to each other.
	Patches []float32
	Grid    picture.Grid
}

// Encode returns the embeddings of each prompt, [L − Drop, Hidden] of kind Act, in the arena
// above the caller's mark. All prompts are about the same pictures, each in the place of its
// tokens; the vision tower sees each picture once, however many prompts there are.
//
// Images that do not fit the prompts, ids that the model doesn't have and prompts that are
// too long for its positions are errors. ctx is looked at before each layer; after it ended
// Encode returns its error. On any error the arena is as it was. Errors of the backend
// stick, as everywhere, and a value that is not finite is one of them.
func (m *Model) Encode(ctx context.Context, images []Image, prompts ...*prompt.Prompt) ([]compute.Tensor, error) {
	mark := m.backend.Mark()
	out, err := m.encode(ctx, images, prompts)
	if err != nil {
		m.backend.Reset(mark)
		return nil, fmt.Errorf("encoding prompts: %w", err)
	}
	return out, nil
}

func (m *Model) encode(ctx context.Context, images []Image, prompts []*prompt.Prompt) ([]compute.Tensor, error) {
	sizes, err := m.check(images, prompts)
	if err != nil {
		return nil, err
	}
	out := make([]compute.Tensor, len(prompts))
	for i, p := range prompts {
		out[i] = m.backend.Alloc(compute.Act, len(p.IDs)-p.Drop, m.Hidden())
	}
	defer m.backend.Reset(m.backend.Mark())
	tokens := make([]compute.Tensor, len(images))
	for i, s := range sizes {
		tokens[i] = m.backend.Alloc(compute.Act, s.h*s.w, m.Hidden())
		if err := m.tower.see(ctx, m.backend, tokens[i], images[i].Patches, s); err != nil {
			return nil, fmt.Errorf("picture %d: %w", i+1, err)
		}
	}
	for i, p := range prompts {
		if err := m.read(ctx, out[i], p, tokens, place(p, sizes)); err != nil {
			return nil, fmt.Errorf("prompt %d: %w", i+1, err)
		}
	}
	return out, nil
}

// read writes the embeddings of a prompt to dst, with pictures' tokens in their places.
func (m *Model) read(ctx context.Context, dst compute.Tensor, p *prompt.Prompt, pictures []compute.Tensor, at positions) error {
	b := m.backend
	defer b.Reset(b.Mark())
	x := b.Alloc(compute.Act, len(p.IDs), m.Hidden())
	b.Embed(x, m.decoder.words, p.IDs)
	for i, span := range p.Images {
		b.Copy(x.Slice(span.Start, span.End), pictures[i])
	}
	return m.decoder.read(ctx, b, dst, x, at)
}
