package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
)

const (
	// hashPiece is the unit in which the front is read back and hashed: 1 MiB, so that the
	// marshalled state is never long in coming.
	hashPiece = 1 << 20
	// maxBuffer is the unit in which a stream receives and writes.
	maxBuffer = 256 << 10
)

// transfer is one blob on its way. The streams write stretches of it, hash follows their
// contiguous front, and keep records what is on disk.
type transfer struct {
	*engine
	want       *want
	part       *os.File
	journal    *journal
	sums       *sums
	downloaded *atomic.Int64
	streams    int   // how many connections at most
	step       int64 // how much one request asks for

	// Guarded by the engine's mutex.
	supply
	have   spans    // written
	leases []*lease // lent to streams
	fresh  int64    // bytes written but not recorded
	single bool     // the source ignores ranges: one stream for all
}

// openTransfer goes on where the journal ends, or begins anew.
func (e *engine) openTransfer(w *want, source int, downloaded *atomic.Int64) (*transfer, error) {
	t := &transfer{engine: e, want: w, sums: newSums(w.lanes), supply: supply{source: source}, downloaded: downloaded}
	ok, err := t.resume()
	if err == nil && !ok {
		err = t.begin()
	}
	if err != nil {
		t.close()
		return nil, fmt.Errorf("fetching %s: %w", w.first, err)
	}
	t.divide()
	e.Progress.File(Event{File: w.first, Kind: Began, Bytes: t.have.total()})
	return t, nil
}

// resume opens what an earlier process left; false if there is nothing to go on with.
func (t *transfer) resume() (ok bool, err error) {
	info, err := t.want.slot.StatPart()
	if err != nil || info.Size() != t.want.first.Size {
		return false, nil
	}
	file, err := t.want.slot.Journal()
	if err != nil {
		return false, err
	}
	last, valid, ok, err := readJournal(file, identityOf(t.want))
	if !ok || err != nil {
		return false, errors.Join(err, file.Close())
	}
	if t.journal, err = continueJournal(file, valid); err != nil {
		return false, errors.Join(err, file.Close())
	}
	if t.part, err = t.want.slot.Part(); err != nil {
		return false, err
	}
	t.have, _ = last.spans(t.want.first.Size)
	// A record of an earlier fetch that wanted other sums: they begin at 0 again, from disk.
	t.sums.restore(last.Hashed, last.Sums)
	return true, nil
}

// begin makes an empty part and its journal, durably. The part is made first and both are
// removed before, so that no journal ever speaks of another file's bytes.
func (t *transfer) begin() error {
	slot := t.want.slot
	if err := slot.Discard(); err != nil {
		return err
	}
	var err error
	if t.part, err = slot.Part(); err != nil {
		return err
	}
	if err := preallocate(t.part, t.want.first.Size); err != nil {
		return errors.Join(disk(fmt.Errorf("reserving %d bytes: %w", t.want.first.Size, err)), slot.Discard())
	}
	file, err := slot.Journal()
	if err != nil {
		return err
	}
	if t.journal, err = startJournal(file, identityOf(t.want)); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := t.part.Sync(); err != nil {
		return disk(fmt.Errorf("syncing: %w", err))
	}
	return slot.Sync()
}

// divide chooses how many streams there are and how much each asks for at a time.
func (t *transfer) divide() {
	missing := t.want.first.Size - t.have.total()
	streams := (missing + t.Limits.MinRange - 1) / t.Limits.MinRange
	t.streams = int(max(1, min(streams, int64(t.jobs))))
	t.step = max(t.Limits.MinRange, min(t.Limits.Range, missing/int64(t.streams)))
	if t.streams == 1 {
		t.step = t.want.first.Size
	}
}

// close lets go of the files.
func (t *transfer) close() {
	if t.part != nil {
		_ = t.part.Close() // synced before, or not counted on
	}
	if t.journal != nil {
		_ = t.journal.file.Close()
	}
}

