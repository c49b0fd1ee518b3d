// Package qwen edits pictures with Qwen-Image-Edit: the whole pipeline from a picture and a
// prompt to the edited picture, over whichever backend it is given.
//
//	picture ─ Lanczos ─┬─ patches ─ textencoder (vision, language) ── text ──┐
//	prompt ─ tokenizer ┘                                                     ├─ transformer ×steps ─ vae.Decode ─ picture
//	picture ─ Lanczos ── vae.Encode ── reference latents ────────────────────┤
//	seed ── noise ── latents ────────────────────────────────────────────────┘
//
// The parts are packages of their own below this one; here is what joins them, as
// QwenImageEditPipeline and QwenImageEditPlusPipeline of diffusers do (version 0.42.1, whose
// pictures are the golden ones). Which of the two a model is stands in its model_index.json.
// All sizes come from the model's configurations, and areas, steps, guidance and schedules
// from model.json, so that the demo's small model and the published one run the same code.
//
// What is ours:
//
//   - A checkpoint is named, and brings its schedule, steps and guidance (schedule.Bind).
//   - The seed's noise is that of torch.randn on an H100, whatever the backend.
//   - Timesteps are rounded to bfloat16, as the published model, which runs in bfloat16, sees
//     them; latents stay in float32 between steps.
//   - The same calls run on package plan first, so that a picture that does not fit into the
//     memory at hand is refused before it is begun.
//   - A prediction that is not finite ends the edit with the step's number; no picture is made
//     of it.
//
// A Model is loaded once and edits one picture at a time: Edit may be called from several
// goroutines, which then wait for each other.
package qwen

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
)

// Options are what a model is loaded with.
type Options struct {
	// Open makes the backend that runs the model, which closes it, and says how large its
	// arena is. It asks what the weights take on one kind of backend or several, and what an
	// edit like Sample does there. The last one must be the one that it makes.
	Open func(need func(plan.Options) (plan.Result, error)) (b compute.Backend, arenaBytes int64, err error)
	// Checkpoints names those to load, in the order of preference; the first is the one that
	// serves an edit that names none.
	Checkpoints []string
}

// Model is a loaded model.
type Model struct {
	title     string
	kind      prompt.Kind
	areas     manifests.Serve
	tokenizer *tokenizer.Tokenizer
	template  *prompt.Template
	processor *picture.Processor
	scale     latents.Statistics
	bindings  []schedule.Binding

	options Options
	sets    []*weights.Set
	arena   int64           // bytes of the real backend's
	backend compute.Backend // real's
	// real computes, planned counts; both read the same sets.
	real, planned *components
	counter       *plan.Backend // planned's
	turn          chan struct{} // holds the one token of whoever edits
	closed        bool          // of whoever has the turn
	time          func(timestep float32) float32
}

// Load loads the model that a folder's description speaks of. Before it calls Options.Open it reads
// documents, the tokenizer and the headers of weights, maps the files and counts; what it loads
// onto the backend it reads from the mappings behind Open. So the files need not be verified before
// Load, but Open must not return a backend before they are, and gives the error if they are wrong.
// That they stay as they are until Close is the caller's to see to.
//
// Errors about the files are of kind fault.Invalid. A model that is returned is able to edit; Close
// gives its memory and its backend back. An error of Options.Open is wrapped, and leaves nothing
// behind.
func Load(ctx context.Context, folder *models.Folder, c *manifests.ModelConfig, o Options) (*Model, error) {
	m := &Model{title: c.Title, options: o, turn: make(chan struct{}, 1), time: modelTime}
	if err := m.load(ctx, folder, c); err != nil {
		return nil, errors.Join(fmt.Errorf("loading %s from %s: %w", c.Name, folder.Dir(), err), m.Close())
	}
	return m, nil
}

// Close waits for a running edit, whose context is the caller's to end, then closes the backend
// and gives the mappings back. Edits that wait, and later ones, get an error. It may be called
// twice.
func (m *Model) Close() error {
	m.turn <- struct{}{}
	defer m.unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	var problems []error
	if m.backend != nil {
		problems = append(problems, m.backend.Close())
	}
	for _, s := range m.sets {
		problems = append(problems, s.Close())
	}
	m.sets = nil
	return errors.Join(problems...)
}

// Checkpoints are the loaded checkpoints with the way in which each is sampled, the default
// first.
func (m *Model) Checkpoints() []schedule.Binding { return m.bindings }

// Loaded is what the loading of one component took.
type Loaded struct {
	// Name is "text encoder", "VAE", or the name of a checkpoint.
	Name string
	// Bytes is the size of the tensors in the files.
	Bytes int64
	// Time ends when the backend has them all, at Done.
	Time time.Duration
	Done time.Time
}

// Loaded says what the loading of each component took, in the order in which they were
// loaded.
func (m *Model) Loaded() []Loaded { return m.real.loaded }

// Peak is how many bytes of the arena were ever in use at a time, with what the backend takes
// inside of its operations; 0 where the backend does not say. No edit may be running.
func (m *Model) Peak() int64 {
	if b, ok := m.backend.(interface{ Peak() int64 }); ok {
		return b.Peak()
	}
	return 0
}

// binding finds a checkpoint by its name; "" is the default.
func (m *Model) binding(name string) (schedule.Binding, error) {
	for _, b := range m.bindings {
		if b.Name == name || name == "" {
			return b, nil
		}
	}
	var known []string
	for _, b := range m.bindings {
		known = append(known, b.Name)
	}
	return schedule.Binding{}, fault.Wrap(fault.Usage, fmt.Sprintf("loaded are %q", known), fmt.Errorf("choosing a checkpoint: %q is not loaded", name))
}

// modelTime is the time that the published model sees for a timestep.
func modelTime(timestep float32) float32 { return schedule.ModelTime(timestep) }
