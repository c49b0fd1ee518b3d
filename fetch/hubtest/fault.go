package hubtest

import (
	"net/http"
	"sync/atomic"
)

// Fault changes what some requests see. The zero filter fields match everything; Skip and
// Times count matching requests. All faults that match a request apply, the one injected
// first outermost.
type Fault struct {
	// Kind restricts the fault to one kind of request.
	Kind Kind
	// File restricts the fault to one path in a repository.
	File string
	// Skip is how many matching requests pass first.
	Skip int
	// Times is how many matching requests are hit after that; 0: all.
	Times int
	// Effect is what happens.
	Effect Effect
}

// Effect is the change itself: middleware around the Hub's or the CDN's handler. Those of
// this package compose; write others as needed.
type Effect func(next http.Handler) http.Handler

// armed is a fault with its count.
type armed struct {
	Fault
	seen atomic.Int64
	hits atomic.Int64
}

// Inject adds faults; they stay until Calm.
func (h *Hub) Inject(faults ...Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range faults {
		h.faults = append(h.faults, &armed{Fault: f})
	}
}

// Calm removes all faults.
func (h *Hub) Calm() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = nil
}

// Hits returns how many requests each injected fault has hit, in the order of Inject. A
// test that injects a fault should see that it happened.
func (h *Hub) Hits() []int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	out := make([]int, len(h.faults))
	for i, f := range h.faults {
		out[i] = int(f.hits.Load())
	}
	return out
}

// faulty wraps a handler in the faults that hit this request.
func (h *Hub) faulty(next http.Handler, r Request) http.Handler {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for i := len(h.faults) - 1; i >= 0; i-- {
		if f := h.faults[i]; f.hit(r) {
			next = f.Effect(next)
		}
	}
	return next
}

// hit decides and counts.
func (f *armed) hit(r Request) bool {
	if f.Kind != "" && f.Kind != r.Kind || f.File != "" && f.File != r.File {
		return false
	}
	n := f.seen.Add(1)
	if n <= int64(f.Skip) || f.Times > 0 && n > int64(f.Skip+f.Times) {
		return false
	}
	f.hits.Add(1)
	return true
}
