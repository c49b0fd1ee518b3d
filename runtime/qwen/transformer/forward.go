package transformer

import (
	"context"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// The parts of a modulation begin with those of the attention, or of the MLP: shift, scale,
// gate.
const (
	ofAttention = 0
	ofMLP       = 3
)

// Forward predicts the velocity of the target's tokens at a step: [target tokens, InChannels],
// F32, newly taken from the arena. Steps count from 0; messages count them from 1. x [target
// tokens, InChannels] is the noisy target, refs [reference tokens, InChannels] are the
// references' tokens in their order, the zero Tensor if there are none; both are of either
// kind. text is one of this edit's.
//
// Forward calls the backend and waits for nothing: what goes wrong in the backend, a value
// that is not finite among it, shows where the result is downloaded. ctx is looked at before
// each block. After an error the arena is as it was.
func (r *Run) Forward(ctx context.Context, step int, x, refs compute.Tensor, text Text) (compute.Tensor, error) {
	if err := r.accepts(step, x, refs, text); err != nil {
		return compute.Tensor{}, fmt.Errorf("predicting step %d: %w", step+1, err)
	}
	b := r.model.backend
	before := b.Mark()
	out := b.Alloc(compute.F32, r.target, r.model.dims.InChannels)
	mark := b.Mark()
	f := r.embed(step, x, refs, text)
	for i := range r.model.blocks {
		if err := ctx.Err(); err != nil {
			b.Reset(before)
			return compute.Tensor{}, fmt.Errorf("predicting step %d: stopped before block %d of %d: %w", step+1, i, len(r.model.blocks), err)
		}
		f.block(i)
	}
	norm := compute.Mod{Table: r.normOut, Row: step, Rest: step, Scale: 0, Shift: 1, PlusOne: true}
	b.Linear(out, r.model.projOut, f.image.Slice(0, r.target), layerNorm(norm), compute.Post{})
	b.Finite(out, fmt.Sprintf("the prediction of step %d", step+1))
	b.Reset(mark)
	return out, nil
}

// accepts reports what of Forward's arguments doesn't belong to the edit.
func (r *Run) accepts(step int, x, refs compute.Tensor, text Text) error {
	width := r.model.dims.InChannels
	switch {
	case step < 0 || step >= len(r.edit.Times):
		return fmt.Errorf("the edit has %d steps", len(r.edit.Times))
	case text.run != r:
		return fmt.Errorf("the text is not one of this edit's")
	case x.Rows != r.target || x.Cols != width:
		return fmt.Errorf("the target is %v, want %d×%d", x, r.target, width)
	case r.references == 0 && !refs.IsZero() || r.references > 0 && (refs.Rows != r.references || refs.Cols != width):
		return fmt.Errorf("the references are %v, want %d×%d", refs, r.references, width)
	}
	return nil
}

// pass is one Forward under way.
type pass struct {
	*Run
	backend compute.Backend
	step    int
	// image [target and reference tokens, width] and text [text tokens, width] are the two
	// streams, which blocks change in place.
	image, text compute.Tensor
	textRope    compute.Rope
}

// embed makes the streams.
func (r *Run) embed(step int, x, refs compute.Tensor, text Text) *pass {
	m, b := r.model, r.model.backend
	f := &pass{Run: r, backend: b, step: step, textRope: text.rope}
	f.image = b.Alloc(compute.Act, r.target+r.references, m.dims.Hidden)
	f.text = b.Alloc(compute.Act, text.hidden.Rows, m.dims.Hidden)
	b.Copy(f.text, text.hidden)
	defer b.Reset(b.Mark())
	tokens := b.Alloc(compute.Act, f.image.Rows, m.dims.InChannels)
	b.Copy(tokens.Slice(0, r.target), x)
	if r.references > 0 {
		b.Copy(tokens.Slice(r.target, tokens.Rows), refs)
	}
	b.Linear(f.image, m.imageIn, tokens, compute.Pre{}, compute.Post{})
	return f
}

// block runs a block over the streams. After the last one, only the target's rows of the
// image stream are valid.
func (f *pass) block(i int) {
	blk, image := f.model.blocks[i], f.image
	last := i == len(f.model.blocks)-1
	if last {
		image = image.Slice(0, f.target)
	}
	f.attend(i, image, last)
	f.mlp(blk.image, image, f.imageMod(i, ofMLP))
	f.debug(image, "image", i)
	if !last {
		f.mlp(blk.text, f.text, f.textMod(i, ofMLP))
		f.debug(f.text, "text", i)
	}
}

// debug looks at a stream behind a block, where the edit asks for it.
func (f *pass) debug(stream compute.Tensor, name string, block int) {
	if f.edit.Debug {
		f.backend.Finite(stream, fmt.Sprintf("the %s stream behind block %d of step %d", name, block, f.step+1))
	}
}

// attend adds a block's attention to the streams. In the last block only the rows of image
// ask, which are the target's.
func (f *pass) attend(i int, image compute.Tensor, last bool) {
	m, b, blk := f.model, f.backend, f.model.blocks[i]
	defer b.Reset(b.Mark())
	rows, texts := f.text.Rows+f.image.Rows, f.text.Rows
	q, k, v := f.alloc(rows), f.alloc(rows), f.alloc(rows)
	f.project(blk.text, f.text, f.textMod(i, ofAttention), f.textRope, q.Slice(0, texts), k.Slice(0, texts), v.Slice(0, texts))
	f.project(blk.image, f.image, f.imageMod(i, ofAttention), f.rope, q.Slice(texts, rows), k.Slice(texts, rows), v.Slice(texts, rows))
	if last {
		q = q.Slice(texts, texts+image.Rows)
		texts = 0
	}
	o := f.alloc(q.Rows)
	b.Attention(o, q, k, v, compute.Attention{Heads: m.dims.Heads, KVHeads: m.dims.Heads, Dim: m.dims.HeadDim, Scale: m.scale})
	b.Linear(image, blk.image.out, o.Slice(texts, o.Rows), compute.Pre{}, gateAdd(image, f.imageMod(i, ofAttention)))
	if !last {
		b.Linear(f.text, blk.text.out, o.Slice(0, texts), compute.Pre{}, gateAdd(f.text, f.textMod(i, ofAttention)))
	}
}

// project makes a stream's queries, keys and values.
func (f *pass) project(s stream, x compute.Tensor, mod compute.Mod, rope compute.Rope, q, k, v compute.Tensor) {
	b := f.backend
	defer b.Reset(b.Mark())
	qkv := b.Alloc(compute.Act, x.Rows, s.qkv.Out())
	b.Linear(qkv, s.qkv, x, layerNorm(mod), compute.Post{})
	b.Heads(compute.Split{X: qkv, Q: q, K: k, V: v, Dim: f.model.dims.HeadDim, NormQ: s.normQ, NormK: s.normK, Eps: eps, Rope: rope})
}

// mlp adds a stream's MLP to x, rows of it from the first on.
func (f *pass) mlp(s stream, x compute.Tensor, mod compute.Mod) {
	b := f.backend
	defer b.Reset(b.Mark())
	inner := b.Alloc(compute.Act, x.Rows, s.up.Out())
	b.Linear(inner, s.up, x, layerNorm(mod), compute.Post{})
	b.Linear(x, s.down, inner, compute.Pre{Kind: compute.GELUTanh}, gateAdd(x, mod))
}

// alloc takes rows of the streams' width.
func (f *pass) alloc(rows int) compute.Tensor {
	return f.backend.Alloc(compute.Act, rows, f.model.dims.Hidden)
}

// imageMod is the image stream's modulation in a block, of which first is the first part.
// References have a row of their own in the table, the last one, if the model was made so.
func (f *pass) imageMod(i, first int) compute.Mod {
	mod := f.mod(f.imageMods[i], first)
	if f.model.dims.Config.ZeroCondT {
		mod.Rest, mod.Until = len(f.edit.Times), f.target
	}
	return mod
}

// textMod is the text stream's.
func (f *pass) textMod(i, first int) compute.Mod { return f.mod(f.textMods[i], first) }

func (f *pass) mod(table compute.Tensor, first int) compute.Mod {
	return compute.Mod{Table: table, Row: f.step, Rest: f.step, Shift: first, Scale: first + 1, Gate: first + 2}
}

func layerNorm(mod compute.Mod) compute.Pre {
	return compute.Pre{Kind: compute.LayerNorm, Eps: eps, Mod: mod}
}

func gateAdd(residual compute.Tensor, mod compute.Mod) compute.Post {
	return compute.Post{Kind: compute.GateAdd, Residual: residual, Mod: mod}
}
