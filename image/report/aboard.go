package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify/gpu"
)

// Limit is what a registry takes. Zero figures are limits that it does not publish.
type Limit struct {
	// Registry is the registry's host, or a pattern of hosts.
	Registry string
	// Layer is the largest layer in bytes, Layers how many an image may have.
	Layer  int64
	Layers int
	// PartSize is the largest partSize of a manifest whose layers stay within Layer.
	PartSize int64
	// Source says where the figures come from.
	Source string
}

// Headroom holds the image against what a registry takes: its largest layer and the number
// of its layers.
type Headroom struct {
	Registry string `json:"registry"`
	// LayerLimit and LayersLimit are the limits, 0 where the registry publishes none.
	LayerLimit  int64 `json:"layerLimit,omitempty"`
	LayersLimit int   `json:"layersLimit,omitempty"`
	// LargestLayer is the size of the image's largest layer in the registry.
	LargestLayer int64 `json:"largestLayer"`
	// LeftBytes is LayerLimit - LargestLayer, below zero for a layer that is too large; nil
	// without a limit.
	LeftBytes *int64 `json:"leftBytes,omitempty"`
	// Fits says that no published limit is passed.
	Fits bool `json:"fits"`
	// PartSize is the largest partSize of the manifest that makes the layers small enough; 0
	// where they are.
	PartSize int64  `json:"partSize,omitempty"`
	Source   string `json:"source,omitempty"`
}

// headroom compares with each limit.
func (in Input) headroom() []Headroom {
	largest := int64(0)
	for _, l := range in.Layers {
		largest = max(largest, l.Size)
	}
	out := []Headroom{}
	for _, l := range in.Limits {
		h := Headroom{
			Registry: l.Registry, LayerLimit: l.Layer, LayersLimit: l.Layers, LargestLayer: largest, Source: l.Source,
			Fits: l.Layers == 0 || len(in.Layers) <= l.Layers,
		}
		if l.Layer > 0 {
			left := l.Layer - largest
			h.LeftBytes = &left
		}
		if l.Layer > 0 && largest > l.Layer {
			h.Fits, h.PartSize = false, l.PartSize
		}
		out = append(out, h)
	}
	return out
}

func (in Input) checkLimits() error {
	for _, l := range in.Limits {
		if l.Layer < 0 || l.Layers < 0 || l.PartSize < 0 {
			return fmt.Errorf("limits of %s: a layer of %d bytes, %d layers, parts of %d", l.Registry, l.Layer, l.Layers, l.PartSize)
		}
	}
	return nil
}

// GPU says which GPU generations the checkpoints aboard are for and how much memory the
// ways of running them take, by package gpu's table and formulas.
type GPU struct {
	// Status says what these figures are worth, in a sentence.
	Status      string       `json:"status"`
	Checkpoints []Checkpoint `json:"checkpoints"`
}

// Checkpoint is one checkpoint aboard.
type Checkpoint struct {
	Name      string `json:"name"`
	File      string `json:"file"`
	Precision string `json:"precision"`
	Rank      int    `json:"rank"`
	// Memory lists the modes; empty where the lock does not know the tensors, and where the
	// checkpoint runs nowhere.
	Memory []gpu.Need `json:"memory"`
	// Generations lists the compute capabilities about which something is known.
	Generations []Generation `json:"generations"`
}

// Generation is what is known about a checkpoint on one compute capability; gpu.Route
// explains the fields.
type Generation struct {
	Capability string     `json:"capability"`
	Method     gpu.Method `json:"method"`
	Nunchaku   bool       `json:"nunchaku"`
	Runs       bool       `json:"runs"`
	Measured   bool       `json:"measured"`
	Note       string     `json:"note,omitempty"`
}

// gpu describes the checkpoints; nil without one.
func (in Input) gpu() *GPU {
	if len(in.Checkpoints) == 0 {
		return nil
	}
	out := &GPU{Status: gpu.Status}
	for _, c := range in.Checkpoints {
		to := Checkpoint{
			Name: c.Name, File: c.File, Precision: c.Precision, Rank: c.Rank,
			Memory: append([]gpu.Need{}, c.Needs...), Generations: []Generation{},
		}
		for _, r := range gpu.Routes(c.Precision) {
			to.Generations = append(to.Generations, Generation{
				Capability: r.Capability.String(), Method: r.Method, Nunchaku: r.Nunchaku,
				Runs: r.Runs, Measured: r.Measured, Note: r.Note,
			})
		}
		out.Checkpoints = append(out.Checkpoints, to)
	}
	return out
}

