package schedule_test

import (
	"encoding/json"
	"maps"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
)

// published is the scheduler_config.json of the Qwen-Image repositories.
const published = `{
  "_class_name": "FlowMatchEulerDiscreteScheduler",
  "_diffusers_version": "0.35.0.dev0",
  "base_image_seq_len": 256,
  "base_shift": 0.5,
  "invert_sigmas": false,
  "max_image_seq_len": 8192,
  "max_shift": 0.9,
  "num_train_timesteps": 1000,
  "shift": 1.0,
  "shift_terminal": 0.02,
  "stochastic_sampling": false,
  "time_shift_type": "exponential",
  "use_beta_sigmas": false,
  "use_dynamic_shifting": true,
  "use_exponential_sigmas": false,
  "use_karras_sigmas": false
}
`

func TestParse(t *testing.T) {
	s, err := schedule.Parse([]byte(published))
	require.NoError(t, err)
	require.Equal(t, baseSchedule, s)

	s, err = schedule.Parse([]byte(`{"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": true, "shift_terminal": null}`))
	require.NoError(t, err)
	require.Equal(t, manifests.Scheduler{BaseShift: 0.5, MaxShift: 1.15, BaseSeqLen: 256, MaxSeqLen: 4096}, s, "the class's own defaults")
}

// absent takes a key away.
type absent struct{}

func TestParseRefuses(t *testing.T) {
	cases := []struct {
		key   string
		value any
		want  string
	}{
		{"_class_name", "DPMSolverMultistepScheduler", `_class_name is "DPMSolverMultistepScheduler", only "FlowMatchEulerDiscreteScheduler" is implemented`},
		{"_class_name", absent{}, `_class_name is nothing, only "FlowMatchEulerDiscreteScheduler"`},
		{"use_dynamic_shifting", false, "use_dynamic_shifting is false, only true is implemented"},
		{"use_dynamic_shifting", absent{}, "use_dynamic_shifting is absent, which means false, only true is implemented"},
		{"time_shift_type", "linear", `time_shift_type is "linear", only "exponential" is implemented`},
		{"num_train_timesteps", 999, "num_train_timesteps is 999, only 1000 is implemented"},
		{"invert_sigmas", true, "invert_sigmas is true, only false is implemented"},
		{"stochastic_sampling", true, "stochastic_sampling is true"},
		{"use_karras_sigmas", true, "use_karras_sigmas is true"},
		{"use_exponential_sigmas", true, "use_exponential_sigmas is true"},
		{"use_beta_sigmas", 1, "use_beta_sigmas is 1, only false is implemented"},
		{"use_karras_sigmas", nil, "use_karras_sigmas is null"},
		{"sigma_min", 0.1, "sigma_min is 0.1, an option that is not known here"},
		{"Base_Shift", 0.5, "Base_Shift is 0.5, an option that is not known here"},
		{"base_shift", nil, "base_shift is null, want a number"},
		{"max_shift", "0.9", `max_shift is "0.9", want a number`},
		{"shift", "x", `shift is "x", want a number`},
		{"base_image_seq_len", 256.5, "base_image_seq_len is 256.5, want a whole number"},
		{"max_image_seq_len", 256, "maxSeqLen 256, want a rising range"},
		{"shift_terminal", 1, "shiftTerminal is 1, want 0 to below 1"},
		{"shift_terminal", false, "shift_terminal is false, want a number"},
	}
	for _, tc := range cases {
		var d map[string]any
		require.NoError(t, json.Unmarshal([]byte(published), &d))
		d[tc.key] = tc.value
		maps.DeleteFunc(d, func(_ string, v any) bool { return v == absent{} })
		text, err := json.Marshal(d)
		require.NoError(t, err)
		_, err = schedule.Parse(text)
		require.ErrorContains(t, err, tc.want)
		require.ErrorContains(t, err, "reading scheduler_config.json: ")
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
	for _, text := range []string{"", "[]", published + "1", `{"shift": 1, "shift": 2}`} {
		_, err := schedule.Parse([]byte(text))
		require.Equal(t, fault.Invalid, fault.KindOf(err), text)
	}
}

// FuzzParse: what passes is a scheduler that makes a schedule or says why not.
func FuzzParse(f *testing.F) {
	f.Add([]byte(published), 8, 4096)
	f.Add([]byte(`{"_class_name":"FlowMatchEulerDiscreteScheduler","use_dynamic_shifting":true,"base_shift":1e300}`), 1, 1)
	f.Add([]byte(`{"_class_name":"FlowMatchEulerDiscreteScheduler","use_dynamic_shifting":true,"max_image_seq_len":9223372036854775807}`), 50, 1<<40)
	f.Add([]byte(`{"use_karras_sigmas":null}`), 0, 0)
	f.Fuzz(func(t *testing.T, document []byte, steps, tokens int) {
		s, err := schedule.Parse(document)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.Zero(t, s)
			return
		}
		require.NoError(t, s.Check())
		made, err := schedule.New(s, steps%100, tokens)
		if err != nil {
			require.Contains(t, []fault.Kind{fault.Usage, fault.Invalid}, fault.KindOf(err))
			return
		}
		require.Equal(t, steps%100, made.Steps())
		for i := range made.Steps() {
			require.Greater(t, made.Sigma(i), made.Sigma(i+1))
		}
	})
}

