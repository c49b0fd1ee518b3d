package cuda

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
)

// usesScale is what the kernel "scale" reads of the scaled memory, as if it did not write it.
func usesScale(_ string, parameter func(i int) uint64) []cudatest.Range {
	return []cudatest.Range{{Address: parameter(0), Bytes: int(4 * int32(parameter(1)))}}
}

// ordered are two more streams and two events beside a scaled memory, 16 bytes of which a kernel
// reads.
type ordered struct {
	*scaled
	t             *testing.T
	second, third *Stream
	e, f          *Event
}

func openOrdered(t *testing.T, l *cudatest.Library) *ordered {
	t.Helper()
	l.Machine.Uses = usesScale
	o := &ordered{scaled: openScaled(t, l, Options{}), t: t}
	for _, s := range []**Stream{&o.second, &o.third} {
		var err error
		*s, err = o.Stream()
		require.NoError(t, err)
	}
	for _, e := range []**Event{&o.e, &o.f} {
		var err error
		*e, err = o.Event()
		require.NoError(t, err)
	}
	return o
}

// follow has what comes next in a stream follow an event.
func (o *ordered) follow(s *Stream, e *Event) {
	a := o.api
	require.NoError(o.t, o.do(func() error { return a.check("cuStreamWaitEvent", a.cuStreamWaitEvent(s.s, e.e, 0)) }))
}

func (o *ordered) copyIn(s *Stream, at Pointer) { s.CopyToDevice(o.memory+at, o.pinned, 0, 8) }
func (o *ordered) sync(s *Stream)               { require.NoError(o.t, s.Sync()) }
func (o *ordered) wait(e *Event)                { require.NoError(o.t, e.Wait()) }

// The fake device says which uses of memory have no order on a device where a launch runs for as
// long as nobody has waited for it, and only which.
func TestDisorder(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(o *ordered)
		want string // of the only one; none is order
	}{
		{"a copy behind the launch", func(o *ordered) { o.launch(1); o.copyIn(o.stream, 0) }, ""},
		{"a copy beside it", func(o *ordered) { o.launch(1); o.copyIn(o.second, 8) }, "a copy from the host .writes 8 bytes at .* does not follow scale .reads 16 bytes at "},
		{"a copy of other bytes", func(o *ordered) { o.launch(1); o.copyIn(o.second, 16) }, ""},
		{"a fill beside it", func(o *ordered) { o.launch(1); o.second.Fill(o.memory+15, 0, 4) }, "a fill .* does not follow scale"},
		{"a copy on the device beside it", func(o *ordered) { o.launch(1); o.second.Copy(o.memory, o.memory+32, 1) }, "a copy .* does not follow scale"},
		{"what reads beside it", func(o *ordered) { o.launch(1); o.second.CopyToHost(o.pinned, 0, o.memory, 8) }, ""},
		{"the launch beside a copy", func(o *ordered) { o.copyIn(o.second, 0); o.launch(1) }, "scale .* does not follow a copy"},
		{"a copy beside a copy", func(o *ordered) { o.copyIn(o.second, 0); o.copyIn(o.third, 7) }, "a copy .* does not follow a copy"},
		{"a copy back beside a copy", func(o *ordered) { o.copyIn(o.second, 0); o.third.CopyToHost(o.pinned, 0, o.memory, 8) }, "a copy .*reads.* does not follow a copy"},
		{"memory given back", func(o *ordered) { o.launch(1); require.NoError(o.t, o.Free(o.memory)) }, "giving back .* does not follow scale"},

		{"the host waits for the stream", func(o *ordered) { o.launch(1); o.sync(o.stream); o.copyIn(o.second, 0) }, ""},
		{"the host waits for another", func(o *ordered) { o.launch(1); o.sync(o.third); o.copyIn(o.second, 0) }, "does not follow"},
		{"the host waits and memory is given back", func(o *ordered) { o.launch(1); o.sync(o.stream); require.NoError(o.t, o.Free(o.memory)) }, ""},
		{"the host waits for an event", func(o *ordered) { o.launch(1); o.stream.Record(o.e); o.wait(o.e); o.copyIn(o.second, 0) }, ""},
		{"the event is before the launch", func(o *ordered) { o.stream.Record(o.e); o.launch(1); o.wait(o.e); o.copyIn(o.second, 0) }, "does not follow"},
		{"the event is recorded again", func(o *ordered) {
			o.stream.Record(o.e)
			o.launch(1)
			o.stream.Record(o.e)
			o.wait(o.e)
			o.copyIn(o.second, 0)
		}, ""},
		{"an event that was never recorded", func(o *ordered) { o.launch(1); o.wait(o.e); o.copyIn(o.second, 0) }, "does not follow"},

		{"the stream waits", func(o *ordered) { o.launch(1); o.stream.Record(o.e); o.follow(o.second, o.e); o.copyIn(o.second, 0) }, ""},
		{"another stream waits", func(o *ordered) { o.launch(1); o.stream.Record(o.e); o.follow(o.third, o.e); o.copyIn(o.second, 0) }, "does not follow"},
		{"the stream waits for a stale event", func(o *ordered) {
			o.launch(1)
			o.stream.Record(o.e)
			o.launch(1)
			o.follow(o.second, o.e)
			o.copyIn(o.second, 0)
		}, "does not follow"},
		{"the event is recorded later than it is waited for", func(o *ordered) {
			o.stream.Record(o.e)
			o.follow(o.second, o.e)
			o.launch(1)
			o.stream.Record(o.e)
			o.copyIn(o.second, 0)
		}, "does not follow"},
		{"streams wait one for the other", func(o *ordered) {
			o.launch(1)
			o.stream.Record(o.e)
			o.follow(o.second, o.e)
			o.second.Record(o.f)
			o.follow(o.third, o.f)
			o.copyIn(o.third, 0)
		}, ""},
		{"the host waits for a stream that waited", func(o *ordered) {
			o.launch(1)
			o.stream.Record(o.e)
			o.follow(o.second, o.e)
			o.sync(o.second)
			o.copyIn(o.third, 0)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := cudatest.TwoDevices()
			o := openOrdered(t, l)
			c.run(o)
			o.sync(o.stream)
			wrong := l.Machine.Disorder
			if c.want == "" {
				require.Empty(t, wrong)
			} else {
				require.Len(t, wrong, 1)
				require.Regexp(t, c.want, wrong[0])
			}
			o.sync(o.second)
			o.sync(o.third)
			require.NoError(t, o.Close())
			require.Equal(t, wrong, l.Machine.Disorder)
		})
	}
}

