package cudatest

import (
	"fmt"
	"maps"
	"slices"
)

// Range is bytes of memory that a launch reads, or writes too.
type Range struct {
	Address uint64
	Bytes   int
	Written bool
}

// order is what the machine knows of the order in which things run on a device, where a launch
// runs for as long as nobody has waited for it. The machine runs it at once, and so a copy of
// another stream never overtakes it here as it may there.
//
// Every use of memory has a number in its stream. A clock says up to which number those of each
// stream are over. A stream has one, of what is over before whatever is put into it next, and the
// host has one, under 0, of what it has waited for. An event has that of its stream when it was
// recorded last. Waiting for an event adds its clock to that of the stream that waits, or to the
// host's, and whatever the host puts into a stream comes after what it has waited for. The host
// is one, however many threads it has: what one of them has waited for is over.
type order struct {
	clocks map[uintptr]clock // by stream
	open   []use             // that the host has not waited for
}

type clock map[uintptr]int

// host is the host's place among streams.
const host uintptr = 0

// use is a range that the operation of a number in a stream reads or writes.
type use struct {
	Range
	what   string
	stream uintptr
	number int
}

// conflicts reports whether two uses take the same bytes, which one of them writes.
func (u use) conflicts(o use) bool {
	return (u.Written || o.Written) && u.Address < o.Address+uint64(o.Bytes) && o.Address < u.Address+uint64(u.Bytes)
}

func (u use) String() string {
	return fmt.Sprintf("%s (%s %d bytes at %#x)", u.what, map[bool]string{true: "writes", false: "reads"}[u.Written], u.Bytes, u.Address)
}

// of is the clock of a stream, or of the host.
func (o *order) of(stream uintptr) clock {
	if o.clocks == nil {
		o.clocks = map[uintptr]clock{}
	}
	if o.clocks[stream] == nil {
		o.clocks[stream] = clock{}
	}
	return o.clocks[stream]
}

// follow has what comes next in a stream, or on the host, follow what a clock says is over.
func (o *order) follow(stream uintptr, over clock) {
	c := o.of(stream)
	for s, n := range over {
		c[s] = max(c[s], n)
	}
	if stream == host {
		o.open = slices.DeleteFunc(o.open, func(u use) bool { return u.number <= c[u.stream] })
	}
}

// point is the clock of an event that is recorded in a stream now.
func (o *order) point(stream uintptr) clock { return maps.Clone(o.of(stream)) }

// put notes an operation in a stream, or of the host itself, and returns what is wrong with it:
// uses that conflict with its own, and that need not be over when it runs.
func (o *order) put(stream uintptr, what string, ranges []Range) (wrong []string) {
	o.follow(stream, o.of(host))
	c := o.of(stream)
	for _, r := range ranges {
		u := use{r, what, stream, c[stream] + 1}
		for _, before := range o.open {
			if before.number > c[before.stream] && u.conflicts(before) {
				wrong = append(wrong, fmt.Sprintf("%v does not follow %v", u, before))
			}
		}
	}
	if stream == host {
		return wrong // it is over when the call returns
	}
	c[stream]++
	for _, r := range ranges {
		o.open = append(o.open, use{r, what, stream, c[stream]})
	}
	return wrong
}

// puts notes an operation if the machine looks at the order.
func (m *Machine) puts(stream uintptr, what string, ranges ...Range) {
	if m.Uses == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Disorder = append(m.Disorder, m.order.put(stream, what, ranges)...)
}

// waits has a stream, or the host, follow what is over by a clock.
func (m *Machine) waits(stream uintptr, over func() clock) {
	if m.Uses == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.order.follow(stream, over())
}

// written and read are ranges of a copy's.
func written(address, n uintptr) Range { return Range{uint64(address), int(n), true} }
func read(address, n uintptr) Range    { return Range{uint64(address), int(n), false} }
