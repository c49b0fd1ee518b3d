package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// endsHere refuses a source that has more bytes than the file. body stands at the file's end.
func (f File) endsHere(body io.Reader) error {
	if n, _ := io.ReadFull(body, make([]byte, 1)); n > 0 {
		return changed(fmt.Errorf("it has more bytes than %d, which the lock says", f.Size))
	}
	return nil
}

// supply is where the bytes of one file come from, for all of its connections. Whoever has
// one guards it.
type supply struct {
	source   int     // index of the source in use
	failures []error // why earlier sources were left
	progress int64   // pieces that have arrived, so far
}

// next moves on from a source; gone is false if another connection has done so already.
// The error is that of all sources, when there is no other.
func (s *supply) next(sources []Source, source int, err error) (gone bool, _ error) {
	if s.source != source {
		return false, nil
	}
	s.failures = append(s.failures, err)
	if s.source+1 >= len(sources) {
		return true, errors.Join(s.failures...)
	}
	s.source++
	return true, nil
}

// course is the work that connections are retried for. Its methods are called by several
// goroutines.
type course interface {
	// position is the source in use and how far all connections are.
	position() (source int, progress int64)
	// next gives a source up, as supply.next does.
	next(source int, err error) (gone bool, _ error)
	limits() Limits
	// tell hands an event on; its file is the one at work.
	tell(Event)
}

// retry decides, for one connection, what becomes of an error.
type retry struct {
	of       course
	backoff  *backoff.ExponentialBackOff
	tries    int
	source   int   // the source that was tried
	progress int64 // of all connections, when a try failed last
	brought  bool  // the try itself brought new bytes
}

func newRetry(of course) *retry {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = of.limits().Wait, of.limits().MaxWait, 2
	b.Reset()
	return &retry{of: of, backoff: b}
}

// judge returns how long to wait before the next try, or the error that ends the work.
// New bytes on any connection forgive earlier tries: a source that serves some connections
// and refuses others is slow, not broken. A refused one still waits longer every time.
func (r *retry) judge(err error) (time.Duration, error) {
	if isDisk(err) {
		return 0, err
	}
	if _, progress := r.of.position(); progress != r.progress {
		r.tries, r.progress = 0, progress
	}
	if r.brought {
		r.backoff.Reset()
	}
	r.tries++
	asked := hub.RetryAfter(err)
	if !temporary(err) || asked > r.of.limits().MaxRetryAfter || r.tries >= r.of.limits().Tries {
		r.tries = 0
		r.backoff.Reset()
		return 0, r.leave(err)
	}
	wait := max(r.backoff.NextBackOff(), asked)
	r.of.tell(Event{Kind: Retrying, Err: err, Wait: wait})
	return wait, nil
}

// leave gives the source up. The error is that of all sources, when there is no other.
func (r *retry) leave(err error) error {
	if fault.KindOf(err) == fault.Internal {
		err = fault.Wrap(fault.Upstream, "", err)
	}
	if gone, err := r.of.next(r.source, err); !gone || err != nil {
		return err
	}
	r.of.tell(Event{Kind: Retrying, Err: err})
	return nil
}

// sleep waits for d, or returns ctx's error as soon as it ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
