package schedule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/config"
)

// ClassName is the one scheduler class that is implemented.
const ClassName = "FlowMatchEulerDiscreteScheduler"

// option is a key of the class that must have one value.
type option struct {
	key    string
	absent any // what the class takes where the key is absent
	want   any
}

// options are the ways to sample that the class knows and only one of which is implemented.
// The defaults are those of diffusers 0.42.1.
var options = []option{
	{"_class_name", nil, ClassName},
	{"use_dynamic_shifting", false, true},
	{"time_shift_type", "exponential", "exponential"},
	{"num_train_timesteps", float64(TrainTimesteps), float64(TrainTimesteps)},
	{"invert_sigmas", false, false},
	{"stochastic_sampling", false, false},
	{"use_karras_sigmas", false, false},
	{"use_exponential_sigmas", false, false},
	{"use_beta_sigmas", false, false},
}

// numbers are the other keys of the class. shift is of no effect with dynamic shifting.
var numbers = []string{"base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len", "shift_terminal", "shift"}

// Parse reads the base model's schedule from the text of scheduler/scheduler_config.json.
// Absent keys have the class's defaults; a shift_terminal of null or 0 is none. Another class,
// an option that is not implemented, a key that the class doesn't have (those that begin
// with "_" are diffusers' own notes and are passed over) and values out of range are refused:
// errors are of kind fault.Invalid and name the key, what is there and what is implemented.
func Parse(data []byte) (manifests.Scheduler, error) {
	s, err := parse(data)
	if err == nil {
		err = s.Check()
	}
	if err != nil {
		return manifests.Scheduler{}, fault.Wrap(fault.Invalid, "", fmt.Errorf("reading scheduler_config.json: %w", err))
	}
	return s, nil
}

func parse(data []byte) (s manifests.Scheduler, err error) {
	o, err := config.Parse(data)
	if err != nil {
		return s, err
	}
	for _, opt := range options {
		if err := opt.check(o); err != nil {
			return s, err
		}
	}
	for _, key := range o.Keys() {
		if !known(key) {
			return s, fmt.Errorf("%s is %s, an option that is not known here", key, o.Text(key))
		}
	}
	if _, err := config.Get(o, "shift", 1.0); err != nil {
		return s, err
	}
	return shifts(o)
}

// shifts reads the numbers that act.
func shifts(o config.Object) (s manifests.Scheduler, err error) {
	if s.BaseShift, err = config.Get(o, "base_shift", 0.5); err != nil {
		return s, err
	}
	if s.MaxShift, err = config.Get(o, "max_shift", 1.15); err != nil {
		return s, err
	}
	if s.BaseSeqLen, err = config.Get(o, "base_image_seq_len", 256); err != nil {
		return s, err
	}
	if s.MaxSeqLen, err = config.Get(o, "max_image_seq_len", 4096); err != nil || o.Null("shift_terminal") {
		return s, err
	}
	s.ShiftTerminal, err = config.Get(o, "shift_terminal", 0.0)
	return s, err
}

func (p option) check(o config.Object) error {
	value, err := config.Get(o, p.key, p.absent)
	if err == nil && value == p.want {
		return nil
	}
	text := o.Text(p.key)
	if text == "nothing" && p.absent != nil {
		text = fmt.Sprintf("absent, which means %v", p.absent)
	}
	want, _ := json.Marshal(p.want) // text, a number or a bool
	return fmt.Errorf("%s is %s, only %s is implemented", p.key, text, want)
}

func known(key string) bool {
	return strings.HasPrefix(key, "_") || slices.Contains(numbers, key) ||
		slices.ContainsFunc(options, func(o option) bool { return o.key == key })
}
