package picture

import (
	"strconv"
	"strings"
)

const (
	// letter and bold are the widths of the two weights of text, bold against letter.
	letter, bold = 1, 1.14
	// pad is between a text and the edges of its area, leading the height of a line in ems.
	pad, leading = 6, 1.32
	// thin is the width below which an area has no edge, which would hide it.
	thin = 4
	// small is the size of reasons and of names of files, against that of other text.
	small = 0.92
	// reasonLines is how many lines a reason may take.
	reasonLines = 4
)

// stow draws nodes into an area: sources, components, files.
func (l *layout) stow(s *ship, nodes []*node, into box) {
	if into.H <= 0 {
		return
	}
	nodes = largestFirst(nodes)
	for i, b := range arrange(nodes, into) {
		n := nodes[i]
		if n.children == nil {
			s.Areas = append(s.Areas, l.file(n, b))
			s.Texts = append(s.Texts, l.write(n, n, b)...)
			continue
		}
		components := largestFirst(n.children)
		for j, b := range arrange(components, b) {
			l.component(s, n, components[j], b)
		}
	}
}

// component draws a component's files, then its name on them, then the names of those files
// that have room left.
func (l *layout) component(s *ship, source, n *node, into box) {
	files := largestFirst(n.children)
	boxes := arrange(files, into)
	for i, f := range files {
		a := l.file(f, boxes[i])
		a.Title = strings.Join([]string{source.name, n.name, a.Title, verdict(n) + ": " + n.reason}, "\n")
		s.Areas = append(s.Areas, a)
	}
	if min(into.W, into.H) > thin {
		s.Areas = append(s.Areas, area{box: into, Class: "edge"})
	}
	own := l.write(source, n, into)
	if len(own) == 0 {
		return
	}
	s.Texts = append(s.Texts, own...)
	under := plate(own, n, into)
	if n.gone || len(files) > 1 {
		s.Areas = append(s.Areas, under)
	}
	if len(files) == 1 {
		return
	}
	for i, f := range files {
		if l.unit.Format(f.bytes) == l.unit.Format(n.bytes) {
			continue // the component's own label says it
		}
		s.Texts = append(s.Texts, l.writeFile(f, boxes[i], under.box)...)
	}
}

// plate lies between a label and what is drawn under it, so that no line crosses the text.
func plate(own []label, n *node, into box) area {
	a := area{Class: "plate " + hueClass(n.hue)}
	if n.gone {
		a.Class = "plate ground"
	}
	last := own[len(own)-1]
	a.box = box{into.X + 1, into.Y + 1, 0, last.Y - into.Y + pad*0.7}
	for _, o := range own {
		size, _ := strconv.ParseFloat(o.Size, 64) // n1 wrote it
		em := size * letter
		if strings.Contains(o.Class, "name") {
			em = size * bold
		}
		a.W = max(a.W, wide(o.Text, em)+1.5*pad)
	}
	a.W, a.H = min(a.W, into.W-2), min(a.H, into.H-2)
	return a
}

func verdict(n *node) string {
	if n.gone {
		return "gone"
	}
	return "kept"
}

// file is the area of one file.
func (l *layout) file(n *node, b box) area {
	a := area{box: b, Class: hueClass(n.hue), Title: n.name + ", " + l.unit.Format(n.bytes)}
	if n.gone {
		a.Class, a.Fill = "gone", "url(#"+l.pattern(n.hue)+")"
	}
	if min(b.W, b.H) < thin {
		a.Class += " thin"
	}
	return a
}

// write labels a component: name, size, reason, as far as there is room.
func (l *layout) write(source, n *node, b box) []label {
	width, rows := b.W-2*pad, int((b.H-pad)/(l.font*leading))
	if rows < 1 || width < 3*l.font {
		return nil
	}
	class, size := "cargo", l.unit.Format(n.bytes)
	if n.gone {
		class = "cargo goes"
	}
	name := fit(n.name, width, l.font*bold)
	if wide(size, l.font*letter) > width {
		return nil
	}
	if rows == 1 {
		for _, text := range []string{n.name + " " + size, n.name, size} {
			if wide(text, l.font*letter) <= width {
				line := l.lines(b, class, []string{text})
				if n.gone && text != size {
					line[0].Class += " struck"
				}
				return line
			}
		}
		return nil
	}
	texts := l.lines(b, class, []string{name, size})
	texts[0].Class += " name"
	if n.gone {
		texts[0].Class += " struck"
	}
	if source != n {
		for i, line := range l.reason(n.reason, width, min(reasonLines, rows-2)) {
			texts = append(texts, label{
				X: b.X + pad, Y: texts[1].Y + float64(i+1)*l.font*leading, Class: class + " why", Text: line, Size: n1(l.font * small),
			})
		}
	}
	return texts
}

// lines stacks lines of text from the top of an area.
func (l *layout) lines(b box, class string, lines []string) []label {
	var out []label
	for i, text := range lines {
		out = append(out, label{X: b.X + pad, Y: b.Y + pad + l.font*(0.8+float64(i)*leading), Class: class, Text: text, Size: n1(l.font)})
	}
	return out
}

// reason breaks a reason into lines; one that needs more than there are ends in dots.
func (l *layout) reason(text string, width float64, rows int) []string {
	if rows < 1 {
		return nil
	}
	em := l.font * small * letter
	var out []string
	for _, word := range strings.Fields(text) {
		last := len(out) - 1
		switch {
		case last >= 0 && wide(out[last]+" "+word, em) <= width:
			out[last] += " " + word
		case len(out) == rows:
			out[last] = fit(out[last]+" "+word, width, em)
			return out
		default:
			out = append(out, fit(word, width, em))
		}
	}
	return out
}

// writeFile labels a file in the lower corner of its area, if it does not meet the plate of
// the component's own label.
func (l *layout) writeFile(n *node, b, plate box) []label {
	size := l.font * small
	text := l.unit.Format(n.bytes)
	if full := n.short() + "  " + text; wide(full, size*letter) <= b.W-2*pad {
		text = full
	} else if wide(text, size*letter) > b.W-2*pad {
		return nil
	}
	y := b.Y + b.H - pad
	at := box{b.X + pad, y - size, wide(text, size*letter), size * 1.3}
	if b.H < size*leading+pad || at.overlaps(plate) {
		return nil
	}
	class := "cargo file"
	if n.gone {
		class += " goes"
	}
	return []label{{X: at.X, Y: y, Class: class, Text: text, Size: n1(size)}}
}
