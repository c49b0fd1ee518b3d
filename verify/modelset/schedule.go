package modelset

import (
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// CodeSchedule is the code of findings about sampling schedules.
const CodeSchedule = "schedule"

// SchedulerConfig is the path in a set of the base model's schedule.
const SchedulerConfig = "scheduler/scheduler_config.json"

// CheckSchedules holds the sampling schedules of the checkpoints that stand for the set's
// transformer against the one of the set. A Lightning checkpoint was distilled under a
// schedule of its own, which no repository ships; a picture that is sampled under the
// other's is spoiled without an error (nunchaku#735). So it is a warning
//
//   - if a Lightning checkpoint has no schedule and the set's is not Lightning's, or has
//     one that is not Lightning's,
//   - if another checkpoint has a schedule that is not the set's,
//   - if the set's schedule is of a kind that a description cannot express.
//
// Lightning is recognised by the file's name, or by the few steps without guidance that the
// checkpoint is said to be meant for, since no tensor shows it. Objects are the checkpoints'
// paths, or the set's file. A configuration that cannot be read is an error, as
// in Check. Sets of pipelines that are not known, and those without a scheduler, which Check
// reports, give no findings.
func CheckSchedules(fsys fs.FS, checkpoints []manifests.ModelCheckpoint) verify.Findings {
	s, err := openSet(fsys)
	if err != nil {
		return nil // Check has said so
	}
	c := &checker{set: s, broken: map[string]bool{}}
	index, err := s.readIndex(indexName)
	if err != nil || !slices.Contains(imagePipelines, index.class) {
		return nil
	}
	var config flowMatch
	if _, ok := c.document(SchedulerConfig, &config); !ok {
		return c.found
	}
	c.checkKind(config)
	for _, p := range checkpoints {
		c.checkSchedule(p, config.schedule())
	}
	return c.found
}

// flowMatch is the configuration of diffusers' FlowMatchEulerDiscreteScheduler, as far as
// it decides the schedule. Pointers are nil where a key is absent or null.
type flowMatch struct {
	BaseShift      *float64 `json:"base_shift"`
	MaxShift       *float64 `json:"max_shift"`
	BaseSeqLen     *int     `json:"base_image_seq_len"`
	MaxSeqLen      *int     `json:"max_image_seq_len"`
	ShiftTerminal  *float64 `json:"shift_terminal"`
	DynamicShift   bool     `json:"use_dynamic_shifting"`
	TimeShiftType  string   `json:"time_shift_type"`
	KarrasSigmas   bool     `json:"use_karras_sigmas"`
	ExponentSigmas bool     `json:"use_exponential_sigmas"`
	BetaSigmas     bool     `json:"use_beta_sigmas"`
}

// schedule is the configuration in a description's terms, with the class's own defaults
// for what is absent.
func (f flowMatch) schedule() manifests.Scheduler {
	return manifests.Scheduler{
		BaseShift: *cmp.Or(f.BaseShift, ptr(0.5)), MaxShift: *cmp.Or(f.MaxShift, ptr(1.15)),
		BaseSeqLen: *cmp.Or(f.BaseSeqLen, ptr(256)), MaxSeqLen: *cmp.Or(f.MaxSeqLen, ptr(4096)),
		ShiftTerminal: *cmp.Or(f.ShiftTerminal, ptr(0.0)),
	}
}

func ptr[T any](v T) *T { return &v }

// checkKind warns of schedules that are not dynamic and exponential.
func (c *checker) checkKind(f flowMatch) {
	if !f.DynamicShift || f.TimeShiftType != "" && f.TimeShiftType != "exponential" || f.KarrasSigmas || f.ExponentSigmas || f.BetaSigmas {
		c.add(verify.Warning, CodeSchedule, SchedulerConfig, "use_dynamic_shifting is %t, time_shift_type %q, or other sigmas are set: only dynamic exponential shifting is known here", f.DynamicShift, f.TimeShiftType)
	}
}

// checkSchedule judges one checkpoint.
func (c *checker) checkSchedule(p manifests.ModelCheckpoint, base manifests.Scheduler) {
	if conflict := ScheduleConflict(p, base); conflict != "" {
		c.add(verify.Warning, CodeSchedule, p.Path, "%s", conflict)
		c.found.Hint(ScheduleHint)
	}
}

// ScheduleHint is the way out of a conflict between a checkpoint and its schedule.
const ScheduleHint = "give the checkpoint its scheduler in the manifest"

// ScheduleConflict says in words why the schedule that a checkpoint would be sampled under
// is not the one that it was made for; "" if nothing speaks against it. base is the set's
// schedule, which acts where the checkpoint has none. CheckSchedules has the rules.
func ScheduleConflict(p manifests.ModelCheckpoint, base manifests.Scheduler) string {
	distilled := isDistilled(p)
	given := p.Scheduler != (manifests.Scheduler{})
	switch {
	case distilled && !given && !isLightning(base):
		return fmt.Sprintf("checkpoint %s has no schedule, and that of %s (%s) is not Lightning's (%s)", p.Name, SchedulerConfig, words(base), lightningWords)
	case distilled && given && !isLightning(p.Scheduler):
		return fmt.Sprintf("the schedule of checkpoint %s (%s) is not Lightning's (%s)", p.Name, words(p.Scheduler), lightningWords)
	case !distilled && given && !sameSchedule(p.Scheduler, base):
		return fmt.Sprintf("the schedule of checkpoint %s (%s) is not that of %s (%s)", p.Name, words(p.Scheduler), SchedulerConfig, words(base))
	}
	return ""
}

// fewSteps is the most steps that a published Lightning checkpoint is meant for.
const fewSteps = 8

// isDistilled reports whether a checkpoint is Lightning's, by its file's name or because it
// is said to be meant for so few steps and no guidance.
func isDistilled(p manifests.ModelCheckpoint) bool {
	return strings.Contains(strings.ToLower(path.Base(p.Path)), "lightning") ||
		p.Steps > 0 && p.Steps <= fewSteps && p.TrueCFGScale == 1
}

// lightningShift is the one shift of Lightning's schedule at all lengths: ln 3.
var lightningShift = math.Log(3)

const lightningWords = "base and max shift ln 3, no terminal"

func isLightning(s manifests.Scheduler) bool {
	return near(s.BaseShift, lightningShift) && near(s.MaxShift, lightningShift) && s.ShiftTerminal == 0
}

// sameSchedule compares what acts; the range of lengths does not where the shifts agree.
func sameSchedule(a, b manifests.Scheduler) bool {
	constant := near(a.BaseShift, a.MaxShift) && near(b.BaseShift, b.MaxShift)
	return near(a.BaseShift, b.BaseShift) && near(a.MaxShift, b.MaxShift) && near(a.ShiftTerminal, b.ShiftTerminal) &&
		(constant || a.BaseSeqLen == b.BaseSeqLen && a.MaxSeqLen == b.MaxSeqLen)
}

// near allows for constants written with fewer digits.
func near(a, b float64) bool { return math.Abs(a-b) < 1e-4 }

// words describes a schedule.
func words(s manifests.Scheduler) string {
	terminal := "no terminal"
	if s.ShiftTerminal != 0 {
		terminal = fmt.Sprintf("terminal %g", s.ShiftTerminal)
	}
	return fmt.Sprintf("base shift %g at %d, max shift %g at %d, %s", s.BaseShift, s.BaseSeqLen, s.MaxShift, s.MaxSeqLen, terminal)
}
