package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
)

// RemoteOptions say where a Remote reads from and how much of it is held. Sources are
// needed.
type RemoteOptions struct {
	// Sources are tried in order, from First: one that fails for good is left for the next.
	Sources []Source
	First   int
	// Window is how many bytes of the file are held in memory, and Piece how many of them
	// one request asks for; so Window/Piece connections work at a time, at most Jobs.
	// Defaults: 32 MiB, 2 MiB, 16.
	Window, Piece int64
	Jobs          int
	// Lag is how long a reader may stand still while others wait for it; default 10 s.
	Lag time.Duration
	// Grace is how long reads go on after the context has ended, so that a request in flight
	// that is fed by them can be brought to an end.
	Grace time.Duration
	// Limits decide about retries; its other fields play no part.
	Limits Limits
	// Progress, which may be nil, is told of Received bytes, of bytes that come again because
	// a reader went back (Discarded) and of failures (Retrying). It is called from several
	// goroutines and must return quickly.
	Progress func(Event)
}

// Remote is a file that stays where it is: a window of it is held in memory and moves with
// its readers. Pieces of the window are requested side by side, ahead of whoever is
// furthest behind.
//
// Several readers share the window, so that each byte is requested once while they stay
// together: those ahead wait for the others. One that stands still for Lag while others
// move is left behind; when it comes back, and when a reader goes back to an earlier
// offset, what has left the window is requested again, and the others wait until it is with
// them. The pinned commit is what makes that the same bytes; who needs certainty takes a
// sum.
//
// A source that ignores ranges is read by one connection, from its start.
type Remote struct {
	file     File
	o        RemoteOptions
	ctx      context.Context
	stop     context.CancelFunc
	workers  sync.WaitGroup
	received atomic.Int64

	// mu guards what follows. Readers wait for came, connections for room.
	mu         sync.Mutex
	came, room *sync.Cond
	supply
	pieces  map[int64]*piece
	free    [][]byte
	made    int    // buffers in all
	seen    []bool // pieces that were there once
	readers []*RemoteReader
	alone   *connection // the only one that may work, where ranges are ignored
	err     error       // why nothing comes any more
}

// piece is a stretch of the file in the window. While loading, buf behind n belongs to a
// connection.
type piece struct {
	index   int64
	buf     []byte
	n       int
	loading bool
}

var _ course = (*Remote)(nil)

// OpenRemote prepares reads of a file; nothing is requested before the first. Close ends
// everything.
func OpenRemote(ctx context.Context, file File, o RemoteOptions) *Remote {
	o.Limits = o.Limits.withDefaults(len(o.Sources))
	o.Piece = either(o.Piece, 2<<20)
	o.Window = max(either(o.Window, 32<<20), 2*o.Piece)
	o.Lag = either(o.Lag, 10*time.Second)
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	r := &Remote{file: file, o: o, supply: supply{source: o.First}, pieces: map[int64]*piece{}}
	r.seen = make([]bool, (file.Size+o.Piece-1)/o.Piece)
	r.came, r.room = sync.NewCond(&r.mu), sync.NewCond(&r.mu)
	r.outlive(ctx)
	for range min(either(o.Jobs, defaultJobs), r.capacity(), max(len(r.seen), 1)) {
		r.workers.Go((&connection{r: r}).work)
	}
	return r
}

// outlive makes the context of the requests: the caller's, and some grace.
func (r *Remote) outlive(ctx context.Context) {
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r.ctx = own
	ended := context.AfterFunc(ctx, func() {
		time.AfterFunc(r.o.Grace, func() { cancel(context.Cause(ctx)) })
	})
	woken := context.AfterFunc(own, r.wake)
	r.stop = func() {
		ended()
		woken()
		cancel(errClosed)
		r.wake()
	}
}

// errClosed is what a read of a closed Remote gives.
var errClosed = errors.New("the file was closed")

// Close ends all requests and reads, and returns when nothing goes on any more.
func (r *Remote) Close() error {
	r.stop()
	r.workers.Wait()
	return nil
}

// Received counts the bytes that have arrived, whatever became of them.
func (r *Remote) Received() int64 { return r.received.Load() }

func (r *Remote) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.came.Broadcast()
	r.room.Broadcast()
}

// capacity is the number of pieces in the window.
func (r *Remote) capacity() int { return int(r.o.Window / r.o.Piece) }

// RemoteReader is one reader of a Remote. It is for one goroutine at a time.
type RemoteReader struct {
	of *Remote
	// Guarded by the Remote's mutex. A reader counts from its first read on.
	at, until int64
	counts    bool
	follows   bool
	begun     bool
	inside    bool // in ReadAt
	moved     time.Time
}

var _ io.ReaderAt = (*RemoteReader)(nil)

// Reader returns a reader of the bytes before until: nothing behind is requested for it.
// The caller closes it, so that others need not wait for it.
func (r *Remote) Reader(until int64) *RemoteReader {
	return &RemoteReader{of: r, until: min(until, r.file.Size)}
}

// Follower returns a reader like Reader's that is never left behind, and for whose sake alone
// nobody is.
func (r *Remote) Follower(until int64) *RemoteReader {
	x := r.Reader(until)
	x.follows = true
	return x
}

// Hold makes the others wait for the reader at an offset, although it has not read yet.
// Nothing is requested on its account before it does.
func (x *RemoteReader) Hold(off int64) {
	x.of.mu.Lock()
	defer x.of.mu.Unlock()
	x.moved = time.Now()
	x.stand(off)
}

