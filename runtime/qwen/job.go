package qwen

import (
	"fmt"
	"math"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/noise"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/textencoder"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/transformer"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/vae"
)

// maxAreas is how many times the model's own area an output may have. Beyond that the model
// repeats what it drew, and the host's buffers alone would take gigabytes.
const maxAreas = 16

// job is a wish with all that the host prepares for it.
type job struct {
	binding  schedule.Binding
	schedule schedule.Schedule
	scale    float64
	times    []float32 // one a step, as the transformer takes them
	plan     picture.Plan
	// prompts are the prompt and, where there is guidance, the negative one.
	prompts    []*prompt.Prompt
	images     []textencoder.Image
	references []reference
	target     latents.Shape
	noise      []float32 // packed tokens of the target
	statistics latents.Statistics
	progress   func(step, steps int)
	// trace, if not nil, is shown the packed latents behind each step.
	trace func(step int, tokens []float32)
}

// reference is a picture as the VAE takes it.
type reference struct {
	size   picture.Size
	pixels []float32 // [H·W, 3]
	shape  latents.Shape
}

// guided reports whether the job runs with guidance.
func (j *job) guided() bool { return len(j.prompts) > 1 }

// tokens counts what the transformer sees.
func (j *job) tokens() Tokens {
	out := Tokens{Target: j.target.Tokens(), Text: len(j.prompts[0].IDs) - j.prompts[0].Drop}
	for _, r := range j.references {
		out.References += r.shape.Tokens()
	}
	return out
}

// outline is the job without pictures and noise. What can be wrong with the wish is found before
// anything is computed or grows with the pictures.
func (m *Model) outline(e Edit) (*job, error) {
	b, err := m.binding(e.Checkpoint)
	if err != nil {
		return nil, err
	}
	steps, scale := e.effective(b)
	j := &job{binding: b, scale: scale, statistics: m.scale, progress: e.Progress}
	if j.progress == nil {
		j.progress = func(int, int) {}
	}
	if !(scale > 0 && scale <= math.MaxFloat32) {
		return nil, fault.Wrap(fault.Usage, "", fmt.Errorf("editing a picture: true_cfg_scale is %g, want a number over 0", scale))
	}
	if err := m.planPictures(j, e); err != nil {
		return nil, err
	}
	texts := []string{e.Prompt}
	if scale > 1 && e.Negative != nil {
		texts = append(texts, *e.Negative)
	}
	if err := m.preparePrompts(j, texts); err != nil {
		return nil, err
	}
	if j.schedule, err = schedule.New(b.Scheduler, steps, j.target.Tokens()); err != nil {
		return nil, err
	}
	for i := range steps {
		j.times = append(j.times, m.time(j.schedule.Timestep(i)))
	}
	return j, nil
}

// fill puts pictures and noise into a job.
func (m *Model) fill(j *job, e Edit) error {
	for i, p := range e.Pictures {
		if err := m.preparePicture(j, i, p); err != nil {
			return fault.Wrap(fault.Usage, "", fmt.Errorf("preparing picture %d: %w", i+1, err))
		}
	}
	j.noise = startNoise(j.target, e.Seed)
	return nil
}

// blank is the outline with values of which only the number counts, for a backend that counts.
func (m *Model) blank(j *job) *job {
	b := *j
	b.progress, b.trace = func(int, int) {}, nil
	b.noise = make([]float32, j.target.Len())
	b.images, b.references = slices.Clone(j.images), slices.Clone(j.references)
	for i := range b.images {
		b.images[i].Patches = make([]float32, b.images[i].Grid.Patches()*m.processor.PatchLen())
		size := b.references[i].size
		b.references[i].pixels = make([]float32, size.H*size.W*vae.Channels)
	}
	return &b
}

