package gpu

import (
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// Model is what the checkpoints of one model ask of a GPU, as plain data: image labels, the
// runtime's list of devices and reports are all made from it.
type Model struct {
	// Status says in one sentence what everything below is worth.
	Status string `json:"status"`
	// Picture is the request that memory is computed for.
	Picture Picture `json:"picture"`
	// Checkpoints are those aboard, in the order of the description, each with the memory
	// that its modes take.
	Checkpoints []Checkpoint `json:"checkpoints"`
	// Generations are the compute capabilities with a route to a checkpoint aboard, ascending.
	Generations []Generation `json:"generations"`
	// Memory is what the neediest checkpoint takes, most first, in the modes that all of them
	// have; empty where the tensors of one are not known, or one does not run.
	Memory []Need `json:"memory"`
}

// Generation is one compute capability and the checkpoints aboard.
type Generation struct {
	Capability Capability `json:"capability"`
	// Runs says that this project's runtime runs every checkpoint aboard, Measured that each
	// was measured on such a GPU, Nunchaku that the public runtime accepts every one.
	Runs     bool `json:"runs"`
	Measured bool `json:"measured"`
	Nunchaku bool `json:"nunchaku"`
	// Routes has the route of each precision aboard that has one, in the order in which the
	// precisions first occur.
	Routes []Route `json:"routes"`
}

// Describe says what a model asks of a GPU. It follows from the description alone. The
// result is nil for a model without checkpoints.
func Describe(c *manifests.ModelConfig) *Model {
	m := &Model{Status: Status, Picture: PictureOf(c), Checkpoints: Checkpoints(c), Generations: []Generation{}, Memory: []Need{}}
	if len(m.Checkpoints) == 0 {
		return nil
	}
	precisions := m.precisions()
	for _, gpu := range capabilities() {
		if g := generation(gpu, precisions); len(g.Routes) > 0 {
			m.Generations = append(m.Generations, g)
		}
	}
	for _, n := range m.Checkpoints[0].Needs {
		if most, ok := m.most(n.Mode); ok {
			m.Memory = append(m.Memory, most)
		}
	}
	return m
}

// precisions lists the precisions aboard, each once.
func (m *Model) precisions() (out []string) {
	for _, c := range m.Checkpoints {
		if !slices.Contains(out, c.Precision) {
			out = append(out, c.Precision)
		}
	}
	return out
}

// capabilities lists every capability that the table knows, ascending.
func capabilities() (out []Capability) {
	for _, r := range routes {
		if !slices.Contains(out, r.Capability) {
			out = append(out, r.Capability)
		}
	}
	slices.SortFunc(out, Capability.compare)
	return out
}

// generation looks one capability up.
func generation(c Capability, precisions []string) Generation {
	g := Generation{Capability: c}
	for _, p := range precisions {
		if r, ok := Find(p, c); ok {
			g.Routes = append(g.Routes, r)
		}
	}
	every := func(which func(Route) bool) bool {
		return len(g.Routes) == len(precisions) && !slices.ContainsFunc(g.Routes, func(r Route) bool { return !which(r) })
	}
	g.Runs = every(func(r Route) bool { return r.Runs })
	g.Measured = every(func(r Route) bool { return r.Measured })
	g.Nunchaku = every(func(r Route) bool { return r.Nunchaku })
	return g
}

// most is the largest need in a mode, of the device and of the host; ok is false if one of the
// checkpoints lacks it.
func (m *Model) most(mode Mode) (most Need, ok bool) {
	most = Need{Mode: mode}
	for _, c := range m.Checkpoints {
		n, ok := c.Need(mode)
		if !ok {
			return Need{}, false
		}
		most.Bytes, most.HostBytes = max(most.Bytes, n.Bytes), max(most.HostBytes, n.HostBytes)
	}
	return most, true
}
