package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// lease is a stretch that was lent to one stream. Nobody else writes there. Its fields are
// guarded by the engine's mutex.
type lease struct {
	at   int64 // the next byte to be written
	busy int64 // bytes behind at that are being received or written now
	end  int64
	got  int64              // new bytes written under it
	stop context.CancelFunc // ends the connection
}

// stream is one connection after another, until nothing is left to lend.
func (t *transfer) stream(ctx context.Context) error {
	retry := newRetry(t)
	for {
		if err := t.slots.Acquire(ctx, 1); err != nil {
			return err
		}
		more, err := t.turn(ctx, retry)
		t.slots.Release(1)
		if !more || ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			continue
		}
		wait, err := retry.judge(err)
		if err != nil {
			return err
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// turn borrows a stretch and fills what one connection brings of it. more is false when
// there is nothing to borrow.
func (t *transfer) turn(parent context.Context, retry *retry) (more bool, err error) {
	ctx, stop := context.WithCancel(parent)
	defer stop()
	l := t.borrow(stop)
	if l == nil {
		return false, nil
	}
	defer t.giveBack(l)
	retry.source, _ = t.position()
	err = t.fill(ctx, l, t.Sources[retry.source])
	if ctx.Err() != nil && parent.Err() == nil {
		return true, nil // another stream took over and ended this one
	}
	retry.brought = l.got > 0
	return true, err
}

// position implements course.
func (t *transfer) position() (source int, progress int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.source, t.progress
}

// next implements course.
func (t *transfer) next(source int, err error) (gone bool, _ error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.supply.next(t.Sources, source, err)
}

// limits implements course.
func (t *transfer) limits() Limits { return t.Limits }

// tell implements course.
func (t *transfer) tell(e Event) {
	e.File = t.want.first
	t.Progress.File(e)
}

// borrow lends the first stretch that is neither there nor lent, or half of what another
// stream still has to do.
func (t *transfer) borrow(stop context.CancelFunc) *lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.single && len(t.leases) > 0 {
		return nil
	}
	taken := slices.Clone(t.have)
	for _, l := range t.leases {
		taken = taken.add(span{l.at, l.end})
	}
	l := &lease{stop: stop}
	if g, ok := taken.gap(0, t.want.first.Size); ok {
		l.at, l.end = g.from, min(g.to, g.from+t.step)
	} else if !t.split(l) {
		return nil
	}
	t.leases = append(t.leases, l)
	return l
}

// split gives l the second half of the longest lease, if that is worth a connection.
func (t *transfer) split(l *lease) bool {
	var longest *lease
	for _, other := range t.leases {
		if longest == nil || other.end-other.at-other.busy > longest.end-longest.at-longest.busy {
			longest = other
		}
	}
	if longest == nil {
		return false
	}
	from := longest.at + longest.busy
	if longest.end-from < 2*t.Limits.MinRange {
		return false
	}
	l.at, l.end = from+(longest.end-from)/2, longest.end
	longest.end = l.at
	return true
}

func (t *transfer) giveBack(l *lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leases = slices.DeleteFunc(t.leases, func(other *lease) bool { return other == l })
	t.changed.Broadcast()
}

// fill opens one connection for the lease and writes what it brings.
func (t *transfer) fill(ctx context.Context, l *lease, from Source) error {
	f := t.want.first
	t.mu.Lock()
	at, length := l.at, l.end-l.at
	t.mu.Unlock()
	if at+length == f.Size {
		length = -1 // so that a longer file shows
	}
	body, err := from.Open(ctx, f.Repo, f.Commit, f.Path, at, length)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := f.suits(body, at); err != nil {
		return err
	}
	if body.Offset < at {
		if err := t.takeOver(ctx, l, body.Offset); err != nil {
			return err
		}
	}
	if err := t.receive(ctx, l, body); err != nil {
		return err
	}
	return t.atEnd(l, body)
}

// suits refuses a body that is of another file: the sums would do so too, but only after
// the last byte.
func (f File) suits(body *hub.Body, at int64) error {
	switch {
	case body.Size >= 0 && body.Size != f.Size:
		return changed(fmt.Errorf("its size is %d, lock says %d", body.Size, f.Size))
	case len(body.ETag) == 64 && f.SHA256 != "" && body.ETag != f.SHA256:
		return changed(fmt.Errorf("its sha256 is %s, lock says %s", body.ETag, f.SHA256))
	case len(body.ETag) == 40 && f.SHA1 != "" && body.ETag != f.SHA1:
		return changed(fmt.Errorf("its git blob id is %s, lock says %s", body.ETag, f.SHA1))
	case body.Offset > at:
		return changed(fmt.Errorf("the answer begins at byte %d, asked for %d", body.Offset, at))
	}
	return nil
}

// changed is the permanent error of a source that has something else.
func changed(err error) error {
	return fault.Wrap(fault.Upstream, "the source no longer has what was locked: lock again with -update to see what it has now",
		fmt.Errorf("the source has another file: %w", err))
}

// takeOver makes l the only lease, of the whole file: the source ignored the range and sends
// everything. Other streams end before l goes on, so that no byte has two writers.
func (t *transfer) takeOver(ctx context.Context, l *lease, offset int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.single && len(t.leases) > 1 {
		return nil // another one was first; it has cut this lease short
	}
	t.single = true
	for _, other := range t.leases {
		if other != l {
			other.end = other.at + other.busy
			other.stop()
		}
	}
	t.changed.Broadcast()
	for len(t.leases) > 1 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.changed.Wait()
	}
	l.at, l.end = offset, t.want.first.Size
	return nil
}

