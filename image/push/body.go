package push

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// errClosed is what a body gives that was closed, or is sent a second time: the transport
// reads on for a moment after an answer that came early.
var errClosed = errors.New("the request is over")

// body is the bytes [at, end) of a blob on their way out. Of a source that is proven they
// are sent unhashed, of any other hashed as they leave. The last byte of a blob does not
// leave when the source has changed, or the sum is wrong.
type body struct {
	up  *upload
	at  int64
	end int64
	// ended, nil where the end stands, says that the body is to end where it is.
	ended func() bool
	moved func()
	// last is when bytes left last.
	last   time.Time
	over   func() error // why nothing more may leave, nil while it may
	sent   atomic.Bool
	mu     sync.Mutex
	closed bool
	err    error // of the source
}

var _ io.ReadCloser = (*body)(nil)

// Read reads, hashes and counts.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errClosed
	}
	if b.left() <= 0 {
		return 0, io.EOF
	}
	if err := b.over(); err != nil {
		return 0, err
	}
	n, err := b.up.source.ReadAt(p[:min(int64(len(p)), b.end-b.at)], b.at)
	if n == 0 && b.ended != nil && b.left() <= 0 {
		return 0, io.EOF // a source that was cancelled with the upload
	}
	if n == 0 {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		b.err = fmt.Errorf("reading at %d: %w", b.at, err)
		return 0, b.err
	}
	if b.err = b.up.leave(p[:n], b.at); b.err != nil {
		return 0, b.err
	}
	b.count(int64(n))
	return n, nil
}

// left is how many bytes are still to leave. An open end comes to stand where the body is.
func (b *body) left() int64 {
	if b.ended != nil && b.at < b.end && b.ended() {
		b.end = b.at
	}
	return b.end - b.at
}

// reached is the offset up to which bytes have left, and when the last of them did.
func (b *body) reached() (at int64, last time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at, b.last
}

// count notes bytes that leave.
func (b *body) count(n int64) {
	b.at, b.last = b.at+n, time.Now()
	b.up.read.Add(n)
	if b.up.opts.Progress != nil {
		b.up.opts.Progress(n)
	}
	b.moved()
}

// Close ends the body: when it returns, nothing reads any more.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// failed is the source's error, which a retry cannot heal.
func (b *body) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// leave judges bytes that are about to leave, and holds back the last ones of a blob that is
// not what its digest says. Where somebody else takes the digest, the closing request is what
// is held back.
func (u *upload) leave(p []byte, at int64) error {
	switch {
	case u.late != nil:
		return nil
	case u.proof != nil:
		return u.proven()
	}
	if err := u.hash(p, at); err != nil {
		return err
	}
	if u.sums.at == u.size {
		return u.judge()
	}
	return nil
}

// judge compares the sum of all bytes with the digest.
func (u *upload) judge() error {
	if got := u.sums.hex(); got != u.digest.Hex {
		return fault.Wrap(fault.Invalid, "the file changed: run verify -force=true, then fetch and build", fmt.Errorf(
			"sending layer %s: the bytes have sha256 %s", u.digest, got))
	}
	return nil
}

// hash takes the sum of bytes that leave, and journals new marks.
func (u *upload) hash(p []byte, at int64) error {
	if at != u.sums.at {
		return fmt.Errorf("hashing at %d: the hash is at %d", at, u.sums.at)
	}
	if err := u.sums.write(p); err != nil {
		return err
	}
	if len(u.sums.marks) > u.journalled {
		return u.remember()
	}
	return nil
}

// watchdog cancels a request that does not move.
type watchdog struct {
	timer *time.Timer
	limit time.Duration
}

func newWatchdog(limit time.Duration, cancel func()) *watchdog {
	return &watchdog{timer: time.AfterFunc(limit, cancel), limit: limit}
}

func (w *watchdog) moved() { w.timer.Reset(w.limit) }
func (w *watchdog) stop()  { w.timer.Stop() }
