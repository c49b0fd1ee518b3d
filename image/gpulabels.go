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
// themselves that nothing was measured.
const (
	// LabelGPU lists the compute capabilities for which the design has a route to every
	// checkpoint aboard, "sm_80,sm_86", or says "none".
	LabelGPU = labelPrefix + "gpu"
	// LabelGPUNative lists those of them with tensor cores for the checkpoints' own 4 bits;
	// the others take a wider type.
	LabelGPUNative = labelPrefix + "gpu.native"
	// LabelGPUStatus says in a sentence what the lists are worth.
	LabelGPUStatus = labelPrefix + "gpu.status"
	// LabelGPUMemory and a mode of package verify/gpu is the device memory in bytes that the
	// neediest checkpoint aboard takes in that mode.
	LabelGPUMemory = labelPrefix + "gpu.memory."
	// LabelGPUPicture describes the request that memory was computed for.
	LabelGPUPicture = labelPrefix + "gpu.memory.picture"
)

// addGPULabels adds the labels of the checkpoints aboard; memory only where the lock knows
// the tensors of all of them.
func addGPULabels(out map[string]string, m *manifests.ModelConfig) {
	checkpoints := gpu.Checkpoints(m)
	if len(checkpoints) == 0 {
		return
	}
	out[LabelGPU] = capabilities(checkpoints, func(r gpu.Route) bool { return r.Planned })
	out[LabelGPUNative] = capabilities(checkpoints, func(r gpu.Route) bool { return r.Planned && r.Method == gpu.Native })
	out[LabelGPUStatus] = gpu.Status
	for _, mode := range []gpu.Mode{gpu.ResidentInt8, gpu.Resident, gpu.Component, gpu.Transformer, gpu.Offload} {
		if bytes, ok := most(checkpoints, mode); ok {
			picture := gpu.PictureOf(m)
			out[LabelGPUMemory+string(mode)] = fmt.Sprint(bytes)
			out[LabelGPUPicture] = fmt.Sprintf("estimated for %d pixels with %d reference", picture.Area, picture.References)
		}
	}
}

// capabilities joins those that have such a route for every checkpoint.
func capabilities(checkpoints []gpu.Checkpoint, which func(gpu.Route) bool) string {
	var out []string
	for _, r := range gpu.Routes(checkpoints[0].Precision) {
		lacks := func(c gpu.Checkpoint) bool {
			found, ok := gpu.Find(c.Precision, r.Capability)
			return !ok || !which(found)
		}
		if !slices.ContainsFunc(checkpoints, lacks) {
			out = append(out, r.Capability.String())
		}
	}
	if out == nil {
		return "none"
	}
	return strings.Join(out, ",")
}

// most is the largest need in a mode; ok is false if one of the checkpoints has none.
func most(checkpoints []gpu.Checkpoint, mode gpu.Mode) (bytes int64, ok bool) {
	for _, c := range checkpoints {
		n, known := c.Need(mode)
		if !known {
			return 0, false
		}
		bytes = max(bytes, n)
	}
	return bytes, true
}