// What a kernel uses of a tiled matrix is known by the matrix' address.
func TestDisorderOfTiles(t *testing.T) {
	l := cudatest.TwoDevices()
	o := openOrdered(t, l)
	l.Machine.Uses = func(_ string, parameter func(i int) uint64) []cudatest.Range {
		return []cudatest.Range{{Address: parameter(1), Bytes: 64}}
	}
	m, err := o.Load("test", []byte(cudatest.PTX))
	require.NoError(t, err)
	tiled, err := m.Function("tiled")
	require.NoError(t, err)
	p, err := o.Alloc(256)
	require.NoError(t, err)
	w := Matrix{P: p, Rows: 4, Cols: 8, TileRows: 4, TileCols: 8}
	o.stream.LaunchTiled(tiled, Dim{}, Dim{}, 0, []Matrix{{P: p + 128, Rows: 4, Cols: 8, TileRows: 4, TileCols: 8}, w}, Int(7))
	o.second.Fill(p+128, 0, 128)
	o.second.Fill(p+63, 0, 65)
	o.sync(o.stream)
	o.sync(o.second)
	require.Len(t, l.Machine.Disorder, 1)
	require.Contains(t, l.Machine.Disorder[0], "a fill (writes 65 bytes")
	require.NoError(t, o.Close())
}

// The copies of a batch follow its event as it was marked last, and nothing else.
func TestBatchesFollowTheirEvent(t *testing.T) {
	for name, c := range map[string]struct {
		put   func(o *ordered, feed *Feed) *Batch
		wrong bool
	}{
		"marked": {func(o *ordered, feed *Feed) *Batch {
			o.launch(1)
			require.NoError(o.t, o.stream.Mark(o.e))
			return feed.Batch(o.e)
		}, false},
		"marked again": {func(o *ordered, feed *Feed) *Batch {
			require.NoError(o.t, o.stream.Mark(o.e))
			batch := feed.Batch(o.e)
			o.launch(1)
			require.NoError(o.t, o.stream.Mark(o.e))
			return batch
		}, false},
		"marked before": {func(o *ordered, feed *Feed) *Batch {
			require.NoError(o.t, o.stream.Mark(o.e))
			o.launch(1)
			require.NoError(o.t, o.stream.Mark(o.f)) // it is launched before the copies begin
			return feed.Batch(o.e)
		}, true},
		"no event": {func(o *ordered, feed *Feed) *Batch {
			o.launch(1)
			require.NoError(o.t, o.stream.Mark(o.e))
			return feed.Batch(nil)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := cudatest.TwoDevices()
			l.Machine.Late = true
			o := openOrdered(t, l)
			feed := o.Feed(3, 2, 8) // 4 pieces, of which the kernel reads 2
			batch := c.put(o, feed)
			batch.Put("w", o.memory, 32, copyOf(pattern(32)))
			require.NoError(t, batch.Wait())
			require.NoError(t, feed.Close())
			require.Equal(t, map[bool]int{true: 2}[c.wrong], len(l.Machine.Disorder), l.Machine.Disorder)
			o.launch(1) // follows the batch, since the host does
			o.sync(o.stream)
			require.Equal(t, map[bool]int{true: 2}[c.wrong], len(l.Machine.Disorder), l.Machine.Disorder)
			require.NoError(t, o.Close())
		})
	}
}
