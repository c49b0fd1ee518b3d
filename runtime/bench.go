package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

// benchFlags are the flags of bench.
type benchFlags struct {
	start              startFlags
	checkpoint, prompt *string
	steps, runs        *int
	json               *bool
}

// setupBench measures loading and editing on this machine.
func setupBench(flags *flag.FlagSet) action {
	b := &benchFlags{start: declareStart(flags)}
	b.checkpoint = flags.String("checkpoint", "", "`NAME` of the checkpoint (default the first of the priority list)")
	b.prompt = flags.String("prompt", "", "`TEXT` of the edit (default a sentence)")
	b.steps = flags.Int("steps", 0, "`N` steps (default the checkpoint's)")
	b.runs = flags.Int("runs", 5, "`N` edits are measured, after one that is not")
	b.json = jsonFlag(flags)
	return b.run
}

func (f *benchFlags) run(ctx context.Context, p *program, _ []string) error {
	if *f.runs < 1 {
		return fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: runs is %d, want 1 or more", *f.runs))
	}
	log := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	machine, err := chooseMachine(f.start, log)
	if err != nil {
		return err
	}
	defer machine.join()
	b := &bench{flags: f, program: p, machine: machine, result: benchResult{SchemaVersion: 1, Version: programVersion, Date: time.Now().UTC().Truncate(time.Second)}}
	s := &starter{program: p, flags: f.start, log: log, machine: machine, state: func(string, int64, int64) {}}
	if err := b.measure(ctx, s); err != nil {
		return err
	}
	if *f.json {
		return p.printJSON(b.result)
	}
	return p.print(b.result.text())
}

// bench is a measurement under way.
type bench struct {
	flags   *benchFlags
	program *program
	machine machine
	model   *qwen.Model
	// request is the picture as it comes to the service, and wish the edit without it.
	request []byte
	wish    qwen.Edit
	result  benchResult
}

// measure fills the result in: first the ceilings, on an empty machine, then the model's load,
// then edits.
func (b *bench) measure(ctx context.Context, s *starter) (err error) {
	r := &b.result
	if r.Ceilings, err = b.machine.ceilings(); err != nil {
		return err
	}
	began := time.Now()
	if b.model, err = s.start(ctx); err != nil {
		return err
	}
	defer b.model.Close()
	r.setDevice(s.machine)
	r.setLoad(b.model.Loaded(), time.Since(began))
	if err := b.prepare(); err != nil {
		return err
	}
	work, err := b.plan(ctx)
	if err != nil {
		return err
	}
	first, err := b.edit(ctx, "the first")
	if err != nil {
		return err
	}
	r.FirstEdit = first.total.Seconds()
	var all []timing
	for i := range *b.flags.runs {
		t, err := b.edit(ctx, fmt.Sprintf("%d of %d", i+1, *b.flags.runs))
		if err != nil {
			return err
		}
		all = append(all, t)
	}
	r.Runs = len(all)
	r.setStages(all, work)
	r.setMemory(b.machine, s.placed, b.model.Peak())
	return nil
}

// prepare makes the request: a picture of the model's own area in which no two pixels next to
// each other are alike, as a JPEG.
func (b *bench) prepare() (err error) {
	b.wish = b.model.Sample()
	p := b.wish.Pictures[0]
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range p.Pix {
		x, y := i/3%p.W, i/3/p.W
		p.Pix[i] = uint8((x+2*y+85*(i%3))/8 + rng.IntN(64))
	}
	if b.request, err = upload(p); err != nil {
		return fmt.Errorf("making the picture: %w", err)
	}
	b.wish.Checkpoint, b.wish.Steps, b.wish.Seed = *b.flags.checkpoint, *b.flags.steps, 1
	if *b.flags.prompt != "" {
		b.wish.Prompt = *b.flags.prompt
	}
	return nil
}

// upload is a picture as people send it: a JPEG without the restart markers of our own, which are
// read faster.
func upload(p *picture.RGB) ([]byte, error) {
	m := image.NewRGBA(image.Rect(0, 0, p.W, p.H))
	for i := range p.W * p.H {
		copy(m.Pix[4*i:], p.Pix[3*i:][:3])
		m.Pix[4*i+3] = 0xff
	}
	var data bytes.Buffer
	err := jpeg.Encode(&data, m, &jpeg.Options{Quality: 95})
	return data.Bytes(), err
}

// timing is where one edit's time went. The steps are parts of the sampling.
type timing struct {
	read, write, total time.Duration
	times              qwen.Times
	steps              []time.Duration
}

// edit goes the way of a request of the service: from the bytes of a picture to those of the
// answer's, in one process.
func (b *bench) edit(ctx context.Context, which string) (t timing, err error) {
	began := time.Now()
	p, err := picture.Decode(b.request, editLimits)
	if err != nil {
		return t, fmt.Errorf("reading the picture: %w", err)
	}
	t.read = time.Since(began)
	wish, last := b.wish, time.Time{}
	wish.Pictures = []*picture.RGB{p}
	wish.Progress = func(step, _ int) {
		now := time.Now()
		if step > 0 {
			t.steps = append(t.steps, now.Sub(last))
		}
		last = now
	}
	done, err := b.model.Edit(ctx, wish)
	if err != nil {
		return t, err
	}
	t.times = done.Times
	encode := time.Now()
	if _, err := done.Picture.JPEG(); err != nil {
		return t, err
	}
	t.write, t.total = time.Since(encode), time.Since(began)
	b.result.setEdit(done)
	fmt.Fprintf(b.program.stderr, "edit %s: %.3g s\n", which, t.total.Seconds())
	return t, nil
}

// works is what the stages compute.
type works struct{ text, encode, modulations, step, decode, total work }

// plan counts. A step is the difference that one more makes, without the modulations, of
// which every step has a row and which alone are AWQ's.
func (b *bench) plan(ctx context.Context) (w works, err error) {
	whole, err := b.model.Plan(ctx, b.wish)
	if err != nil {
		return w, err
	}
	var steps [2]work
	for i := range steps {
		wish := b.wish
		wish.Steps = i + 2 // no schedule with a last level has one step
		r, err := b.model.Plan(ctx, wish)
		if err != nil {
			return w, err
		}
		all := stageOf(r, "sampling")
		steps[i] = workOf(all...).minus(workOf(only(all, "awq")...))
	}
	w.step = steps[1].minus(steps[0])
	w.modulations = workOf(only(stageOf(whole, "sampling"), "awq")...)
	w.text = workOf(stageOf(whole, "encoding the prompt")...)
	w.encode, w.decode = workOf(stageOf(whole, "encoding the picture")...), workOf(stageOf(whole, "decoding the picture")...)
	w.total = workOf(whole.Total.Operations...)
	b.result.Memory.Weights = whole.WeightBytes
	return w, nil
}

// stageOf is the operations of a stage, which every edit has.
func stageOf(r plan.Result, name string) []plan.Operation {
	i := slices.IndexFunc(r.Stages, func(s plan.StageResult) bool { return s.Name == name })
	return r.Stages[i].Operations
}

// only is the operations of one name.
func only(all []plan.Operation, name string) []plan.Operation {
	return slices.DeleteFunc(slices.Clone(all), func(o plan.Operation) bool { return o.Name != name })
}
