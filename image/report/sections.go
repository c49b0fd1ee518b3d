package report

import (
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"
)

// section is one table with its paragraphs: what every form of the report says, before it
// is laid out. Texts are as the manifest has them; a form cleans or escapes them.
type section struct {
	// title heads the column of labels.
	title string
	// columns heads the columns of figures.
	columns []string
	lines   []line
	// notes are paragraphs below the table.
	notes []string
}

// line is one row of a section.
type line struct {
	label string
	cells []string
	// total sets the line apart from those above.
	total bool
	// mark stands before each of notes: kept, dropped, or nothing.
	mark mark
	// notes are sentences about the line.
	notes []string
}

// mark says what became of the files that a note is about.
type mark string

const (
	markNone    mark = ""
	markKept    mark = "\u2713"
	markDropped mark = "\u2717"
)

// headline is the report in one sentence.
func (r *Report) headline() string {
	naive, published := r.Scopes[0], r.Scopes[1]
	u := unitFor(naive.Total.Before, r.Image.Bytes)
	text := fmt.Sprintf("%s instead of %s: %s than a naive image",
		u.format(r.Image.Bytes), u.format(naive.Total.Before), difference(naive.Total))
	if r.oneScope() {
		return text + "."
	}
	return text + fmt.Sprintf(", %s than all that is published.", difference(published.Total))
}

// difference words a total's percentage.
func difference(total Row) string {
	switch {
	case total.Percent == nil:
		return "more"
	case *total.Percent < 0:
		return fmt.Sprintf("%.1f %% more", -*total.Percent)
	}
	return fmt.Sprintf("%.1f %% less", *total.Percent)
}

// oneScope reports whether a naive image takes all that is published, so that one table
// says everything.
func (r *Report) oneScope() bool { return r.Scopes[0].Files == r.Scopes[1].Files }

// sections lists the tables of the report.
func (r *Report) sections() []section {
	out := []section{comparison(r.Scopes[0], r.Estimated)}
	if r.oneScope() {
		out[0].notes = append(out[0].notes, "A naive image takes all that is published.")
	} else {
		out = append(out, comparison(r.Scopes[1], nil))
	}
	out = append(out, r.savedSection(), r.addedSection(), r.keptSection())
	if len(r.Unused) > 0 {
		out = append(out, r.unusedSection())
	}
	out = append(out, r.weightSection())
	if r.Budget != nil {
		out = append(out, r.budgetSection())
	}
	return append(out, r.identitySection())
}

// comparison is the table of components, before and after.
func comparison(s Scope, e *Estimate) section {
	u := unitFor(s.Total.Before, s.Total.After)
	out := section{title: s.Title, columns: []string{"Before", "After", "Saved", "Percent"}}
	for _, row := range s.Rows {
		out.lines = append(out.lines, line{label: row.Component, cells: u.cells(row)})
	}
	out.lines = append(out.lines, line{label: s.Total.Component, cells: u.cells(s.Total), total: true})
	if e != nil {
		out.addEstimate(e)
	}
	return out
}

// addEstimate puts the estimates below the exact total, in their own unit: gigabytes of
// software must not round a small model's megabytes away.
func (s *section) addEstimate(e *Estimate) {
	u := unitFor(e.Total.Before)
	s.lines = append(s.lines,
		line{label: e.Row.Component, cells: u.estimate(e.Row)},
		line{label: e.Total.Component, cells: u.estimate(e.Total), total: true})
	for _, w := range e.Software {
		text := fmt.Sprintf("~ estimated: %s, %s unpacked", w.Name, u.format(w.Bytes))
		if w.CompressedBytes > 0 {
			text += fmt.Sprintf(", %s as pulled", u.format(w.CompressedBytes))
		}
		s.notes = append(s.notes, text+". Source: "+w.Source+".")
	}
}

// cells formats a row.
func (u unit) cells(r Row) []string {
	return []string{u.format(r.Before), u.format(r.After), u.format(r.Saved), formatPercent(r.Percent)}
}

// estimate formats a row whose Before is an estimate. What the image holds stays exact.
func (u unit) estimate(r Row) []string {
	return []string{"~" + u.format(r.Before), u.format(r.After), "~" + u.format(r.Saved), "~" + formatPercent(r.Percent)}
}

// savedSection lists the categories of drops. Every drop of the naive scope is one of the
// published scope too, so the latter's categories are all there are.
func (r *Report) savedSection() section {
	naive, published := r.Scopes[0], r.Scopes[1]
	u := unitFor(published.SavedBytes)
	out := section{title: "Saved by reason", columns: []string{"Files", naive.Title}}
	if !r.oneScope() {
		out.columns = append(out.columns, "Files", "Published")
	}
	add := func(label string, n, p Saving, total bool, notes []string) {
		cells := []string{fmt.Sprint(n.Files), u.some(n.Files, n.Bytes)}
		if !r.oneScope() {
			cells = append(cells, fmt.Sprint(p.Files), u.some(p.Files, p.Bytes))
		}
		out.lines = append(out.lines, line{label: label, cells: cells, total: total, mark: markDropped, notes: notes})
	}
	for _, p := range published.Savings {
		add(p.Title, naive.saving(p), p, false, reasons(p.Rules))
	}
	add(titleTotal, naive.savingTotal(), published.savingTotal(), true, nil)
	return out
}

