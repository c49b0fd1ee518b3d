package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/verify/gpu"
)

// modelNeeds is what the model of a model.json asks of a GPU.
type modelNeeds struct {
	Name    string `json:"name"`
	Variant string `json:"variant"`
	// Status says what all that follows is worth.
	Status string `json:"status"`
	// PixelArea is the picture that memory is computed for.
	PixelArea   int64            `json:"pixelArea"`
	Checkpoints []gpu.Checkpoint `json:"checkpoints"`
}

// checkpointAdvice is whether one checkpoint is for one GPU.
type checkpointAdvice struct {
	Checkpoint string `json:"checkpoint"`
	gpu.Advice
}

// optionalNeeds reads the model.json of the flag, or the image's own, which may be absent:
// a list of GPUs is of use without one. Without a model the result is nil.
func optionalNeeds(config string) (*modelNeeds, error) {
	path := config
	if path == "" {
		path = defaultConfig
	}
	c, err := readConfig(path)
	if config == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return needsOf(c), nil
}

// needsOf describes a model; nil for one without checkpoints.
func needsOf(c *manifests.ModelConfig) *modelNeeds {
	m := gpu.Describe(c)
	if m == nil {
		return nil
	}
	return &modelNeeds{Name: c.Name, Variant: c.Variant, Status: m.Status, PixelArea: m.Picture.Area, Checkpoints: m.Checkpoints}
}

// advise answers for every checkpoint on a device; nothing without a model.
func (m *modelNeeds) advise(d cuda.Device) []checkpointAdvice {
	if m == nil {
		return nil
	}
	var out []checkpointAdvice
	for _, c := range m.Checkpoints {
		out = append(out, checkpointAdvice{c.Name, c.Advise(gpu.Capability(d.Capability), d.TotalMemory)})
	}
	return out
}

// text is a table of what the checkpoints need; "" without a model.
func (m *modelNeeds) text() string {
	if m == nil {
		return ""
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s (%s)\n", m.Name, m.Status)
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "CHECKPOINT\tMODE\tMEMORY, ESTIMATED FOR %d PIXELS\tHOST'S PAGE CACHE\n", m.PixelArea)
	for _, c := range m.Checkpoints {
		switch {
		case !c.Runs():
			fmt.Fprintf(table, "%s\t-\t%s does not run\t-\n", c.Name, strings.ToUpper(c.Precision))
		case len(c.Needs) == 0:
			fmt.Fprintf(table, "%s\t-\tunknown: model.json has no sums of tensors\t-\n", c.Name)
		}
		for _, n := range c.Needs {
			fmt.Fprintf(table, "%s\t%s\t%s\n", c.Name, n.Mode, needText(n))
		}
	}
	table.Flush()
	return out.String()
}

// needText are the columns of the GPU's memory and of the host's page cache. A mode with which
// weights stream takes what there is.
func needText(n gpu.Need) string {
	if n.HostBytes == 0 {
		return gigabytes(n.Bytes) + "\t-"
	}
	return gigabytes(n.Bytes) + " or more\tup to " + gigabytes(n.HostBytes)
}

// text is a line, and one more with the way out. A ✓ is for what was measured on such a GPU.
func (a checkpointAdvice) text(ordinal int) string {
	mark := "✗"
	switch a.Verdict {
	case gpu.Runs:
		mark = "-"
		if a.Route.Measured {
			mark = "✓"
		}
	case gpu.OtherRuntime, gpu.Unknown:
		mark = "⚠"
	}
	line := fmt.Sprintf("%s GPU %d, %s: %s\n", mark, ordinal, a.Checkpoint, a.Message)
	if a.Mode != "" {
		memory := gigabytes(a.Bytes)
		if a.Mode == gpu.Streamed {
			memory += " or more"
		}
		line = fmt.Sprintf("%s GPU %d, %s: %s; mode %s, %s\n", mark, ordinal, a.Checkpoint, a.Message, a.Mode, memory)
	}
	if a.Hint != "" {
		line += "  hint: " + a.Hint + "\n"
	}
	return line
}
