package progress

import (
	"io"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/fetch"
)

// files shows a fetch: one bar for all that is received or hashed, and a line for what a
// person may want to know.
type files struct {
	w   io.Writer
	tty bool

	bar *Bar // from Start on

	mu   sync.Mutex
	said map[string]time.Time // when a file's trouble was last told
}

var _ fetch.Progress = (*files)(nil)

// Files returns a Progress that writes to w; tty says that w is a terminal (see Terminal).
// It serves one fetch at a time, and may serve another after it.
func Files(w io.Writer, tty bool) fetch.Progress {
	return &files{w: w, tty: tty}
}

// Start tells what is ahead.
func (f *files) Start(n fetch.Need) {
	f.said = map[string]time.Time{}
	f.bar = New(f.w, f.tty, "fetch", n.Work())
	f.bar.Say("%d files, %s: %s cached, %s to check, %s of an earlier fetch, %s to download, %s",
		n.Files, size(n.Total), size(n.Cached), size(n.Unchecked), size(n.Partial), size(n.Download), free(n.Free))
}

func size(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

func free(n int64) string {
	if n < 0 {
		return "free space unknown"
	}
	return size(n) + " free"
}

// File counts, and tells of trouble.
func (f *files) File(e fetch.Event) {
	switch e.Kind {
	case fetch.Received, fetch.Checked:
		f.bar.Add(e.Bytes)
	case fetch.Discarded:
		f.bar.Grow(e.Bytes)
		f.bar.Say("%v: fetching %s once more", e.Err, size(e.Bytes))
	case fetch.Waiting:
		f.bar.Say("%s is being fetched by %s: waiting for it", e.File, e.Owner)
	case fetch.Retrying:
		f.trouble(e)
	}
}

// trouble tells why a connection failed, once in a while for each file: with many
// connections the same reason comes many times.
func (f *files) trouble(e fetch.Event) {
	f.mu.Lock()
	name, now := e.File.String(), time.Now()
	quiet := now.Sub(f.said[name]) < Every
	if !quiet {
		f.said[name] = now
	}
	f.mu.Unlock()
	switch {
	case quiet:
	case e.Wait == 0:
		f.bar.Say("%v: going on with the next source", e.Err)
	default:
		f.bar.Say("%v: trying again in %s", e.Err, short(e.Wait))
	}
}

// Done ends the bar.
func (f *files) Done() { f.bar.Finish() }
