package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

// Feed copies bytes of the host to the device as fast as the bus takes them. Each of its
// threads has a stream and pinned buffers of its own, and fills one while the device reads
// the others; filling, which is where pages come from a disk or its cache, is what takes
// several of them.
//
// What is put into a feed comes in batches. It is copied in no order, neither with itself nor
// with streams, but that all of a batch may follow a point of a stream: who wants to write or
// read the same memory otherwise must wait, before for the streams and after for the batch. An
// error sticks to the context, and what was not begun is dropped.
//
// A feed and its batches are used by one goroutine at a time, and Close comes before that of
// the context. Only Wait and Close wait.
type Feed struct {
	context *Context
	buffers int // of a thread
	size    int // of a buffer

	mu      sync.Mutex
	changed sync.Cond // queue or closed
	queue   []piece   // what no thread has begun
	all     count     // of all batches
	closed  bool
	errs    []error // of giving back

	threads sync.WaitGroup
}

// count is of pieces that are not on the device yet.
type count struct {
	open  int
	empty chan struct{} // closed when open becomes 0; nil if nobody waits
}

// less takes some away.
func (c *count) less(n int) {
	c.open -= n
	if c.open == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
}

// Batch is what is put into a feed and waited for together.
type Batch struct {
	feed  *Feed
	after *Event // nil is none
	count count
	// dropped says that some of it was dropped when the feed was closed.
	dropped bool
}

// Fill writes the bytes of an offset and the following into a pinned buffer. It is called by
// a thread of a feed's, beside itself, until the batch was waited for.
type Fill func(buffer []byte, offset int) error

// piece is a copy that fits into one buffer.
type piece struct {
	batch  *Batch
	what   string
	dst    Pointer
	n      int
	offset int
	fill   Fill
}

// blockingEvent and quietEvent are CU_EVENT_BLOCKING_SYNC, so that who waits gives up the
// processor, and CU_EVENT_DISABLE_TIMING.
const (
	blockingEvent = 1
	quietEvent    = 2
)

// Feed starts threads that have some pinned buffers of so many bytes each. A thread takes
// its buffers by itself: where there is no memory for them, that is the error that sticks.
func (c *Context) Feed(threads, buffers, size int) *Feed {
	f := &Feed{context: c, buffers: buffers, size: size}
	f.changed.L = &f.mu
	for range threads {
		f.threads.Go(f.work)
	}
	return f
}

// Batch begins a batch. The device copies what is put into it once an event has passed that was
// marked before (Stream.Mark); nil is none. If the event is marked again meanwhile, copies that were
// not begun follow the later mark.
func (f *Feed) Batch(after *Event) *Batch { return &Batch{feed: f, after: after} }

// Put copies n bytes to the device, in pieces of a buffer's size. Errors say that it was
// what that could not be copied.
func (b *Batch) Put(what string, dst Pointer, n int, fill Fill) {
	f := b.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	for at := 0; at < n; at += f.size {
		f.queue = append(f.queue, piece{b, what, dst + Pointer(at), min(f.size, n-at), at, fill})
		f.all.open++
		b.count.open++
	}
	f.changed.Broadcast()
}

// Wait waits until all that was put into the batch is on the device, and returns the error that
// sticks. It is an error as well if some of it was dropped by Close.
func (b *Batch) Wait() error {
	err := b.feed.wait(&b.count)
	b.feed.mu.Lock()
	defer b.feed.mu.Unlock()
	if err == nil && b.dropped {
		return errors.New("copying to a CUDA device: it was given up before its end")
	}
	return err
}

// wait waits until there are no more of a count.
func (f *Feed) wait(c *count) error {
	f.mu.Lock()
	if c.open == 0 {
		f.mu.Unlock()
		return f.context.Err()
	}
	empty := make(chan struct{})
	c.empty = empty
	f.mu.Unlock()
	err := f.context.patiently(func(late <-chan time.Time) bool {
		select {
		case <-empty:
			return true
		case <-late:
			return false
		}
	})
	if err != nil {
		return err
	}
	return f.context.Err()
}

// Close drops what was not begun, ends the threads and gives back what they had. It returns
// the error that sticks.
func (f *Feed) Close() error {
	f.mu.Lock()
	for _, p := range f.queue {
		p.batch.count.less(1)
		p.batch.dropped = true
	}
	f.all.less(len(f.queue))
	f.queue, f.closed = nil, true
	f.changed.Broadcast()
	f.mu.Unlock()
	if err := f.wait(&f.all); err != nil && errors.Is(err, ErrHung) {
		return err // a thread hangs in the driver
	}
	f.threads.Wait()
	if err := f.context.Err(); err != nil {
		return err
	}
	return f.context.explain(errors.Join(f.errs...))
}

