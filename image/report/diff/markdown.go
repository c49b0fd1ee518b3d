package diff

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/image/report"
)

// Markdown returns the report for a pull request or a job's summary. What comes from
// outside stands in code spans, where it is neither markup nor a mention of somebody.
func (r *Report) Markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n\n", strings.Join(r.headline(), " "))
	out.WriteString(grid([]string{"", "Image", ">Size", ">Layers", "Digest"}, [][]string{r.A.cells("A"), r.B.cells("B")}, 0))
	if !r.Same {
		out.WriteString("\n" + r.totalsGrid())
		out.WriteString(r.filesGrid())
		out.WriteString(r.settingsGrid())
		out.WriteString(r.layersGrid())
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&out, "\nNote: %s.\n", code(n))
	}
	return out.String()
}

// pipes finds what would split a cell. A backslash before one would escape the escape.
var pipes = regexp.MustCompile(`\\*\|`)

// code is a code span that neither ends early nor splits a table's cell.
func code(text string) string {
	text = pipes.ReplaceAllLiteralString(strings.ReplaceAll(report.Clean(text), "`", "'"), `\|`)
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// grid is a table; a head with ">" before it stands over figures.
func grid(heads []string, rows [][]string, left int) string {
	if len(rows) == 0 {
		return ""
	}
	var out strings.Builder
	rule := ""
	for _, h := range heads {
		name, figures := strings.CutPrefix(h, ">")
		out.WriteString("| " + name + " ")
		rule += "|---"
		if figures {
			rule += ":"
		}
	}
	out.WriteString("|\n" + rule + "|\n")
	for _, row := range rows {
		out.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	if left > 0 {
		fmt.Fprintf(&out, "\nAnd %d more, which JSON lists.\n", left)
	}
	return out.String()
}

func (s Side) cells(name string) []string {
	return []string{name, code(s.Name), size(s.Bytes), fmt.Sprint(s.Layers), code(s.Digest)}
}

func (r *Report) totalsGrid() string {
	var rows [][]string
	for _, s := range r.Blobs.sums() {
		rows = append(rows, []string{s.name, fmt.Sprint(s.Count.Count), size(s.Bytes), humanize.Comma(s.Bytes)})
	}
	return grid([]string{"Blobs", ">Count", ">Size", ">Bytes"}, rows, 0)
}

func (r *Report) filesGrid() string {
	if r.Files == nil || len(r.Files.Changes) == 0 {
		return ""
	}
	changes, left := r.Files.largest()
	var rows [][]string
	for _, c := range changes {
		rows = append(rows, []string{string(c.Status), code(c.Path), size(c.Bytes), c.difference()})
	}
	return "\n**" + r.Files.title() + "**\n\n" + grid([]string{"", "Path", ">Size", ">Change"}, rows, left)
}

func (r *Report) settingsGrid() string {
	settings, left := r.fewSettings()
	var rows [][]string
	for _, s := range settings {
		rows = append(rows, []string{code(s.name()), code(value(s.A)), code(value(s.B))})
	}
	if len(rows) == 0 {
		return ""
	}
	return "\n**Settings**\n\n" + grid([]string{"", "A", "B"}, rows, left)
}

// layersGrid is folded: a reader looks at files first.
func (r *Report) layersGrid() string {
	var rows [][]string
	for _, c := range r.changedLayers() {
		rows = append(rows, []string{string(c.Status), code(c.label()), size(c.Bytes), c.difference(), code(c.detail())})
	}
	if len(rows) == 0 {
		return ""
	}
	return "\n<details><summary>Layers</summary>\n\n" + grid([]string{"", "Layer", ">Size", ">Change", "Digest"}, rows, 0) + "\n</details>\n"
}
