package image

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify/gpu"
)

// The labels about GPUs, for schedulers and people that choose a node before they pull. They
// follow from model.json alone, by package verify/gpu's table and formulas, and say of
// themselves where they were measured.
const (
	// LabelGPU lists the compute capabilities on which the runtime runs every checkpoint
	// aboard, "sm_80,sm_86", or says "none". Those of ARM systems are left out, since the image
	// is for amd64.
	LabelGPU = labelPrefix + "gpu"
	// LabelGPUStatus says in a sentence what the lists are worth.
	LabelGPUStatus = labelPrefix + "gpu.status"
	// LabelGPUMemory and a mode of package verify/gpu is the device memory in bytes that the
	// neediest checkpoint aboard takes in that mode. That of gpu.Streamed is the least of all: a
	// GPU with less is not for this image.
	LabelGPUMemory = labelPrefix + "gpu.memory."
	// LabelGPUPicture describes the request that memory was computed for.
	LabelGPUPicture = labelPrefix + "gpu.memory.picture"
)

// addGPU adds the labels of the checkpoints aboard; memory only where the lock knows
// the tensors of all of them, and all of them run.
func addGPU(out map[string]string, c *manifests.ModelConfig) {
	m := gpu.Describe(c)
	if m == nil {
		return
	}
	out[LabelGPU] = capabilities(m, func(g gpu.Generation) bool {
		return g.Runs && !slices.ContainsFunc(g.Routes, func(r gpu.Route) bool { return r.ARM })
	})
	out[LabelGPUStatus] = m.Status
	for _, n := range m.Memory {
		out[LabelGPUMemory+string(n.Mode)] = fmt.Sprint(n.Bytes)
		out[LabelGPUPicture] = fmt.Sprintf("estimated for %d pixels with %d reference", m.Picture.Area, m.Picture.References)
	}
}

// capabilities joins those of the generations that are such ones.
func capabilities(m *gpu.Model, which func(gpu.Generation) bool) string {
	var out []string
	for _, g := range m.Generations {
		if which(g) {
			out = append(out, g.Capability.String())
		}
	}
	if out == nil {
		return "none"
	}
	return strings.Join(out, ",")
}
