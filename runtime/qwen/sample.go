package qwen

import (
	"context"
	"fmt"
	"time"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/transformer"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/vae"
)

// run takes a job through the networks and makes the picture. The backend's arena is as it was
// afterwards.
func (j *job) run(ctx context.Context, c *components, t *Times) (*picture.RGB, error) {
	pixels, err := j.pixels(ctx, c, t)
	if err != nil {
		return nil, err
	}
	return picture.FromVAE(pixels, j.plan.Output.W, j.plan.Output.H)
}

// pixels takes a job through the networks, to the decoder's values.
func (j *job) pixels(ctx context.Context, c *components, t *Times) (out []float32, err error) {
	b := c.backend
	defer b.Reset(b.Mark())
	var texts []compute.Tensor
	var references, tokens []float32
	for _, stage := range []struct {
		name string
		time *time.Duration
		do   func() error
	}{
		{"encoding the prompt", &t.Text, func() (err error) { texts, err = j.encodeTexts(ctx, c); return err }},
		{"encoding the picture", &t.Encode, func() (err error) { references, err = j.encodeReferences(ctx, c); return err }},
		{"sampling", &t.Sample, func() (err error) { tokens, err = j.sample(ctx, c, texts, references); return err }},
		{"decoding the picture", &t.Decode, func() (err error) { out, err = j.decode(ctx, c, tokens); return err }},
	} {
		began := time.Now()
		plan.Stage(c.backend, stage.name)
		if err := stage.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", stage.name, err)
		}
		*stage.time += time.Since(began)
	}
	return out, nil
}

// encodeTexts runs the text encoder on every prompt.
func (j *job) encodeTexts(ctx context.Context, c *components) ([]compute.Tensor, error) {
	texts, err := c.text.Encode(ctx, j.images, j.prompts...)
	if err != nil {
		return nil, err
	}
	return texts, c.backend.Sync()
}

// encodeReferences runs the VAE's encoder on every reference and returns their tokens.
func (j *job) encodeReferences(ctx context.Context, c *components) ([]float32, error) {
	var joined []float32
	for i, r := range j.references {
		z, err := j.encode(ctx, c, r)
		if err != nil {
			return nil, fmt.Errorf("picture %d: %w", i+1, err)
		}
		j.statistics.Normalise(z)
		tokens := make([]float32, len(z))
		r.shape.Pack(tokens, z)
		joined = append(joined, tokens...)
	}
	return joined, nil
}

// encode returns a reference's latents [C, H/8, W/8].
func (j *job) encode(ctx context.Context, c *components, r reference) ([]float32, error) {
	b := c.backend
	defer b.Reset(b.Mark())
	x := b.Alloc(compute.Act, r.size.H*r.size.W, vae.Channels)
	b.Upload(x, r.pixels)
	out, err := c.vae.Encode(ctx, x, r.size.H, r.size.W)
	if err != nil {
		return nil, err
	}
	rows, z := make([]float32, r.shape.Len()), make([]float32, r.shape.Len())
	if err := b.Download(rows, out); err != nil {
		return nil, err
	}
	r.shape.ChannelsFirst(z, rows)
	return z, nil
}

// sample runs the transformer over all steps and returns the tokens that it arrives at.
func (j *job) sample(ctx context.Context, c *components, embeddings []compute.Tensor, references []float32) ([]float32, error) {
	b, model := c.backend, c.transformers[j.binding.Name]
	run, err := model.Begin(transformer.Edit{Target: j.target, References: j.referenceShapes(), Times: j.times})
	if err != nil {
		return nil, err
	}
	texts := make([]transformer.Text, len(embeddings))
	for i, e := range embeddings {
		if texts[i], err = run.Text(e); err != nil {
			return nil, err
		}
	}
	x := b.Alloc(compute.F32, j.target.Tokens(), j.target.TokenWidth())
	refs := b.Alloc(compute.F32, len(references)/j.target.TokenWidth(), j.target.TokenWidth())
	b.Upload(x, j.noise)
	b.Upload(refs, references)
	steps := j.schedule.Steps()
	if err := plan.Times(b, steps, func(i int) error {
		j.progress(i, steps)
		if err := j.step(ctx, b, run, i, x, refs, texts); err != nil {
			return fmt.Errorf("step %d of %d: %w", i+1, steps, err)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	j.progress(steps, steps)
	tokens := make([]float32, x.Len())
	return tokens, b.Download(tokens, x)
}

// step moves the latents from one noise level to the next.
func (j *job) step(ctx context.Context, b compute.Backend, run *transformer.Run, i int, x, refs compute.Tensor, texts []transformer.Text) error {
	defer b.Reset(b.Mark())
	v, err := run.Forward(ctx, i, x, refs, texts[0])
	if err != nil {
		return err
	}
	if len(texts) > 1 {
		negative, err := run.Forward(ctx, i, x, refs, texts[1])
		if err != nil {
			return err
		}
		b.Guide(v, v, negative, float32(j.scale))
	}
	b.Euler(x, v, j.schedule.Sigma(i+1)-j.schedule.Sigma(i))
	b.Finite(x, fmt.Sprintf("the latents behind step %d", i+1))
	if j.trace == nil {
		return b.Sync()
	}
	tokens := make([]float32, x.Len())
	defer j.trace(i, tokens)
	return b.Download(tokens, x)
}

func (j *job) referenceShapes() []latents.Shape {
	shapes := make([]latents.Shape, len(j.references))
	for i, r := range j.references {
		shapes[i] = r.shape
	}
	return shapes
}

// decode makes the picture of packed tokens, in the decoder's values [H·W, 3].
func (j *job) decode(ctx context.Context, c *components, tokens []float32) ([]float32, error) {
	z := make([]float32, j.target.Len())
	j.target.Unpack(z, tokens)
	j.statistics.Denormalise(z)
	rows := make([]float32, j.target.Len())
	j.target.ChannelsLast(rows, z)
	b := c.backend
	defer b.Reset(b.Mark())
	x := b.Alloc(compute.Act, j.target.Height*j.target.Width, j.target.Channels)
	b.Upload(x, rows)
	out, err := c.vae.Decode(ctx, x, j.target.Height, j.target.Width)
	if err != nil {
		return nil, err
	}
	pixels := make([]float32, out.Len())
	return pixels, b.Download(pixels, out)
}
