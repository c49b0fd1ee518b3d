package report

import (
	"fmt"
	"slices"
)

// savedSection lists the categories of drops. Every drop of the naive scope is one of the
// published scope too, so the latter's categories are all there are.
func (r *Report) savedSection() Section {
	naive, published := r.Scopes[0], r.Scopes[1]
	u := UnitFor(published.SavedBytes)
	out := Section{ID: "saved", Title: "Saved by reason", Columns: []string{"Files", naive.Title}}
	if !r.OneScope() {
		out.Columns = append(out.Columns, "Files", "Published")
	}
	add := func(label string, n, p Saving, total bool, notes []string) {
		cells := []string{fmt.Sprint(n.Files), u.some(n.Files, n.Bytes)}
		if !r.OneScope() {
			cells = append(cells, fmt.Sprint(p.Files), u.some(p.Files, p.Bytes))
		}
		out.Lines = append(out.Lines, Line{Label: label, Cells: cells, Total: total, Mark: MarkDropped, Notes: notes})
	}
	for _, p := range published.Savings {
		add(p.Title, naive.saving(p), p, false, reasons(p.Rules))
	}
	add(titleTotal, naive.savingTotal(), published.savingTotal(), true, nil)
	if r.Estimated != nil {
		out.Lines = append(out.Lines, r.Estimated.saved(len(out.Columns)))
	}
	return out
}

// saved is the software as a line of savings. It is below their total, since it is no part
// of it.
func (e *Estimate) saved(columns int) Line {
	l := Line{Label: titleSoftware, Mark: MarkDropped}
	for range columns / 2 {
		l.Cells = append(l.Cells, "-", "~"+UnitFor(e.Row.Saved).Format(e.Row.Saved))
	}
	for _, w := range e.Software {
		l.Notes = append(l.Notes, w.Name+": the image runs without")
	}
	return l
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
func (r *Report) addedSection() Section {
	naive := r.Scopes[0]
	u := UnitFor(naive.AddedBytes)
	out := Section{ID: "added", Title: "Added", Columns: []string{"Size"}}
	var kept *Addition
	for _, a := range naive.Additions {
		if a.Kind == AddedFiles {
			kept = &a
			continue
		}
		out.Lines = append(out.Lines, Line{Label: a.Title, Cells: []string{u.Format(a.Bytes)}})
	}
	out.Lines = append(out.Lines, Line{Label: titleOutside, Cells: []string{u.Format(r.Image.OutsideBytes)}, Total: true})
	if kept != nil {
		out.Lines = append(out.Lines,
			Line{Label: kept.Title, Cells: []string{u.Format(kept.Bytes)}},
			Line{Label: titleTotal, Cells: []string{u.Format(naive.AddedBytes)}, Total: true})
	}
	return out
}

// keptSection lists the rules that keep files.
func (r *Report) keptSection() Section {
	u := UnitFor(r.Image.ModelBytes)
	out := Section{ID: "kept", Title: "Kept by rule", Columns: []string{"Files", "Size"}}
	files := 0
	for _, g := range r.Kept {
		files += g.Files
		out.Lines = append(out.Lines, Line{
			Label: g.Rule, Code: true, Cells: []string{fmt.Sprint(g.Files), u.Format(g.Bytes)}, Mark: MarkKept, Notes: []string{g.Reason},
		})
	}
	cells := []string{fmt.Sprint(files), u.Format(r.Image.ModelBytes)}
	out.Lines = append(out.Lines, Line{Label: titleTotal, Cells: cells, Total: true})
	return out
}

// unusedSection lists what could still go.
func (r *Report) unusedSection() Section {
	u := UnitFor(r.UnusedBytes)
	out := Section{ID: "unused", Title: "Still aboard but unused", Columns: []string{"Size"}}
	for _, v := range r.Unused {
		notes := []string{v.Reason, "in " + v.Path}
		out.Lines = append(out.Lines, Line{Label: v.Part, Code: true, Cells: []string{u.Format(v.Bytes)}, Notes: notes})
	}
	cells := []string{u.Format(r.UnusedBytes)}
	out.Lines = append(out.Lines, Line{Label: titleTotal, Cells: cells, Total: true})
	return out
}
