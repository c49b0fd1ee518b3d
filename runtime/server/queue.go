package server

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errFull says that the queue has no place left.
var errFull = errors.New("the queue is full")

// queue lines requests up before the device, one at a time. A request takes a place first
// and asks for a turn when it has all that its edit needs; turns are given in the order of
// asking. It is safe for concurrent use.
type queue struct {
	limit int // places beside the running one

	mu      sync.Mutex
	places  int
	busy    bool
	waiting []chan struct{} // closed when the turn has come
	closed  bool
	closing chan struct{} // closed with the queue
	empty   chan struct{} // closed when the queue is closed and nobody holds a place
	recent  []time.Duration
}

// remembered is how many turns the estimate of the next one looks back on.
const remembered = 8

// firstEstimate is the estimate before there was a turn.
const firstEstimate = 10 * time.Second

func newQueue(limit int) *queue {
	return &queue{limit: limit, closing: make(chan struct{}), empty: make(chan struct{})}
}

// place is a request's right to be in memory.
type place struct {
	q    *queue
	once sync.Once
}

// enter takes a place, or fails with errFull or errStopping. The caller leaves it.
func (q *queue) enter() (*place, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return nil, errStopping
	case q.places > q.limit:
		return nil, errFull
	}
	q.places++
	return &place{q: q}, nil
}

// leave gives the place up. It may be called more than once.
func (p *place) leave() {
	p.once.Do(func() {
		p.q.mu.Lock()
		defer p.q.mu.Unlock()
		p.q.places--
		p.q.announceEmpty()
	})
}

// announceEmpty closes empty once. The lock is held.
func (q *queue) announceEmpty() {
	if q.closed && q.places == 0 {
		select {
		case <-q.empty:
		default:
			close(q.empty)
		}
	}
}

// turn waits for the device. The caller calls done with it. Errors are the cause of ctx's end
// and errStopping.
func (p *place) turn(ctx context.Context) (done func(), err error) {
	q := p.q
	mine := q.ask()
	select {
	case <-mine:
	default:
		select {
		case <-mine:
		case <-ctx.Done():
			q.forgo(mine)
			return nil, context.Cause(ctx)
		case <-q.closing:
			q.forgo(mine)
			return nil, errStopping
		}
	}
	began := time.Now()
	return sync.OnceFunc(func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.recent = append(q.recent, time.Since(began))
		q.recent = q.recent[max(0, len(q.recent)-remembered):]
		q.pass()
	}), nil
}

// ask joins the line; the channel is closed at once where nobody is before.
func (q *queue) ask() chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	mine := make(chan struct{})
	switch {
	case q.closed: // closing tells
	case !q.busy:
		q.busy = true
		close(mine)
	default:
		q.waiting = append(q.waiting, mine)
	}
	return mine
}

// forgo leaves the line; a turn that came meanwhile goes to the next.
func (q *queue) forgo(mine chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, w := range q.waiting {
		if w == mine {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			return
		}
	}
	select {
	case <-mine:
		q.pass()
	default:
	}
}

// pass gives the device to the next in line. The lock is held, the device is ours.
func (q *queue) pass() {
	if q.busy = len(q.waiting) > 0; q.busy {
		close(q.waiting[0])
		q.waiting = q.waiting[1:]
	}
}

// estimate is how long a turn takes, by the mean of the last ones.
func (q *queue) estimate() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.recent) == 0 {
		return firstEstimate
	}
	var sum time.Duration
	for _, d := range q.recent {
		sum += d
	}
	return max(time.Second, sum/time.Duration(len(q.recent)))
}

// load is the number of those who wait for a turn, and whether an edit runs.
func (q *queue) load() (waiting int, busy bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting), q.busy
}

// close refuses whoever comes and whoever waits. The running edit goes on.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.closing)
		q.announceEmpty()
	}
}

// drained is closed when the queue is closed and everybody has left.
func (q *queue) drained() <-chan struct{} { return q.empty }