// run fills the part and takes the sums. Without an error all bytes are on disk, durably.
// With one, what came is recorded in the journal.
func (t *transfer) run(parent context.Context) error {
	group, ctx := errgroup.WithContext(parent)
	// Waiting goroutines look at ctx when they are woken.
	defer context.AfterFunc(ctx, t.wake)()
	t.count(1)
	defer t.count(-1)
	for range t.streams {
		group.Go(func() error { return t.stream(ctx) })
	}
	group.Go(func() error { return t.hash(ctx) })
	group.Go(func() error { return t.keep(ctx) })
	err := group.Wait()
	if err == nil {
		if err := t.part.Sync(); err != nil {
			return disk(fmt.Errorf("fetching %s: syncing: %w", t.want.first, err))
		}
		return nil
	}
	if parent.Err() != nil {
		err = context.Cause(parent)
	}
	err = t.named(err)
	if !isDisk(err) {
		err = errors.Join(err, t.record())
	}
	return err
}

// named says which file an error is about, unless the Hub's client has said so.
func (t *transfer) named(err error) error {
	var status *hub.StatusError
	var stream *hub.StreamError
	if errors.As(err, &status) || errors.As(err, &stream) {
		return err
	}
	return fmt.Errorf("fetching %s: %w", t.want.first, err)
}

// count enters a transfer among those that share the window, or takes it out.
func (t *transfer) count(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active += n
	if n < 0 { // what is not recorded now is synced as a whole, or given up
		t.unrecorded -= t.fresh
		t.fresh = 0
	}
	t.changed.Broadcast()
}

func (e *engine) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changed.Broadcast()
}

// hash follows the front: it reads back what was written and takes the sums.
func (t *transfer) hash(ctx context.Context) error {
	buf := make([]byte, min(hashPiece, t.want.first.Size))
	for at := t.sums.offset(); at < t.want.first.Size; {
		front, err := t.awaitFront(ctx, at)
		if err != nil {
			return err
		}
		n := min(front-at, int64(len(buf)))
		if _, err := t.part.ReadAt(buf[:n], at); err != nil {
			return disk(fmt.Errorf("reading back: %w", err))
		}
		t.sums.write(buf[:n])
		at += n
	}
	t.wake() // keep may end
	return nil
}

// awaitFront waits until there is something behind at.
func (t *transfer) awaitFront(ctx context.Context, at int64) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.have.front() <= at {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		t.changed.Wait()
	}
	return t.have.front(), ctx.Err()
}

// keep writes a record whenever half of the transfer's share of the window is fresh, or a
// stream of any transfer waits for one.
func (t *transfer) keep(ctx context.Context) error {
	for {
		more, err := t.awaitFresh(ctx)
		if !more || err != nil {
			return err
		}
		if err := t.record(); err != nil {
			return err
		}
	}
}

// awaitFresh waits until a record is due; false when all bytes are there.
func (t *transfer) awaitFresh(ctx context.Context) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.fresh < t.due() && (t.blocked == 0 || t.fresh == 0) {
		if ctx.Err() != nil || t.have.total() == t.want.first.Size {
			return false, ctx.Err()
		}
		t.changed.Wait()
	}
	return true, ctx.Err()
}

// record makes what was written so far durable and enters it into the journal. The hash
// states are taken first: they cover only bytes that were written before them.
func (t *transfer) record() error {
	hashed, states, err := t.sums.state()
	if err != nil {
		return err
	}
	t.mu.Lock()
	have, fresh := slices.Clone(t.have), t.fresh
	t.mu.Unlock()
	if fresh == 0 {
		return nil
	}
	if err := datasync(t.part); err != nil {
		return disk(fmt.Errorf("syncing: %w", err))
	}
	if err := t.journal.append(newRecord(have, hashed, states)); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh -= fresh
	t.unrecorded -= fresh
	t.changed.Broadcast()
	return nil
}
