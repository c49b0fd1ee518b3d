package progress

import (
	"io"
	"slices"
	"sync"
	"time"

	"github.com/plimsoll-oci/plimsoll/fetch"
)

// fetchLabel names a fetch in what is said.
const fetchLabel = "fetch"

// Files returns a Progress that writes to w; tty says that w is a terminal (see Terminal),
// which then has a bar for all and one for each file in work. A w that NewEvents made takes
// events. It serves one fetch at a time, and may serve another after it.
func Files(w io.Writer, tty bool) fetch.Progress {
	if e, ok := w.(*Events); ok {
		return &fileEvents{on: e}
	}
	return &files{on: displayFor(w, tty)}
}

// whole is a fetch as one step.
type whole struct {
	bar      *Bar
	blobs    int
	finished int // guarded by the mutex of its owner
}

// count counts what an event says about the whole.
func (w *whole) count(e fetch.Event) {
	switch e.Kind {
	case fetch.Received, fetch.Checked:
		w.bar.Add(e.Bytes)
	case fetch.Discarded:
		w.bar.Grow(e.Bytes)
	}
}

// done ends the bar. Where all files are there the total was what it took: a file that
// another process has brought meanwhile took nothing.
func (w *whole) done() {
	if w.finished >= w.blobs {
		w.bar.all()
	}
	w.bar.Finish()
}

// all says that no more is to come.
func (b *Bar) all() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count.total = b.count.done
}

// fileKey tells files apart.
type fileKey struct{ repo, commit, path string }

func keyOf(f fetch.File) fileKey { return fileKey{f.Repo, f.Commit, f.Path} }

// files shows a fetch to a person: rows for all that is received or hashed, and a line for
// what they may want to know.
type files struct {
	on display
	whole

	mu     sync.Mutex
	active []*activeFile
	said   map[fileKey]time.Time // when a file's trouble was last told
}

// activeFile is a file in work.
type activeFile struct {
	key   fileKey
	count meter
}

var _ fetch.Progress = (*files)(nil)

// Start tells what is ahead.
func (f *files) Start(n fetch.Need) {
	f.mu.Lock()
	f.active, f.said = nil, map[fileKey]time.Time{}
	f.mu.Unlock()
	f.whole = whole{bar: start(f.on, fetchLabel, n.Work(), f.rows), blobs: n.Blobs}
	noun := "files"
	if n.Files == 1 {
		noun = "file"
	}
	f.bar.Say("%d %s, %s: %s cached, %s to check, %s of an earlier fetch, %s to download, %s",
		n.Files, noun, size(n.Total), size(n.Cached), size(n.Unchecked), size(n.Partial), size(n.Download), free(n.Free))
}

func free(n int64) string {
	if n < 0 {
		return "free space unknown"
	}
	return size(n) + " free"
}

// rows are the files in work, in the order in which they began.
func (f *files) rows(now time.Time) []row {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []row
	for _, a := range f.active {
		a.count.mark(now)
		out = append(out, a.count.row("  "+a.key.path, now))
	}
	return out
}

// File counts, and tells of trouble.
func (f *files) File(e fetch.Event) {
	f.follow(e)
	f.count(e)
	switch e.Kind {
	case fetch.Discarded:
		f.bar.Say("%v: fetching %s once more", e.Err, size(e.Bytes))
	case fetch.Waiting:
		f.bar.Say("%s is being fetched by %s: waiting for it", e.File, e.Owner)
	case fetch.Retrying:
		f.trouble(e)
	}
}

// follow keeps the list of files in work.
func (f *files) follow(e fetch.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key, now := keyOf(e.File), time.Now()
	at := slices.IndexFunc(f.active, func(a *activeFile) bool { return a.key == key })
	switch e.Kind {
	case fetch.Finished:
		f.finished++
		fallthrough
	case fetch.Discarded:
		if at >= 0 {
			f.active = slices.Delete(f.active, at, at+1)
		}
	case fetch.Began, fetch.Received, fetch.Checked:
		if at < 0 {
			f.active = append(f.active, &activeFile{key, newMeter(now, 0, e.File.Size)})
			at = len(f.active) - 1
		}
		a := f.active[at]
		if e.Kind == fetch.Began {
			a.count = newMeter(now, e.Bytes, e.File.Size)
			return
		}
		a.count.set(a.count.done+e.Bytes, a.count.total)
	}
}

// trouble tells why a connection failed, once in a while for each file: with many
// connections the same reason comes many times. That a source is left is told every time.
func (f *files) trouble(e fetch.Event) {
	if e.Wait == 0 {
		f.bar.Say("%v: going on with the next source", e.Err)
		return
	}
	f.mu.Lock()
	key, now := keyOf(e.File), time.Now()
	quiet := now.Sub(f.said[key]) < Every
	if !quiet {
		f.said[key] = now
	}
	f.mu.Unlock()
	if !quiet {
		f.bar.Say("%v: trying again in %s", e.Err, short(e.Wait))
	}
}

// Done ends the bar.
func (f *files) Done() { f.done() }