// receive writes the body into the lease until either ends.
func (t *transfer) receive(ctx context.Context, l *lease, body *hub.Body) error {
	left := body.Length
	buf := make([]byte, max(1, min(maxBuffer, t.Limits.Window/int64(2*t.jobs))))
	for {
		at, n, write, err := t.reserve(ctx, l, int64(len(buf)))
		if n == 0 || err != nil {
			return err
		}
		got, rerr := io.ReadFull(body, buf[:n])
		t.downloaded.Add(int64(got))
		if write && got > 0 {
			if _, err := t.part.WriteAt(buf[:got], at); err != nil {
				t.settle(l, n, 0, write)
				return disk(fmt.Errorf("writing: %w", err))
			}
			startWriting(t.part, at, int64(got))
		}
		t.settle(l, n, int64(got), write)
		if write && got > 0 {
			t.Progress.File(Event{File: t.want.first, Kind: Received, Bytes: int64(got)})
		}
		if left -= int64(got); rerr != nil && left == 0 && body.Length > 0 {
			return nil // a server may send less than was asked for, if it says so
		}
		if rerr != nil {
			return early(rerr)
		}
	}
}

// errEarly is a body that just ended before what was asked for. Trying again can help.
var errEarly = errors.New("the body ended early")

// early says so where the source's own error does not.
func early(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errEarly
	}
	return err
}

// temporary reports whether trying again can help.
func temporary(err error) bool { return errors.Is(err, errEarly) || hub.Temporary(err) }

// reserve says where the next piece of the body belongs and how long it is, at most limit;
// n is 0 at the lease's end. It waits while too much is not yet recorded. write is false
// for bytes that are there already.
func (t *transfer) reserve(ctx context.Context, l *lease, limit int64) (at, n int64, write bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n = min(limit, l.end-l.at)
	if there := t.have.after(l.at); there > l.at {
		l.busy = min(n, there-l.at)
		return l.at, l.busy, false, nil
	}
	if g, ok := t.have.gap(l.at, l.end); ok {
		n = min(n, g.len())
	}
	l.busy = n
	t.blocked++
	if n > 0 && t.unrecorded+n > t.Limits.Window {
		t.changed.Broadcast() // once: streams that woke each other would do nothing else
	}
	for n > 0 && t.unrecorded+n > t.Limits.Window && ctx.Err() == nil {
		t.changed.Wait()
	}
	t.blocked--
	if ctx.Err() != nil {
		l.busy = 0
		return 0, 0, false, ctx.Err()
	}
	t.unrecorded += n
	return l.at, n, true, nil
}

// settle takes back what was reserved and enters what was written. It wakes the others
// only for what one of them may wait for: with sixteen streams, waking all of them for
// every piece costs more than writing it.
func (t *transfer) settle(l *lease, reserved, got int64, written bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	front, fresh := t.have.front(), t.fresh
	if written {
		t.unrecorded -= reserved - got
		t.fresh += got
		t.have = t.have.add(span{l.at, l.at + got})
		l.got += got
		if got > 0 {
			t.progress++
		}
	}
	l.at += got
	l.busy = 0
	switch due := t.due(); {
	case t.have.front() != front, // the hash goes on
		got < reserved,                      // there is room in the window, or a stream ends
		fresh == 0 && t.blocked > 0,         // a record is possible, and waited for
		fresh < due && t.fresh >= due,       // a record is due
		t.have.total() == t.want.first.Size: // all is there
		t.changed.Broadcast()
	}
}

// due is how many fresh bytes are worth a record.
func (t *transfer) due() int64 { return max(1, t.Limits.Window/2/max(1, t.active)) }

// atEnd refuses a source that has more bytes than the file.
func (t *transfer) atEnd(l *lease, body io.Reader) error {
	t.mu.Lock()
	last := l.at == t.want.first.Size
	t.mu.Unlock()
	if !last {
		return nil
	}
	return t.want.first.endsHere(body)
}
