package plan

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
)

// Result is what was counted, as one JSON document.
type Result struct {
	SchemaVersion int `json:"schemaVersion"`
	// ActBytes is the size of the activations that were planned for.
	ActBytes int `json:"actBytes"`
	// Weights are those of each kind that there is, and WeightBytes all together.
	Weights     []Weights `json:"weights"`
	WeightBytes int64     `json:"weightBytes"`
	// Groups are the groups of weights, in the order in which they were loaded.
	Groups []Group `json:"groups"`
	// Stages are in the order in which they began. What came ahead of the first has no name,
	// and is left out if it took nothing.
	Stages []StageResult `json:"stages"`
	// Total adds the stages up; its arena is the largest.
	Total StageResult `json:"total"`
}

// Weights are the weights of one kind: dense, svdq, awq, convolution, vector or table; lowRank
// are the branches of low rank of svdq.
type Weights struct {
	Kind   string `json:"kind"`
	Layers int64  `json:"layers"`
	// Values is how many weights and biases they stand for, without scales and zeros.
	Values int64 `json:"values"`
	Bytes  int64 `json:"bytes"`
}

// StageResult is what a stage took.
type StageResult struct {
	Name string `json:"name"`
	Work
	UploadBytes   int64 `json:"uploadBytes"`
	DownloadBytes int64 `json:"downloadBytes"`
	// ArenaPeak is how many bytes of the arena were in use at a time.
	ArenaPeak int64 `json:"arenaPeak"`
	// Operations are those of each kind that there is.
	Operations []Operation `json:"operations"`
}

// Operation is what operations of one kind took: a linear is dense, svdq or awq; lowRank is the
// part of svdq's work that its branch of low rank is, launched with it.
type Operation struct {
	Name string `json:"name"`
	Work
}

// Result is what was counted: all weights, and the operations since Begin.
func (b *Backend) Result() Result {
	r := Result{SchemaVersion: 1, ActBytes: b.options.ActBytes, Weights: []Weights{}, Groups: []Group{}, Stages: []StageResult{}}
	for k, w := range b.weights {
		if w.Layers > 0 {
			w.Kind = weightNames[k]
			r.Weights = append(r.Weights, w)
			r.WeightBytes += w.Bytes
		}
	}
	for _, g := range b.groups {
		r.Groups = append(r.Groups, g.Group)
	}
	total := stage{name: "total"}
	for _, s := range b.stages {
		if *s == (stage{name: s.name, peak: s.peak}) && s.name == "" {
			continue
		}
		r.Stages = append(r.Stages, s.result())
		total.add(s)
	}
	r.Total = total.result()
	r.Total.ArenaPeak = b.Peak()
	return r
}

// add adds another stage's counts.
func (s *stage) add(o *stage) {
	for op := range s.work {
		s.work[op].add(o.work[op])
	}
	s.uploaded += o.uploaded
	s.downloaded += o.downloaded
}

func (s *stage) result() StageResult {
	r := StageResult{Name: s.name, UploadBytes: s.uploaded, DownloadBytes: s.downloaded, ArenaPeak: s.peak, Operations: []Operation{}}
	for op, w := range s.work {
		if w != (Work{}) {
			r.Operations = append(r.Operations, Operation{operationNames[op], w})
			r.add(w)
		}
	}
	return r
}

// String is tables of the weights, the stages and the operations of all of them. Prefixes are
// decimal.
func (r Result) String() string {
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WEIGHTS\tLAYERS\tVALUES\tBYTES")
	for _, w := range r.Weights {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", w.Kind, w.Layers, si(w.Values, ""), si(w.Bytes, "B"))
	}
	fmt.Fprintf(table, "total\t\t\t%s\n", si(r.WeightBytes, "B"))
	table.Flush()

	fmt.Fprintln(table, "\nSTAGE\tLAUNCHES\tCOMPUTED\tWEIGHTS READ\tACTIVATIONS MOVED\tUPLOADED\tDOWNLOADED\tARENA")
	for _, s := range append(r.Stages, r.Total) {
		name := s.Name
		if name == "" {
			name = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", name, s.columns(), si(s.UploadBytes, "B"), si(s.DownloadBytes, "B"), si(s.ArenaPeak, "B"))
	}
	table.Flush()

	fmt.Fprintln(table, "\nOPERATION\tLAUNCHES\tCOMPUTED\tWEIGHTS READ\tACTIVATIONS MOVED")
	for _, o := range r.Total.Operations {
		fmt.Fprintf(table, "%s\t%s\n", o.Name, o.columns())
	}
	table.Flush()
	return out.String()
}

// columns are a row of a table.
func (w Work) columns() string {
	return fmt.Sprintf("%d\t%s\t%s\t%s", w.Launches, si(w.FLOPs, "FLOP"), si(w.WeightBytes, "B"), si(w.ActivationBytes, "B"))
}

// si writes a number with one digit behind the point and a prefix, from 1000 on.
func si(n int64, unit string) string {
	v, prefix := humanize.ComputeSI(float64(n))
	if prefix == "" {
		return strings.TrimSpace(fmt.Sprintf("%d %s", n, unit))
	}
	return fmt.Sprintf("%.1f %s%s", v, prefix, unit)
}
