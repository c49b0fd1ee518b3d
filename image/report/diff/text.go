package diff

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/image/report"
)

// Text returns the report for a terminal or a log. What comes from outside is shown without
// control characters.
func (r *Report) Text() string {
	var out strings.Builder
	out.WriteString(table(r.A.row("A"), r.B.row("B")))
	fmt.Fprintf(&out, "\n%s\n", strings.Join(r.headline(), "\n"))
	if !r.Same {
		out.WriteString("\n" + r.totalsText())
		out.WriteString(r.layersText())
		out.WriteString(r.filesText())
		out.WriteString(r.settingsText())
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&out, "\nnote: %s", report.Clean(n))
	}
	if len(r.Notes) > 0 {
		out.WriteByte('\n')
	}
	return out.String()
}

// table lines up rows of tab-separated cells.
func table(rows ...string) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 4, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, row)
	}
	w.Flush()
	return out.String()
}

// row describes a side.
func (s Side) row(name string) string {
	digest := "no manifest"
	if s.Digest != "" {
		digest = report.Clean(s.Digest)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", name, report.Clean(s.Name), size(s.Bytes), plural(s.Layers, "layer"), digest)
}

func (r *Report) totalsText() string {
	rows := []string{"BLOBS\tCOUNT\tSIZE\tBYTES"}
	for _, s := range r.Blobs.sums() {
		rows = append(rows, fmt.Sprintf("%s\t%d\t%s\t%s", s.name, s.Count.Count, size(s.Bytes), humanize.Comma(s.Bytes)))
	}
	return table(rows...)
}

func (r *Report) layersText() string {
	rows := []string{}
	for _, c := range r.changedLayers() {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", marks[c.Status], size(c.Bytes), c.difference(), c.label(), c.detail()))
	}
	return titled("Layers", rows, 0)
}

func (r *Report) filesText() string {
	if r.Files == nil {
		return ""
	}
	changes, left := r.Files.largest()
	rows := []string{}
	for _, c := range changes {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", marks[c.Status], size(c.Bytes), c.difference(), report.Clean(c.Path), c.detail()))
	}
	title := fmt.Sprintf("%s, and %d shared", r.Files.title(), r.Files.Shared.Count)
	return titled(title, rows, left)
}

func (r *Report) settingsText() string {
	settings, left := r.fewSettings()
	rows := []string{}
	for _, s := range settings {
		rows = append(rows, fmt.Sprintf("~\t%s\t%s -> %s", s.name(), value(s.A), value(s.B)))
	}
	return titled("Settings", rows, left)
}

// titled is a table under a title; nothing for no rows.
func titled(title string, rows []string, left int) string {
	if len(rows) == 0 {
		return ""
	}
	more := ""
	if left > 0 {
		more = fmt.Sprintf("  ... and %d more, which JSON lists\n", left)
	}
	return "\n" + title + "\n" + indent(table(rows...)) + more
}

// indent moves lines to the right.
func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}