func TestBind(t *testing.T) {
	checkpoint := func(file string, steps int, scale float64, s manifests.Scheduler) manifests.ModelCheckpoint {
		return manifests.ModelCheckpoint{Path: file, Checkpoint: manifests.Checkpoint{Name: "c", Steps: steps, TrueCFGScale: scale, Scheduler: s}}
	}
	none := manifests.Scheduler{}
	cases := map[string]struct {
		c        manifests.ModelCheckpoint
		acts     manifests.Scheduler
		conflict string
	}{
		"plain":                    {checkpoint("edit.safetensors", 50, 4, baseSchedule), baseSchedule, ""},
		"plain, the base's":        {checkpoint("edit.safetensors", 50, 4, none), baseSchedule, ""},
		"Lightning":                {checkpoint("edit-lightning-4steps.safetensors", 4, 1, lightningSchedule), lightningSchedule, ""},
		"Lightning on the base's":  {checkpoint("edit-lightning-4steps.safetensors", 4, 1, none), baseSchedule, "binding checkpoint c to its schedule: checkpoint c has no schedule"},
		"four steps, other name":   {checkpoint("x.safetensors", 4, 1, baseSchedule), baseSchedule, "(base shift 0.5 at 256, max shift 0.9 at 8192, terminal 0.02) is not Lightning's"},
		"plain under Lightning's":  {checkpoint("edit.safetensors", 50, 4, lightningSchedule), lightningSchedule, "is not that of scheduler/scheduler_config.json"},
		"Lightning, 8 of 50 steps": {checkpoint("edit-lightning.safetensors", 50, 4, lightningSchedule), lightningSchedule, ""},
	}
	for name, tc := range cases {
		b, err := schedule.Bind(tc.c, baseSchedule)
		require.NoError(t, err, name)
		require.Equal(t, tc.acts, b.Scheduler, name)
		require.Equal(t, tc.c.Scheduler != none, b.Own, name)
		require.Equal(t, []any{"c", tc.c.Steps, tc.c.TrueCFGScale, tc.c.TrueCFGScale > 1}, []any{b.Name, b.Steps, b.TrueCFGScale, b.Guided()}, name)
		s, err := b.Schedule(4096)
		require.NoError(t, err, name)
		require.Equal(t, tc.c.Steps, s.Steps(), name)
		require.Equal(t, schedule.Mu(tc.acts, 4096), s.Mu(), name)
		if tc.conflict == "" {
			require.NoError(t, b.Conflict, name)
			continue
		}
		require.ErrorContains(t, b.Conflict, tc.conflict, name)
		require.Equal(t, fault.Invalid, fault.KindOf(b.Conflict))
		require.NotEmpty(t, fault.HintOf(b.Conflict))
	}
	for name, c := range map[string]manifests.ModelCheckpoint{
		"steps is 0":          checkpoint("x", 0, 1, none),
		"steps is 1001":       checkpoint("x", 1001, 1, none),
		"trueCFGScale is 0":   checkpoint("x", 8, 0, none),
		"trueCFGScale is NaN": checkpoint("x", 8, math.NaN(), none),
		"trueCFGScale is +In": checkpoint("x", 8, math.Inf(1), none),
		"shiftTerminal is -1": checkpoint("x", 8, 1, manifests.Scheduler{BaseSeqLen: 1, MaxSeqLen: 2, ShiftTerminal: -1}),
	} {
		_, err := schedule.Bind(c, baseSchedule)
		require.ErrorContains(t, err, name)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}

// TestOwnManifests: every checkpoint that our own manifests offer goes with its schedule, and
// the one without guidance is Lightning's.
func TestOwnManifests(t *testing.T) {
	for _, name := range manifests.EmbeddedNames() {
		text, ok := manifests.Embedded(name)
		require.True(t, ok)
		m, err := manifests.Parse(text)
		require.NoError(t, err)
		require.NotEmpty(t, m.Checkpoints)
		for _, c := range m.Checkpoints {
			b, err := schedule.Bind(manifests.ModelCheckpoint{Checkpoint: c, Path: c.File}, baseSchedule)
			require.NoError(t, err)
			require.NoError(t, b.Conflict)
			s, err := b.Schedule(4096)
			require.NoError(t, err)
			if !b.Guided() {
				require.Equal(t, 8, s.Steps())
				require.InDelta(t, 0.954545, s.Sigma(1), 5e-7)
			}
		}
	}
}
