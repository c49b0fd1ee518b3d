package report

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// Budget holds the image against the manifest's limits.
type Budget struct {
	// Over says that a limit is exceeded.
	Over bool `json:"over"`
	// Limits lists the manifest's limits: the image, what is outside the model files, growth.
	Limits []BudgetLimit `json:"limits"`
}

// The names of limits, which are the manifest's keys.
const (
	BudgetImage   = "image"
	BudgetOutside = "outside"
	BudgetGrowth  = "growth"
)

// BudgetLimit is one limit. All sizes are in bytes; Left = Limit - Used.
type BudgetLimit struct {
	// Name is one of the Budget constants.
	Name string `json:"name"`
	// Title is the limit for people.
	Title string `json:"title"`
	// Checked is false for growth where no published image was named; then nothing below is
	// known.
	Checked bool  `json:"checked"`
	Limit   int64 `json:"limit"`
	// Used may be below zero for growth: the image has shrunk.
	Used int64 `json:"used"`
	// Left is below zero where the limit is exceeded.
	Left int64 `json:"left"`
	// Largest is the file or layer that takes most of Used; nil where nothing does.
	Largest *BudgetShare `json:"largest,omitempty"`
	// Against is the reference of the published image, AgainstDigest the digest of its
	// manifest and AgainstBytes its size; for growth alone.
	Against       string `json:"against,omitempty"`
	AgainstDigest string `json:"againstDigest,omitempty"`
	AgainstBytes  int64  `json:"againstBytes,omitempty"`
}

// BudgetShare is the share of one file or layer.
type BudgetShare struct {
	// Name is the file's path in the image, without parts, or names the layer.
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Published is the image that growth is measured against.
type Published struct {
	// Name is its reference, Digest that of its manifest.
	Name, Digest string
	// Bytes is its weight: all layers, config and manifest.
	Bytes int64
	// Layers lists its layers. Kind and Path are as those of a report, where the image says
	// so; what has no kind is told apart by its path.
	Layers []Layer
}

// NewBudget holds a report's image against a budget; nil for none. published is nil where no
// image was named.
func NewBudget(r *Report, b *manifests.Budget, published *Published) (*Budget, error) {
	if b == nil {
		return nil, nil
	}
	out := &Budget{Limits: []BudgetLimit{}}
	if b.Image != nil {
		out.add(BudgetLimit{Name: BudgetImage, Title: "Image", Limit: int64(*b.Image), Used: r.Image.Bytes, Largest: largest(shares(r.Layers), nil)})
	}
	if b.Outside != nil {
		small := slices.DeleteFunc(slices.Clone(r.Layers), func(l Layer) bool { return l.Kind == KindModel })
		out.add(BudgetLimit{Name: BudgetOutside, Title: titleOutside, Limit: int64(*b.Outside), Used: r.Image.OutsideBytes, Largest: largest(shares(small), nil)})
	}
	if b.Growth != "" {
		return out, out.addGrowth(r, b.Growth, published)
	}
	return out, nil
}

// add completes a limit that was checked.
func (b *Budget) add(l BudgetLimit) {
	l.Checked, l.Left = true, l.Limit-l.Used
	b.Over = b.Over || l.Left < 0
	b.Limits = append(b.Limits, l)
}

func (b *Budget) addGrowth(r *Report, g manifests.Growth, p *Published) error {
	l := BudgetLimit{Name: BudgetGrowth, Title: "Growth"}
	if p == nil {
		b.Limits = append(b.Limits, l)
		return nil
	}
	allowed, err := g.Allowed(p.Bytes)
	if err != nil {
		return err
	}
	l.Limit, l.Used, l.AgainstBytes = allowed, r.Image.Bytes-p.Bytes, p.Bytes
	l.Against, l.AgainstDigest = p.Name, p.Digest
	l.Largest = largest(shares(r.Layers), shares(p.Layers))
	b.add(l)
	return nil
}

// shares adds layers up by what they are: the parts of a file are one.
func shares(layers []Layer) map[string]int64 {
	out := map[string]int64{}
	for _, l := range layers {
		out[l.share()] += l.Size
	}
	return out
}

// share names what a layer belongs to, whatever version of it.
func (l Layer) share() string {
	switch l.Kind {
	case KindModel:
		if name, _, _, cut := pack.SplitPartName(l.Path); cut {
			return name
		}
		return l.Path
	case "":
		return "layer " + l.Path
	}
	return l.Kind + " layer"
}

// largest is the share that is largest or, with those before, grew most; nil for none.
func largest(now, before map[string]int64) *BudgetShare {
	var out *BudgetShare
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if n := now[name] - before[name]; n > 0 && (out == nil || n > out.Bytes) {
			out = &BudgetShare{Name: name, Bytes: n}
		}
	}
	return out
}

// Err is nil for an image within its budget, and for none. Else it is an error of kind
// fault.Budget that names every limit exceeded and what takes most of it.
func (b *Budget) Err() error {
	if b == nil || !b.Over {
		return nil
	}
	var all []error
	hint := ""
	for _, l := range b.Limits {
		if l.Checked && l.Left < 0 {
			all = append(all, errors.New(l.message()))
			hint = cmp.Or(hint, fmt.Sprintf("drop what is not needed, or raise budget.%s in the manifest", l.Name))
		}
	}
	return fault.Wrap(fault.Budget, hint, errors.Join(all...))
}

// message says by how much and through what a limit is exceeded.
func (l BudgetLimit) message() string {
	over := fmt.Sprintf("%s over its limit of %s", exact(-l.Left), exact(l.Limit))
	what := map[string]string{
		BudgetImage:   "the image has " + exact(l.Used),
		BudgetOutside: "outside the model files the image has " + exact(l.Used),
		BudgetGrowth:  fmt.Sprintf("the image grew by %s over %s", exact(l.Used), l.Against),
	}[l.Name]
	text := fmt.Sprintf("checking the budget: %s, %s", what, over)
	if l.Largest != nil {
		text += fmt.Sprintf("; most of it is %s with %s", l.Largest.Name, exact(l.Largest.Bytes))
	}
	return text
}

// exact is a size in words and in bytes.
func exact(n int64) string {
	u := UnitFor(n)
	if u.bytes == 1 {
		return u.Format(n)
	}
	return fmt.Sprintf("%s (%s bytes)", u.Format(n), humanize.Comma(n))
}

// budgetSection shows limits, what is used and what is left. It is for a report that has a
// budget.
func (r *Report) budgetSection() Section {
	out := Section{ID: "budget", Title: "Budget", Columns: []string{"Limit", "Used", "Left"}}
	for _, l := range r.Budget.Limits {
		if !l.Checked {
			out.Lines = append(out.Lines, Line{Label: l.Title, Cells: []string{"-", "-", "-"},
				Notes: []string{"not checked: -against names no published image"}})
			continue
		}
		u := UnitFor(l.Limit, l.Used)
		row := Line{Label: l.Title, Cells: []string{u.Format(l.Limit), u.Format(l.Used), u.Format(l.Left)}}
		if l.Against != "" {
			row.Notes = append(row.Notes, "against "+l.Against)
		}
		if l.Left < 0 && l.Largest != nil {
			row.Mark = MarkDropped
			row.Notes = append(row.Notes, fmt.Sprintf("over its limit; most of it is %s with %s", l.Largest.Name, exact(l.Largest.Bytes)))
		}
		out.Lines = append(out.Lines, row)
	}
	return out
}
