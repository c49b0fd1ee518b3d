package qwen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
)

// MaxPromptTokens is the length of the longest prompt, in tokens of its text alone. The
// transformer's table of positions ends at 4096, which picture and prompt share; 1,024 is
// what diffusers' pipelines allow.
const MaxPromptTokens = 1024

// Edit wraps these.
var (
	// ErrMemory is about a picture whose activations do not fit into the backend's arena.
	ErrMemory = errors.New("there is too little memory for activations")
	// ErrUnusable is about a machine with an error that stays: the model edits nothing more.
	ErrUnusable = errors.New("the backend can run nothing more")
)

// Edit is a wish.
type Edit struct {
	// Checkpoint is the name of a loaded one; "" takes the first.
	Checkpoint string
	// Pictures are the references, as picture.Decode made them: one for Qwen-Image-Edit, any
	// number for its Plus.
	Pictures []*picture.RGB
	Prompt   string
	// Negative is the prompt that guidance leads away from; nil switches guidance off, as
	// it does in diffusers. An empty one does not.
	Negative *string
	// Steps and TrueCFGScale are the checkpoint's where they are 0.
	Steps        int
	TrueCFGScale float64
	// Size is the size of the result; the zero Size, or a zero side, follows the picture. It
	// may have 16 times the model's own area.
	Size picture.Size
	Seed uint64
	// Progress, if not nil, is called before the first step and after each, by the
	// goroutine that called Edit.
	Progress func(step, steps int)
}

// Edited is what became of it.
type Edited struct {
	Picture *picture.RGB
	// Checkpoint, Steps and TrueCFGScale are those that acted. Guided says whether guidance
	// did.
	Checkpoint   string
	Steps        int
	TrueCFGScale float64
	Guided       bool
	Seed         uint64
	// Tokens are those that the transformer saw.
	Tokens Tokens
	// ArenaBytes is the memory that activations took.
	ArenaBytes int64
	Times      Times
}

// Tokens are the transformer's: of the picture that is made, of all references together, and
// of the prompt with the tokens of the references that the text encoder saw.
type Tokens struct{ Target, References, Text int }

// Times says where an edit's time went. Waiting for other edits is not in it.
type Times struct {
	// Prepare is the host's part: resizing, tokens, noise. Text is the text encoder with its
	// vision tower, Encode and Decode the VAE.
	Prepare, Text, Encode, Sample, Decode time.Duration
}

// Total adds the times up.
func (t Times) Total() time.Duration { return t.Prepare + t.Text + t.Encode + t.Sample + t.Decode }

// Edit edits a picture. Errors of kind fault.Usage are about the wish, those of kind
// fault.Resource about memory; both come before anything is computed. A prediction that is not
// finite is an error of its own edit alone. One of the machine wraps ErrUnusable: it stays, and
// further edits get it too. When ctx ends the edit does, at the next block of a network, and the
// model goes on with others. The same wish gives the same picture on the same backend.
func (m *Model) Edit(ctx context.Context, e Edit) (*Edited, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.unlock()
	began := time.Now()
	j, err := m.outline(e)
	if err != nil {
		return nil, err
	}
	counted := m.countBeside(ctx, j)
	defer func() { <-counted.done }() // before the turn is another's, though filling panics
	err = m.fill(j, e)
	need, countErr := counted.wait()
	if err = cmp.Or(err, countErr); err != nil {
		return nil, err
	}
	if need > m.arena {
		err := fmt.Errorf("editing a picture of %v with %d tokens of text: %w: they take %d bytes, there are %d", j.plan.Output, len(j.prompts[0].IDs), ErrMemory, need, m.arena)
		return nil, fault.Wrap(fault.Resource, "ask for a smaller picture, or give the backend more memory", err)
	}
	out := &Edited{Checkpoint: j.binding.Name, Steps: j.schedule.Steps(), TrueCFGScale: j.scale, Guided: j.guided(), Seed: e.Seed, ArenaBytes: need}
	out.Tokens = j.tokens()
	out.Times.Prepare = time.Since(began)
	if out.Picture, err = j.run(ctx, m.real, &out.Times); err != nil {
		err = fmt.Errorf("editing a picture of %v: %w", j.plan.Output, err)
		if m.real.backend.Renew() != nil {
			err = fmt.Errorf("%w: %w", ErrUnusable, err)
		}
		return nil, err
	}
	return out, nil
}

