package transformer

import (
	"fmt"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
)

// Edit says what is computed for one picture.
type Edit struct {
	// Target is the shape of the picture's latents, and References those of the pictures that
	// it is made of, in the prompt's order; there may be none.
	Target     latents.Shape
	References []latents.Shape
	// Times are the model's times of all steps, between 0 and 1: schedule.ModelTime's as a
	// pipeline in bfloat16 has them, or σ itself.
	Times []float32
	// Debug looks for a NaN or an infinity in both streams behind every block, instead of in
	// the predictions alone: the error then names the block.
	Debug bool
}

// Run is an edit under way: what its steps share, in the backend's arena, where it ends with
// a Reset to a mark from before Begin. It belongs to the model's goroutine.
type Run struct {
	model              *Model
	edit               Edit
	target, references int // tokens
	rope               compute.Rope
	// imageMods and textMods [times, 6·width] are the blocks' modulations, and normOut
	// [times, 2·width] that behind them. Row i is step i's; imageMods have one more, for time
	// 0, if reference tokens get another time than the target's.
	imageMods, textMods []compute.Tensor
	normOut             compute.Tensor
}

// Begin computes what an edit's steps share. It takes arena memory, as the package comment
// counts it. Pictures that pass the rotary table, in size or number, are errors of kind
// fault.Usage; there nothing is taken.
func (m *Model) Begin(e Edit) (*Run, error) {
	if err := m.check(e); err != nil {
		return nil, fmt.Errorf("beginning an edit: %w", err)
	}
	e.References, e.Times = slices.Clone(e.References), slices.Clone(e.Times)
	r := &Run{model: m, edit: e, target: e.Target.Tokens()}
	var a angles
	m.rotary.picture(&a, 0, e.Target)
	for i, s := range e.References {
		m.rotary.picture(&a, i+1, s)
		r.references += s.Tokens()
	}
	r.rope = a.upload(m.backend, m.dims.HeadDim/2)
	r.modulate()
	return r, nil
}

// check refuses edits that the model has no positions for.
func (m *Model) check(e Edit) error {
	if len(e.Times) == 0 {
		return fmt.Errorf("it has no steps")
	}
	for i, u := range e.Times {
		if !(u >= 0 && u <= 1) {
			return fmt.Errorf("step %d's time is %g, want one between 0 and 1", i, u)
		}
	}
	if n := len(e.References); n >= Positions {
		return fault.Wrap(fault.Usage, "use fewer pictures", fmt.Errorf("it has %d references, at most %d have a position", n, Positions-1))
	}
	for i, s := range append([]latents.Shape{e.Target}, e.References...) {
		if s.Tokens() < 1 || s.Height%latents.Patch != 0 || s.Width%latents.Patch != 0 || s.TokenWidth() != m.dims.InChannels {
			return fmt.Errorf("picture %d (0 is the target) has latents %+v, want even sides and tokens of %d values", i, s, m.dims.InChannels)
		}
		if longest := max(s.TokenRows(), s.TokenColumns()); longest > 2*Positions {
			return fault.Wrap(fault.Usage, "use smaller pictures", fmt.Errorf("picture %d (0 is the target) is %d tokens long, at most %d have positions", i, longest, 2*Positions))
		}
	}
	return nil
}

// modulate computes the modulations of all steps, each layer's in one pass.
func (r *Run) modulate() {
	m, b := r.model, r.model.backend
	width, steps := m.dims.Hidden, len(r.edit.Times)
	rows := steps
	if m.dims.Config.ZeroCondT {
		rows++
	}
	for range m.blocks {
		r.imageMods = append(r.imageMods, b.Alloc(compute.F32, rows, parts*width))
		r.textMods = append(r.textMods, b.Alloc(compute.F32, steps, parts*width))
	}
	r.normOut = b.Alloc(compute.F32, steps, 2*width)
	defer b.Reset(b.Mark())
	all := r.times(rows)
	ofSteps := all.Slice(0, steps)
	silu := compute.Pre{Kind: compute.SiLU}
	for i, blk := range m.blocks {
		b.Linear(r.imageMods[i], blk.image.mod, all, silu, compute.Post{})
		b.Linear(r.textMods[i], blk.text.mod, ofSteps, silu, compute.Post{})
	}
	b.Linear(r.normOut, m.normOut, ofSteps, silu, compute.Post{})
}

// times embeds the steps' times and, in a row behind them, time 0: [rows, width].
func (r *Run) times(rows int) compute.Tensor {
	m, b := r.model, r.model.backend
	values := make([]float32, 0, rows*schedule.TimeChannels)
	for i := range rows {
		var u float32
		if i < len(r.edit.Times) {
			u = r.edit.Times[i]
		}
		embedding := schedule.TimeEmbedding(u)
		values = append(values, embedding[:]...)
	}
	out := b.Alloc(compute.Act, rows, m.dims.Hidden)
	inner := b.Alloc(compute.Act, rows, m.dims.Hidden)
	waves := b.Alloc(compute.Act, rows, schedule.TimeChannels)
	b.Upload(waves, values)
	b.Linear(inner, m.time1, waves, compute.Pre{}, compute.Post{Kind: compute.StoreSiLU})
	b.Linear(out, m.time2, inner, compute.Pre{}, compute.Post{})
	return out
}

// Text is a text as an edit's steps read it. It lives in the arena, behind the Run that made
// it.
type Text struct {
	run    *Run
	hidden compute.Tensor // [rows, width]
	rope   compute.Rope
}

// Text prepares a text encoder's output [rows, JointDim], of either kind, for the edit's
// steps. An edit may have several, as guidance needs, of any lengths up to MaxText; a longer
// one is an error of kind fault.Usage.
func (r *Run) Text(embedding compute.Tensor) (Text, error) {
	m, b, n := r.model, r.model.backend, embedding.Rows
	if n < 1 || embedding.Cols != m.dims.JointDim {
		return Text{}, fmt.Errorf("preparing a text: it is %v, want rows of %d values", embedding, m.dims.JointDim)
	}
	if limit := MaxText(r.edit.Target, r.edit.References...); n > limit {
		return Text{}, fault.Wrap(fault.Usage, "use a shorter prompt", fmt.Errorf("preparing a text: it has %d tokens, the model has positions for %d", n, limit))
	}
	t := Text{run: r, hidden: b.Alloc(compute.Act, n, m.dims.Hidden)}
	t.rope = m.rotary.text(firstText(r.edit.Target, r.edit.References), n).upload(b, m.dims.HeadDim/2)
	defer b.Reset(b.Mark())
	b.Linear(t.hidden, m.textIn, r.act(embedding), compute.Pre{Kind: compute.RMSNorm, Weight: m.textNorm, Eps: eps}, compute.Post{})
	return t, nil
}

// act is a tensor in the backend's format for activations, itself or a copy.
func (r *Run) act(t compute.Tensor) compute.Tensor {
	if t.Kind == compute.Act {
		return t
	}
	out := r.model.backend.Alloc(compute.Act, t.Rows, t.Cols)
	r.model.backend.Copy(out, t)
	return out
}