// modeNotes explain the modes in a few words.
var modeNotes = map[gpu.Mode]string{
	gpu.ResidentInt8: "everything on the GPU, 4-bit linears in 8 bits (compute capability 9.0)",
	gpu.Resident:     "everything on the GPU, 4-bit linears packed",
	gpu.Streamed:     "the least that it takes; for each picture what does not fit streams from the host, whose page cache should have room for it",
}

// memorySection lists what the modes take of a GPU.
func (r *Report) memorySection() Section {
	out := Section{ID: "memory", Title: "GPU memory (estimated)", Notes: []string{"Status: " + r.GPU.Status + "."}}
	modes := r.GPU.modes()
	for _, mode := range modes {
		out.Columns = append(out.Columns, string(mode))
		out.Notes = append(out.Notes, string(mode)+": "+modeNotes[mode]+r.GPU.host(mode)+".")
	}
	for _, c := range r.GPU.Checkpoints {
		l := Line{Label: c.Name, Code: true, Notes: []string{fmt.Sprintf("%s rank %d, %s", strings.ToUpper(c.Precision), c.Rank, c.File)}}
		for _, mode := range modes {
			l.Cells = append(l.Cells, c.need(mode))
		}
		out.Lines = append(out.Lines, l)
	}
	if slices.ContainsFunc(r.GPU.Checkpoints, Checkpoint.unknown) {
		out.Notes = append(out.Notes, "The lock does not know the tensors yet: the fetch target adds them.")
	}
	return out
}

// unknown says that the checkpoint runs, and what it takes is not known.
func (c Checkpoint) unknown() bool {
	return len(c.Memory) == 0 && slices.ContainsFunc(c.Generations, func(g Generation) bool { return g.Runs })
}

// modes lists the modes of all checkpoints, each once.
func (g *GPU) modes() []gpu.Mode {
	var out []gpu.Mode
	for _, c := range g.Checkpoints {
		for _, n := range c.Memory {
			if !slices.Contains(out, n.Mode) {
				out = append(out, n.Mode)
			}
		}
	}
	return out
}

// host says what a mode takes of the host's memory, "" for nothing.
func (g *GPU) host(m gpu.Mode) string {
	var most int64
	for _, c := range g.Checkpoints {
		for _, n := range c.Memory {
			if n.Mode == m {
				most = max(most, n.HostBytes)
			}
		}
	}
	if most == 0 {
		return ""
	}
	return ", up to ~" + UnitFor(most).Format(most)
}

// need formats what a mode takes, "-" where it is not known.
func (c Checkpoint) need(m gpu.Mode) string {
	for _, n := range c.Memory {
		if n.Mode == m {
			return "~" + UnitFor(n.Bytes).Format(n.Bytes)
		}
	}
	return "-"
}

// generationsSection lists GPU generations for each precision aboard.
func (r *Report) generationsSection() Section {
	out := Section{ID: "generations", Title: "GPU generations", Columns: []string{"Precision", "Runs", "Measured", "nunchaku"}}
	seen := map[string]bool{}
	for _, c := range r.GPU.Checkpoints {
		if seen[c.Precision] {
			continue
		}
		seen[c.Precision] = true
		for _, g := range c.Generations {
			out.addGeneration(c.Precision, g)
		}
	}
	return out
}

// addGeneration adds a line, or a capability to a line that says the same of others.
func (s *Section) addGeneration(precision string, g Generation) {
	l := Line{
		Label: g.Capability, Code: true, Notes: []string{string(g.Method)},
		Cells: []string{strings.ToUpper(precision), yes(g.Runs), yes(g.Measured), yes(g.Nunchaku)},
	}
	if g.Note != "" {
		l.Notes[0] += "; " + g.Note
	}
	for i, o := range s.Lines {
		if slices.Equal(o.Cells, l.Cells) && slices.Equal(o.Notes, l.Notes) {
			s.Lines[i].Label += ", " + l.Label
			return
		}
	}
	s.Lines = append(s.Lines, l)
}
