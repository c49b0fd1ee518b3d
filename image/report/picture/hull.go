package picture

import (
	"fmt"
	"html/template"
	"math"

	"github.com/plimsoll-oci/plimsoll/image/report"
)

const (
	// shell is the thickness of a hull, freeboard what the heavier ship shows above the water,
	// bilge the rounding of the keel's corners.
	shell, freeboard, bilge = 5, 26, 16
	// margin is the least between the picture and its edges.
	margin = 10
	// bed is the water under the deeper keel.
	bed = 26
)

// figure is a picture laid out: what the template draws.
type figure struct {
	ID, Class, Title, Text string
	Style                  template.CSS
	Width, Height          float64
	// Water is the height of the water line.
	Water float64
	Hues  []hatch
	Ships []ship
	// Keys explain the colours.
	Keys []legend
}

// legend is one line of the key: a sample of a colour or a pattern, and what it says.
type legend struct {
	Sample      box
	Class, Fill string
	Text        label
}

// hatch is the pattern of what goes, in the colour of a source.
type hatch struct {
	ID  string
	Hue string
}

// ship is a hull with its cargo. All heights are those of the picture.
type ship struct {
	// Hull is the shell, Plating the strip with the marks, Hold what is left for cargo.
	Hull, Plating, Hold box
	Shell               template.HTMLAttr
	// Submerged is the share of Plating below the water, Boot that below the mark.
	Submerged, Boot box
	Areas           []area
	Ticks           []tick
	Mark            mark
	Texts           []label
}

// area is a file's share of the hold.
type area struct {
	box
	Class, Fill, Title string
}

// tick is a draught mark.
type tick struct {
	X1, X2, Y float64
	Text      label
}

// mark is the Plimsoll mark.
type mark struct{ X1, X2, X, Y, R float64 }

// label is one line of text.
type label struct {
	X, Y              float64
	Class, Text, Size string
}

// layout computes a figure.
type layout struct {
	Shape
	report *report.Report
	scope  report.Scope
	unit   report.Unit
	id     string
	// perByte is the scale of all heights.
	perByte float64
	water   float64
}

func newFigure(r *report.Report, s report.Scope, shape Shape, id string) *figure {
	l := &layout{Shape: shape, report: r, scope: s, unit: report.UnitFor(s.Total.Before, s.Total.After), id: id}
	l.perByte = l.depth / float64(max(s.Total.Before, s.Total.After))
	high := l.height(max(s.Total.Before, s.Total.After) - min(s.Total.Before, s.Total.After))
	l.water = math.Round(margin + l.figure*2.4 + high + freeboard)
	width := 2*l.beam() + 3*l.gap
	f := &figure{ID: id, Class: shape.name, Width: width, Water: l.water, Height: math.Round(l.water + l.depth + shell + bed)}
	f.Title, f.Text = describe(r, s)
	c := load(r, s)
	f.Hues = l.hatches(c)
	f.Ships = []ship{
		l.ship(l.gap, "Before", s.Total.Before, c.kept, c.gone),
		l.ship(2*l.gap+l.beam(), "After", s.Total.After, c.aboard, c.added),
	}
	if shape.key {
		f.Keys = l.key(f, c)
	}
	f.Ships[0].Texts = append(f.Ships[0].Texts, l.saved(f.Ships[0].Hold, -s.Total.Saved)...)
	f.Ships[1].Texts = append(f.Ships[1].Texts, l.saved(f.Ships[1].Hold, s.Total.Saved)...)
	return f
}

// key explains the colours, in the water under the lighter ship; it is left out where there
// is not the room.
func (l *layout) key(f *figure, c cargo) []legend {
	above := f.Ships[1].Hull
	if l.scope.Total.Saved < 0 {
		above = f.Ships[0].Hull
	}
	line := l.font * 1.6
	at := above.Y + above.H + 1.5*line
	var out []legend
	add := func(class, fill, text string) {
		y := at + float64(len(out))*line
		out = append(out, legend{
			Sample: box{above.X, y - l.font, l.font * 1.6, l.font * 1.1}, Class: class, Fill: fill,
			Text: label{X: above.X + l.font*2.2, Y: y, Text: fit(text, above.W-l.font*2.2, l.font*letter), Size: n1(l.font)},
		})
	}
	seen := map[int]bool{}
	for _, n := range c.aboard {
		if !seen[n.hue] {
			add(hueClass(n.hue), "", n.name)
		}
		seen[n.hue] = true
	}
	for _, n := range c.gone {
		add("gone", "url(#"+l.pattern(n.hue)+")", n.name+", gone")
	}
	if at+float64(len(out))*line > f.Height {
		return nil
	}
	return out
}

// beam is the width of a ship.
func (l *layout) beam() float64 { return l.plating + l.hold + 2*shell }

func (l *layout) height(bytes int64) float64 { return float64(bytes) * l.perByte }

// hatches makes a pattern for each source.
func (l *layout) hatches(c cargo) []hatch {
	var out []hatch
	seen := map[int]bool{}
	for _, n := range c.gone {
		if !seen[n.hue] {
			out = append(out, hatch{ID: l.pattern(n.hue), Hue: hueClass(n.hue)})
		}
		seen[n.hue] = true
	}
	return out
}

