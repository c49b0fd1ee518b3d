package progress

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

const (
	// window is the time over which the rate is taken: long enough to be calm, short enough
	// to see a change.
	window = 30 * time.Second
	// settled is how long something has to go on before its rate says anything.
	settled = time.Second
)

// meter counts bytes over time.
type meter struct {
	done, total int64
	start       time.Time
	marks       []mark // of the last window, oldest first
}

// mark is how far it was at a time.
type mark struct {
	at   time.Time
	done int64
}

func newMeter(now time.Time, done, total int64) meter {
	return meter{done: done, total: total, start: now, marks: []mark{{now, done}}}
}

// set stores. More done than all would tell of nothing but a wrong total, so the total
// follows.
func (m *meter) set(done, total int64) { m.done, m.total = done, max(total, done) }

// mark enters how far it is, once a second at most.
func (m *meter) mark(now time.Time) {
	if now.Sub(m.marks[len(m.marks)-1].at) < settled {
		return
	}
	m.marks = append(m.marks, mark{now, m.done})
	for len(m.marks) > 2 && now.Sub(m.marks[1].at) >= window {
		m.marks = m.marks[1:]
	}
}

// row is the state under a name.
func (m *meter) row(name string, now time.Time) row {
	r := row{name: name, done: m.done, total: m.total}
	oldest := m.marks[0]
	r.known = now.Sub(m.start) >= settled
	r.rate = perSecond(m.done-oldest.done, now.Sub(oldest.at))
	return r
}

// row is what is shown of a step or a file.
type row struct {
	name        string
	done, total int64   // bytes; total 0: not known
	rate        float64 // bytes a second
	known       bool    // the rate says something
}

// left is how long it will take; ok is false while nobody can tell.
func (r row) left() (d time.Duration, ok bool) {
	if r.rate <= 0 || r.total <= 0 {
		return 0, false
	}
	return time.Duration(float64(r.total-r.done) / r.rate * float64(time.Second)), true
}

// amount is "1.2 GB of 4.9 GB".
func (r row) amount() string {
	if r.total <= 0 {
		return size(r.done)
	}
	return size(r.done) + " of " + size(r.total)
}

// speed is "23 MB/s, 2m31s left".
func (r row) speed() string {
	return size(int64(r.rate)) + "/s, " + r.remaining()
}

// remaining is "2m31s left".
func (r row) remaining() string {
	if left, ok := r.left(); ok {
		return short(left) + " left"
	}
	return "stalled"
}

// summary is what is said in the end.
func (r row) summary(took time.Duration) string {
	text := size(r.done)
	if r.done < r.total {
		text = r.amount()
	}
	return fmt.Sprintf("%s in %s, %s/s", text, short(took), size(int64(perSecond(r.done, took))))
}

func perSecond(n int64, d time.Duration) float64 {
	if d <= 0 || n <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

func size(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

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
