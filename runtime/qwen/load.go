package qwen

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/config"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/textencoder"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/transformer"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/vae"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
)

// kinds are the pipelines that are implemented, by their class in model_index.json.
var kinds = map[string]prompt.Kind{
	"QwenImageEditPipeline":     prompt.Edit,
	"QwenImageEditPlusPipeline": prompt.EditPlus,
}

// components are the networks on one backend.
type components struct {
	backend      compute.Backend
	text         *textencoder.Model
	vae          *vae.Model
	transformers map[string]*transformer.Model
	loaded       []Loaded
}

// sources are what components are made of.
type sources struct {
	textConfig, vaeConfig []byte
	text, vae             *weights.Set
	checkpoints           []checkpoint
}

// checkpoint is one of them.
type checkpoint struct {
	name string
	set  *weights.Set
}

func (m *Model) load(ctx context.Context, folder *models.Folder, c *manifests.ModelConfig) error {
	if c.Serve == nil {
		return fault.Wrap(fault.Invalid, "", fmt.Errorf("reading model.json: it has no checkpoint to serve"))
	}
	if a := c.Serve; a.PixelArea < 1 || a.ConditionArea < 1 {
		return fault.Wrap(fault.Invalid, "", fmt.Errorf("reading model.json: pixelArea is %d and conditionArea %d, both must be positive", a.PixelArea, a.ConditionArea))
	}
	m.areas = *c.Serve
	f, err := findBase(folder, c)
	if err != nil {
		return err
	}
	if err := m.readDocuments(f); err != nil {
		return err
	}
	s, err := m.openWeights(f, c)
	if err != nil {
		return err
	}
	sample, err := m.outline(m.Sample())
	if err != nil {
		return err
	}
	sample = m.blank(sample)
	need := func(o plan.Options) (r plan.Result, err error) {
		m.counter = plan.New(o)
		if m.planned, err = s.load(ctx, m.counter); err != nil {
			return r, err
		}
		return m.count(ctx, sample)
	}
	if m.backend, m.arena, err = m.options.Open(need); err != nil {
		return err
	}
	m.real, err = s.load(ctx, m.backend)
	return err
}

// readDocuments reads what is not weights.
func (m *Model) readDocuments(f *files) error {
	read := func(name string, parse func(data []byte) error) error {
		data, err := f.document(name)
		if err != nil {
			return err
		}
		if err := parse(data); err != nil {
			return fault.Wrap(fault.Invalid, "", fmt.Errorf("reading %s: %w", name, err))
		}
		return nil
	}
	for _, d := range []struct {
		name  string
		parse func(data []byte) error
	}{
		{index, m.parseIndex},
		{"processor/tokenizer.json", m.parseTokenizer},
		{"processor/preprocessor_config.json", func(data []byte) (err error) { m.processor, err = picture.ParseProcessor(data); return err }},
		{"vae/config.json", func(data []byte) (err error) { m.scale, err = latents.ParseVAE(data); return err }},
	} {
		if err := read(d.name, d.parse); err != nil {
			return err
		}
	}
	return nil
}

func (m *Model) parseIndex(data []byte) error {
	object, err := config.Parse(data)
	if err != nil {
		return err
	}
	class, err := config.Get(object, "_class_name", "")
	if err != nil {
		return err
	}
	kind, ok := kinds[class]
	if !ok {
		return fmt.Errorf("the pipeline is %q; QwenImageEditPipeline and QwenImageEditPlusPipeline are implemented", class)
	}
	m.kind = kind
	return nil
}

func (m *Model) parseTokenizer(data []byte) (err error) {
	if m.tokenizer, err = tokenizer.Parse(data); err != nil {
		return err
	}
	m.template, err = prompt.New(m.kind, m.tokenizer)
	return err
}

