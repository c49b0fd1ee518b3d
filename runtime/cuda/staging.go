package cuda

import (
	"fmt"
	"sync"
)

// Staging carries bytes between Go's memory and the device's through a ring of pinned
// buffers: while the device reads some, others are filled, side by side, since one core
// fills several times slower than the device reads. It is used by one goroutine at a time.
type Staging struct {
	stream *Stream
	slots  []slot
	next   int
	size   int
}

// slot is a pinned buffer of a ring.
type slot struct {
	memory *Pinned
	event  *Event
	// filling is whoever fills the buffer and then queues its copy; after that busy says that
	// the event has to be waited for.
	filling sync.WaitGroup
	busy    bool
	after   func(b []byte) // what happens to the bytes once they are there
	n       int
}

// Staging makes a ring of buffers of size bytes each for copies in a stream.
func (s *Stream) Staging(buffers, size int) (*Staging, error) {
	g := &Staging{stream: s, slots: make([]slot, buffers), size: size}
	for i := range g.slots {
		var err error
		if g.slots[i].memory, err = s.context.Pin(size); err != nil {
			return nil, fmt.Errorf("making a ring of %d pinned buffers: %w", buffers, err)
		}
		if g.slots[i].event, err = s.context.Event(); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Write copies n bytes to the device: fill is called for each piece, with the place for it
// and its offset, for several at a time. The copies run behind; the filling does not.
func (g *Staging) Write(dst Pointer, n int, fill func(piece []byte, offset int)) error {
	return g.Carry("", dst, n, func(piece []byte, offset int) error {
		fill(piece, offset)
		return nil
	})
}

// Carry is Write of what can fail, and whose errors say what it was. An error of fill sticks, as
// one of the copy does; then the bytes on the device are unknown.
func (g *Staging) Carry(what string, dst Pointer, n int, fill Fill) error {
	defer g.join()
	for at := 0; at < n; at += g.size {
		s, err := g.take(min(g.size, n-at))
		if err != nil {
			return err
		}
		s.busy = true
		write := func() {
			err := fill(s.memory.Bytes()[:s.n], at)
			g.stream.toDevice(what, dst+Pointer(at), s.memory, 0, s.n, err)
			g.stream.Record(s.event)
		}
		if n <= g.size {
			write()
		} else {
			s.filling.Go(write)
		}
	}
	g.join()
	return g.stream.context.Err()
}

// join waits for all that is being filled.
func (g *Staging) join() {
	for i := range g.slots {
		g.slots[i].filling.Wait()
	}
}

// Read copies n bytes from the device: take is called for one piece after the other, with
// the bytes, which are the ring's, and their offset. All are there when Read returns.
func (g *Staging) Read(src Pointer, n int, take func(piece []byte, offset int)) error {
	for at := 0; at < n; at += g.size {
		s, err := g.take(min(g.size, n-at))
		if err != nil {
			return err
		}
		g.stream.CopyToHost(s.memory, 0, src+Pointer(at), s.n)
		g.stream.Record(s.event)
		s.busy, s.after = true, func(b []byte) { take(b, at) }
	}
	for range g.slots {
		if _, err := g.take(0); err != nil {
			return err
		}
	}
	return nil
}

// take waits for the ring's next buffer.
func (g *Staging) take(n int) (*slot, error) {
	s := &g.slots[g.next]
	g.next = (g.next + 1) % len(g.slots)
	s.filling.Wait()
	if s.busy {
		err := s.event.Wait()
		after := s.after
		s.busy, s.after = false, nil
		if err != nil {
			return nil, err
		}
		if after != nil {
			after(s.memory.Bytes()[:s.n])
		}
	}
	s.n = n
	return s, nil
}
