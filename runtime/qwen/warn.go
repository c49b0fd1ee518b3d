package qwen

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
)

// Warnings says in words what about a wish will be computed as asked and spoils the picture,
// or has no effect.
func (m *Model) Warnings(e Edit) []string {
	b, err := m.binding(e.Checkpoint)
	if err != nil {
		return nil // Edit says so
	}
	steps, scale := e.effective(b)
	var out []string
	if b.Conflict != nil {
		out = append(out, b.Conflict.Error())
	}
	if distilled(b) && steps != b.Steps {
		out = append(out, fmt.Sprintf("checkpoint %s was distilled for %d steps, not %d: the picture will be worse", b.Name, b.Steps, steps))
	}
	if distilled(b) && scale > 1 {
		out = append(out, fmt.Sprintf("checkpoint %s was distilled without guidance: a scale of %g spoils the picture and doubles the time", b.Name, scale))
	}
	if b.Guided() && scale <= 1 {
		out = append(out, fmt.Sprintf("checkpoint %s is meant to be guided by a scale of %g: with %g the picture will be worse", b.Name, b.TrueCFGScale, scale))
	}
	if scale > 1 && e.Negative == nil {
		out = append(out, fmt.Sprintf("a scale of %g has no effect without a negative prompt", scale))
	}
	return out
}

// distilledSteps is the most steps that a published distilled checkpoint is meant for.
const distilledSteps = 8

// distilled reports whether a checkpoint was made for few steps without guidance.
func distilled(b schedule.Binding) bool { return !b.Guided() && b.Steps <= distilledSteps }
