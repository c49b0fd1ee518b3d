package progress

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/fetch/cache"
)

// Events writes progress for programs: JSON Lines, each an object whose "event" says what
// happened. Bars, and the Progress of Files, that get it as their writer write their events
// to it; whatever else is written to it comes out line by line as a note. So everything
// that it writes is JSON. Numbers are bytes unless said otherwise.
//
//	plan        a fetch begins, and this is what it will take: the fields of fetch.Need
//	waiting     another process, "owner", fetches this file
//	began       the download of a file begins; "bytes" of it are here from an earlier fetch
//	received    "bytes" more of a file are here; at most once a second for each file
//	checked     "bytes" more of a file that was here were hashed; as often
//	retrying    a connection failed with "error"; the next try comes in "wait" seconds, 0: from
//	            the next source
//	discarded   "bytes" were of no use because of "error", and have to come once more
//	finished    a file of so many "bytes" is in the cache, verified
//	progress    every five seconds: of a "step", "done" of "total", "rate" a second, and the
//	            seconds "left", null while nobody can tell; total 0: not known
//	ended       a step ended: "done" of "total" after "seconds"
//	note        "text" for people
//
// Events about a file name its "repo", "commit" and "file"; files with the same bytes are
// named by the first of them. All methods are safe for concurrent use. A reader should skip
// events that it does not know.
type Events struct {
	mu   sync.Mutex
	w    io.Writer
	rest []byte // of a line that is not complete
}

// NewEvents returns an Events that writes to w.
func NewEvents(w io.Writer) *Events { return &Events{w: w} }

// stepEvent is how far a step is.
type stepEvent struct {
	Event string   `json:"event"`
	Step  string   `json:"step"`
	Done  int64    `json:"done"`
	Total int64    `json:"total"`
	Rate  int64    `json:"rate"`
	Left  *float64 `json:"left"`
}

// endedEvent is the last of a step.
type endedEvent struct {
	Event   string  `json:"event"`
	Step    string  `json:"step"`
	Done    int64   `json:"done"`
	Total   int64   `json:"total"`
	Seconds float64 `json:"seconds"`
}

// noteEvent is text for people.
type noteEvent struct {
	Event string `json:"event"`
	Step  string `json:"step,omitempty"`
	Text  string `json:"text"`
}

// planEvent is the need of a fetch.
type planEvent struct {
	Event string `json:"event"`
	fetch.Need
}

// fileEvent is about a file.
type fileEvent struct {
	Event  string       `json:"event"`
	Repo   string       `json:"repo"`
	Commit string       `json:"commit"`
	File   string       `json:"file"`
	Bytes  int64        `json:"bytes"`
	Error  string       `json:"error,omitempty"`
	Wait   *float64     `json:"wait,omitempty"`
	Owner  *cache.Owner `json:"owner,omitempty"`
}

// emit writes one event in one write.
func (e *Events) emit(event any) {
	line, err := json.Marshal(event)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _ = e.w.Write(append(line, '\n')) // an error is no reason to stop the work
}

// Write takes text of any length and writes a note for every line that it completes.
func (e *Events) Write(p []byte) (int, error) {
	e.mu.Lock()
	e.rest = append(e.rest, p...)
	var notes []string
	for {
		line, rest, ok := bytes.Cut(e.rest, []byte("\n"))
		if !ok {
			break
		}
		notes, e.rest = append(notes, string(line)), rest
	}
	e.mu.Unlock()
	for _, text := range notes {
		e.emit(noteEvent{Event: "note", Text: text})
	}
	return len(p), nil
}

func (e *Events) every() time.Duration { return Every }

func (e *Events) show(_ *Bar, rows []row) {
	r := rows[0]
	event := stepEvent{Event: "progress", Step: r.name, Done: r.done, Total: r.total, Rate: int64(r.rate)}
	if left, ok := r.left(); ok && r.known {
		seconds := left.Seconds()
		event.Left = &seconds
	}
	e.emit(event)
}

func (e *Events) say(label, text string) { e.emit(noteEvent{"note", label, text}) }

func (e *Events) end(_ *Bar, last row, took time.Duration) {
	e.emit(endedEvent{"ended", last.name, last.done, last.total, took.Seconds()})
}

// together is the shortest time between two events of one file about bytes.
const together = time.Second

// fileEvents writes the events of a fetch.
type fileEvents struct {
	on *Events
	whole

	mu      sync.Mutex
	pending map[fileKey]*pendingBytes
}

// pendingBytes is what happened to a file and was not told yet.
type pendingBytes struct {
	received, checked int64
	told              time.Time
}

var _ fetch.Progress = (*fileEvents)(nil)

// Start writes the plan.
func (f *fileEvents) Start(n fetch.Need) {
	f.mu.Lock()
	f.pending = map[fileKey]*pendingBytes{}
	f.mu.Unlock()
	f.on.emit(planEvent{"plan", n})
	f.whole = whole{bar: start(f.on, fetchLabel, n.Work(), nil), blobs: n.Blobs}
}

// File writes an event, or keeps it for a second.
func (f *fileEvents) File(e fetch.Event) {
	f.count(e)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch e.Kind {
	case fetch.Received, fetch.Checked:
		f.gather(e)
		return
	case fetch.Finished:
		f.finished++
	}
	f.tell(e.File)
	event := newFileEvent(e.Kind, e.File, e.Bytes)
	switch e.Kind {
	case fetch.Retrying:
		wait := e.Wait.Seconds()
		event.Wait = &wait
	case fetch.Waiting:
		event.Owner = &e.Owner
	case fetch.Finished:
		delete(f.pending, keyOf(e.File))
	}
	if e.Err != nil {
		event.Error = e.Err.Error()
	}
	f.on.emit(event)
}

func newFileEvent(kind fetch.Kind, file fetch.File, bytes int64) fileEvent {
	return fileEvent{Event: kind.String(), Repo: file.Repo, Commit: file.Commit, File: file.Path, Bytes: bytes}
}

// gather adds bytes up and tells of them when it is time.
func (f *fileEvents) gather(e fetch.Event) {
	p := f.pending[keyOf(e.File)]
	if p == nil {
		p = &pendingBytes{told: time.Now()}
		f.pending[keyOf(e.File)] = p
	}
	if e.Kind == fetch.Received {
		p.received += e.Bytes
	} else {
		p.checked += e.Bytes
	}
	if time.Since(p.told) >= together {
		f.tell(e.File)
	}
}

// tell writes what was gathered about a file.
func (f *fileEvents) tell(file fetch.File) {
	p := f.pending[keyOf(file)]
	if p == nil {
		return
	}
	if p.received > 0 {
		f.on.emit(newFileEvent(fetch.Received, file, p.received))
	}
	if p.checked > 0 {
		f.on.emit(newFileEvent(fetch.Checked, file, p.checked))
	}
	*p = pendingBytes{told: time.Now()}
}

// Done ends the step.
func (f *fileEvents) Done() { f.done() }
