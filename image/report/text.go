package report

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// width is the number of columns of the text form; no line is longer.
const width = 100

// gap separates the columns of a table; minCell is the least width of a figure's column,
// so that tables of one report look alike.
const (
	gap     = 2
	minCell = 10
	// minLabel is what even absurd figures leave to the labels.
	minLabel = 12
)

// Text returns the report as tables for a terminal or a log: at most 100 columns, no
// colour, ASCII but for the marks before reasons and for what the manifest itself holds.
// Sizes are decimal, in one unit per table. "~" marks what is estimated.
func (r *Report) Text() string {
	var b strings.Builder
	paragraph(&b, "", "Storage report: "+r.Model.Title)
	if r.Model.Variant != "" {
		paragraph(&b, "  variant: ", r.Model.Variant)
	}
	if r.Image.Digest != "" {
		paragraph(&b, "  image:   ", r.Image.Digest)
	}
	if r.Note != "" {
		paragraph(&b, "  note:    ", r.Note)
	}
	b.WriteByte('\n')
	paragraph(&b, "", r.headline())
	sections := r.sections()
	label := labelWidth(sections)
	for _, s := range sections {
		b.WriteByte('\n')
		s.text(&b, label)
	}
	return b.String()
}

// labelWidth is the width of the first column, the same in all tables: the longest label,
// or what the widest figures leave.
func labelWidth(sections []section) int {
	longest, figures := 0, 0
	for _, s := range sections {
		longest = max(longest, length(s.title))
		for _, l := range s.lines {
			longest = max(longest, length(clean(l.label)))
		}
		sum := 0
		for _, w := range s.widths() {
			sum += gap + w
		}
		figures = max(figures, sum)
	}
	return max(minLabel, min(longest, width-figures))
}

// widths returns the widths of the columns of figures.
func (s section) widths() []int {
	out := make([]int, len(s.columns))
	for i, c := range s.columns {
		out[i] = max(minCell, length(c))
		for _, l := range s.lines {
			out[i] = max(out[i], length(l.cells[i]))
		}
	}
	return out
}

// text writes the table and its paragraphs.
func (s section) text(b *strings.Builder, label int) {
	widths := s.widths()
	total := label
	for _, w := range widths {
		total += gap + w
	}
	ruler := strings.Repeat("-", total) + "\n"
	writeRow(b, label, widths, s.title, s.columns)
	b.WriteString(ruler)
	for _, l := range s.lines {
		if l.total {
			b.WriteString(ruler)
		}
		writeRow(b, label, widths, l.label, l.cells)
		for _, n := range l.notes {
			paragraph(b, l.mark.indent(), n)
		}
	}
	for _, n := range s.notes {
		paragraph(b, "  ", n)
	}
}

// indent is what stands before a note.
func (m mark) indent() string {
	if m == markNone {
		return "  "
	}
	return "  " + string(m) + " "
}

// writeRow writes a label on the left and figures on the right of their columns.
func writeRow(b *strings.Builder, label int, widths []int, text string, cells []string) {
	text = cut(clean(text), label)
	b.WriteString(text)
	b.WriteString(strings.Repeat(" ", label-length(text)))
	for i, c := range cells {
		b.WriteString(strings.Repeat(" ", gap+widths[i]-length(c)))
		b.WriteString(c)
	}
	b.WriteByte('\n')
}

// paragraph writes text behind an indent, wrapped; further lines start below the text.
func paragraph(b *strings.Builder, indent, text string) {
	for _, l := range wrap(clean(text), width-length(indent)) {
		b.WriteString(indent)
		b.WriteString(l)
		b.WriteByte('\n')
		indent = strings.Repeat(" ", length(indent))
	}
}

// wrap breaks text at spaces, and words that are longer than a line anywhere.
func wrap(text string, limit int) []string {
	var lines []string
	current := ""
	for _, word := range strings.Fields(text) {
		for length(word) > limit {
			if current != "" {
				lines, current = append(lines, current), ""
			}
			head := string([]rune(word)[:limit])
			lines, word = append(lines, head), word[len(head):]
		}
		switch {
		case current == "":
			current = word
		case length(current)+1+length(word) <= limit:
			current += " " + word
		default:
			lines, current = append(lines, current), word
		}
	}
	if current != "" {
		lines = append(lines, current)
	}
	return lines
}

// clean makes one line of text that moves no cursor: what is not printable becomes a
// space, and spaces are joined.
func clean(text string) string {
	text = strings.ToValidUTF8(text, " ")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }), " ")
}

// cut shortens text to a number of columns, with dots where something is missing.
func cut(text string, limit int) string {
	if length(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-2]) + ".."
}

// length is the number of columns of text. It counts letters that take two columns as one.
func length(text string) int { return utf8.RuneCountInString(text) }
