package report

import (
	"cmp"
	"slices"
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
func (r *Report) Text() string { return r.text(r.Sections()) }

// essentials are the sections of Brief: what is saved and why, what the image weighs, and
// what another image shares or a budget leaves.
var essentials = []string{"impact", "saved", "weight", "budget"}

// Brief is Text with the essential sections alone; the last paragraph names the others. A
// registry whose limit is passed is essential.
func (r *Report) Brief() string {
	shown := essentials
	for _, l := range r.Limits {
		if !l.Fits {
			shown = append(slices.Clone(essentials), "limits")
		}
	}
	var others []string
	for _, s := range r.Sections() {
		if !slices.Contains(shown, s.ID) {
			others = append(others, s.Title)
		}
	}
	var b strings.Builder
	b.WriteString(r.Excerpt(shown...) + "\n")
	paragraph(&b, "", "Left out here: "+strings.Join(others, "; ")+". -all=true shows them, -html=PATH writes a page.")
	return b.String()
}

// Excerpt is Text with the sections of the IDs alone, in the report's order.
func (r *Report) Excerpt(ids ...string) string {
	return r.text(slices.DeleteFunc(r.Sections(), func(s Section) bool { return !slices.Contains(ids, s.ID) }))
}

// text lays the sections out below what the image is.
func (r *Report) text(sections []Section) string {
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
	paragraph(&b, "", r.Headline())
	label := labelWidth(sections)
	for _, s := range sections {
		b.WriteByte('\n')
		s.text(&b, label)
	}
	return b.String()
}

// labelWidth is the width of the first column, the same in all tables: the longest label
// that is prose, or what the widest figures leave.
func labelWidth(sections []Section) int {
	longest, figures := 0, 0
	for _, s := range sections {
		longest = max(longest, length(s.heading()))
		for _, l := range s.Lines {
			if !l.Code {
				longest = max(longest, length(Clean(l.Label)))
			}
		}
		figures = max(figures, s.figures())
	}
	return max(minLabel, min(longest, width-figures))
}

// ownWidth widens a table for names of files, which all tables together do not follow.
func (s Section) ownWidth(label int) int {
	longest := 0
	for _, l := range s.Lines {
		longest = max(longest, length(Clean(l.Label)))
	}
	return max(label, min(longest, width-s.figures()))
}

// figures is the width of all columns but the first.
func (s Section) figures() int {
	sum := 0
	for _, w := range s.widths() {
		sum += gap + w
	}
	return sum
}

// widths returns the widths of the columns of figures.
func (s Section) widths() []int {
	out := make([]int, len(s.Columns))
	for i, c := range s.Columns {
		out[i] = max(minCell, length(Clean(c)))
		for _, l := range s.Lines {
			out[i] = max(out[i], length(l.Cells[i]))
		}
	}
	return out
}

// text writes the table and its paragraphs.
func (s Section) text(b *strings.Builder, label int) {
	widths := s.widths()
	label = s.ownWidth(label)
	ruler := strings.Repeat("-", label+s.figures()) + "\n"
	if s.Label != "" {
		paragraph(b, "", s.Title)
	}
	writeRow(b, label, widths, cut(s.heading(), label), s.Columns)
	b.WriteString(ruler)
	for _, l := range s.Lines {
		if l.Total {
			b.WriteString(ruler)
		}
		writeRow(b, label, widths, l.shortened(label), l.Cells)
		for _, n := range l.Notes {
			paragraph(b, l.Mark.indent(), n)
		}
	}
	for _, n := range s.Notes {
		paragraph(b, "  ", n)
	}
}

// heading heads the column of labels.
func (s Section) heading() string { return cmp.Or(s.Label, s.Title) }

// indent is what stands before a note. It is four columns wide after either mark.
func (m Mark) indent() string {
	switch m {
	case MarkKept:
		return "  " + string(m) + "  "
	case MarkDropped:
		return "  " + string(m) + " "
	}
	return "  "
}

// writeRow writes a label on the left and figures on the right of their columns.
func writeRow(b *strings.Builder, label int, widths []int, text string, cells []string) {
	b.WriteString(text)
	b.WriteString(strings.Repeat(" ", label-length(text)))
	for i, c := range cells {
		c = Clean(c)
		b.WriteString(strings.Repeat(" ", gap+widths[i]-length(c)))
		b.WriteString(c)
	}
	b.WriteByte('\n')
}

// paragraph writes text behind an indent, wrapped; further lines start below the text.
func paragraph(b *strings.Builder, indent, text string) {
	for _, l := range wrap(Clean(text), width-length(indent)) {
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

// Clean makes one line of text that moves no cursor: what is not printable becomes a
// space, and spaces are joined.
func Clean(text string) string {
	text = strings.ToValidUTF8(text, " ")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }), " ")
}

// shortened is the label in a number of columns. Of a name the end is kept, where files of
// one folder differ.
func (l Line) shortened(limit int) string {
	text := Clean(l.Label)
	if n := length(text); l.Code && n > limit {
		return ".." + string([]rune(text)[n-limit+2:])
	}
	return cut(text, limit)
}

// cut shortens text to a number of columns, with dots where something is missing.
func cut(text string, limit int) string {
	if length(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-2]) + ".."
}

// length is the number of columns of text. It counts letters that take two columns as one,
// and the cross mark as two.
func length(text string) int {
	return utf8.RuneCountInString(text) + strings.Count(text, string(MarkDropped))
}
