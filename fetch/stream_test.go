package fetch

import (
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

// newTransfer begins a transfer of size bytes that nobody runs.
func newTransfer(t *testing.T, size int64, jobs int, limits Limits) *transfer {
	t.Helper()
	noise := hubtest.Noise(1, size)
	src := &shelf{files: map[string]hubtest.Content{"m.bin": noise}, piece: 1000}
	f := File{Repo: repoName, Commit: "0123456789abcdef0123456789abcdef01234567", Path: "m.bin", Size: size, SHA256: streamedSHA256(t, noise)}
	opts := Options{Sources: []Source{src}, Cache: newCache(t), Limits: limits, Jobs: jobs}
	list, err := wants([]File{f}, opts.Cache)
	require.NoError(t, err)
	tr, err := newEngine(opts).openTransfer(list[0], 0, new(atomic.Int64))
	require.NoError(t, err)
	t.Cleanup(tr.close)
	return tr
}

func stretch(l *lease) span { return span{l.at, l.end} }

// TestBorrow: stretches are lent in order, none twice, and when all is lent an idle stream
// gets half of what the slowest still has to do.
func TestBorrow(t *testing.T) {
	tr := newTransfer(t, 1000, 3, Limits{Range: 400, MinRange: 100})
	require.EqualValues(t, 333, tr.step)
	first := tr.borrow(nil)
	require.Equal(t, span{0, 333}, stretch(first))
	second := tr.borrow(nil)
	require.Equal(t, span{333, 666}, stretch(second))
	third := tr.borrow(nil)
	require.Equal(t, span{666, 999}, stretch(third))
	last := tr.borrow(nil)
	require.Equal(t, span{999, 1000}, stretch(last))

	wrote := func(l *lease, n, busy int64) {
		tr.have = tr.have.add(span{l.at, l.at + n})
		l.at, l.busy = l.at+n, busy
	}
	wrote(first, 300, 10) // nearly done
	wrote(second, 7, 60)
	wrote(third, 34, 0)
	half := tr.borrow(nil)
	require.Equal(t, span{849, 999}, stretch(half), "of the longest rest")
	require.Equal(t, span{700, 849}, stretch(third))
	half = tr.borrow(nil)
	require.Equal(t, span{533, 666}, stretch(half), "behind what is being received")
	require.Equal(t, span{340, 533}, stretch(second))
	require.Nil(t, tr.borrow(nil), "what is left is not worth a connection")

	tr.giveBack(third)
	again := tr.borrow(nil)
	require.Equal(t, span{700, 849}, stretch(again), "what was given back is lent again")
}

// TestDivide: small files take one request, large ones several of bounded length.
func TestDivide(t *testing.T) {
	for _, c := range []struct {
		size, step int64
		streams    int
	}{
		{0, 0, 1}, {1, 1, 1}, {100, 100, 1}, {101, 100, 2}, {1000, 200, 5}, {10_000, 400, 5},
	} {
		tr := newTransfer(t, c.size, 5, Limits{Range: 400, MinRange: 100})
		require.Equal(t, c.streams, tr.streams, "%d bytes", c.size)
		require.Equal(t, c.step, tr.step, "%d bytes", c.size)
	}
}

// TestJudge: waits grow, with jitter, and are at least what the server asks for; new bytes
// anywhere forgive; what cannot heal ends at once.
func TestJudge(t *testing.T) {
	tr := newTransfer(t, 1000, 1, Limits{Tries: 4, Wait: 100 * time.Millisecond, MaxWait: time.Hour, MaxRetryAfter: time.Minute})
	busy := func(after time.Duration) error { return &hub.StatusError{Status: 503, RetryAfter: after} }
	r := newRetry(tr)
	for _, base := range []time.Duration{100, 200, 400} {
		wait, err := r.judge(busy(0))
		require.NoError(t, err)
		require.InDelta(t, base*time.Millisecond, wait, float64(base*time.Millisecond/2)+1)
	}
	_, err := r.judge(busy(0))
	require.ErrorContains(t, err, "503", "the fourth try was the last")

	tr.source, tr.failures = 0, nil
	r = newRetry(tr)
	for range 20 {
		tr.progress++
		_, err := r.judge(errEarly)
		require.NoError(t, err)
	}
	wait, err := newRetry(tr).judge(busy(30 * time.Second))
	require.NoError(t, err)
	require.Equal(t, 30*time.Second, wait)
	for _, final := range []error{busy(time.Hour), &hub.StatusError{Status: 404}, io.ErrClosedPipe, disk(io.ErrShortWrite)} {
		_, err := newRetry(tr).judge(final)
		require.ErrorIs(t, err, final)
	}
}
