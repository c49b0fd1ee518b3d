package hub

import (
	"context"
	"net/http"
	"net/url"
	"sync"
)

// location remembers where the bytes of one file are.
type location struct {
	gate chan struct{} // holds one token; its taker may ask the Hub
	mu   sync.Mutex
	at   spot
	// direct is set once the Hub itself served the bytes: then there is nothing to
	// remember, and nobody waits for anybody.
	direct bool
}

// spot is a remembered signed URL and what the Hub said beside it. The zero spot means:
// ask the Hub.
type spot struct {
	url   *url.URL
	facts facts
	gated bool // the taker holds the location's gate
}

func (s spot) remembered() bool { return s.url != nil }

// location returns the memory of one file. A branch can move, so only the files of a
// commit are remembered from call to call.
func (c *Client) location(s subject) *location {
	if !isCommit(s.revision) {
		return newLocation()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	loc, ok := c.locations[s]
	if !ok {
		loc = newLocation()
		c.locations[s] = loc
	}
	return loc
}

func newLocation() *location {
	l := &location{gate: make(chan struct{}, 1)}
	l.gate <- struct{}{}
	return l
}

// acquire returns the remembered spot, or makes the caller the one who asks the Hub while
// others wait. Every acquire is followed by one forget or settle.
func (l *location) acquire(ctx context.Context) (spot, error) {
	if at, ok := l.peek(); ok {
		return at, nil
	}
	select {
	case <-l.gate:
	case <-ctx.Done():
		return spot{}, context.Cause(ctx)
	}
	if at, ok := l.peek(); ok {
		l.gate <- struct{}{}
		return at, nil
	}
	return spot{gated: true}, nil
}

// peek returns what can be used without waiting.
func (l *location) peek() (spot, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at, l.direct || l.at.remembered()
}

// release lets the next one ask the Hub.
func (l *location) release(from spot) {
	if from.gated {
		l.gate <- struct{}{}
	}
}

// forget drops a remembered spot that did not work, unless somebody has replaced it: the
// next try asks the Hub, which may name another host.
func (l *location) forget(from spot) {
	l.mu.Lock()
	if l.at.url == from.url {
		l.at = spot{}
	}
	l.mu.Unlock()
	l.release(from)
}

// settle remembers where a good answer came from, and gives an answer from a remembered
// spot the facts that the Hub told then.
func (l *location) settle(from spot, a *answer) {
	if from.remembered() {
		a.facts = from.facts
	}
	if !useful(a.resp.StatusCode) {
		l.forget(from)
		return
	}
	l.mu.Lock()
	switch {
	case from.remembered():
	case a.foreign:
		l.at = spot{url: a.resp.Request.URL, facts: a.facts}
	default:
		l.direct = true
	}
	l.mu.Unlock()
	l.release(from)
}

// useful reports whether an answer shows that its address is right.
func useful(status int) bool {
	return status == http.StatusOK || status == http.StatusPartialContent || status == http.StatusRequestedRangeNotSatisfiable
}
