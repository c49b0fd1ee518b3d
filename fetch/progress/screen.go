package progress

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	// redraw is the time between two drawings.
	redraw = 200 * time.Millisecond
	// defaultCols and defaultLines are for terminals that do not tell.
	defaultCols, defaultLines = 80, 24
)

// screen is the lower end of a terminal, where bars stand one below the other.
type screen struct {
	w    io.Writer
	size func() (cols, lines int)

	mu    sync.Mutex
	steps []shown
	drawn []int // widths of the lines that stand there now
}

// shown is a step with its rows.
type shown struct {
	bar  *Bar
	rows []row
}

// screens holds the screen of every terminal that shows something: there is one for all
// bars of a terminal.
var (
	screensMutex sync.Mutex
	screens      = map[io.Writer]*screen{}
)

func screenOf(w io.Writer) *screen {
	screensMutex.Lock()
	defer screensMutex.Unlock()
	s, ok := screens[w]
	if !ok {
		s = &screen{w: w, size: func() (int, int) { return sizeOf(w) }}
		screens[w] = s
	}
	return s
}

// sizeOf asks the terminal, every time: it may change while bars are drawn.
func sizeOf(w io.Writer) (cols, lines int) {
	if f, ok := w.(*os.File); ok {
		if cols, lines, err := term.GetSize(int(f.Fd())); err == nil && cols > 0 && lines > 0 {
			return cols, lines
		}
	}
	return defaultCols, defaultLines
}

func (s *screen) every() time.Duration { return redraw }

func (s *screen) show(b *Bar, rows []row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.steps, func(o shown) bool { return o.bar == b })
	if at < 0 {
		s.steps = append(s.steps, shown{})
		at = len(s.steps) - 1
	}
	s.steps[at] = shown{b, rows}
	s.draw("")
}

func (s *screen) say(label, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draw(label + ": " + printable(text) + "\n")
}

// end leaves the step's own row behind, above what goes on.
func (s *screen) end(b *Bar, last row, took time.Duration) {
	s.mu.Lock()
	s.steps = slices.DeleteFunc(s.steps, func(o shown) bool { return o.bar == b })
	cols, _ := s.size()
	f := newFormat(cols-1, []row{last})
	f.detail = func(row) string { return last.summary(took) }
	s.draw(f.line(last) + "\n")
	empty := len(s.steps) == 0
	s.mu.Unlock()
	if empty {
		s.forget()
	}
}

// forget lets go of a screen that shows nothing.
func (s *screen) forget() {
	screensMutex.Lock()
	defer screensMutex.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) == 0 && screens[s.w] == s {
		delete(screens, s.w)
	}
}

// draw writes text that stays, where the rows stood, and the rows below it, in one write.
// The cursor is at the beginning of the line below the last row, before and after.
func (s *screen) draw(text string) {
	cols, height := s.size()
	var rows []row
	for _, o := range s.steps {
		rows = append(rows, o.rows...)
	}
	var lines []string
	if len(rows) > 0 {
		lines = frame(cols, height, rows)
	}
	var out strings.Builder
	if up := s.occupied(cols); up > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", up)
	}
	out.WriteString("\r")
	if text != "" || len(lines) == 0 {
		out.WriteString("\x1b[J" + text)
	}
	s.drawn = s.drawn[:0]
	for _, line := range lines {
		out.WriteString(line + "\x1b[K\n")
		s.drawn = append(s.drawn, columns(line))
	}
	if len(lines) > 0 {
		out.WriteString("\x1b[J")
	}
	_, _ = io.WriteString(s.w, out.String()) // an error is the terminal's, and no reason to stop the work
}

// occupied is how many lines of the terminal the rows take that were drawn last. One that
// was made narrower since then has broken them.
func (s *screen) occupied(cols int) (n int) {
	for _, width := range s.drawn {
		n += max(1, (width+cols-1)/cols)
	}
	return n
}