func (l *layout) pattern(hue int) string { return fmt.Sprintf("%s-%s", l.id, hueClass(hue)) }

func hueClass(hue int) string {
	if hue == outside {
		return Outside
	}
	return Hue(hue)
}

// ship draws a hull at x that floats with so many bytes: low lies on the keel, high on it.
func (l *layout) ship(x float64, when string, total int64, low, high []*node) ship {
	keel := l.water + l.height(total)
	deck := keel - l.depth - freeboard
	s := ship{
		Hull:    box{x, deck, l.beam(), keel + shell - deck},
		Plating: box{x + shell, deck, l.plating, keel - deck},
		Hold:    box{x + shell + l.plating, deck, l.hold, keel - deck},
	}
	s.Shell = hull(s.Hull)
	marked := keel - l.height(l.scope.Total.After)
	s.Submerged = box{s.Plating.X, l.water, s.Plating.W, keel - l.water}
	s.Boot = box{s.Plating.X, marked, s.Plating.W, keel - marked}
	s.Mark = mark{X1: s.Plating.X + 3, X2: s.Plating.X + s.Plating.W - 3, X: s.Plating.X + s.Plating.W/2, Y: marked, R: l.plating * 0.25}
	s.Ticks = l.ticks(s)
	top := keel
	for _, cargo := range [][]*node{low, high} {
		h := l.height(sum(cargo))
		top -= h
		l.stow(&s, cargo, box{s.Hold.X, top, s.Hold.W, h})
	}
	s.Texts = append(s.Texts, l.heading(s.Hull, when, total)...)
	return s
}

// hull is the path of a shell: straight sides, a rounded bilge, a rim at the deck.
func hull(b box) template.HTMLAttr {
	return template.HTMLAttr(fmt.Sprintf(`d="M%s %s V%s Q%s %s %s %s H%s Q%s %s %s %s V%s Z"`,
		n1(b.X), n1(b.Y), n1(b.Y+b.H-bilge), n1(b.X), n1(b.Y+b.H), n1(b.X+bilge), n1(b.Y+b.H),
		n1(b.X+b.W-bilge), n1(b.X+b.W), n1(b.Y+b.H), n1(b.X+b.W), n1(b.Y+b.H-bilge), n1(b.Y)))
}

// heading stands on the deck.
func (l *layout) heading(hull box, when string, total int64) []label {
	text := when + ": this image"
	switch {
	case when == "Before" && l.scope.Name == report.ScopeNaive:
		text = when + ": naive image"
	case when == "Before":
		text = when + ": all published"
	}
	size := max(l.font, l.figure*0.42)
	return []label{
		{X: hull.X, Y: hull.Y - l.figure - 10, Class: "when", Text: fit(text, hull.W, size*bold), Size: n1(size)},
		{X: hull.X, Y: hull.Y - 9, Class: "total", Text: l.unit.Format(total), Size: n1(l.figure)},
	}
}

// saved stands in the empty hold of the lighter ship.
func (l *layout) saved(hold box, bytes int64) []label {
	empty := l.water - hold.Y
	if bytes <= 0 || empty < 2*l.figure {
		return nil
	}
	middle := hold.X + hold.W/2
	texts := []label{{X: middle, Y: hold.Y + empty/2, Class: "saved", Text: l.unit.Format(bytes) + " less", Size: n1(l.figure * 0.66)}}
	if p := l.scope.Total.Percent; p != nil && *p > 0 {
		size := max(l.font, l.figure*0.42)
		texts = append(texts, label{
			X: middle, Y: hold.Y + empty/2 + 1.6*size, Class: "share", Text: fmt.Sprintf("%.1f %% saved", *p), Size: n1(size),
		})
	}
	return texts
}

// ticks counts up from the keel, at steps of 1, 2 or 5 times a power of ten. None is drawn
// where the Plimsoll mark or the water line is.
func (l *layout) ticks(s ship) []tick {
	var out []tick
	step := l.step()
	keel := s.Plating.Y + s.Plating.H
	for n := int64(1); ; n++ {
		y := keel - l.height(n*step)
		if y < s.Plating.Y+l.font {
			return out
		}
		if math.Abs(y-s.Mark.Y) < s.Mark.R+l.font || math.Abs(y-l.water) < l.font*0.7 {
			continue
		}
		x := s.Plating.X
		out = append(out, tick{X1: x, X2: x + s.Plating.W*0.16, Y: y, Text: label{
			X: x + s.Plating.W*0.24, Y: y + l.font*0.36, Text: l.unit.Number(n * step), Size: n1(l.font),
		}})
	}
}

// step is the least step whose marks are three lines of text apart.
func (l *layout) step() int64 {
	for power := int64(1); ; power *= 10 {
		for _, n := range []int64{1, 2, 5} {
			if l.height(n*power) >= 3*l.font {
				return n * power
			}
		}
	}
}

// n1 writes a coordinate, to a tenth of a unit.
func n1(v float64) string {
	return fmt.Sprintf("%g", math.Round(v*10)/10+0) // never a negative zero
}
