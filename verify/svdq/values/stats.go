package values

import (
	"maps"
	"math"
	"slices"
)

// Stats describes the values of a file, kind by kind.
type Stats struct {
	// Tensors is the number of tensors that were read.
	Tensors int `json:"tensors"`
	// Values is the number of their elements; a 4-bit code is one.
	Values int64 `json:"values"`
	// Kinds are sorted by name.
	Kinds []Kind `json:"kinds"`
}

// Kind describes all tensors of one kind. Shares are between 0 and 1. Min, Max, Mean and
// Std are those of the finite values, 0 if there are none.
type Kind struct {
	// Kind is "svdq." or "awq." and the tensor's suffix, such as "svdq.proj_up"; outside the
	// quantised linears "norm.weight" (one dimension), "plain.weight", "plain.bias" or
	// "other".
	Kind    string `json:"kind"`
	Tensors int    `json:"tensors"`
	Values  int64  `json:"values"`
	// Min to Std of a qweight are in steps of its grid, without scales: INT4 -8 to 7, e2m1
	// -6 to 6, AWQ -7 to 8 (its code less 7).
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
	// Std is the standard deviation of the population.
	Std float64 `json:"std"`
	// ZeroShare is the share of values that are zero, of either sign.
	ZeroShare float64 `json:"zeroShare"`
	NaN       int64   `json:"nan"`
	Inf       int64   `json:"inf"`
	// Codes is set for qweight alone.
	Codes *Codes `json:"codes,omitempty"`
}

// Codes describes 4-bit codes.
type Codes struct {
	// Histogram counts the codes 0 to 15 as they are stored.
	Histogram [16]int64 `json:"histogram"`
	// Groups is the number of runs of columns of a row that share a scale, Peaked how many
	// of them contain the largest code that a quantiser makes, and PeakShare the quotient.
	Groups    int64   `json:"groups"`
	Peaked    int64   `json:"peaked"`
	PeakShare float64 `json:"peakShare"`
	// ConstantRows counts the rows of 64 columns whose codes are all the same.
	ConstantRows int64 `json:"constantRows"`
}

// numbers is what one tensor adds to its kind.
type numbers struct {
	kind               string
	n, zeros, nan, inf int64
	min, max           float64
	sum, squares       float64
	codes              *Codes
}

// collection sums numbers up by kind.
type collection map[string]*sums

type sums struct {
	numbers
	tensors int
}

func (c *collection) add(n numbers) {
	if *c == nil {
		*c = collection{}
	}
	s := (*c)[n.kind]
	if s == nil {
		(*c)[n.kind] = &sums{n, 1}
		return
	}
	s.tensors++
	s.n, s.zeros, s.nan, s.inf = s.n+n.n, s.zeros+n.zeros, s.nan+n.nan, s.inf+n.inf
	s.min, s.max = min(s.min, n.min), max(s.max, n.max)
	s.sum, s.squares = s.sum+n.sum, s.squares+n.squares
	if s.codes != nil && n.codes != nil {
		s.codes = s.codes.plus(n.codes)
	}
}

func (c *Codes) plus(d *Codes) *Codes {
	out := Codes{Groups: c.Groups + d.Groups, Peaked: c.Peaked + d.Peaked, ConstantRows: c.ConstantRows + d.ConstantRows}
	for i := range out.Histogram {
		out.Histogram[i] = c.Histogram[i] + d.Histogram[i]
	}
	out.PeakShare = share(out.Peaked, out.Groups)
	return &out
}

// stats finishes the sums.
func (c collection) stats() Stats {
	out := Stats{Kinds: []Kind{}}
	for _, kind := range slices.Sorted(maps.Keys(c)) {
		s := c[kind]
		out.Tensors += s.tensors
		out.Values += s.n
		out.Kinds = append(out.Kinds, s.kind())
	}
	return out
}

func (s *sums) kind() Kind {
	k := Kind{
		Kind: s.numbers.kind, Tensors: s.tensors, Values: s.n, ZeroShare: share(s.zeros, s.n), NaN: s.nan, Inf: s.inf, Codes: s.codes,
	}
	if finite := float64(s.n - s.nan - s.inf); finite > 0 {
		k.Min, k.Max, k.Mean = s.min, s.max, s.sum/finite
		k.Std = math.Sqrt(max(0, s.squares/finite-k.Mean*k.Mean))
	}
	return k
}

// share is part/whole, 0 of nothing.
func share(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// numbers of a floating-point tensor.
func (f *floats) numbers(kind string) numbers {
	return numbers{kind: kind, n: f.n, zeros: f.zeros, nan: f.nan, inf: f.inf, min: f.min, max: f.max, sum: f.sum, squares: f.squares}
}

// numbers of a tensor of codes.
func (t *tally) numbers(kind string) numbers {
	n := numbers{kind: kind, min: math.Inf(1), max: math.Inf(-1), codes: &Codes{
		Histogram: t.hist, Groups: t.groups, Peaked: t.peaked, PeakShare: share(t.peaked, t.groups), ConstantRows: t.constant,
	}}
	for c, count := range t.hist {
		if count == 0 {
			continue
		}
		v, times := t.format.value(uint8(c)), float64(count)
		n.n += count
		n.min, n.max = min(n.min, v), max(n.max, v)
		n.sum, n.squares = n.sum+v*times, n.squares+v*v*times
		if v == 0 {
			n.zeros += count
		}
	}
	return n
}
