package selftest

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Report is the result of a test.
type Report struct {
	// OK says that every operation was tried and none is wrong.
	OK bool `json:"ok"`
	// Seconds is the time of all, the reference's included.
	Seconds    float64  `json:"seconds"`
	Operations []Result `json:"operations"`
}

// Result is how far the result of an operation is from the reference's.
type Result struct {
	Name string `json:"name"`
	// Error is the distance, and Bound up to which it is OK.
	Error Distance `json:"error"`
	Bound float64  `json:"bound"`
	OK    bool     `json:"ok"`
	// Seconds is the backend's time, with its inputs and the comparison; the first operation
	// waits for kernels that are being compiled.
	Seconds float64 `json:"seconds"`
}

// Distance is a relative error: the root mean square of ‖result − truth‖/‖truth‖ of all rows
// of a tensor, or an eighth of what a single value is off, of its own size and its row's root
// mean square together, whichever is more. A result with a NaN is at the distance NaN, and one that should be zero
// and is not at an infinite one; JSON has null for both.
type Distance float64

// MarshalJSON implements json.Marshaler.
func (d Distance) MarshalJSON() ([]byte, error) {
	if v := float64(d); !math.IsNaN(v) && !math.IsInf(v, 0) {
		return json.Marshal(v)
	}
	return []byte("null"), nil
}

// String returns two significant digits, such as "0.0017".
func (d Distance) String() string { return strconv.FormatFloat(float64(d), 'g', 2, 64) }

// Worst is the operation that is nearest to its bound, or furthest beyond. The zero Report has
// the zero Result.
func (r Report) Worst() Result {
	var worst Result
	for _, o := range r.Operations {
		if worst.Name == "" || o.ratio() > worst.ratio() {
			worst = o
		}
	}
	return worst
}

// ratio is the distance in bounds; what is wrong for other reasons than its size is at
// infinity.
func (r Result) ratio() float64 {
	switch {
	case r.OK && r.Bound == 0:
		return 0
	case math.IsNaN(float64(r.Error)) || r.Bound == 0:
		return math.Inf(1)
	}
	return float64(r.Error) / r.Bound
}

// wrong are the operations that are not OK.
func (r Report) wrong() (list []Result) {
	for _, o := range r.Operations {
		if !o.OK {
			list = append(list, o)
		}
	}
	return list
}

// String is the report as a table, a line for each operation.
func (r Report) String() string {
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\tOPERATION\tERROR\tBOUND\tMS")
	for _, o := range r.Operations {
		mark := "✓"
		if !o.OK {
			mark = "✗"
		}
		fmt.Fprintf(table, "%s\t%s\t%v\t%v\t%.1f\n", mark, o.Name, o.Error, Distance(o.Bound), 1000*o.Seconds)
	}
	table.Flush()
	return out.String()
}
