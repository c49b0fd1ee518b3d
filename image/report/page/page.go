// Package page writes a storage report as one HTML page: for people who look, and for an
// artifact of a CI job.
//
// The page is one file. It loads nothing, runs no script, and reads in light and dark
// surroundings, on a phone and on paper. The picture of package picture stands in it twice,
// for wide and for narrow windows, and the style sheet shows one; whatever a picture says
// stands in a table too, so that it can be read without seeing it.
//
// Names and reasons come from repositories and manifests. html/template escapes them for the
// place that they stand in; they are shown in elements that keep their direction of writing
// to themselves.
package page

import (
	_ "embed"
	"fmt"
	"html/template"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/image/report/picture"
)

var (
	//go:embed page.tmpl
	source string
	//go:embed page.css
	style string
)

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"clean": report.Clean, "mark": markClass,
}).Parse(source))

// content is what the template shows.
type content struct {
	*report.Report
	Style   template.CSS
	Figures []figure
	Facts   []fact
	// Sections are those that stand below no figure.
	Sections []report.Section
}

// figure is the picture of a scope.
type figure struct {
	Title, Caption string
	Wide, Narrow   template.HTML
	Keys           []key
	// Table says in figures what the picture shows.
	Table report.Section
}

// key explains a colour of the figures.
type key struct{ Class, Text string }

// fact is one figure of the head of the page.
type fact struct{ Value, Label string }

// Render returns the page.
func Render(r *report.Report) string {
	scopes, all := r.Scopes, r.Sections()
	if r.OneScope() {
		scopes = scopes[:1]
	}
	c := content{Report: r, Style: template.CSS(style + picture.Style), Facts: facts(r), Sections: all[len(scopes):]}
	for i, s := range scopes {
		id := "picture-" + string(s.Name)
		c.Figures = append(c.Figures, figure{
			Title: s.Title, Caption: picture.Caption(r, s),
			Wide:   template.HTML(picture.Inline(r, s, picture.Wide, id+"-wide")), // escaped by package picture
			Narrow: template.HTML(picture.Inline(r, s, picture.Narrow, id+"-narrow")),
			Keys:   keys(s), Table: all[i], // the report begins with a table for each scope
		})
	}
	var b strings.Builder
	if err := page.Execute(&b, c); err != nil {
		panic("writing a report: " + err.Error()) // a builder takes everything, and the template fits its type
	}
	return b.String()
}

// keys explains the colours of a scope's rows.
func keys(s report.Scope) []key {
	var out []key
	for i, row := range s.Rows {
		class := picture.Hue(i)
		if row.Source == "" {
			class = picture.Outside
		}
		out = append(out, key{Class: class, Text: row.Component})
	}
	return out
}

// facts are the figures that people ask for first.
func facts(r *report.Report) []fact {
	naive := r.Scopes[0]
	u := report.UnitFor(naive.Total.Before, r.Image.NodeBytes)
	saved := fact{u.Format(naive.Total.Saved), "less than a naive image"}
	if naive.Total.Saved < 0 {
		saved = fact{u.Format(-naive.Total.Saved), "more than a naive image"}
	}
	out := []fact{
		{u.Format(r.Image.Bytes), "the image"}, saved,
		{size(r.Image.OutsideBytes), "outside the model files"},
		{u.Format(r.Image.NodeBytes), "on a node, blobs and snapshots"},
	}
	for _, p := range r.Pull[len(r.Pull)-1:] {
		out = append(out, fact{report.Duration(p.Seconds), fmt.Sprintf("pull at %d Gbit/s, at least", p.BitsPerSecond/1e9)})
	}
	return append(out, fact{size(r.Image.UpdateBytes), "a new build, same weights"})
}

// size formats one size in a unit of its own.
func size(n int64) string { return report.UnitFor(n).Format(n) }

// markClass is the class of what a note is about.
func markClass(m report.Mark) string {
	switch m {
	case report.MarkKept:
		return "kept"
	case report.MarkDropped:
		return "dropped"
	}
	return ""
}
