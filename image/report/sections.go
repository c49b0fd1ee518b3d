package report

import (
	"fmt"
	"strings"
)

// Section is one table with its paragraphs: what every form of the report says, before it
// is laid out. Texts are as the manifest and the repositories have them: a form cleans them
// with Clean and escapes them.
type Section struct {
	// ID names the section: words in lower case, the same in every report.
	ID string
	// Title is a heading. Label heads the column of labels; "" where Title does.
	Title, Label string
	// Columns heads the columns of figures.
	Columns []string
	Lines   []Line
	// Notes are paragraphs below the table.
	Notes []string
}

// Line is one row of a section, with a cell for each column.
type Line struct {
	Label string
	// Code says that Label is a name of a file, a rule or a host, not prose.
	Code  bool
	Cells []string
	// Total sets the line apart from those above.
	Total bool
	// Mark stands before each of Notes: kept, dropped, or nothing.
	Mark Mark
	// Notes are sentences about the line.
	Notes []string
}

// Mark says what became of the files that a note is about.
type Mark string

// The marks.
const (
	MarkNone    Mark = ""
	MarkKept    Mark = "\u2713" // a check mark
	MarkDropped Mark = "\u274c" // a cross mark, two columns wide on terminals
)

// Headline is the report in one sentence.
func (r *Report) Headline() string {
	naive, published := r.Scopes[0], r.Scopes[1]
	u := UnitFor(naive.Total.Before, r.Image.Bytes)
	text := fmt.Sprintf("%s instead of %s: %s than a naive image",
		u.Format(r.Image.Bytes), u.Format(naive.Total.Before), Difference(naive.Total))
	if r.OneScope() {
		return text + "."
	}
	return text + fmt.Sprintf(", %s than all that is published.", Difference(published.Total))
}

// Difference words a total's percentage: "49.2 % less", "more" where before was nothing.
func Difference(total Row) string {
	switch {
	case total.Percent == nil:
		return "more"
	case *total.Percent < 0:
		return fmt.Sprintf("%.1f %% more", -*total.Percent)
	}
	return fmt.Sprintf("%.1f %% less", *total.Percent)
}

// OneScope reports whether a naive image takes all that is published, so that one table
// says everything.
func (r *Report) OneScope() bool { return r.Scopes[0].Files == r.Scopes[1].Files }

// Sections lists the tables of the report.
func (r *Report) Sections() []Section {
	out := []Section{impact("impact", r.Scopes[0], r.Estimated)}
	if r.OneScope() {
		out[0].Notes = append(out[0].Notes, "A naive image takes all that is published.")
	} else {
		out = append(out, impact("published", r.Scopes[1], nil))
	}
	out = append(out, r.savedSection(), r.addedSection(), r.keptSection())
	if len(r.Unused) > 0 {
		out = append(out, r.unusedSection())
	}
	out = append(out, r.weightSection())
	if r.Budget != nil {
		out = append(out, r.budgetSection())
	}
	out = append(out, r.pullSection())
	if len(r.Limits) > 0 {
		out = append(out, r.limitsSection())
	}
	if r.GPU != nil {
		out = append(out, r.memorySection(), r.generationsSection())
	}
	return append(out, r.layersSection(), r.identitySection())
}

// impact is the table of components, before and after.
func impact(id string, s Scope, e *Estimate) Section {
	u := UnitFor(s.Total.Before, s.Total.After)
	out := Section{
		ID: id, Title: "Storage impact: " + titleOf(s.Name), Label: "Component",
		Columns: []string{"Before", "After", "Savings", "Percent"},
	}
	for _, row := range s.Rows {
		out.Lines = append(out.Lines, Line{Label: row.Component, Cells: u.cells(row)})
	}
	out.Lines = append(out.Lines, Line{Label: s.Total.Component, Cells: u.cells(s.Total), Total: true})
	if s.Total.Percent != nil {
		out.Notes = []string{reduction(*s.Total.Percent) + "."}
	}
	if e != nil {
		out.addEstimate(e)
	}
	return out
}

// reduction is the seed's last line of a table.
func reduction(percent float64) string {
	if percent < 0 {
		return fmt.Sprintf("Storage growth: %.1f %%", -percent)
	}
	return fmt.Sprintf("Storage reduction: %.1f %%", percent)
}

// addEstimate puts the estimates below the exact total, in their own unit: gigabytes of
// software must not round a small model's megabytes away.
func (s *Section) addEstimate(e *Estimate) {
	u := UnitFor(e.Total.Before)
	s.Lines = append(s.Lines,
		Line{Label: e.Row.Component, Cells: u.estimate(e.Row)},
		Line{Label: e.Total.Component, Cells: u.estimate(e.Total), Total: true})
	if p := e.Total.Percent; p != nil && len(s.Notes) > 0 {
		s.Notes[0] = strings.TrimSuffix(s.Notes[0], ".") + fmt.Sprintf("; with the software stack ~%.0f %%.", *p)
	}
	for _, w := range e.Software {
		text := fmt.Sprintf("~ estimated: %s, %s unpacked", w.Name, u.Format(w.Bytes))
		if w.CompressedBytes > 0 {
			text += fmt.Sprintf(", %s as pulled", u.Format(w.CompressedBytes))
		}
		s.Notes = append(s.Notes, text+". Source: "+w.Source+".")
	}
}

// cells formats a row.
func (u Unit) cells(r Row) []string {
	return []string{u.Format(r.Before), u.Format(r.After), u.Format(r.Saved), formatPercent(r.Percent)}
}

// estimate formats a row whose Before is an estimate. What the image holds stays exact.
func (u Unit) estimate(r Row) []string {
	return []string{"~" + u.Format(r.Before), u.Format(r.After), "~" + u.Format(r.Saved), "~" + formatPercent(r.Percent)}
}
