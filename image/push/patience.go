package push

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/plimsoll-oci/plimsoll/image/refusals"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

const (
	// maxTries is how often an upload is tried without progress.
	maxTries = 6
	// firstPause is the pause after the first failure; later ones double, up to maxPause,
	// each with jitter.
	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second
	// maxRetryAfter is the longest pause that a registry may ask for.
	maxRetryAfter = 5 * time.Minute
)

// phase is what an upload was doing when it failed.
type phase int

const (
	starting phase = iota
	asking
	sending
	committing
	dropping      // the registry answered well, but bytes are missing
	misunderstood // the registry answered well, but no sense can be made of it
)

// phaseError is an error with its phase.
type phaseError struct {
	phase phase
	err   error
}

func (e *phaseError) Error() string { return e.err.Error() }
func (e *phaseError) Unwrap() error { return e.err }

// recover decides how the upload goes on after a failure; it returns the error if it does
// not.
func (u *upload) recover(err error) error {
	var source *sourceError
	if errors.As(err, &source) {
		return u.recoverSource(source.err)
	}
	var at *phaseError
	var certificate *tls.CertificateVerificationError
	if !errors.As(err, &at) || errors.As(err, &certificate) || offline(err) {
		return err
	}
	var no *refusal
	shied := at.phase == sending && u.shy()
	switch refused := errors.As(err, &no); {
	case refused && refusals.Final(no.err):
		return err
	case refused && shied && no.err.StatusCode == http.StatusRequestEntityTooLarge:
		u.unsure = true
	case refused && !temporary(no.err.StatusCode):
		return u.refusedWith(at, no)
	case at.phase == dropping:
		return u.degrade(at)
	case at.phase == misunderstood || u.strategy == Monolithic || u.registry.Restart && at.phase != committing:
		u.lose()
	default:
		u.goOn()
	}
	return nil
}

// goOn makes the upload go on where the registry stands.
func (u *upload) goOn() {
	u.unsure = u.location != "" && !u.registry.Restart
}

// recoverSource starts anew where marks out of a journal may be what is wrong: a stale one
// tells the same story as a changed file. Nothing else heals the bytes.
func (u *upload) recoverSource(err error) error {
	if errors.Is(err, errUnproven) {
		u.goOn()
		return nil
	}
	if fault.KindOf(err) != fault.Invalid || !u.inherited || u.late != nil {
		return err
	}
	u.lose()
	return nil
}

// expired reports whether the answer to a question about an upload means that it cannot go
// on: the registry has forgotten it, or cannot tell.
func expired(err error) bool {
	var at *phaseError
	if !errors.As(err, &at) {
		return false
	}
	var no *refusal
	if !errors.As(err, &no) {
		return at.phase == misunderstood
	}
	status := no.err.StatusCode
	return !temporary(status) && status != http.StatusUnauthorized && status != http.StatusForbidden
}

// refusedWith goes on after a definite refusal, where another way is left.
func (u *upload) refusedWith(at *phaseError, no *refusal) error {
	switch status := no.err.StatusCode; {
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusInsufficientStorage || at.phase == starting:
		return at
	case status == http.StatusRequestEntityTooLarge:
		return u.shrink(at)
	case at.phase == committing && (u.late != nil || u.proof != nil) && u.inherited:
		u.lose() // what another process has sent is not what the digest says
		return nil
	case at.phase == committing && u.proof != nil:
		if err := u.disprove(); err != nil {
			return err
		}
	case at.phase == sending && (status == http.StatusNotFound || status == http.StatusGone || status == http.StatusRequestedRangeNotSatisfiable):
		if u.refused++; u.refused < 2 {
			u.askAgain()
			return nil
		}
	}
	return u.degrade(at)
}

// askAgain asks where the upload stands. One that has taken nothing is not worth asking:
// 0-0 may mean no byte or one.
func (u *upload) askAgain() {
	if u.unsure = true; u.offset == 0 {
		u.lose()
	}
}

// degrade starts anew with the next strategy.
func (u *upload) degrade(err error) error {
	next := u.strategy.fallback()
	if next == "" {
		return err
	}
	u.strategy, u.refused = next, 0
	u.lose()
	return nil
}

// shrink goes on with smaller requests. What stands before a registry refuses one that is
// too large without handing it on: the upload is asked for, and lives on if it still stands
// where it did.
func (u *upload) shrink(err error) error {
	switch {
	case u.registry.Restart || u.strategy == Monolithic && u.size <= minChunk:
		return err
	case u.strategy != Chunked && u.size > u.chunk:
		u.strategy = Chunked
	case u.chunk > minChunk && u.size > minChunk:
		u.strategy, u.chunk = Chunked, max(min(u.chunk, u.size)/4, minChunk)
	default:
		return err
	}
	u.least, u.most = u.chunk, u.chunk
	u.askAgain()
	return nil
}

// lose gives the open upload up.
func (u *upload) lose() {
	u.location, u.offset, u.unsure, u.inherited = "", 0, false, false
	u.sums = newSums()
}

// temporary reports whether an answer is worth another try.
func temporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 499, 522, 524:
		return true
	}
	return false
}

// patience counts tries without progress.
type patience struct {
	backoff *backoff.ExponentialBackOff
	failed  int
}

func newPatience(first time.Duration) *patience {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval = first, 2, maxPause
	if first == 0 {
		b.InitialInterval = firstPause
	}
	b.Reset()
	return &patience{backoff: b}
}

// after is the pause before the next try, negative where there is none.
func (p *patience) after(err error, progress bool) time.Duration {
	if progress {
		p.failed = 0
		p.backoff.Reset()
	}
	if p.failed++; p.failed >= maxTries {
		return -1
	}
	wait := p.backoff.NextBackOff()
	var no *refusal
	if errors.As(err, &no) && no.wait > wait {
		if wait = no.wait; wait > maxRetryAfter {
			return -1
		}
	}
	return wait
}

// retry asks again as long as the answer is one that passes.
func retry(ctx context.Context, pause time.Duration, ask func() error) error {
	tries := newPatience(pause)
	for {
		err := ask()
		if err == nil || ctx.Err() != nil || !passing(err) {
			return err
		}
		wait := tries.after(err, false)
		if wait < 0 {
			return err
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// passing reports whether a failure is of the moment: an answer to that effect, or a
// connection that broke. One that never stood is not.
func passing(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return temporary(answer.StatusCode) && !refusals.Final(answer)
	}
	var timeout net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.As(err, &timeout) && timeout.Timeout()
}

// sleep waits, or until it is cancelled.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("waiting for the registry: %w", ctx.Err())
	case <-t.C:
		return nil
	}
}