// ReadAt implements io.ReaderAt: it waits for the bytes. Errors are those of a download, of
// kind fault.Upstream, or the context's.
func (x *RemoteReader) ReadAt(p []byte, off int64) (n int, err error) {
	r := x.of
	r.mu.Lock()
	defer r.mu.Unlock()
	x.inside = true
	if !x.begun {
		x.begun = true
		r.room.Broadcast()
	}
	defer func() { x.inside, x.moved = false, time.Now() }()
	x.stand(off)
	for n < len(p) && x.at < x.until {
		m, err := x.take(p[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// stand places the reader.
func (x *RemoteReader) stand(at int64) {
	r := x.of
	before := x.at
	x.at = at
	if !x.counts {
		x.counts = true
		r.readers = append(r.readers, x)
		r.room.Broadcast()
	} else if before/r.o.Piece != at/r.o.Piece || at >= x.until {
		r.room.Broadcast()
	}
}

// take copies what is there of the piece at the reader's place, and waits while it is
// nothing.
func (x *RemoteReader) take(p []byte) (int, error) {
	r := x.of
	for {
		if r.ctx.Err() != nil {
			return 0, context.Cause(r.ctx)
		}
		within := int(x.at % r.o.Piece)
		if have := r.pieces[x.at/r.o.Piece]; have != nil && have.n > within {
			n := copy(p, have.buf[within:min(have.n, within+int(x.until-x.at))])
			x.stand(x.at + int64(n))
			return n, nil
		}
		if r.err != nil {
			return 0, r.err
		}
		lag := time.AfterFunc(r.o.Lag, r.wake) // others may stand still by then
		r.came.Wait()
		lag.Stop()
	}
}

// Close takes the reader out, so that nobody waits for it. A later read puts it in again.
func (x *RemoteReader) Close() error {
	r := x.of
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readers = slices.DeleteFunc(r.readers, func(other *RemoteReader) bool { return other == x })
	x.counts = false
	r.room.Broadcast()
	return nil
}

// wanted is what the readers want of the window, in pieces [from, to). The window begins
// at whoever is furthest behind; what is asked for, at the first who has read: one that is
// only held may want to begin elsewhere.
func (r *Remote) wanted(now time.Time) (from, to int64) {
	base, first, last := r.file.Size, r.file.Size, int64(0)
	moving := func(x *RemoteReader) bool { return x.inside || now.Sub(x.moved) < r.o.Lag }
	leave := slices.ContainsFunc(r.readers, func(x *RemoteReader) bool { return !x.follows && x.at < x.until && moving(x) })
	for _, x := range r.readers {
		if x.at >= x.until || leave && !x.follows && !moving(x) {
			continue
		}
		base = min(base, x.at)
		if x.begun {
			first, last = min(first, x.at), max(last, x.until)
		}
	}
	return first / r.o.Piece, min(base/r.o.Piece+int64(r.capacity()), (last+r.o.Piece-1)/r.o.Piece)
}

// claim makes the next piece that is wanted and not there, and waits for one. It is nil
// when all has ended.
func (r *Remote) claim(c *connection) *piece {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.ctx.Err() == nil && r.err == nil {
		if r.alone == nil || r.alone == c {
			if p := r.fresh(); p != nil {
				return p
			}
		}
		r.room.Wait()
	}
	return nil
}

// fresh makes the first piece of the window that is not there, where it finds a buffer.
func (r *Remote) fresh() *piece {
	from, to := r.wanted(time.Now())
	for i := from; i < to; i++ {
		if r.pieces[i] != nil {
			continue
		}
		buf := r.buffer(from)
		if buf == nil {
			return nil
		}
		p := &piece{index: i, buf: buf[:min(r.o.Piece, r.file.Size-i*r.o.Piece)], loading: true}
		r.pieces[i] = p
		return p
	}
	return nil
}

// buffer finds room for a piece: new, or that of a piece outside of the window, which
// begins at from. Those that are nearest before it are kept longest.
func (r *Remote) buffer(from int64) []byte {
	if n := len(r.free); n > 0 {
		buf := r.free[n-1]
		r.free = r.free[:n-1]
		return buf
	}
	if r.made < r.capacity() {
		r.made++
		return make([]byte, r.o.Piece)
	}
	var out *piece
	for _, p := range r.pieces {
		outside := p.index < from || p.index >= from+int64(r.capacity())
		if outside && !p.loading && (out == nil || farther(p.index, out.index, from)) {
			out = p
		}
	}
	if out == nil {
		return nil
	}
	delete(r.pieces, out.index)
	return out.buf[:cap(out.buf)]
}

// farther reports whether piece a is to go before piece b: those behind the window first,
// then the lowest.
func farther(a, b, from int64) bool {
	if (a >= from) != (b >= from) {
		return a >= from
	}
	return (a < b) == (a < from)
}

// position implements course.
func (r *Remote) position() (source int, progress int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source, r.progress
}

// next implements course.
func (r *Remote) next(source int, err error) (gone bool, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.supply.next(r.o.Sources, source, err)
}

// limits implements course.
func (r *Remote) limits() Limits { return r.o.Limits }

// tell implements course.
func (r *Remote) tell(e Event) {
	e.File = r.file
	r.o.Progress(e)
}

// fail ends all reads.
func (r *Remote) fail(err error) {
	var status *hub.StatusError
	var stream *hub.StreamError
	if !errors.As(err, &status) && !errors.As(err, &stream) {
		err = fmt.Errorf("reading %s: %w", r.file, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.came.Broadcast()
	r.room.Broadcast()
}