// take is the next piece for a thread; none if there is none, which is waited for or not, or
// if the feed is closed.
func (f *Feed) take(wait bool) (p piece, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for wait && len(f.queue) == 0 && !f.closed {
		f.changed.Wait()
	}
	if len(f.queue) == 0 {
		return p, false
	}
	p = f.queue[0]
	f.queue = f.queue[1:]
	return p, true
}

// done says that a batch's piece is on the device, or given up.
func (f *Feed) done(b *Batch) {
	f.context.finished.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	b.count.less(1)
	f.all.less(1)
}

// fail makes an error stick, of a piece or of none.
func (f *Feed) fail(what string, err error) {
	if what != "" {
		err = fmt.Errorf("copying %s: %w", what, err)
	}
	_ = f.context.stick(f.context.explain(fmt.Errorf("copying to CUDA device %d: %w", f.context.device.Ordinal, err)))
}

// work is a thread of a feed's. It stays locked: the thread ends with the goroutine.
func (f *Feed) work() {
	runtime.LockOSThread()
	l := &lane{feed: f, api: f.context.api}
	if err := l.enter(); err != nil {
		f.fail("", err)
	}
	for {
		p, ok := f.take(l.busy == 0)
		switch {
		case ok:
			l.carry(p)
		case l.busy > 0:
			l.retire()
		default:
			if err := l.leave(); err != nil {
				f.mu.Lock()
				f.errs = append(f.errs, err)
				f.mu.Unlock()
			}
			return
		}
	}
}

// lane is what a thread of a feed's has. Its buffers are a ring: next is the one to be
// filled next, and busy ones follow it.
type lane struct {
	feed   *Feed
	api    *api
	stream streamPointer
	ring   []laneSlot
	next   int
	busy   int
}

// laneSlot is a pinned buffer, and the copy that reads it.
type laneSlot struct {
	memory unsafe.Pointer
	event  eventPointer
	what   string
	batch  *Batch
}

// enter takes what the lane needs.
func (l *lane) enter() error {
	a := l.api
	if err := a.check("cuCtxSetCurrent", a.cuCtxSetCurrent(l.feed.context.pointer)); err != nil {
		return err
	}
	if err := a.check("cuStreamCreate", a.cuStreamCreate(&l.stream, streamNonBlocking)); err != nil {
		return err
	}
	for range l.feed.buffers {
		var s laneSlot
		if err := a.check("cuMemHostAlloc", a.cuMemHostAlloc(&s.memory, uint64(l.feed.size), 0)); err != nil {
			return fmt.Errorf("pinning %d bytes: %w", l.feed.size, err)
		}
		l.ring = append(l.ring, s)
		if err := a.check("cuEventCreate", a.cuEventCreate(&l.ring[len(l.ring)-1].event, blockingEvent|quietEvent)); err != nil {
			return err
		}
	}
	return nil
}

// leave gives it back.
func (l *lane) leave() error {
	a := l.api
	var errs []error
	for _, s := range l.ring {
		if s.event != 0 {
			errs = append(errs, a.check("cuEventDestroy_v2", a.cuEventDestroy(s.event)))
		}
		errs = append(errs, a.check("cuMemFreeHost", a.cuMemFreeHost(s.memory)))
	}
	if l.stream != 0 {
		errs = append(errs, a.check("cuStreamDestroy_v2", a.cuStreamDestroy(l.stream)))
	}
	return errors.Join(errs...)
}

// carry fills a buffer and starts its copy.
func (l *lane) carry(p piece) {
	if l.busy == len(l.ring) && l.busy > 0 {
		l.retire()
	}
	if l.feed.context.Err() != nil {
		l.feed.done(p.batch)
		return
	}
	s := &l.ring[l.next]
	if err := l.start(s, p); err != nil {
		l.feed.fail(p.what, err)
		l.feed.done(p.batch)
		return
	}
	s.what, s.batch = p.what, p.batch
	l.next = (l.next + 1) % len(l.ring)
	l.busy++
}

func (l *lane) start(s *laneSlot, p piece) error {
	if err := p.fill(unsafe.Slice((*byte)(s.memory), p.n), p.offset); err != nil {
		return err
	}
	a := l.api
	if e := p.batch.after; e != nil {
		if err := a.check("cuStreamWaitEvent", a.cuStreamWaitEvent(l.stream, e.e, 0)); err != nil {
			return err
		}
	}
	if err := a.check("cuMemcpyHtoDAsync_v2", a.cuMemcpyHtoDAsync(p.dst, s.memory, uint64(p.n), l.stream)); err != nil {
		return err
	}
	return a.check("cuEventRecord", a.cuEventRecord(s.event, l.stream))
}

// retire waits for the copy that was started first.
func (l *lane) retire() {
	s := &l.ring[(l.next+len(l.ring)-l.busy)%len(l.ring)]
	if err := l.api.check("cuEventSynchronize", l.api.cuEventSynchronize(s.event)); err != nil {
		l.feed.fail(s.what, err)
	}
	l.busy--
	l.feed.done(s.batch)
}
