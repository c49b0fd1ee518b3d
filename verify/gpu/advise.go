package gpu

import (
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

// Verdict is the answer for one checkpoint on one GPU.
type Verdict string

// The verdicts.
const (
	// Runs: the runtime runs it, and the memory is enough for one of its modes or is not
	// known.
	Runs Verdict = "runs"
	// TooSmall: the runtime would run it, but the GPU has less memory than Streamed takes at
	// least.
	TooSmall Verdict = "too-small"
	// OtherRuntime: the file fits the GPU, but only another runtime is for the pair.
	OtherRuntime Verdict = "other-runtime"
	// WrongPrecision: the file does not fit the GPU, its twin of the other precision does.
	WrongPrecision Verdict = "wrong-precision"
	// Unknown: nothing is known about the GPU.
	Unknown Verdict = "unknown"
)

// Advice is a verdict with its reasons.
type Advice struct {
	Verdict Verdict `json:"verdict"`
	// Route is how the checkpoint runs; nil where no route is known.
	Route *Route `json:"route,omitempty"`
	// Mode is the roomiest mode that fits, and Bytes what it takes at least; "" and 0 where
	// none fits, where memory is not known, or where the runtime does not run the checkpoint.
	Mode  Mode  `json:"mode,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
	// HostBytes is what stays on the host for lack of memory and should lie in its page cache:
	// an estimate, to within two groups of weights. 0 for other modes than Streamed.
	HostBytes int64 `json:"hostBytes,omitempty"`
	// Message is a sentence with both sides.
	Message string `json:"message"`
	// Hint is the way out, "" where there is none.
	Hint string `json:"hint,omitempty"`
}

// Advise says whether a GPU is one for the checkpoint. memory is the GPU's, in bytes, as
// the driver gives its total; below 1 it is not known. The answer's Route says whether
// anything was measured on such a GPU.
func (c Checkpoint) Advise(gpu Capability, memory int64) Advice {
	r, ok := Find(c.Precision, gpu)
	switch {
	case ok && r.Runs:
		return c.place(r, memory)
	case ok:
		return Advice{
			Verdict: OtherRuntime, Route: &r,
			Message: fmt.Sprintf("%s rank %d fits %s, but this runtime does not run it there: %s", title(c.Precision), c.Rank, gpu, r.Note),
			Hint:    c.twinHint(gpu),
		}
	case known(gpu):
		return Advice{
			Verdict: WrongPrecision,
			Message: fmt.Sprintf("this file is %s (needs %s); your GPU is %s; the %s twin is %s",
				title(c.Precision), list(c.Precision), gpu, title(other(c.Precision)), c.twin()),
			Hint: c.twinHint(gpu),
		}
	}
	return Advice{
		Verdict: Unknown,
		Message: fmt.Sprintf("nothing is known about %s: %s files are for %s", gpu, title(c.Precision), list(c.Precision)),
	}
}

// place chooses the roomiest mode that fits.
func (c Checkpoint) place(r Route, memory int64) Advice {
	a := Advice{Verdict: Runs, Route: &r}
	a.Message = fmt.Sprintf("%s rank %d on %s: runs, %s; %s", title(c.Precision), c.Rank, r.Capability, measured(r.Measured), r.Method)
	if r.Note != "" {
		a.Message += "; " + r.Note
	}
	if memory < 1 || len(c.Needs) == 0 {
		return a
	}
	var least Need
	for _, n := range c.Needs {
		if n.Mode == ResidentInt8 && r.Method != Int8 {
			continue
		}
		if n.Bytes <= memory {
			a.take(n, memory)
			return a
		}
		least = n
	}
	a.Verdict = TooSmall
	a.Message = fmt.Sprintf("%s rank %d needs about %s of memory (%s); your GPU has %s", title(c.Precision), c.Rank, size(least.Bytes), least.Mode, size(memory))
	a.Hint = "use a GPU with more memory"
	return a
}

// take takes a mode that fits. What its memory leaves to the host is what the GPU has less than
// all weights take with a window.
func (a *Advice) take(n Need, memory int64) {
	a.Mode, a.Bytes = n.Mode, n.Bytes
	if n.HostBytes > 0 {
		a.HostBytes = n.HostBytes - (memory - n.Bytes)
		a.Message += fmt.Sprintf("; what does not fit, about %s of weights, streams from the host for each picture: let its page cache have room for that", size(a.HostBytes))
	}
}

func measured(yes bool) string {
	if yes {
		return "measured"
	}
	return "unmeasured on such a GPU"
}

// twinHint names the twin where this runtime or nunchaku runs it.
func (c Checkpoint) twinHint(gpu Capability) string {
	if r, ok := Find(other(c.Precision), gpu); ok && (r.Runs || r.Nunchaku) {
		return "take " + c.twin()
	}
	return ""
}

// twin names the file of the other precision: publishers write "int4" or "fp4" into names
// that are equal otherwise.
func (c Checkpoint) twin() string {
	words := map[string]string{"int4": "fp4", "nvfp4": "int4", "fp4": "int4"}
	for _, word := range []string{"nvfp4", "fp4", "int4"} {
		if before, after, ok := strings.Cut(c.File, word); ok && precisionOf(word) == c.Precision {
			return before + words[word] + after
		}
	}
	return fmt.Sprintf("a file of the same model and rank %d in %s", c.Rank, title(other(c.Precision)))
}

func precisionOf(word string) string {
	if word == "int4" {
		return svdq.Int4
	}
	return svdq.NVFP4
}

func other(precision string) string {
	if precision == svdq.Int4 {
		return svdq.NVFP4
	}
	return svdq.Int4
}

// title is a precision as people write it.
func title(precision string) string { return strings.ToUpper(precision) }

// list joins the capabilities that have a route: "sm_120 or sm_121".
func list(precision string) string {
	var names []string
	for _, r := range Routes(precision) {
		names = append(names, r.Capability.String())
	}
	if len(names) == 0 {
		return "no GPU"
	}
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// size is "12.65 GB", in units of 10^9 bytes.
func size(n int64) string { return fmt.Sprintf("%.2f GB", float64(n)/1e9) }