// countBeside counts how many bytes of the arena a job takes at its peak, beside its pictures'
// preparing. Whoever gets the counting waits for its end, as the model's counter is used by one
// at a time.
func (m *Model) countBeside(ctx context.Context, j *job) *counting {
	c := &counting{done: make(chan struct{})}
	b := m.blank(j)
	go func() {
		defer close(c.done)
		defer func() {
			if v := recover(); v != nil {
				c.panicked = &defect{v, debug.Stack()}
			}
		}()
		r, err := m.count(ctx, b)
		c.bytes, c.err = r.Total.ArenaPeak, err
	}()
	return c
}

// counting is a count that goes on.
type counting struct {
	done     chan struct{}
	bytes    int64
	err      error
	panicked *defect
}

// wait waits for the count. It panics where the count did: that is the caller's edit's end, and
// not the process's.
func (c *counting) wait() (int64, error) {
	<-c.done
	if c.panicked != nil {
		panic(c.panicked)
	}
	return c.bytes, c.err
}

// defect is a panic of another goroutine than the one that it is to end. It is an error so that
// the runtime prints both.
type defect struct {
	value any
	stack []byte
}

func (d *defect) Error() string {
	return fmt.Sprintf("%v\n\nwhile activations were counted:\n%s", d.value, d.stack)
}

// count runs a blank job on the backend that counts.
func (m *Model) count(ctx context.Context, j *job) (plan.Result, error) {
	m.counter.Begin()
	if _, err := j.pixels(ctx, m.planned, &Times{}); err != nil {
		return plan.Result{}, fmt.Errorf("planning a picture of %v: %w", j.plan.Output, err)
	}
	return m.counter.Result(), nil
}

// Plan says what an edit takes, without computing it: weights, activations and operations.
// Errors are those that Edit has about the wish.
func (m *Model) Plan(ctx context.Context, e Edit) (plan.Result, error) {
	j, err := m.outline(e)
	if err != nil {
		return plan.Result{}, err
	}
	if err := m.lock(ctx); err != nil {
		return plan.Result{}, err
	}
	defer m.unlock()
	return m.count(ctx, m.blank(j))
}

// Sample is an edit that is typical of the model: a square picture and a prompt of a
// sentence, as the default checkpoint is meant to be sampled. It is what to plan for when
// nobody has asked yet.
func (m *Model) Sample() Edit {
	side := int(math.Sqrt(float64(m.areas.PixelArea)))
	p := &picture.RGB{W: side, H: side, Pix: make([]byte, 3*side*side)}
	negative := " "
	return Edit{Pictures: []*picture.RGB{p}, Prompt: "Replace the sky with a clear night full of stars.", Negative: &negative}
}

// lock waits for the turn to use the backends. There is none after Close.
func (m *Model) lock(ctx context.Context) error {
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the edit before this one: %w", ctx.Err())
	}
	if m.closed {
		m.unlock()
		return errors.New("editing a picture: the model is closed")
	}
	return nil
}

func (m *Model) unlock() { <-m.turn }

// effective fills in what the wish leaves to the checkpoint.
func (e Edit) effective(b schedule.Binding) (steps int, scale float64) {
	steps, scale = e.Steps, e.TrueCFGScale
	if steps == 0 {
		steps = b.Steps
	}
	if scale == 0 {
		scale = b.TrueCFGScale
	}
	return steps, scale
}
