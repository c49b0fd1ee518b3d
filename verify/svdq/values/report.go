package values

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify"
)

// maxListed bounds the findings of one code and the ranges of blocks in one finding.
const maxListed = 24

// fault is something wrong with one tensor.
type fault struct {
	severity     verify.Severity
	code, tensor string
	detail       string // a predicate: "has 3 NaN"
}

// report collects faults.
type report struct{ faults []fault }

func (r *report) add(s verify.Severity, code, tensor, format string, args ...any) {
	r.faults = append(r.faults, fault{s, code, tensor, fmt.Sprintf(format, args...)})
}

// group is the same fault of tensors whose names differ in a number alone.
type group struct {
	fault
	pattern string // the name with * for its number
	numbers []int
}

// findings turns the faults into findings, in order, those of several blocks into one.
func (r *report) findings() (out verify.Findings) {
	listed := map[string]int{}
	for _, g := range r.groups() {
		listed[g.code]++
		if listed[g.code] > maxListed {
			continue
		}
		out.Add(g.severity, g.code, "", "%s", g.message())
		out.Hint("%s", hints[g.code])
	}
	for _, code := range slices.Sorted(maps.Keys(listed)) {
		if more := listed[code] - maxListed; more > 0 {
			out.Add(r.worst(code), code, "", "%d more findings of this kind", more)
		}
	}
	return out
}

// worst is the highest severity of a code's faults.
func (r *report) worst(code string) (worst verify.Severity) {
	for _, f := range r.faults {
		if f.code == code {
			worst = max(worst, f.severity)
		}
	}
	return worst
}

func (r *report) groups() (out []*group) {
	byKey := map[string]*group{}
	for _, f := range r.faults {
		pattern, number := numbered(f.tensor)
		key := fmt.Sprint(f.severity, f.code, "\x00", pattern)
		g := byKey[key]
		if g == nil || number < 0 {
			g = &group{fault: f, pattern: pattern}
			byKey[key], out = g, append(out, g)
		}
		g.numbers = append(g.numbers, number)
	}
	return out
}

// numbered replaces the first component of a name that is a number by *. The number is -1
// if there is none.
func numbered(name string) (pattern string, number int) {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		if n, err := strconv.Atoi(p); err == nil && n >= 0 && strconv.Itoa(n) == p {
			parts[i] = "*"
			return strings.Join(parts, "."), n
		}
	}
	return name, -1
}

// message is the tensor's name and what is wrong with it. A group has the details of its
// first tensor.
func (g *group) message() string {
	if len(g.numbers) == 1 {
		return shorten(g.tensor) + " " + g.detail
	}
	slices.Sort(g.numbers)
	return fmt.Sprintf("%d × %s (%s): the first, %s, %s", len(g.numbers), shorten(g.pattern), ranges(g.numbers), shorten(g.tensor), g.detail)
}

// shorten makes a foreign name fit for a message: printable and not too long.
func shorten(name string) string {
	const limit = 160
	cut := ""
	if len(name) > limit {
		name, cut = name[:limit], "…"
	}
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` || cut != "" || name == "" {
		return quoted + cut
	}
	return name
}

// ranges writes ascending numbers as "0-3, 7".
func ranges(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if len(parts) == maxListed {
			return strings.Join(parts, ", ") + ", …"
		}
		part := strconv.Itoa(numbers[i])
		if j > i {
			part += "-" + strconv.Itoa(numbers[j])
		}
		parts, i = append(parts, part), j+1
	}
	return strings.Join(parts, ", ")
}

// trim writes a number with up to two decimals.
func trim(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// count is "1 row" or "2 rows".
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
