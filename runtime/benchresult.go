package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen"
)

// benchResult is the result of the bench command. Times are in seconds, sizes in bytes.
type benchResult struct {
	SchemaVersion int         `json:"schemaVersion"`
	Version       string      `json:"version"`
	Date          time.Time   `json:"date"`
	Device        benchDevice `json:"device"`
	// Weights is how the GPU held the checkpoint's weights, as -weights names it; "" is the CPU.
	Weights  string    `json:"weights,omitempty"`
	Ceilings ceilings  `json:"ceilings"`
	Edit     benchEdit `json:"edit"`
	// Load is what each component took, and LoadTime all of it with the verification, from
	// the files to a model that edits.
	Load     []benchLoad `json:"load"`
	LoadTime float64     `json:"loadSeconds"`
	// FirstEdit is the edit that Stages leave out: kernels may still be compiling.
	FirstEdit float64 `json:"firstEditSeconds"`
	// Runs is how many edits were measured.
	Runs   int          `json:"runs"`
	Stages []benchStage `json:"stages"`
	Memory benchMemory  `json:"memory"`
}

// benchDevice is the machine.
type benchDevice struct {
	Name string `json:"name"`
	// The others are a GPU's: the release of the driver, the latest CUDA version that it
	// supports, and the compute capability.
	GPU         bool   `json:"gpu"`
	Driver      string `json:"driver,omitempty"`
	CUDA        string `json:"cuda,omitempty"`
	Capability  string `json:"computeCapability,omitempty"`
	TotalMemory int64  `json:"totalMemory,omitempty"`
}

// benchEdit is what was edited.
type benchEdit struct {
	Checkpoint       string `json:"checkpoint"`
	Width            int    `json:"width"`
	Height           int    `json:"height"`
	Steps            int    `json:"steps"`
	Guided           bool   `json:"guided"` // a step is then two forwards
	TargetTokens     int    `json:"targetTokens"`
	ReferencesTokens int    `json:"referenceTokens"`
	TextTokens       int    `json:"textTokens"`
}