// saving returns the scope's own share of the category; zero if there is none.
func (s Scope) saving(of Saving) Saving {
	for _, v := range s.Savings {
		if v.Because == of.Because {
			return v
		}
	}
	return Saving{}
}

func (s Scope) savingTotal() Saving {
	total := Saving{Bytes: s.SavedBytes}
	for _, v := range s.Savings {
		total.Files += v.Files
	}
	return total
}

// reasons lists the groups' reasons, each once.
func reasons(groups []Group) []string {
	var out []string
	for _, g := range groups {
		if !slices.Contains(out, g.Reason) {
			out = append(out, g.Reason)
		}
	}
	return out
}

// addedSection lists what is outside the model files, then the kept files that the naive
// scope lacks; the published scope lacks none.
func (r *Report) addedSection() section {
	naive := r.Scopes[0]
	u := unitFor(naive.AddedBytes)
	out := section{title: "Added", columns: []string{"Size"}}
	var kept *Addition
	for _, a := range naive.Additions {
		if a.Kind == AddedFiles {
			kept = &a
			continue
		}
		out.lines = append(out.lines, line{label: a.Title, cells: []string{u.format(a.Bytes)}})
	}
	out.lines = append(out.lines, line{label: titleOutside, cells: []string{u.format(r.Image.OutsideBytes)}, total: true})
	if kept != nil {
		out.lines = append(out.lines,
			line{label: kept.Title, cells: []string{u.format(kept.Bytes)}},
			line{label: titleTotal, cells: []string{u.format(naive.AddedBytes)}, total: true})
	}
	return out
}

// keptSection lists the rules that keep files.
func (r *Report) keptSection() section {
	u := unitFor(r.Image.ModelBytes)
	out := section{title: "Kept by rule", columns: []string{"Files", "Size"}}
	files := 0
	for _, g := range r.Kept {
		files += g.Files
		out.lines = append(out.lines, line{
			label: g.Rule, cells: []string{fmt.Sprint(g.Files), u.format(g.Bytes)}, mark: markKept, notes: []string{g.Reason},
		})
	}
	cells := []string{fmt.Sprint(files), u.format(r.Image.ModelBytes)}
	out.lines = append(out.lines, line{label: titleTotal, cells: cells, total: true})
	return out
}

// unusedSection lists what could still go.
func (r *Report) unusedSection() section {
	u := unitFor(r.UnusedBytes)
	out := section{title: "Still aboard but unused", columns: []string{"Size"}}
	for _, v := range r.Unused {
		notes := []string{v.Reason, "in " + v.Path}
		out.lines = append(out.lines, line{label: v.Part, cells: []string{u.format(v.Bytes)}, notes: notes})
	}
	cells := []string{u.format(r.UnusedBytes)}
	out.lines = append(out.lines, line{label: titleTotal, cells: cells, total: true})
	return out
}

// weightSection lists where the image's bytes lie.
func (r *Report) weightSection() section {
	w := r.Image
	u := unitFor(w.NodeBytes)
	out := section{title: "Weight", columns: []string{"Size", "Bytes"}}
	add := func(label string, n int64, notes ...string) {
		out.lines = append(out.lines, line{label: label, cells: []string{u.format(n), humanize.Comma(n)}, notes: notes})
	}
	add("Model files", w.ModelBytes)
	add(titleOutside, w.OutsideBytes)
	add("Image", w.Bytes, fmt.Sprintf("%d layers, config and manifest", w.Layers))
	add("In a registry", w.RegistryBytes)
	add("On a node", w.NodeBytes, "containerd keeps each layer's blob beside its unpacked snapshot")
	return out
}

// identitySection shows that the tables agree: what went from before to after is what was
// saved without what was added.
func (r *Report) identitySection() section {
	scopes := r.Scopes
	out := section{title: "To the byte", columns: []string{scopes[0].Title, scopes[1].Title}}
	if r.oneScope() {
		scopes, out.columns = scopes[:1], out.columns[:1]
	}
	add := func(label string, total bool, figure func(Scope) int64) {
		l := line{label: label, total: total}
		for _, s := range scopes {
			l.cells = append(l.cells, humanize.Comma(figure(s)))
		}
		out.lines = append(out.lines, l)
	}
	add("Before", false, func(s Scope) int64 { return s.Total.Before })
	add("After", false, func(s Scope) int64 { return s.Total.After })
	add("Saved by reason", false, func(s Scope) int64 { return s.SavedBytes })
	add("Added", false, func(s Scope) int64 { return s.AddedBytes })
	add("Before - after", true, func(s Scope) int64 { return s.Total.Before - s.Total.After })
	add("Saved - added", false, func(s Scope) int64 { return s.SavedBytes - s.AddedBytes })
	return out
}
