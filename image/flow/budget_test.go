package flow_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// limit rewrites the world's budget.
func (w *world) limit(budget string) {
	w.t.Helper()
	data, err := os.ReadFile(w.opts.Model)
	require.NoError(w.t, err)
	head, _, found := strings.Cut(string(data), "budget:")
	require.True(w.t, found)
	require.NoError(w.t, os.WriteFile(w.opts.Model, []byte(head+"budget: "+budget+"\n"), 0o644))
}

// TestBudget: a report within its budget says what is left; one over it is shown too, and
// fails with what takes most.
func TestBudget(t *testing.T) {
	w := newWorld(t)
	w.opts.Variant = "lightning"
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	published := w.registry + "/demo:1"
	_, err = flow.Publish(t.Context(), w.job(), []string{published}, "")
	require.NoError(t, err)
	w.opts.Variant = ""
	_, err = flow.Make(t.Context(), w.job())
	require.NoError(t, err)

	report := func(against string) (string, error) {
		var out bytes.Buffer
		err := flow.Do(w.opts, &out, false, func(j *flow.Job) (flow.Result, error) {
			return flow.ReportWith(t.Context(), j, flow.ReportOptions{Against: against})
		})
		return out.String(), err
	}
	text, err := report("")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^Budget +Limit +Used +Left$`, text)
	require.Regexp(t, `(?m)^Outside the model files +25.00 MB`, text)

	w.limit("{image: 1 MB, growth: 1%}")
	text, err = report("docker://" + published)
	require.Equal(t, fault.Budget, fault.KindOf(err))
	require.ErrorContains(t, err, "MB (1,000,000 bytes)")
	require.Regexp(t, `the image grew by .* over docker://`+published+`, .*; most of it is app/models/nunchaku-qwen-image-edit/svdq-int4_r128-qwen-image-edit.safetensors with`, err.Error())
	require.Contains(t, text, "over its limit; most of it is", "the report is shown all the same")

	w.limit("{growth: 1000%}")
	text, err = report("")
	require.NoError(t, err)
	require.Contains(t, text, "not checked: -against names no published image")
	_, err = report("oci:" + w.job().Layout())
	require.NoError(t, err, "the image does not grow over itself")
	_, err = report("docker://" + w.registry + "/demo:nothing")
	require.Equal(t, fault.Registry, fault.KindOf(err))
	_, err = report("lock:" + w.job().Lock)
	require.Equal(t, fault.Usage, fault.KindOf(err))
	w.limit("{image: 1 GB}")
	_, err = report("docker://" + published)
	require.Equal(t, fault.Usage, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "growth")
}
