package modelset_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

const (
	lightning = "nunchaku/svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors"
	undistil  = "nunchaku/svdq-int4_r128-qwen-image-edit.safetensors"
	schedules = modelset.SchedulerConfig
)

// The two published schedules.
var (
	baseSchedule      = manifests.Scheduler{BaseShift: 0.5, MaxShift: 0.9, BaseSeqLen: 256, MaxSeqLen: 8192, ShiftTerminal: 0.02}
	lightningSchedule = manifests.Scheduler{BaseShift: math.Log(3), MaxShift: math.Log(3), BaseSeqLen: 256, MaxSeqLen: 8192}
)

func checkpointOf(path string, s manifests.Scheduler) []manifests.ModelCheckpoint {
	return []manifests.ModelCheckpoint{{Path: path, Checkpoint: manifests.Checkpoint{Name: "c", Scheduler: s}}}
}

func TestSchedules(t *testing.T) {
	none := manifests.Scheduler{}
	with := func(change func(*manifests.Scheduler)) manifests.Scheduler {
		s := baseSchedule
		change(&s)
		return s
	}
	cases := map[string]struct {
		path string
		s    manifests.Scheduler
		want string // in the finding; "" for none
	}{
		"base's on the base":      {undistil, baseSchedule, ""},
		"none on the base":        {undistil, none, ""},
		"Lightning's on it":       {lightning, lightningSchedule, ""},
		"rounded":                 {lightning, manifests.Scheduler{BaseShift: 1.0986, MaxShift: 1.0986, BaseSeqLen: 1, MaxSeqLen: 2}, ""},
		"none on Lightning":       {lightning, none, "checkpoint c has no schedule, and that of " + schedules + " (base shift 0.5 at 256, max shift 0.9 at 8192, terminal 0.02) is not Lightning's"},
		"base's on Lightning":     {lightning, baseSchedule, "the schedule of checkpoint c (base shift 0.5 at 256, max shift 0.9 at 8192, terminal 0.02) is not Lightning's (base and max shift ln 3, no terminal)"},
		"terminal on Lightning":   {lightning, manifests.Scheduler{BaseShift: math.Log(3), MaxShift: math.Log(3), ShiftTerminal: 0.02}, "is not Lightning's"},
		"Lightning's on the base": {undistil, lightningSchedule, "is not that of " + schedules},
		"other terminal":          {undistil, with(func(s *manifests.Scheduler) { s.ShiftTerminal = 0 }), "no terminal) is not that of"},
		"other range":             {undistil, with(func(s *manifests.Scheduler) { s.MaxSeqLen = 4096 }), "max shift 0.9 at 4096"},
	}
	m := base(t, modelsettest.Tiny())
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			found := modelset.CheckSchedules(m, checkpointOf(tc.path, tc.s))
			if tc.want == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.Equal(t, []any{verify.Warning, modelset.CodeSchedule, tc.path}, []any{found[0].Severity, found[0].Code, found[0].Object})
			require.Contains(t, found[0].Message, tc.want)
			require.NotEmpty(t, found[0].Hint)
		})
	}
}

// TestFewSteps: few steps without guidance speak for themselves, whatever the file's name.
func TestFewSteps(t *testing.T) {
	cases := map[string]struct {
		steps     int
		scale     float64
		s         manifests.Scheduler
		conflicts bool
	}{
		"4 steps on the base's":     {4, 1, baseSchedule, true},
		"8 steps on nothing":        {8, 1, manifests.Scheduler{}, true},
		"4 steps on Lightning's":    {4, 1, lightningSchedule, false},
		"8 steps with guidance":     {8, 4, baseSchedule, false},
		"50 steps without guidance": {50, 1, baseSchedule, false},
		"50 steps on Lightning's":   {50, 4, lightningSchedule, true},
	}
	for name, tc := range cases {
		c := manifests.ModelCheckpoint{Path: "any.safetensors", Checkpoint: manifests.Checkpoint{Name: "c", Steps: tc.steps, TrueCFGScale: tc.scale, Scheduler: tc.s}}
		require.Equal(t, tc.conflicts, modelset.ScheduleConflict(c, baseSchedule) != "", name)
	}
}

// TestSchedulesOfOtherSets: a set that ships Lightning's own schedule, one that leaves keys
// to the class's defaults, and sets about which nothing is known.
func TestSchedulesOfOtherSets(t *testing.T) {
	own := base(t, modelsettest.Tiny())
	edit(t, own, schedules, func(d map[string]any) {
		d["base_shift"], d["max_shift"], d["shift_terminal"] = math.Log(3), math.Log(3), nil
	})
	require.Empty(t, modelset.CheckSchedules(own, checkpointOf(lightning, manifests.Scheduler{})))

	defaults := base(t, modelsettest.Tiny())
	edit(t, defaults, schedules, func(d map[string]any) {
		for _, key := range []string{"base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len", "shift_terminal", "time_shift_type"} {
			delete(d, key)
		}
	})
	require.Empty(t, modelset.CheckSchedules(defaults, checkpointOf(undistil, manifests.Scheduler{BaseShift: 0.5, MaxShift: 1.15, BaseSeqLen: 256, MaxSeqLen: 4096})))

	for key, value := range map[string]any{"use_dynamic_shifting": false, "time_shift_type": "linear", "use_beta_sigmas": true} {
		m := base(t, modelsettest.Tiny())
		edit(t, m, schedules, func(d map[string]any) { d[key] = value })
		found := modelset.CheckSchedules(m, nil)
		require.Len(t, found, 1, key)
		require.Equal(t, schedules, found[0].Object)
	}

	other := base(t, modelsettest.Tiny())
	edit(t, other, "model_index.json", func(d map[string]any) { d["_class_name"] = "FluxPipeline" })
	require.Empty(t, modelset.CheckSchedules(other, checkpointOf(lightning, baseSchedule)))
	delete(own, schedules)
	require.Empty(t, modelset.CheckSchedules(own, checkpointOf(lightning, baseSchedule)), "Check reports the missing file")
	require.Empty(t, modelset.CheckSchedules(modelset.Map{}, nil))
	own[schedules] = section("{")
	require.Equal(t, "json", modelset.CheckSchedules(own, nil)[0].Code)
}
