package values

import (
	"fmt"
	"io"
	"slices"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// lookahead is the number of pieces between the one who writes and the one who judges:
// enough that neither waits for the other's short pauses.
const lookahead = 3

// Checker judges the values of one file while its data go by. A goroutine of its own does
// the judging, so that whoever writes can take sums meanwhile. It holds three pieces of
// 1 MiB and, between two tensors that are judged together, the first of them (the wscales
// of an AWQ linear, 1.8 MB in a published file; never more than maxKept in all): memory
// does not depend on the size of the file.
//
// A Checker is written to by one goroutine, which calls Finish or Close in the end.
type Checker struct {
	jobs     []job
	spans    []span // of the file, in its order
	outcomes []outcome
	faults   []fault // that the header alone shows

	// The side that writes.
	at     int   // the span in work
	done   int64 // bytes of it
	piece  []byte
	begun  bool
	closed bool

	full chan piece
	free chan []byte
	idle chan struct{} // closed when the judging is over

	// The side that judges.
	works map[int]*work // by job
	spare []byte
}

// span is a tensor in the file.
type span struct {
	name string
	size int64
	job  int // that takes it; none where no rule knows its dtype
	slot int // among the job's tensors
	// keeps is set where the tensor is kept until the job's other one goes by.
	keeps bool
}

// piece is some of a tensor's bytes.
type piece struct {
	span  int
	bytes []byte
	last  bool
}

// work is a job that has begun.
type work struct {
	probe probe
	kept  []byte
	done  int // bytes of what was kept that were fed
}

var _ io.Writer = (*Checker)(nil)

// New prepares to judge the values of the file that h was read from.
func New(h *safetensors.Header) *Checker {
	p := plan(h)
	return &Checker{
		jobs: p.jobs, spans: p.spans, faults: p.faults, outcomes: make([]outcome, len(p.jobs)), works: map[int]*work{},
		full: make(chan piece, lookahead), free: make(chan []byte, lookahead), idle: make(chan struct{}),
	}
}

// Write takes the next bytes of the file's data, which begin at the header's DataStart, cut
// in any way. Bytes behind the last tensor are ignored. It never fails, and must not be
// called after Finish or Close.
func (c *Checker) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && c.at < len(c.spans) {
		p = p[c.take(p):]
	}
	return n, nil
}

// take takes the first bytes of p for the span in work, and returns how many.
func (c *Checker) take(p []byte) int {
	s := c.spans[c.at]
	n := int(min(int64(len(p)), s.size-c.done))
	if s.job != none {
		if c.piece == nil {
			c.piece = c.buffer()
		}
		n = min(n, pieceSize-len(c.piece))
		c.piece = append(c.piece, p[:n]...)
	}
	c.done += int64(n)
	last := c.done == s.size
	if s.job != none && (last || len(c.piece) == pieceSize) {
		c.full <- piece{c.at, c.piece, last}
		c.piece = nil
	}
	if last {
		c.at, c.done = c.at+1, 0
	}
	return n
}

// buffer returns an empty piece. The first one starts the judging.
func (c *Checker) buffer() []byte {
	if !c.begun {
		c.begun = true
		for range lookahead {
			c.free <- nil
		}
		go c.judge()
	}
	b := <-c.free
	if b == nil {
		b = make([]byte, 0, c.largest())
	}
	return b[:0]
}

// largest is the size of the largest piece.
func (c *Checker) largest() (size int64) {
	for _, s := range c.spans {
		size = max(size, s.size)
	}
	return min(size, pieceSize)
}

// judge feeds pieces until there are no more.
func (c *Checker) judge() {
	defer close(c.idle)
	for p := range c.full {
		c.feed(p)
		c.free <- p.bytes
	}
}

// feed feeds a piece to its job.
func (c *Checker) feed(p piece) {
	s := c.spans[p.span]
	w := c.works[s.job]
	if w == nil {
		w = &work{probe: c.jobs[s.job].probe()}
		c.works[s.job] = w
	}
	if s.keeps {
		c.keep(w, s, p.bytes)
		return
	}
	w.feed(s, p.bytes)
	if p.last {
		c.outcomes[s.job] = w.probe.outcome(c.jobs[s.job])
		delete(c.works, s.job)
		if cap(w.kept) > cap(c.spare) {
			c.spare = w.kept[:0]
		}
	}
}

// keep keeps bytes of the first of two tensors.
func (c *Checker) keep(w *work, s span, b []byte) {
	if w.kept == nil && int64(cap(c.spare)) >= s.size {
		w.kept, c.spare = c.spare, nil
	}
	if w.kept == nil {
		w.kept = make([]byte, 0, s.size)
	}
	w.kept = append(w.kept, b...)
}

// feed hands bytes to the probe, beside those of the other tensor, if there is one.
func (w *work) feed(s span, b []byte) {
	if w.kept == nil {
		w.probe.feed(b)
		return
	}
	pieces := [maxTogether][]byte{w.kept[w.done : w.done+len(b)], b}
	w.done += len(b)
	if s.slot == 0 {
		pieces[0], pieces[1] = b, pieces[0]
	}
	w.probe.feed(pieces[:]...)
}

// Finish returns the statistics and what is wrong, when all data were written. Messages
// begin with the tensor's name; the same fault of many blocks is one finding that counts
// them. The findings' Object is empty: the caller knows the name of the file. Neither
// depends on how the data were cut.
//
// An error means that data are missing; it says nothing about the values.
func (c *Checker) Finish() (Stats, verify.Findings, error) {
	c.Close()
	if c.at < len(c.spans) {
		s := c.spans[c.at]
		return Stats{}, nil, fmt.Errorf("checking values of %s: reading byte %d of %d: %w", shorten(s.name), c.done, s.size, io.ErrUnexpectedEOF)
	}
	var kinds collection
	out := report{faults: slices.Clone(c.faults)}
	for _, x := range c.outcomes {
		for _, n := range x.numbers {
			kinds.add(n)
		}
		out.faults = append(out.faults, x.faults...)
	}
	return kinds.stats(), out.findings(), nil
}

// Close ends the judging, and may be called more than once.
func (c *Checker) Close() {
	if c.closed {
		return
	}
	c.closed = true
	close(c.full)
	if c.begun {
		<-c.idle
	}
}
