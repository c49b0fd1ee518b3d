// Package progress shows how far a long step is: as a bar on a terminal, as a plain line
// every few seconds elsewhere (a log of CI, a pipe). Both say how much is done of what, how
// fast, and how long it will take.
//
// A Bar counts bytes and knows nothing of what they are, so that every step can use it: a
// step that may not import this package takes a callback, func(done, total int64), and is
// given Bar.Report. Files turns the events of a fetch into one. Everything is written to a
// writer of the caller's, usually the standard error: results own the standard output.
//
// Only this package knows the library that draws.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

const (
	// Every is the time between two lines where there is no terminal.
	Every = 5 * time.Second
	// window is the time over which the rate is taken: long enough to be calm, short enough
	// to see a change.
	window = 30 * time.Second
	// redraw is the shortest time between two drawings of a bar.
	redraw = 100 * time.Millisecond
	// barWidth is the number of cells of the bar itself.
	barWidth = 30
)

// Terminal reports whether w is a terminal, on which a bar can be drawn.
func Terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
}

// Bar shows one step. All methods are safe for concurrent use.
type Bar struct {
	w     io.Writer
	label string
	bar   *progressbar.ProgressBar // nil without a terminal, and when there is nothing to count
	stop  chan struct{}
	ended chan struct{}

	mu       sync.Mutex
	done     int64
	total    int64
	start    time.Time
	marks    []mark // of the last window, oldest first
	finished bool
}

// mark is how far the step was at a time.
type mark struct {
	at   time.Time
	done int64
}

// New starts a bar for total bytes; total 0 means that it is not known yet. tty says that w
// is a terminal (see Terminal). label names the step in one word or two. Finish must be
// called at the end.
func New(w io.Writer, tty bool, label string, total int64) *Bar {
	now := time.Now()
	b := &Bar{w: w, label: label, total: total, start: now, marks: []mark{{at: now}}, stop: make(chan struct{}), ended: make(chan struct{})}
	if tty {
		b.bar = b.draw()
	}
	go b.tick()
	return b
}

func (b *Bar) draw() *progressbar.ProgressBar {
	return progressbar.NewOptions64(b.total+1,
		progressbar.OptionSetWriter(b.w),
		progressbar.OptionSetDescription(b.label),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(barWidth),
		progressbar.OptionThrottle(redraw),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
		progressbar.OptionOnCompletion(func() { fmt.Fprintln(b.w) }),
	)
}

// Add counts n more bytes.
func (b *Bar) Add(n int64) { b.change(n, 0) }

// Grow adds n bytes to the total.
func (b *Bar) Grow(n int64) { b.change(0, n) }

// Set says that done bytes are done.
func (b *Bar) Set(done int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.update(done, b.total)
}

// Report says that done bytes of total are done. It fits as a callback.
func (b *Bar) Report(done, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.update(done, total)
}

func (b *Bar) change(done, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.update(b.done+done, b.total+total)
}

// update stores and draws. A bar that shows more than all would tell of nothing but a wrong
// total, so the total follows. The library takes a full bar for a finished one and never
// draws it again, so until Finish its maximum is one byte more.
func (b *Bar) update(done, total int64) {
	b.done, b.total = done, max(total, done)
	if b.bar == nil || b.finished {
		return
	}
	if b.bar.GetMax64() != b.total+1 {
		b.bar.ChangeMax64(b.total + 1)
	}
	_ = b.bar.Set64(b.done) // an error is the terminal's, and no reason to stop the work
}

// Say writes a line of text without disturbing the bar.
func (b *Bar) Say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := fmt.Sprintf("%s: %s\n", b.label, fmt.Sprintf(format, args...))
	if b.bar == nil || b.finished {
		_, _ = io.WriteString(b.w, text)
		return
	}
	_ = b.bar.Clear()
	_, _ = io.WriteString(b.w, text)
	_ = b.bar.RenderBlank()
}

// Finish ends the bar as it stands, done or not, and writes a last line without a terminal.
// It may be called again.
func (b *Bar) Finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finished {
		return
	}
	b.finished = true
	close(b.stop)
	switch {
	case b.bar == nil:
		_, _ = io.WriteString(b.w, b.summary(time.Now()))
	case b.done == b.total:
		b.bar.ChangeMax64(max(b.total, 1))
		_ = b.bar.Finish()
	default:
		_ = b.bar.Exit()
	}
	b.mu.Unlock()
	<-b.ended
	b.mu.Lock()
}

// tick takes the rate, and writes the lines.
func (b *Bar) tick() {
	defer close(b.ended)
	ticker := time.NewTicker(Every)
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
	b.marks = append(b.marks, mark{now, b.done})
	for len(b.marks) > 2 && now.Sub(b.marks[1].at) >= window {
		b.marks = b.marks[1:]
	}
	if b.bar == nil {
		_, _ = io.WriteString(b.w, b.line(now))
	}
}

// line is the state in one line.
func (b *Bar) line(now time.Time) string {
	if b.total <= 0 {
		return fmt.Sprintf("%s: %s\n", b.label, humanize.Bytes(uint64(max(b.done, 0))))
	}
	oldest := b.marks[0]
	rate := perSecond(b.done-oldest.done, now.Sub(oldest.at))
	left := "stalled"
	if rate > 0 {
		left = short(time.Duration(float64(b.total-b.done)/rate*float64(time.Second))) + " left"
	}
	return fmt.Sprintf("%s: %3d %%, %s of %s, %s/s, %s\n", b.label, 100*b.done/b.total,
		humanize.Bytes(uint64(max(b.done, 0))), humanize.Bytes(uint64(b.total)), humanize.Bytes(uint64(rate)), left)
}

// summary is the last line.
func (b *Bar) summary(now time.Time) string {
	took := now.Sub(b.start)
	text := fmt.Sprintf("%s: %s", b.label, humanize.Bytes(uint64(max(b.done, 0))))
	if b.done < b.total {
		text += " of " + humanize.Bytes(uint64(b.total))
	}
	return fmt.Sprintf("%s in %s, %s/s\n", text, short(took), humanize.Bytes(uint64(perSecond(b.done, took))))
}

func perSecond(n int64, d time.Duration) float64 {
	if d <= 0 || n <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// short is a duration that a person reads at a glance: 0.4s, 38s, 12m5s, 3h2m.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