// planPictures settles all sizes, of pictures that are some.
func (m *Model) planPictures(j *job, e Edit) error {
	if len(e.Pictures) == 0 || m.kind == prompt.Edit && len(e.Pictures) > 1 {
		return fault.Wrap(fault.Usage, "", fmt.Errorf("editing a picture: %d pictures are given; %s takes %s", len(e.Pictures), m.title, m.takes()))
	}
	var sizes []picture.Size
	for i, p := range e.Pictures {
		if _, err := picture.Resize(p, p.W, p.H, picture.Lanczos); err != nil { // free, as the size stays
			return fault.Wrap(fault.Usage, "", fmt.Errorf("preparing picture %d: %w", i+1, err))
		}
		sizes = append(sizes, p.Size())
	}
	var err error
	if m.kind == prompt.Edit {
		j.plan, err = picture.PlanEdit(m.areas.PixelArea, sizes[0], e.Size)
	} else {
		j.plan, err = picture.PlanEditPlus(m.areas.ConditionArea, m.areas.PixelArea, sizes, e.Size)
	}
	if err != nil {
		return fault.Wrap(fault.Usage, "", err)
	}
	if out, most := j.plan.Output, maxAreas*m.areas.PixelArea; out.W*out.H > most {
		err := fmt.Errorf("choosing the output's size: %v has %d pixels, at most %d are made, %d times the model's own area", out, out.W*out.H, most, maxAreas)
		return fault.Wrap(fault.Usage, "ask for a smaller picture", err)
	}
	if j.target, err = latents.Of(m.scale.Channels(), j.plan.Output.H, j.plan.Output.W); err != nil {
		return fault.Wrap(fault.Usage, "", err)
	}
	for i, r := range j.plan.References {
		if err := m.planReference(j, r); err != nil {
			return fault.Wrap(fault.Usage, "", fmt.Errorf("preparing picture %d: %w", i+1, err))
		}
	}
	return nil
}

func (m *Model) planReference(j *job, sizes picture.Reference) error {
	grid, err := m.processor.Grid(sizes.Condition)
	if err != nil {
		return err
	}
	shape, err := latents.Of(m.scale.Channels(), sizes.VAE.H, sizes.VAE.W)
	if err != nil {
		return err
	}
	j.images = append(j.images, textencoder.Image{Grid: grid})
	j.references = append(j.references, reference{size: sizes.VAE, shape: shape})
	return nil
}

// takes says how many pictures the model edits.
func (m *Model) takes() string {
	if m.kind == prompt.Edit {
		return "one"
	}
	return "one or more"
}

// preparePicture resizes a reference for both encoders.
func (m *Model) preparePicture(j *job, i int, p *picture.RGB) error {
	sizes := j.plan.References[i]
	forVAE, err := picture.Resize(p, sizes.VAE.W, sizes.VAE.H, picture.Lanczos)
	if err != nil {
		return err
	}
	condition := forVAE
	if sizes.Condition != sizes.VAE {
		if condition, err = picture.Resize(p, sizes.Condition.W, sizes.Condition.H, picture.Lanczos); err != nil {
			return err
		}
	}
	j.references[i].pixels = forVAE.AppendVAE(nil)
	j.images[i].Patches, j.images[i].Grid, err = m.processor.Append(nil, condition)
	return err
}

// preparePrompts makes the text encoder's tokens.
func (m *Model) preparePrompts(j *job, texts []string) error {
	var counts []int
	for _, image := range j.images {
		counts = append(counts, image.Grid.Patches()/(m.processor.MergeSize*m.processor.MergeSize))
	}
	limit := transformer.MaxText(j.target, j.referenceShapes()...)
	for _, text := range texts {
		ids, err := m.tokenizer.EncodePlain(text)
		if err != nil {
			return fault.Wrap(fault.Usage, "", err)
		}
		if len(ids) > MaxPromptTokens {
			return fault.Wrap(fault.Usage, "", fmt.Errorf("reading the prompt: it has %d tokens, at most %d are taken", len(ids), MaxPromptTokens))
		}
		p, err := m.template.Prompt(counts, ids)
		if err != nil {
			return fault.Wrap(fault.Usage, "", err)
		}
		if n := len(p.IDs) - p.Drop; n > limit {
			err := fmt.Errorf("reading the prompt: with %d pictures it has %d tokens, the model has positions for %d", len(counts), n, limit)
			return fault.Wrap(fault.Usage, "use fewer pictures or a shorter prompt", err)
		}
		j.prompts = append(j.prompts, p)
	}
	return nil
}

// startNoise is what a seed means: the latents' noise in the model's own format, packed.
func startNoise(s latents.Shape, seed uint64) []float32 {
	z := make([]float32, s.Len())
	noise.Normal(z, seed, noise.H100)
	for i, v := range z {
		z[i] = bf16.Round(v)
	}
	packed := make([]float32, s.Len())
	s.Pack(packed, z)
	return packed
}
