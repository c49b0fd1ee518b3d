package server

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

// Editor edits pictures: the model, loaded and ready.
type Editor interface {
	// Edit runs one edit. The service calls it once at a time. When ctx ends it returns
	// soon, with an error that wraps the context's. An error of kind fault.Usage is the
	// caller's, such as a prompt of too many tokens, and becomes a 422 with its text and
	// hint; one that wraps ErrMemory becomes a 507; one that wraps ErrUnusable ends the
	// service's readiness for good; any other is a 500.
	Edit(ctx context.Context, e Edit) (*Edited, error)
	// Models lists the checkpoints that Edit takes. It is called once.
	Models() []Model
}

// Editors wrap these.
var (
	// ErrMemory is about an edit that does not fit into the device's memory; another one may.
	ErrMemory = errors.New("out of device memory")
	// ErrUnusable is about a device that will run no other edit in this process, as after an
	// illegal address in a CUDA context.
	ErrUnusable = errors.New("the device can run nothing more in this process")
)

// Model is a checkpoint that can serve requests, with what belongs to it.
type Model struct {
	// Name is what requests call it.
	Name string
	// Version is the model_version of answers, such as "lightningv1.0".
	Version string
	// Precision is "int4" or another number format.
	Precision string
	// Rank is that of the low-rank branch.
	Rank int
	// Steps and TrueCFGScale are what the checkpoint is meant for, and what a request gets
	// that names none.
	Steps        int
	TrueCFGScale float64
}

// ModelOf describes a checkpoint of model.json. Its version is the part of the file's name
// that begins with "lightning", as the predecessor named it, or else the checkpoint's name.
func ModelOf(c manifests.ModelCheckpoint) Model {
	m := Model{Name: c.Name, Version: c.Name, Precision: c.Precision, Rank: c.Rank, Steps: c.Steps, TrueCFGScale: c.TrueCFGScale}
	base := path.Base(c.Path)
	for part := range strings.SplitSeq(strings.TrimSuffix(base, path.Ext(base)), "-") {
		if strings.HasPrefix(part, "lightning") {
			m.Version = part
		}
	}
	return m
}

// distilledSteps is the most steps that a published distilled checkpoint is meant for.
const distilledSteps = 8

// distilled reports whether the checkpoint was made for few steps without guidance.
func (m Model) distilled() bool { return m.TrueCFGScale == 1 && m.Steps <= distilledSteps }

// Edit is what an Editor is asked for.
type Edit struct {
	// RequestID is for the log.
	RequestID string
	// Model is the Name of one of Models.
	Model string
	// Pictures are the references in order; so far there is always one.
	Pictures []*picture.RGB
	Prompt   string
	// NegativePrompt is what guidance leads away from. Empty is a prompt like any other;
	// only nil switches guidance off, whatever the scale.
	NegativePrompt *string
	// Steps is 1 to 50, TrueCFGScale 0.1 to 10; guidance takes a scale over 1.
	Steps        int
	TrueCFGScale float64
	Seed         uint64
	// Progress, never nil, is to be called with 0 before the first step and after each with
	// the number of those done. The times between the calls are the step times of metrics.
	Progress func(step, steps int)
}

// Edited is what became of an Edit.
type Edited struct {
	Picture *picture.RGB
	// Duration is the time of the edit itself, as the answer's inference_time.
	Duration time.Duration
	// PeakMemory is the most device memory taken, in bytes; 0 where it is not known.
	PeakMemory int64
}

// Device is what edits run on. Sizes are in bytes, 0 where they are not known.
type Device struct {
	Name string
	// GPU is false for the CPU.
	GPU bool
	// Count is the number of GPUs that the process may see.
	Count                                    int
	TotalMemory, FreeMemory, AllocatedMemory int64
	// Driver is the release of NVIDIA's kernel module, CUDA the latest version that it
	// supports, Capability the compute capability.
	Driver, CUDA, Capability string
}
