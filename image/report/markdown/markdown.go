// Package markdown writes a storage report for a pull request or for the summary of a CI
// job, in GitHub's Markdown.
//
// The headline and the tables that a reviewer decides by are open, everything else folds.
// The text begins and ends so that it can be added to a file that has text already.
//
// Names and reasons come from repositories and manifests, so nothing in them may act: they
// make no markup, no link, no image, no HTML, no new cell or row of a table, and they
// mention nobody. Names of files and rules are code; in it GitHub resolves no mention.
package markdown

import (
	"fmt"
	"html"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/report"
)

// open are the sections that do not fold.
var open = map[string]bool{"impact": true, "published": true, "saved": true}

// Render returns the report, with a final newline.
func Render(r *report.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## Storage report: %s\n\n", prose(r.Model.Title))
	fmt.Fprintf(&b, "**%s**\n\n", prose(r.Headline()))
	if note := prose(r.Note); note != "" {
		fmt.Fprintf(&b, "> Note: %s\n\n", note)
	}
	for _, s := range r.Sections() {
		section(&b, s)
	}
	about := "Variant " + code(r.Model.Variant)
	if r.Image.Digest != "" {
		about += ", image " + code(r.Image.Digest)
	}
	fmt.Fprintf(&b, "%s. Sizes are decimal; ~ marks estimates.\n", about)
	return b.String()
}

// section writes a heading or a fold, the table and its notes.
func section(b *strings.Builder, s report.Section) {
	if open[s.ID] {
		fmt.Fprintf(b, "### %s\n\n", prose(s.Title))
	} else {
		fmt.Fprintf(b, "<details><summary>%s</summary>\n\n", html.EscapeString(report.Clean(s.Title))) // no Markdown is read here
	}
	table(b, s)
	for _, n := range s.Notes {
		fmt.Fprintf(b, "%s\n\n", prose(n))
	}
	if !open[s.ID] {
		b.WriteString("</details>\n\n")
	}
}

// maxRows is how many rows of a table are shown. GitHub takes comments of 65,536 letters, and
// a repository may hold thousands of files.
const maxRows = 60

// table writes one row a line. Labels are on the left, figures on the right. A total is
// always shown.
func table(b *strings.Builder, s report.Section) {
	head := s.Label
	if head == "" {
		head = "\u00a0" // the heading says it; an empty cell would do, but some readers drop it
	}
	row(b, append([]string{head}, each(s.Columns, prose)...))
	b.WriteString("|:--|" + strings.Repeat("--:|", len(s.Columns)) + "\n")
	left := 0
	for i, l := range s.Lines {
		if i >= maxRows && !l.Total {
			left++
			continue
		}
		row(b, cells(l))
	}
	b.WriteByte('\n')
	if left > 0 {
		fmt.Fprintf(b, "%d more rows are in the report's other forms.\n\n", left)
	}
}

// cells formats a line: its notes stand below the label.
func cells(l report.Line) []string {
	label := prose(l.Label)
	if l.Code {
		label = code(l.Label)
	}
	figures := each(l.Cells, prose)
	if l.Total {
		label = bold(label)
		figures = each(figures, bold)
	}
	for _, n := range l.Notes {
		label += "<br>" + strings.TrimSpace(string(l.Mark)+" "+prose(n))
	}
	return append([]string{label}, figures...)
}

func row(b *strings.Builder, cells []string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func bold(text string) string { return "**" + text + "**" }

func each(in []string, f func(string) string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = f(s)
	}
	return out
}
