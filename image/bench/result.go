package bench

import (
	"cmp"
	"math"
	"runtime"
)

// SchemaVersion is the version of Result's JSON.
const SchemaVersion = 1

// Result is what a bench measured. As text it is a few tables.
type Result struct {
	SchemaVersion int `json:"schemaVersion"`
	// Bench is fetch, verify, publish or pull.
	Bench string `json:"bench"`
	// Size is the number of bytes of model files that were worked on.
	Size int64 `json:"sizeBytes"`
	// Runs is how often each contestant took its turn.
	Runs     int       `json:"runs"`
	Machine  Machine   `json:"machine"`
	Programs []Program `json:"programs"`
	Floors   []Floor   `json:"floors"`
	Cases    []Case    `json:"cases"`
	Ratios   []Ratio   `json:"ratios"`
	// Notes say what the figures do not.
	Notes []string `json:"notes,omitempty"`
}

// Machine is where it was measured.
type Machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	Go   string `json:"go"`
	// CPUs is how many the process may use, CPU their model.
	CPUs int    `json:"cpus"`
	CPU  string `json:"cpu,omitempty"`
	// Memory is the machine's in bytes.
	Memory int64 `json:"memoryBytes,omitempty"`
	// Load is the load average of the minute before the bench: well over 0 means that the
	// machine had other work.
	Load float64 `json:"loadBefore"`
}

// Floor is something that the work cannot be faster than: the best that was seen of it in
// the same run.
type Floor struct {
	Name string `json:"name"`
	// Seconds is for all bytes of the bench.
	Seconds        float64 `json:"seconds"`
	BytesPerSecond float64 `json:"bytesPerSecond"`
}

// Case is one situation in which contestants are compared.
type Case struct {
	Name        string       `json:"name"`
	Title       string       `json:"title"`
	Contestants []Contestant `json:"contestants"`
}

// Contestant is one way to do the work.
type Contestant struct {
	Name string `json:"name"`
	// Missing are the programs without which it could not be measured.
	Missing []string `json:"missing,omitempty"`
	// Commands are its processes, for a person to repeat.
	Commands []string `json:"commands,omitempty"`
	// Samples are in the order of the rounds; Median is nil where there are none.
	Samples []Sample `json:"samples,omitempty"`
	Median  *Sample  `json:"median,omitempty"`
}

// Sense says on which side of an aim a ratio should be.
type Sense string

// The senses of aims.
const (
	AtMost  Sense = "at most"
	AtLeast Sense = "at least"
	NoAim   Sense = "" // the ratio is reported, no more
)

// Ratio is one figure that a bench is about.
type Ratio struct {
	Case string `json:"case"`
	// What says what is divided by what.
	What string `json:"what"`
	// Value is nil where something could not be measured; Missing says what.
	Value   *float64 `json:"value,omitempty"`
	Missing string   `json:"missing,omitempty"`
	Sense   Sense    `json:"sense,omitempty"`
	Aim     *float64 `json:"aim,omitempty"`
	// Met compares value and aim at two decimals; nil where there is nothing to compare.
	Met *bool `json:"met,omitempty"`
}

// ownMachine is what every system can tell.
func ownMachine() Machine {
	return Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(), CPUs: runtime.GOMAXPROCS(0)}
}

// floor enters a floor by its rate in bytes a second.
func (r *Result) floor(name string, rate float64) {
	r.Floors = append(r.Floors, Floor{Name: name, Seconds: float64(r.Size) / rate, BytesPerSecond: rate})
}

// median finds a contestant's medians; missing says why there are none.
func (r *Result) median(e entry) (m *Sample, missing string) {
	for _, c := range r.Cases {
		for _, x := range c.Contestants {
			switch {
			case c.Name != e.inCase || x.Name != e.contestant:
			case len(x.Missing) > 0:
				return nil, x.Missing[0] + " is missing"
			case x.Median != nil:
				return x.Median, ""
			}
		}
	}
	return nil, e.contestant + " was not measured"
}

// aim is the aim of a ratio.
type aim struct {
	sense Sense
	value float64
}

// ratio enters a figure; a NaN is one that could not be measured.
func (r *Result) ratio(inCase, what string, value float64, missing string, a aim) {
	out := Ratio{Case: inCase, What: what, Missing: missing, Sense: a.sense}
	if a.sense != NoAim {
		out.Aim = &a.value
	}
	if missing == "" && !math.IsNaN(value) && !math.IsInf(value, 0) {
		out.Value = &value
	}
	if out.Value != nil && out.Aim != nil {
		met := met(value, a)
		out.Met = &met
	}
	r.Ratios = append(r.Ratios, out)
}

// met compares at two decimals, as aims are given.
func met(value float64, a aim) bool {
	value = math.Round(100*value) / 100
	if a.sense == AtLeast {
		return value >= a.value
	}
	return value <= a.value
}

// entry names a contestant in a case.
type entry struct{ inCase, contestant string }

// compare enters a figure of one contestant divided by the same figure of another, under
// the case of the first.
func (r *Result) compare(x, by entry, unit string, get func(Sample) float64, a aim) {
	what := x.contestant + " / " + by.contestant + ", " + unit
	above, missing := r.median(x)
	below, more := r.median(by)
	if missing = cmp.Or(missing, more); missing != "" {
		r.ratio(x.inCase, what, 0, missing, a)
		return
	}
	r.ratio(x.inCase, what, get(*above)/get(*below), "", a)
}

// share enters a figure of one contestant divided by a number of its own.
func (r *Result) share(x entry, what string, by float64, get func(Sample) float64, a aim) {
	what = x.contestant + ", " + what
	m, missing := r.median(x)
	if missing != "" {
		r.ratio(x.inCase, what, 0, missing, a)
		return
	}
	r.ratio(x.inCase, what, get(*m)/by, "", a)
}

// The columns that ratios are about.
func wall(s Sample) float64        { return s.Seconds }
func cpu(s Sample) float64         { return s.CPU() }
func diskRead(s Sample) float64    { return float64(s.DiskRead) }
func diskWritten(s Sample) float64 { return float64(s.DiskWritten) }
func callsRead(s Sample) float64   { return float64(s.CallsRead) }
func transferred(s Sample) float64 { return float64(s.Transferred) }
