package push_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// digestOf is the digest of a blob.
func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// late is a blob whose digest is told when it is asked for.
func (n *noise) late(digest string, err error) push.Blob {
	return push.Blob{
		Name: digestOf([]byte("what decides the bytes")), Title: "w", Size: int64(len(n.data)),
		Late: func(context.Context) (string, error) { return digest, err },
		Open: func() (push.Bytes, error) { return n, nil },
	}
}

func sender(t *testing.T, reference string, o push.Options) *push.Sender {
	t.Helper()
	s, err := push.NewSender(t.Context(), target(t, reference), o)
	require.NoError(t, err)
	return s
}

// TestSendLate: with every strategy, and after every refusal, a layer whose digest is told
// at the end arrives, read once but for what was refused.
func TestSendLate(t *testing.T) {
	for name, c := range map[string]struct {
		registry push.Registry
		set      func(*front)
		again    int64 // bytes that are read again
	}{
		"chunked":                  {push.Registry{Chunk: chunk}, nil, 0},
		"streamed":                 {push.Registry{Strategy: push.Streamed}, nil, 0},
		"monolithic":               {push.Registry{Strategy: push.Monolithic}, nil, 0},
		"cut":                      {push.Registry{Chunk: chunk}, func(f *front) { f.cut = []int64{chunk / 2, 7} }, 2 * chunk},
		"PATCH refused":            {push.Registry{Chunk: chunk}, func(f *front) { f.patched = http.StatusMethodNotAllowed }, blobSize},
		"later bodies are dropped": {push.Registry{Chunk: chunk}, func(f *front) { f.drop, f.lie = true, true }, blobSize},
		"the answer to the end":    {push.Registry{Chunk: chunk}, func(f *front) { f.refuse["PUT"] = []reply{{code: 503}} }, 0},
		"requests have a largest":  {push.Registry{Chunk: 4 << 20}, func(f *front) { f.largest = 3 << 19 }, 4 << 20},
		"uploads are soon forgotten": {push.Registry{Chunk: chunk}, func(f *front) {
			times := 0
			f.patch = func() {
				if times++; times == 5 {
					f.forget()
				}
			}
		}, 6 * chunk},
	} {
		t.Run(name, func(t *testing.T) {
			f, n := newFront(t, c.registry), newNoise(blobSize)
			if c.set != nil {
				c.set(f)
			}
			s := sender(t, f.host+"/m:1", quick())
			digest := digestOf(n.data)
			there, err := s.Has(t.Context(), digest, blobSize)
			require.NoError(t, err)
			require.False(t, there)
			require.NoError(t, s.Send(t.Context(), n.late(digest, nil)), "%v", f.log)
			require.LessOrEqual(t, n.read.Load(), blobSize+c.again, "%v", f.log)
			there, err = s.Has(t.Context(), digest, blobSize)
			require.NoError(t, err)
			require.True(t, there)
			var r push.Result
			s.Add(&r)
			require.Equal(t, 1, r.Sent)
			require.Equal(t, n.read.Load(), r.SentBytes)

			known := n.late("", errors.New("must not be asked"))
			known.Digest = digest
			n.read.Store(0)
			require.NoError(t, s.Send(t.Context(), known))
			require.Zero(t, n.read.Load(), "what is there is not sent")
		})
	}
}

// TestSendLateWrongBytes: a layer whose bytes are found wrong is not closed, and nobody goes
// on with its upload. A digest that is not that of the bytes is refused by the registry.
func TestSendLateWrongBytes(t *testing.T) {
	f, n := newFront(t, push.Registry{Chunk: chunk}), newNoise(blobSize)
	journal, _, err := push.OpenJournal(filepath.Join(t.TempDir(), "uploads"))
	require.NoError(t, err)
	defer journal.Close()
	o := quick()
	o.Journal = journal
	s := sender(t, f.host+"/m:1", o)
	wrong := fault.Wrap(fault.Invalid, "a hint", errors.New("sha256 is another"))
	err = s.Send(t.Context(), n.late("", wrong))
	require.ErrorIs(t, err, wrong)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Zero(t, f.requests("PUT"))
	require.Equal(t, 1, f.requests("DELETE"))
	require.Empty(t, f.sessions)

	err = s.Send(t.Context(), n.late(digestOf(nil), nil))
	require.Equal(t, fault.Registry, fault.KindOf(err))
	there, err := s.Has(t.Context(), digestOf(n.data), blobSize)
	require.NoError(t, err)
	require.False(t, there)
}

// TestSendLateGoesOn: after a cut, a new process sends the rest of a layer whose digest is
// not known yet; where what has arrived turns out to be other bytes, all of it.
func TestSendLateGoesOn(t *testing.T) {
	for name, changed := range map[string]bool{"same bytes": false, "other bytes": true} {
		t.Run(name, func(t *testing.T) {
			f, n := newFront(t, push.Registry{Chunk: chunk}), newNoise(blobSize)
			path := filepath.Join(t.TempDir(), "uploads")
			send := func(ctx context.Context, b push.Blob) (push.Result, error) {
				journal, _, err := push.OpenJournal(path)
				require.NoError(t, err)
				defer journal.Close()
				o := quick()
				o.Journal = journal
				s := sender(t, f.host+"/m:1", o)
				err = s.Send(ctx, b)
				var r push.Result
				s.Add(&r)
				return r, err
			}
			ctx, cancel := context.WithCancel(t.Context())
			chunks := 0
			f.patch = func() {
				if chunks++; chunks == 6 {
					cancel()
				}
			}
			_, err := send(ctx, n.late(digestOf(n.data), nil))
			require.ErrorIs(t, err, context.Canceled)
			f.patch = nil
			if changed {
				n.data = bytes.Clone(n.data)
				n.data[5]++
			}
			r, err := send(t.Context(), n.late(digestOf(n.data), nil))
			require.NoError(t, err, "%v", f.log)
			require.Equal(t, 1, r.Resumed)
			if changed {
				require.Greater(t, r.SentBytes, int64(blobSize))
			} else {
				require.LessOrEqual(t, r.SentBytes, int64(4*chunk))
			}
		})
	}
}

// TestSenderMounts: what another repository of the registry has is mounted.
func TestSenderMounts(t *testing.T) {
	f, n := newFront(t, push.Registry{Chunk: chunk}), newNoise(blobSize)
	perRepository(f)
	digest := digestOf(n.data)
	require.NoError(t, sender(t, f.host+"/a:1", quick()).Send(t.Context(), n.late(digest, nil)))
	o := quick()
	o.MountFrom = []string{f.host + "/a"}
	s := sender(t, f.host+"/b:1", o)
	there, err := s.Has(t.Context(), digest, blobSize)
	require.NoError(t, err)
	require.True(t, there)
	var r push.Result
	s.Add(&r)
	require.Equal(t, push.Result{Mounted: 1}, r)
	_, err = s.Has(t.Context(), "nonsense", 1)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}
