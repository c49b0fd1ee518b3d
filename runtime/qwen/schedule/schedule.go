// Package schedule is the sampling schedule of the model: which noise levels a picture
// passes through on its way from noise, and the step from one to the next.
//
// The model is a flow: at noise level σ between 1 (noise) and 0 (the picture) it predicts
// the velocity v, and x moves along it in Euler steps, x += (σ' − σ)·v. The levels are those
// of diffusers' FlowMatchEulerDiscreteScheduler as its Qwen-Image pipelines drive it, with
// dynamic exponential shifting:
//
//	σ    N values from 1 to 1/N, evenly
//	mu   linear in the number S of target tokens: baseShift at baseSeqLen, maxShift at maxSeqLen
//	σ'   e^mu / (e^mu + 1/σ − 1)
//	σ”   1 − (1−σ')·(1−T)/(1−σ'_last), if there is a terminal T: stretched to end at T
//	     and a 0 behind the last
//
// S counts the target's packed tokens only, not those of reference pictures. The order of
// number formats is part of the definition and is kept: the even values and mu are float64
// (numpy, Python), everything from there on is rounded to float32 after each operation.
// The levels are equal to diffusers' bit for bit in the golden vectors of testdata, which
// come from its version 0.42.1.
//
// Which schedule belongs to a checkpoint is package manifests' matter: the base model's lies
// in its repository (Parse), the one of a distilled checkpoint only in our own model.json.
// Bind joins a checkpoint with its schedule, its steps and its guidance, and says where they
// don't fit together.
//
// Everything here is a pure function of its arguments; values are read-only and safe for
// concurrent use.
package schedule

import (
	"fmt"
	"math"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// TrainTimesteps is the range of timesteps, σ·1000: the only one that diffusers' pipelines
// work with, which divide by it as a constant.
const TrainTimesteps = 1000

// MaxSteps is the largest number of steps; the model was trained on no more levels.
const MaxSteps = TrainTimesteps

// Schedule is the noise levels of one picture. The zero value has no steps.
type Schedule struct {
	mu     float64
	sigmas []float32 // steps + 1, strictly falling, the last one 0
}

// New computes the schedule of a picture with that many target tokens, (H/16)·(W/16) for one
// of H×W pixels, in steps steps. Errors are of kind fault.Usage if steps is not within 1 to
// MaxSteps, tokens not over 0, or it is one step to a terminal (where diffusers divides by
// zero), and of kind fault.Invalid if the scheduler is none, or one whose levels don't fall from
// 1 to above 0, as with shifts beyond float32.
func New(s manifests.Scheduler, steps, tokens int) (Schedule, error) {
	if steps < 1 || steps > MaxSteps || tokens < 1 {
		return Schedule{}, fault.Wrap(fault.Usage, "", fmt.Errorf("making a schedule of %d steps for %d tokens: want 1 to %d steps and 1 token or more", steps, tokens, MaxSteps))
	}
	if err := s.Check(); err != nil {
		return Schedule{}, fault.Wrap(fault.Invalid, "", fmt.Errorf("making a schedule: %w", err))
	}
	if steps == 1 && s.ShiftTerminal != 0 {
		err := fmt.Errorf("making a schedule of 1 step: its one level, 1, cannot be %g as well, which the scheduler ends at", s.ShiftTerminal)
		return Schedule{}, fault.Wrap(fault.Usage, "take 2 steps or more", err)
	}
	out := Schedule{mu: Mu(s, tokens), sigmas: make([]float32, steps+1)}
	levels := out.sigmas[:steps]
	even(levels)
	shift(levels, out.mu)
	if s.ShiftTerminal != 0 {
		stretch(levels, s.ShiftTerminal)
	}
	for i, sigma := range levels {
		if !(sigma > out.sigmas[i+1]) || !(sigma <= 1) { // false for NaN as well
			return Schedule{}, fault.Wrap(fault.Invalid, "", fmt.Errorf("making a schedule of %d steps for %d tokens: sigma %d is %g and the next one %g with mu %g and terminal %g, want levels that fall from 1 to 0",
				steps, tokens, i, sigma, out.sigmas[i+1], out.mu, s.ShiftTerminal))
		}
	}
	return out, nil
}

// Mu is the logarithm of the shift for a number of target tokens, on the line through the
// scheduler's two ends; outside of them it goes on. It is computed as diffusers' pipelines do
// (calculate_shift), in float64.
func Mu(s manifests.Scheduler, tokens int) float64 {
	slope := (s.MaxShift - s.BaseShift) / float64(s.MaxSeqLen-s.BaseSeqLen)
	// The conversions keep compilers from fusing a product into the sum behind it, here and
	// below: the result is the same on every processor.
	offset := s.BaseShift - float64(slope*float64(s.BaseSeqLen))
	return float64(float64(tokens)*slope) + offset
}

// even fills levels with 1 … 1/n as numpy.linspace does in float64, then rounds.
func even(levels []float32) {
	n := float64(len(levels))
	step := (1/n - 1) / (n - 1)
	for i := range levels {
		levels[i] = float32(float64(float64(i)*step) + 1)
	}
	levels[0] = 1 // of one level, whose step is 0/0
	if len(levels) > 1 {
		levels[len(levels)-1] = float32(1 / n)
	}
}

// shift moves the levels towards 1 by e^mu.
func shift(levels []float32, mu float64) {
	e := float32(math.Exp(mu))
	for i, t := range levels {
		levels[i] = e / (e + (1/t - 1))
	}
}

// stretch scales the distances from 1 so that the last level is the terminal.
func stretch(levels []float32, terminal float64) {
	scale := (1 - levels[len(levels)-1]) / float32(1-terminal)
	for i, t := range levels {
		levels[i] = 1 - (1-t)/scale
	}
}

// Steps is the number of steps.
func (s Schedule) Steps() int { return max(len(s.sigmas)-1, 0) }

// Mu is the logarithm of the shift that was applied.
func (s Schedule) Mu() float64 { return s.mu }

// Sigma is the noise level before step i, from 1 at 0 to exactly 0 at Steps.
func (s Schedule) Sigma(i int) float32 { return s.sigmas[i] }

// Timestep is the level before step i in the unit of the timesteps, σ·1000.
func (s Schedule) Timestep(i int) float32 { return s.sigmas[i] * TrainTimesteps }

// Step moves x along the velocity v from level i to level i+1, in place: x += (σ' − σ)·v, in
// float32 with the product rounded, as diffusers does it for float32 tensors. x and v are of
// one length, in any layout; another length panics. For tensors in bfloat16 diffusers rounds the product
// to bfloat16 before it adds and the sum after, and so loses what is kept here; rounding x
// once afterwards is the caller's choice.
func (s Schedule) Step(i int, x, v []float32) {
	if len(x) != len(v) {
		panic(fmt.Sprintf("schedule: a step of %d values with %d velocities", len(x), len(v)))
	}
	dt := s.sigmas[i+1] - s.sigmas[i]
	for j, velocity := range v {
		x[j] += float32(dt * velocity)
	}
}
