// Package picture draws a storage report: two ships in one water, before and after.
//
// # The idea
//
// A ship sinks until the water that it pushes aside weighs what it carries. So the picture
// is a scale: both hulls are of one build, their holds have the same width, and a hull lies
// as deep as its cargo is heavy.
//
//	           ┌──┬─────────┐
//	 before    │  │ (empty) │  after
//	┌──┬─────────┐  │         │
//	≈≈≈≈│80│░░░░░░░░░│≈≈≈≈≈≈≈≈≈≈≈≈│⊖ │▓▓▓▓▓▓▓▓▓│≈≈≈≈   one water line
//	│  │░ gone ░░│   │20│▓ kept ▓▓│
//	│⊖ │▓▓▓▓▓▓▓▓▓│   └──┴─────────┘
//	│20│▓ kept ▓▓│
//	└──┴─────────┘
//
// The cargo below the water line is a treemap: source, component, file, each with an area in
// proportion to its bytes, at one scale in both holds. What is kept lies on the keel, in the
// same place in both ships; what goes lies on top, hatched, its name struck through, with
// the reason. In the second ship that place is empty.
//
// Draught marks count up from the keel, as on ships. The Plimsoll mark is painted on both
// hulls where the image floats: the ship before drowns it.
//
// # What it is made of
//
// SVG by hand, with neither script nor external resource; colours come from Style, for light
// and dark surroundings and for paper. For a screen reader a picture is one image with a
// title and a description; the page has the same figures in tables. Widths of text are
// estimated on the safe side, since no font is known here: a label that may not fit is cut or
// left out, never drawn across its area. The same report gives the same bytes.
package picture

import (
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/report"
)

// Shape is the proportions of a picture, in units that are pixels at its own size.
type Shape struct {
	name string
	// hold is the width of a hold, plating that of the strip with the marks, depth the
	// draught of the heavier ship, gap the water around the ships.
	hold, plating, depth, gap float64
	// font is the size of the text in the hold, figure that of the two totals.
	font, figure float64
	// key says that the picture explains its colours itself.
	key bool
}

// The shapes.
var (
	// Wide is for desktops: 1,080 units.
	Wide = Shape{name: "wide", hold: 406, plating: 58, depth: 400, gap: 50, font: 12.5, figure: 30}
	// Narrow is for phones: 374 units.
	Narrow = Shape{name: "narrow", hold: 138, plating: 30, depth: 380, gap: 6, font: 11.5, figure: 18}
	// Compact is for a README.
	Compact = Shape{name: "compact", hold: 330, plating: 48, depth: 310, gap: 32, font: 12.5, figure: 26, key: true}
)

// Inline returns an svg element for a page that has Style in its style sheet. id begins the
// ids in it; it must be unique in the page, letters and digits.
func Inline(r *report.Report, scope report.Scope, shape Shape, id string) string {
	return draw(newFigure(r, scope, shape, id))
}

// Standalone returns an SVG file that shows the naive scope.
func Standalone(r *report.Report) string {
	f := newFigure(r, r.Scopes[0], Compact, "line")
	f.Style = Style
	return draw(f) + "\n"
}

// Caption says how to read the picture, and names what is too small to be seen in it.
func Caption(r *report.Report, scope report.Scope) string {
	text := "Both ships have one build: each lies as deep as its cargo weighs, and areas are in proportion to bytes, " +
		"at one scale. The mark on both hulls is where this image floats."
	if small := unseen(r, scope); len(small) > 0 {
		text += " Too small to be seen: " + strings.Join(small, "; ") + "."
	}
	return text
}

// unseen lists what is below a 400th of the heavier cargo: a hair's breadth of the picture.
func unseen(r *report.Report, scope report.Scope) []string {
	u := report.UnitFor(scope.Total.Before, scope.Total.After)
	c := load(r, scope)
	least := max(sum(c.before), sum(c.after)) / 400
	var out []string
	for _, source := range c.before {
		var names []string
		together := int64(0)
		for _, n := range largestFirst(source.children) {
			if n.bytes < least {
				names = append(names, n.name)
				together += n.bytes
			}
		}
		if names != nil {
			out = append(out, fmt.Sprintf("%s of %s, %s", strings.Join(names, ", "), source.name, u.Format(together)))
		}
	}
	if n := sum(c.added); n < least {
		out = append(out, fmt.Sprintf("all that is outside the model files, %s", u.Format(n)))
	}
	return out
}

// components lists what is below sources, or the nodes themselves where nothing is.
func components(nodes []*node) []*node {
	var out []*node
	for _, n := range nodes {
		if n.children == nil {
			out = append(out, n)
		}
		out = append(out, n.children...)
	}
	return out
}

// describe is the picture in words.
func describe(r *report.Report, s report.Scope) (title, text string) {
	u := report.UnitFor(s.Total.Before, s.Total.After)
	title = fmt.Sprintf("%s before, %s after", u.Format(s.Total.Before), u.Format(s.Total.After))
	var b strings.Builder
	fmt.Fprintf(&b, "Two ships in one water. Before, %s: %s. After, this image: %s, %s.",
		strings.ToLower(s.Title[:1])+s.Title[1:], u.Format(s.Total.Before), u.Format(s.Total.After), report.Difference(s.Total))
	c := load(r, s)
	for _, n := range largestFirst(components(c.gone)) {
		fmt.Fprintf(&b, " Gone: %s, %s, %s.", n.name, u.Format(n.bytes), n.reason)
	}
	for _, n := range largestFirst(components(c.aboard)) {
		fmt.Fprintf(&b, " Kept: %s, %s, %s.", n.name, u.Format(n.bytes), n.reason)
	}
	fmt.Fprintf(&b, " Outside the model files: %s.", u.Format(sum(c.added)))
	return title, b.String()
}
