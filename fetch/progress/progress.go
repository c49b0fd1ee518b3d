// Package progress shows how far a long step is. What it says is the same everywhere, how
// much is done of what, how fast, and how long it will take; how it says so depends on who
// reads:
//
//   - A terminal has one bar for each step that goes on, and a fetch one more for each file
//     in work, drawn over themselves. They follow the width of the terminal, also while it
//     changes, and lines that tell of something appear above them and stay.
//   - Elsewhere (a log of CI, a pipe) there is a plain line every few seconds.
//   - Programs get JSON Lines: see Events.
//
// A Bar counts bytes and knows nothing of what they are, so that every step can use it: a
// step that may not import this package takes a callback, func(done, total int64), and is
// given Bar.Report. Files turns the events of a fetch into bars. Everything is written to a
// writer of the caller's, usually the standard error: results own the standard output.
//
// All bars of one terminal share its screen, so that steps may go on side by side. A screen
// is drawn with three ANSI sequences that every terminal of today knows (cursor up, erase
// to the end of the line, erase to the end of the screen), and leaves the cursor below the
// last bar: whoever is killed leaves a usable terminal behind.
//
// Only this package knows the library that draws bars.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

// Every is the time between two lines where there is no terminal, and between two progress
// events.
const Every = 5 * time.Second

// Terminal reports whether w is a terminal, on which a bar can be drawn.
func Terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
}

// display is one of the ways to show a step. Its methods are safe for concurrent use.
type display interface {
	// every is the time between two calls of show.
	every() time.Duration
	// show shows the step's rows, the first of which is the step itself.
	show(b *Bar, rows []row)
	// say tells something once.
	say(label, text string)
	// end shows the step for the last time.
	end(b *Bar, last row, took time.Duration)
}

// displayFor chooses how to show something on w.
func displayFor(w io.Writer, tty bool) display {
	if e, ok := w.(*Events); ok {
		return e
	}
	if tty {
		return screenOf(w)
	}
	return lines{w}
}

// Bar shows one step. All methods are safe for concurrent use.
type Bar struct {
	label string
	on    display
	stop  chan struct{}
	ended chan struct{}
	// below, if not nil, returns rows to be shown below the step's own. It is called with
	// mu held.
	below func(now time.Time) []row

	mu       sync.Mutex
	count    meter
	finished bool
}

// New starts a bar for total bytes; total 0 means that it is not known yet. tty says that w
// is a terminal (see Terminal); a w that NewEvents made takes events. label names the step
// in one word or two. Finish must be called at the end.
func New(w io.Writer, tty bool, label string, total int64) *Bar {
	return start(displayFor(w, tty), label, total, nil)
}

func start(on display, label string, total int64, below func(time.Time) []row) *Bar {
	now := time.Now()
	b := &Bar{label: label, on: on, count: newMeter(now, 0, total), below: below, stop: make(chan struct{}), ended: make(chan struct{})}
	if _, ok := on.(*screen); ok {
		b.beat(now)
	}
	go b.tick()
	return b
}

// Add counts n more bytes.
func (b *Bar) Add(n int64) { b.change(n, 0) }

// Grow adds n bytes to the total.
func (b *Bar) Grow(n int64) { b.change(0, n) }

// Set says that done bytes are done.
func (b *Bar) Set(done int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count.set(done, b.count.total)
}

// Report says that done bytes of total are done. It fits as a callback.
func (b *Bar) Report(done, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count.set(done, total)
}

func (b *Bar) change(done, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count.set(b.count.done+done, b.count.total+total)
}

// Say writes a line of text without disturbing the bar.
func (b *Bar) Say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on.say(b.label, fmt.Sprintf(format, args...))
}

// Finish ends the bar as it stands, done or not, and writes a last line. It may be called
// again.
func (b *Bar) Finish() {
	b.mu.Lock()
	if b.finished {
		b.mu.Unlock()
		return
	}
	b.finished = true
	b.mu.Unlock()
	close(b.stop)
	<-b.ended
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.on.end(b, b.count.row(b.label, now), now.Sub(b.count.start))
}

// tick takes the rate, and shows.
func (b *Bar) tick() {
	defer close(b.ended)
	ticker := time.NewTicker(b.on.every())
	defer ticker.Stop()
	for {
		select {
		case <-b.stop:
			return
		case now := <-ticker.C:
			b.beat(now)
		}
	}
}

// beat is one tick.
func (b *Bar) beat(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finished {
		return
	}
	b.count.mark(now)
	rows := []row{b.count.row(b.label, now)}
	if b.below != nil {
		rows = append(rows, b.below(now)...)
	}
	b.on.show(b, rows)
}

// lines is the display that writes plain lines.
type lines struct{ w io.Writer }

func (l lines) every() time.Duration { return Every }

func (l lines) show(_ *Bar, rows []row) {
	r := rows[0]
	text := r.amount()
	if r.total > 0 {
		text = fmt.Sprintf("%3d %%, %s, %s", 100*r.done/r.total, text, r.speed())
	}
	l.say(r.name, text)
}

func (l lines) say(label, text string) {
	_, _ = io.WriteString(l.w, label+": "+printable(text)+"\n") // an error is no reason to stop the work
}

func (l lines) end(_ *Bar, last row, took time.Duration) { l.say(last.name, last.summary(took)) }

// printable takes out what a terminal could obey: texts may quote a server.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}