// benchLoad is the loading of one component.
type benchLoad struct {
	Name    string  `json:"name"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// benchStage is one stage of an edit. Those without work on the device have no FLOPs and no
// floor.
type benchStage struct {
	Name string `json:"name"`
	// Count is how often it was measured: a step is one forward of each prompt.
	Count  int     `json:"count"`
	Median float64 `json:"medianSeconds"`
	Min    float64 `json:"minSeconds"`
	Max    float64 `json:"maxSeconds"`
	// FLOPs are those of products of matrices, without the branches of low rank; Rate how many a second, Floor the least time
	// below the ceilings, and Share how much of the median that is.
	FLOPs int64   `json:"flops,omitempty"`
	Rate  float64 `json:"flopsPerSecond,omitempty"`
	Floor float64 `json:"floorSeconds,omitempty"`
	Share float64 `json:"shareOfFloor,omitempty"`
}

// benchMemory is what the model and an edit take.
type benchMemory struct {
	// Weights and Activations are planned. Arena is what was ever in use of the arena, with
	// what operations take inside of them.
	Weights     int64 `json:"weightBytes"`
	Activations int64 `json:"activationBytes"`
	Arena       int64 `json:"arenaBytes"`
	// Held is what weights take of the GPU where some stream, the window through which they
	// come included, and Streamed what is copied to it for an edit.
	Held     int64 `json:"heldBytes,omitempty"`
	Streamed int64 `json:"streamedBytes,omitempty"`
	// Device is all that is taken on the GPU behind the last edit, by whomever: weights, an
	// arena with room for larger pictures, and the driver's part.
	Device int64 `json:"deviceBytes,omitempty"`
}

// The stages' names.
const (
	stageStep  = "transformer, a step"
	stageWhole = "the edit"
)

func (r *benchResult) setDevice(m machine) {
	d := m.describe()
	r.Device = benchDevice{d.Name, d.GPU, d.Driver, d.CUDA, d.Capability, d.TotalMemory}
	if m.weights != weightsInt8 {
		r.Ceilings.Int8 = 0 // where weights did not fit in that form
	}
	if m.driver != nil {
		r.Weights = m.weights
	}
}

func (r *benchResult) setLoad(all []qwen.Loaded, took time.Duration) {
	for _, l := range all {
		r.Load = append(r.Load, benchLoad{l.Name, l.Bytes, l.Time.Seconds()})
	}
	r.LoadTime = took.Seconds()
}

func (r *benchResult) setEdit(e *qwen.Edited) {
	r.Edit = benchEdit{
		Checkpoint: e.Checkpoint, Width: e.Picture.W, Height: e.Picture.H, Steps: e.Steps, Guided: e.Guided,
		TargetTokens: e.Tokens.Target, ReferencesTokens: e.Tokens.References, TextTokens: e.Tokens.Text,
	}
	r.Memory.Activations = e.ArenaBytes
}

// setStages makes the rows. What a sampling takes beside its steps is the modulations.
func (r *benchResult) setStages(all []timing, w works) {
	each := func(name string, w work, of func(t timing) time.Duration) {
		var times []time.Duration
		for _, t := range all {
			times = append(times, of(t))
		}
		r.add(name, times, w)
	}
	each("reading the picture", work{}, func(t timing) time.Duration { return t.read })
	each("preparing", work{}, func(t timing) time.Duration { return t.times.Prepare })
	each("text encoder", w.text, func(t timing) time.Duration { return t.times.Text })
	each("VAE encoder", w.encode, func(t timing) time.Duration { return t.times.Encode })
	each("modulations", w.modulations, func(t timing) time.Duration {
		rest := t.times.Sample
		for _, s := range t.steps {
			rest -= s
		}
		return rest
	})
	var steps []time.Duration
	for _, t := range all {
		steps = append(steps, t.steps...)
	}
	r.add(stageStep, steps, w.step)
	each("VAE decoder", w.decode, func(t timing) time.Duration { return t.times.Decode })
	each("writing the picture", work{}, func(t timing) time.Duration { return t.write })
	each(stageWhole, w.total, func(t timing) time.Duration { return t.total })
	r.setFloor()
}

// add makes a row.
func (r *benchResult) add(name string, times []time.Duration, w work) {
	slices.Sort(times)
	middle := (times[(len(times)-1)/2] + times[len(times)/2]) / 2
	s := benchStage{
		Name: name, Count: len(times), Median: middle.Seconds(),
		Min: times[0].Seconds(), Max: times[len(times)-1].Seconds(), FLOPs: w.flops,
	}
	if w.flops > 0 {
		s.Rate, s.Floor = float64(w.flops)/s.Median, r.Ceilings.floor(w)
		s.Share = s.Floor / s.Median
	}
	r.Stages = append(r.Stages, s)
}

// setFloor makes the whole edit's floor that of its stages, one after the other.
func (r *benchResult) setFloor() {
	whole := &r.Stages[len(r.Stages)-1]
	whole.Floor = 0
	for _, s := range r.Stages[:len(r.Stages)-1] {
		times := 1
		if s.Name == stageStep {
			times = r.Edit.Steps
		}
		whole.Floor += float64(times) * s.Floor
	}
	whole.Share = whole.Floor / whole.Median
}

func (r *benchResult) setMemory(m machine, p placement, arena int64) {
	r.Memory.Arena = arena
	if len(p.Groups) > 0 {
		r.Memory.Held, r.Memory.Streamed = p.HeldBytes, p.RunBytes
	}
	if d := m.describe(); d.GPU {
		r.Memory.Device = d.AllocatedMemory
	}
}

// text is the result for people.
func (r *benchResult) text() string {
	var out strings.Builder
	e := r.Edit
	fmt.Fprintf(&out, "%s, %s", r.Date.Format("2 January 2006"), r.Device.Name)
	if r.Device.GPU {
		fmt.Fprintf(&out, " (driver %s, CUDA %s), 4-bit weights held %s", r.Device.Driver, r.Device.CUDA, r.Weights)
	}
	fmt.Fprintf(&out, "\ncheckpoint %s, %d×%d: %d tokens, %d of references, %d of text; %d steps", e.Checkpoint, e.Width, e.Height, e.TargetTokens, e.ReferencesTokens, e.TextTokens, e.Steps)
	if e.Guided {
		out.WriteString(" of two forwards")
	}
	fmt.Fprintf(&out, "\nceilings: a product of %d³ at %.4g TFLOP/s, ", r.Ceilings.Product, r.Ceilings.FLOPs/1e12)
	if r.Ceilings.Int8 > 0 {
		fmt.Fprintf(&out, "in 8 bits at %.4g TOP/s, ", r.Ceilings.Int8/1e12)
	}
	fmt.Fprintf(&out, "a copy at %.4g GB/s\n\n", r.Ceilings.Bytes/1e9)
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "LOADED\tSIZE\tSECONDS\tGB/S")
	for _, l := range r.Load {
		fmt.Fprintf(table, "%s\t%s\t%.3g\t%.3g\n", l.Name, gigabytes(l.Bytes), l.Seconds, float64(l.Bytes)/l.Seconds/1e9)
	}
	fmt.Fprintf(table, "from the files to a model that edits\t\t%.3g\t\n", r.LoadTime)
	fmt.Fprintln(table, "\nSTAGE\tTIMES\tMEDIAN\tMIN\tMAX\tTFLOP\tTFLOP/S\tFLOOR\tSHARE")
	for _, s := range r.Stages {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\n", s.Name, s.Count, milliseconds(s.Median), milliseconds(s.Min), milliseconds(s.Max), s.columns())
	}
	table.Flush()
	fmt.Fprintf(&out, "\nthe first edit took %s; weights %s, activations of an edit %s", milliseconds(r.FirstEdit), gigabytes(r.Memory.Weights), gigabytes(r.Memory.Arena))
	if r.Memory.Held > 0 {
		fmt.Fprintf(&out, "; %s of weights on the device, %s stream in an edit", gigabytes(r.Memory.Held), gigabytes(r.Memory.Streamed))
	}
	if r.Device.GPU {
		fmt.Fprintf(&out, ", %s of the device taken in all", gigabytes(r.Memory.Device))
	}
	return out.String() + "\n"
}

func (s benchStage) columns() string {
	if s.FLOPs == 0 {
		return "\t\t\t"
	}
	return fmt.Sprintf("%.4g\t%.4g\t%s\t%.0f %%", float64(s.FLOPs)/1e12, s.Rate/1e12, milliseconds(s.Floor), 100*s.Share)
}

// milliseconds is "466 ms", with three digits.
func milliseconds(seconds float64) string {
	ms := 1000 * seconds
	if ms >= 100 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.3g ms", ms)
}
