package qwen

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
)

// TestWarnings: what is computed as asked and spoils the picture is said, and nothing else.
func TestWarnings(t *testing.T) {
	m := &Model{bindings: []schedule.Binding{
		{Name: "fast", Steps: 8, TrueCFGScale: 1},
		{Name: "plain", Steps: 50, TrueCFGScale: 4},
		{Name: "odd", Steps: 50, TrueCFGScale: 1, Conflict: errors.New("the schedule is another's")},
	}}
	text := "blurred"
	for name, c := range map[string]struct {
		wish Edit
		want []string
	}{
		"as meant":        {Edit{Negative: &text}, nil},
		"plain as meant":  {Edit{Checkpoint: "plain", Negative: &text}, nil},
		"few steps":       {Edit{Steps: 4}, []string{"checkpoint fast was distilled for 8 steps, not 4: the picture will be worse"}},
		"many steps":      {Edit{Steps: 9}, []string{"checkpoint fast was distilled for 8 steps, not 9: the picture will be worse"}},
		"plain few steps": {Edit{Checkpoint: "plain", Steps: 8, Negative: &text}, nil},
		"guided": {Edit{TrueCFGScale: 2, Negative: &text}, []string{
			"checkpoint fast was distilled without guidance: a scale of 2 spoils the picture and doubles the time",
		}},
		"unguided":    {Edit{Checkpoint: "plain", TrueCFGScale: 1, Negative: &text}, []string{"checkpoint plain is meant to be guided by a scale of 4: with 1 the picture will be worse"}},
		"no negative": {Edit{Checkpoint: "plain"}, []string{"a scale of 4 has no effect without a negative prompt"}},
		"conflict":    {Edit{Checkpoint: "odd"}, []string{"the schedule is another's"}},
		"not loaded":  {Edit{Checkpoint: "none", Steps: 1}, nil},
	} {
		require.Equal(t, c.want, m.Warnings(c.wish), name)
	}
}