// openWeights maps the weights, and binds each checkpoint to its schedule.
func (m *Model) openWeights(f *files, c *manifests.ModelConfig) (s sources, err error) {
	if s.textConfig, err = f.document("text_encoder/config.json"); err != nil {
		return s, err
	}
	if s.vaeConfig, err = f.document("vae/config.json"); err != nil {
		return s, err
	}
	if s.text, err = m.keep(f.component("text_encoder")); err != nil {
		return s, err
	}
	if s.vae, err = m.keep(f.component("vae")); err != nil {
		return s, err
	}
	data, err := f.document(modelset.SchedulerConfig)
	if err != nil {
		return s, err
	}
	base, err := schedule.Parse(data)
	if err != nil {
		return s, fmt.Errorf("reading %s: %w", modelset.SchedulerConfig, err)
	}
	for _, name := range m.options.Checkpoints {
		i := slices.IndexFunc(c.Checkpoints, func(k manifests.ModelCheckpoint) bool { return k.Name == name })
		if i < 0 {
			return s, fault.Wrap(fault.Invalid, "", fmt.Errorf("loading checkpoint %q: model.json has none of that name", name))
		}
		set, err := m.openCheckpoint(f, c.Checkpoints[i], base)
		if err != nil {
			return s, err
		}
		s.checkpoints = append(s.checkpoints, checkpoint{name, set})
	}
	if len(m.bindings) == 0 {
		return s, fault.Wrap(fault.Invalid, "", fmt.Errorf("loading checkpoints: none is named"))
	}
	return s, nil
}

func (m *Model) openCheckpoint(f *files, c manifests.ModelCheckpoint, base manifests.Scheduler) (*weights.Set, error) {
	b, err := schedule.Bind(c, base)
	if err != nil {
		return nil, err
	}
	m.bindings = append(m.bindings, b)
	return m.keep(f.weights(c.Path))
}

// keep remembers a set for Close.
func (m *Model) keep(s *weights.Set, err error) (*weights.Set, error) {
	if err == nil {
		m.sets = append(m.sets, s)
	}
	return s, err
}

// interruptible is a backend that takes no more weights of a component once ctx has ended:
// those of the published model may take minutes. Groups bear the component's name.
type interruptible struct {
	compute.Backend
	ctx       context.Context
	component string
}

// Group implements compute.Loader.
func (b interruptible) Group(name string) {
	if name != "" {
		name = b.component + ": " + name
	}
	b.Backend.Group(name)
}

// LoadLinear implements compute.Loader; a network has many of them.
func (b interruptible) LoadLinear(s compute.LinearSpec) (compute.Linear, error) {
	if err := b.ctx.Err(); err != nil {
		return nil, err
	}
	return b.Backend.LoadLinear(s)
}

// load makes the networks on a backend.
func (s sources) load(ctx context.Context, backend compute.Backend) (*components, error) {
	c := &components{backend: backend, transformers: map[string]*transformer.Model{}}
	for _, k := range s.checkpoints { // what every step reads is there first
		load := func(b compute.Backend) (err error) {
			c.transformers[k.name], err = transformer.New(b, k.set)
			return err
		}
		if err := c.load(ctx, k.name, k.set, load); err != nil {
			return nil, err
		}
	}
	text := func(b compute.Backend) (err error) {
		c.text, err = textencoder.New(b, s.textConfig, s.text)
		return err
	}
	if err := c.load(ctx, "text encoder", s.text, text); err != nil {
		return nil, err
	}
	pictures := func(b compute.Backend) (err error) { c.vae, err = vae.New(b, s.vaeConfig, s.vae); return err }
	if err := c.load(ctx, "VAE", s.vae, pictures); err != nil {
		return nil, err
	}
	return c, nil
}

// load loads one component, waits for it, and keeps what it took.
func (c *components) load(ctx context.Context, name string, set *weights.Set, load func(b compute.Backend) error) error {
	began := time.Now()
	err := load(interruptible{c.backend, ctx, name})
	if err == nil {
		err = c.backend.Sync()
	}
	if err != nil {
		return fmt.Errorf("loading %q: %w", name, err)
	}
	now := time.Now()
	c.loaded = append(c.loaded, Loaded{name, set.TakenBytes(), now.Sub(began), now})
	return nil
}
