package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

// How often a line is written: often where somebody watches, seldom in a log. What ends
// before the first line needs none.
const (
	progressOnTerminal = time.Second
	progressInLogs     = 5 * time.Second
)

// progress writes lines such as
//
//	verifying models: 12.30 GB of 29.54 GB, 1.48 GB/s
type progress struct {
	w     io.Writer
	total int64
	begin time.Time
	done  atomic.Int64
	quit  chan struct{}
	wait  sync.WaitGroup
}

// startProgress writes to w until stop. Lines are whole and never overwritten, so that
// they read the same in a terminal and in a log.
func startProgress(w io.Writer, total int64) *progress {
	every := progressInLogs
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		every = progressOnTerminal
	}
	p := &progress{w: w, total: total, begin: time.Now(), quit: make(chan struct{})}
	p.wait.Go(func() { p.loop(every) })
	return p
}

func (p *progress) loop(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-p.quit:
			return
		case now := <-ticker.C:
			fmt.Fprintln(p.w, progressLine(p.done.Load(), p.total, now.Sub(p.begin)))
		}
	}
}

// add counts n more bytes; safe for concurrent use.
func (p *progress) add(n int64) { p.done.Add(n) }

// stop ends the lines. None is written after it returns.
func (p *progress) stop() {
	close(p.quit)
	p.wait.Wait()
}

func progressLine(done, total int64, elapsed time.Duration) string {
	rate := float64(done) / elapsed.Seconds()
	return fmt.Sprintf("verifying models: %s of %s, %s/s", gigabytes(done), gigabytes(total), gigabytes(int64(rate)))
}
