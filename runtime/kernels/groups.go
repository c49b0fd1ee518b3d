package kernels

import (
	"fmt"
	"runtime"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// group is weights that are used together and stay on the host: they come into the window
// when an operation needs them, as they came in loading, kernels that bring them into order
// included.
type group struct {
	name string
	// at is where they lie in the window, size how much of it they take. What the layers know
	// are addresses in it, and places says where those stand, since they move with the window.
	at     cuda.Pointer
	size   int64
	places []*cuda.Pointer
	puts   []put
	after  []func()

	// batch carries them; nil says that they are neither there nor on their way. here says that
	// kernels have them in order.
	batch *cuda.Batch
	here  bool
	// left is behind the last operation with them.
	left *cuda.Event
	// next is the group that was used after this one last, at first the one loaded after it.
	next *group
}

// put is bytes that are copied when their group comes; at counts from where it lies.
type put struct {
	what string
	at   cuda.Pointer
	n    int
	fill cuda.Fill
}

// String is the group's name.
func (g *group) String() string { return g.name }

// take takes room in the window. It is counted from 0 until the group has its place.
func (g *group) take(all ...taken) {
	for _, t := range all {
		*t.to = g.at + cuda.Pointer(g.size)
		g.size += aligned(t.bytes)
		g.places = append(g.places, t.to)
	}
}

// move gives the group another place.
func (g *group) move(at cuda.Pointer) {
	for _, p := range g.places {
		*p = *p - g.at + at
	}
	g.at = at
}

func (g *group) overlaps(o *group) bool {
	return g.at < o.at+cuda.Pointer(o.size) && o.at < g.at+cuda.Pointer(g.size)
}

// window is the memory into which groups come in turn: twice the largest, so that one comes
// while another is used, and smaller ones several at a time. A group has its place in it for
// good: one after the other as they were loaded, and from the beginning again.
//
// When the first operation with a group is called, those that were used after it last time are
// put on their way as well, as far as the window has room beside the group. Copies wait on the
// device for what still reads their memory, and operations on the host for the copies. So the
// host runs ahead of the device by the window at most.
type window struct {
	groups  []*group // that were loaded wholly
	loading *group   // of what is being loaded
	placed  int      // groups that have a place
	memory  cuda.Pointer
	bytes   int64
	feed    *cuda.Feed

	// current is whose weights are there for the next operation, last the one that was entered
	// last, which may have failed. left is the event behind the one before that.
	current, last *group
	left          *cuda.Event
}

// Group begins a group. It stays on the host if Options.Streamed says so.
func (b *Backend) Group(name string) {
	w := &b.window
	if w.loading != nil {
		if n := len(w.groups); n > 0 {
			w.groups[n-1].next = w.loading
		}
		w.groups = append(w.groups, w.loading)
		w.loading = nil
	}
	if name != "" && b.streamed != nil && b.streamed(name) {
		w.loading = &group{name: name}
	}
}

// place gives groups their places, once those are known that were loaded. Groups that had one
// may get another: nothing is on its way or being read then, and they come anew.
func (b *Backend) place() error {
	w := &b.window
	if w.placed == len(w.groups) {
		return nil
	}
	if err := b.clearWindow(); err != nil {
		return err
	}
	var largest int64
	for _, g := range w.groups {
		largest = max(largest, g.size)
		if g.left == nil {
			var err error
			if g.left, err = b.context.Event(); err != nil {
				return err
			}
		}
	}
	if 2*largest > w.bytes {
		if err := b.growWindow(2 * largest); err != nil {
			return err
		}
	}
	at := int64(0)
	for _, g := range w.groups {
		if at+g.size > w.bytes {
			at = 0
		}
		g.move(w.memory + cuda.Pointer(at))
		at += g.size
	}
	w.placed = len(w.groups)
	return nil
}

// clearWindow waits for all that comes into the window and all that reads it.
func (b *Backend) clearWindow() error {
	w := &b.window
	for _, g := range w.groups {
		if g.batch == nil {
			continue
		}
		if err := g.batch.Wait(); err != nil {
			return err
		}
		g.batch, g.here = nil, false
	}
	used := w.last != nil
	w.current, w.last, w.left = nil, nil, nil
	if !used {
		return nil
	}
	return b.stream.Sync()
}

// growWindow makes the window larger, when nothing uses it.
func (b *Backend) growWindow(bytes int64) error {
	w := &b.window
	if w.memory != 0 {
		if err := b.context.Free(w.memory); err != nil {
			return err
		}
		w.memory, w.bytes = 0, 0
	}
	p, err := b.context.Alloc(bytes)
	if err != nil {
		return fmt.Errorf("making a window for %d groups of weights: %w", len(w.groups), err)
	}
	w.memory, w.bytes = p, bytes
	return nil
}

// stopWindow ends the threads that bring groups.
func (b *Backend) stopWindow() error {
	w := &b.window
	if w.feed == nil {
		return nil
	}
	err := w.feed.Close()
	w.feed = nil
	return err
}

// use has the weights of an operation there, which are of one group or of none.
func (b *Backend) use(g *group, more ...compute.Vector) {
	all := []*group{g}
	for _, v := range more {
		if v != nil {
			all = append(all, b.vector(v).group)
		}
	}
	g = compute.CheckGroup((*group).String, all...)
	switch {
	case g == nil || g == b.window.current || b.err != nil:
	case g.left == nil:
		panic(fmt.Sprintf("kernels: an operation with weights of %s, which is being loaded", g.name))
	default:
		b.stick(b.enter(g))
	}
}

// enter has a group there, and the next ones on their way.
func (b *Backend) enter(g *group) error {
	w := &b.window
	if c := w.last; c != nil {
		if c != g { // which may have failed to come
			c.next = g
		}
		if err := b.stream.Mark(c.left); err != nil {
			return err
		}
		w.left = c.left
	}
	w.current, w.last = nil, g // until the group is there
	if w.feed == nil {
		w.feed = b.context.Feed(min(feedThreads, runtime.GOMAXPROCS(0)), feedBuffers, feedSize)
	}
	var kept []*group
	for n := g; n != nil; n = n.next {
		if overlapsAny(n, kept) {
			break
		}
		if err := w.bring(n); err != nil {
			return err
		}
		kept = append(kept, n)
	}
	if err := g.batch.Wait(); err != nil {
		return fmt.Errorf("bringing %s: %w", g.name, err)
	}
	if !g.here {
		for _, launch := range g.after {
			launch()
		}
		g.here = b.err == nil
	}
	if b.err == nil {
		w.current = g
	}
	return b.err
}

// overlapsAny reports whether a group is one of some, or takes their memory.
func overlapsAny(g *group, some []*group) bool {
	for _, o := range some {
		if g.overlaps(o) {
			return true
		}
	}
	return false
}

// bring puts a group on its way, unless it is, in the place of those that were there.
func (w *window) bring(g *group) error {
	if g.batch != nil {
		return nil
	}
	for _, o := range w.groups {
		if o.batch == nil || !o.overlaps(g) {
			continue
		}
		if err := o.batch.Wait(); err != nil { // it may be on its way in vain
			return err
		}
		o.batch, o.here = nil, false
	}
	g.batch = w.feed.Batch(w.left)
	for _, p := range g.puts {
		g.batch.Put(p.what, g.at+p.at, p.n, p.fill)
	}
	return nil
}
