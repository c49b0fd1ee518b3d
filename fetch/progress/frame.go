package progress

import (
	"fmt"
	"io"
	"strings"

	"github.com/schollz/progressbar/v3"
)

const (
	// maxRows is the number of rows shown at once; the others are counted.
	maxRows = 9
	// maxCells and minCells bound the bar itself; one that would be shorter is left out.
	maxCells, minCells = 30, 8
	// minName is the width to which a name is cut at most.
	minName = 8
	// percentWidth is that of " 100%".
	percentWidth = 5
)

// details are what may stand behind a bar, the richest first, each with the width that it
// takes at most.
var details = []struct {
	width int
	text  func(row) string
}{
	{40, func(r row) string { return r.amount() + speedOf(r) }},
	{30, func(r row) string { return size(r.done) + speedOf(r) }},
	{22, func(r row) string { return strings.TrimPrefix(speedOf(r), ", ") }},
	{12, func(r row) string { return onlyKnown(r, r.remaining()) }},
	{0, func(row) string { return "" }},
}

func speedOf(r row) string { return onlyKnown(r, ", "+r.speed()) }

// onlyKnown is text if the row has something to say about time.
func onlyKnown(r row, text string) string {
	if !r.known || r.total <= 0 || r.done >= r.total {
		return ""
	}
	return text
}

// frame lays the rows out in lines of less than cols columns (a full line would leave the
// cursor where terminals differ), at most one less than there are lines on the screen.
func frame(cols, screenLines int, rows []row) []string {
	shown := min(len(rows), maxRows, max(1, screenLines-1))
	more := len(rows) - shown
	if more > 0 && shown > 1 {
		shown, more = shown-1, more+1
	}
	f := newFormat(cols-1, rows[:shown])
	var out []string
	for _, r := range rows[:shown] {
		out = append(out, f.line(r))
	}
	if more > 0 && shown+1 < screenLines {
		out = append(out, cut(fmt.Sprintf("and %d more", more), f.width))
	}
	return out
}

// format is how all rows of a frame are laid out, so that they stand in columns.
type format struct {
	width  int // of a line
	name   int // columns of the name
	cells  int // cells of the bar; 0: no bar
	detail func(row) string
}

func newFormat(width int, rows []row) format {
	f := format{width: max(width, 1)}
	for _, r := range rows {
		f.name = max(f.name, columns(r.name))
	}
	f.name = min(f.name, max(minName, width/3))
	for _, d := range details {
		f.detail = d.text
		// Between name, percent, [ bar ] and details there is a blank each.
		if f.cells = width - f.name - percentWidth - len(" [] ") - d.width; f.cells >= minCells {
			f.cells = min(f.cells, maxCells)
			return f
		}
	}
	f.cells = 0
	return f
}

// line is one row, of at most f.width columns.
func (f format) line(r row) string {
	name := tail(strings.NewReplacer("\n", "?", "\t", "?").Replace(printable(r.name)), f.name)
	name += strings.Repeat(" ", f.name-columns(name))
	text := name + " " + r.amount()
	if r.total > 0 {
		text = name + " " + bar(r, f.cells) + " " + f.detail(r)
	}
	return cut(strings.TrimRight(text, " "), f.width)
}

// bar is " 45% [====>.....]", without the brackets for 0 cells. The library draws; it is
// asked anew every time, since its own bars know neither stalls nor a change of width.
func bar(r row, cells int) string {
	if cells == 0 {
		return fmt.Sprintf("%4d%%", 100*r.done/r.total)
	}
	b := progressbar.NewOptions64(r.total,
		progressbar.OptionSetWriter(io.Discard),
		progressbar.OptionSetWidth(cells),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false))
	_ = b.Set64(r.done) // fails only for more than all, which a row never has
	_ = b.RenderBlank()
	return strings.TrimRight(strings.TrimPrefix(b.String(), "\r"), " ")
}

// columns is how many columns a text takes at most: characters beyond the alphabets may
// take two.
func columns(text string) (n int) {
	for _, r := range text {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	if r >= 0x1100 && r != '…' {
		return 2
	}
	return 1
}

// cut shortens a text to a width, at its end.
func cut(text string, width int) string {
	for i, r := range text {
		if width -= columnsOf(r); width < 0 {
			return text[:i]
		}
	}
	return text
}

// tail shortens a text to a width, at its beginning: the end of a path tells more.
func tail(text string, width int) string {
	if columns(text) <= width {
		return text
	}
	runes := []rune(text)
	for len(runes) > 0 && columns(string(runes)) > width-1 {
		runes = runes[1:]
	}
	return "…" + string(runes)
}
