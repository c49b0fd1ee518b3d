package schedule

import (
	"fmt"
	"math"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
)

// Binding is a checkpoint with the way in which it is sampled. The three belong together:
// a distilled checkpoint under the base model's schedule, or with another number of steps or
// with guidance, gives a spoiled picture and no error (nunchaku#735).
type Binding struct {
	// Name is the checkpoint's, as variants and requests use it.
	Name string
	// Scheduler is the schedule that acts: the checkpoint's own, or the base model's.
	Scheduler manifests.Scheduler
	// Own says that the schedule is the checkpoint's own.
	Own bool
	// Steps is the number of steps that the checkpoint is meant for.
	Steps int
	// TrueCFGScale is the guidance scale that it is meant for; 1 is without guidance.
	TrueCFGScale float64
	// Conflict is nil, or why the schedule is not the one that the checkpoint was made for: an
	// error of kind fault.Invalid with a hint. Whether that is refused or said in a warning is
	// the caller's to decide; Schedule computes what was asked for.
	Conflict error
}

// Bind joins a checkpoint of model.json with the schedule of the base model, as Parse returns
// it. A checkpoint without a schedule of its own gets the base's. Steps, scale or a schedule
// out of range are an error of kind fault.Invalid.
//
// What fits together is package verify/modelset's judgement, so that the service never starts
// with what verify warned of without saying so.
func Bind(c manifests.ModelCheckpoint, base manifests.Scheduler) (Binding, error) {
	b := Binding{Name: c.Name, Scheduler: c.Scheduler, Own: c.Scheduler != manifests.Scheduler{}, Steps: c.Steps, TrueCFGScale: c.TrueCFGScale}
	if !b.Own {
		b.Scheduler = base
	}
	if err := b.check(); err != nil {
		return Binding{}, fault.Wrap(fault.Invalid, "", fmt.Errorf("binding checkpoint %s to its schedule: %w", c.Name, err))
	}
	if words := modelset.ScheduleConflict(c, base); words != "" {
		b.Conflict = fault.Wrap(fault.Invalid, modelset.ScheduleHint, fmt.Errorf("binding checkpoint %s to its schedule: %s", c.Name, words))
	}
	return b, nil
}

func (b Binding) check() error {
	switch {
	case b.Steps < 1 || b.Steps > MaxSteps:
		return fmt.Errorf("steps is %d, want 1 to %d", b.Steps, MaxSteps)
	case !(b.TrueCFGScale > 0) || math.IsInf(b.TrueCFGScale, 1):
		return fmt.Errorf("trueCFGScale is %g, want a number over 0", b.TrueCFGScale)
	}
	return b.Scheduler.Check()
}

// Schedule computes the levels for a picture of that many target tokens in the checkpoint's
// own number of steps. Errors are New's.
func (b Binding) Schedule(tokens int) (Schedule, error) {
	return New(b.Scheduler, b.Steps, tokens)
}

// Guided reports whether the checkpoint is meant to be sampled with guidance, which takes
// two passes a step.
func (b Binding) Guided() bool { return b.TrueCFGScale > 1 }
