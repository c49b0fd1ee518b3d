package modelfiles_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

// TestSchedulesOfCheckpoints: a checkpoint without its own schedule, or with the other's, is
// warned of under its own path, and the set's file under the set's.
func TestSchedulesOfCheckpoints(t *testing.T) {
	m := newModel(t)
	m.Checkpoints[0].Scheduler = manifests.Scheduler{}
	m.Checkpoints[1].Scheduler.MaxShift = 1
	m.replace(t, "base/scheduler/scheduler_config.json", `"use_karras_sigmas": false`, `"use_karras_sigmas": true`)
	r := m.check(t, &stream{model: m}, modelfiles.Options{})
	require.NoError(t, r.Err(), "warnings alone")
	require.True(t, r.Sets[0].OK)
	var got []string
	for _, f := range r.Sets[0].Findings {
		require.Equal(t, verify.Warning, f.Severity)
		got = append(got, f.Object)
	}
	require.Equal(t, []string{"base/scheduler/scheduler_config.json", fast, plain}, got)
	require.Contains(t, r.Sets[0].Findings[1].Message, "has no schedule")

	m.replace(t, "base/scheduler/scheduler_config.json", `"base_shift": 0.5`, `"base_shift": "half"`)
	r = m.check(t, &stream{model: m}, modelfiles.Options{})
	require.Equal(t, []string{"base/scheduler/scheduler_config.json: json"}, codes(r))
}

func TestVariantsInWords(t *testing.T) {
	for want, v := range map[string]modelfiles.VariantReport{
		"variant edit-2511":          {Variant: svdq.Variant{Name: svdq.Edit2511, Claim: "x"}, Locked: "o/r@c"},
		"variant x by its sum alone": {Variant: svdq.Variant{Claim: "x"}, Locked: "o/r@c"},
		"variant not known":          {Variant: svdq.Variant{Claim: "x"}},
	} {
		require.Equal(t, want, v.String())
	}
	m := newModel(t)
	m.bytes[plain] = flip(-1)(append([]byte(nil), m.bytes[plain]...))
	r := m.check(t, &stream{model: m}, modelfiles.Options{})
	last := r.Files[len(r.Files)-1]
	require.False(t, last.OK)
	require.NotNil(t, last.Checkpoint)
	require.Empty(t, last.Checkpoint.Variant.Locked, "a wrong sum tells no variant")
}
