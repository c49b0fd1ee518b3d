package push_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// heldBack is what is read of a proven layer: its last bytes.
const heldBack = 64 << 10

// proven is a file on disk, and what is read of it by this process.
type proven struct {
	*noise
	path string
	memo *verify.Memo
	read atomic.Int64
}

// newProven writes a file of noise, whose sum a memo knows.
func newProven(t *testing.T) *proven {
	t.Helper()
	dir := t.TempDir()
	p := &proven{noise: newNoise(blobSize), path: filepath.Join(dir, "w")}
	require.NoError(t, os.WriteFile(p.path, p.data, 0o644))
	var err error
	p.memo, err = verify.OpenMemo(filepath.Join(dir, "memo"))
	require.NoError(t, err)
	require.NoError(t, p.memo.Remember(p.path, p.sum()))
	return p
}

func (p *proven) sum() string { return strings.TrimPrefix(digestOf(p.data), "sha256:") }

// image is the image of the file as it is on disk, proven where the memo knows it.
func (p *proven) image(t *testing.T) *image.Image {
	t.Helper()
	return p.opened(t, func() (image.File, error) {
		f, err := os.Open(p.path)
		if err != nil {
			return nil, err
		}
		if known, ok := p.memo.Prove(f, verify.Want{Size: blobSize, SHA256: p.sum()}); ok {
			return countedProof{known, &p.read}, nil
		}
		return counted{f, &p.read}, nil
	})
}

// counted and countedProof count what comes into this process. What the kernel moves by
// itself passes by them.
type counted struct {
	*os.File
	n *atomic.Int64
}

func (c counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.File.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}

type countedProof struct {
	*verify.Proven
	n *atomic.Int64
}

func (c countedProof) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Proven.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}

func (c countedProof) Read(p []byte) (int, error) {
	n, err := c.Proven.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestProven: of a file that is proven nothing comes into this process but its last bytes,
// by every strategy; over a caller's transport it comes through once.
func TestProven(t *testing.T) {
	for name, registry := range map[string]push.Registry{
		"chunked": {Chunk: chunk}, "streamed": {Strategy: push.Streamed}, "monolithic": {Strategy: push.Monolithic},
	} {
		t.Run(name, func(t *testing.T) {
			f, p := newFront(t, registry), newProven(t)
			var progress atomic.Int64
			o := quick()
			o.Progress = func(n int64) { progress.Add(n) }
			r, err := push.Publish(t.Context(), p.image(t), target(t, f.host+"/m:1"), o)
			require.NoError(t, err, "%v", f.log)
			require.LessOrEqual(t, p.read.Load(), int64(heldBack))
			require.Equal(t, r.Bytes, r.SentBytes)
			require.Equal(t, r.Bytes, progress.Load())

			p.read.Store(0)
			f = newFront(t, registry)
			o = quick()
			o.Transport = http.DefaultTransport
			_, err = push.Publish(t.Context(), p.image(t), target(t, f.host+"/m:1"), o)
			require.NoError(t, err, "%v", f.log)
			require.EqualValues(t, blobSize, p.read.Load())
		})
	}
}

// TestProvenForSeveral: registries that share what is read get hashed bytes, read once.
func TestProvenForSeveral(t *testing.T) {
	a, b, p := newFront(t, push.Registry{Chunk: chunk}), newFront(t, push.Registry{Chunk: chunk}), newProven(t)
	out := push.PublishAll(t.Context(), p.image(t), []push.Target{target(t, a.host+"/m:1"), target(t, b.host+"/m:1")},
		func(push.Target) push.Options { return quick() })
	require.NoError(t, errors.Join(out[0].Err, out[1].Err))
	require.EqualValues(t, blobSize, p.read.Load())
}

// changes are ways to change a file while it is sent. text is what the error says; "" where
// the bytes of the open file stay what they were.
var changes = map[string]struct {
	do   func(p *proven) error
	text string
}{
	"rewritten": {func(p *proven) error { return flip(p.path) }, "the bytes have sha256"},
	"rewritten, with its old time": {func(p *proven) error {
		info, err := os.Stat(p.path)
		return errors.Join(err, flip(p.path), os.Chtimes(p.path, info.ModTime(), info.ModTime()))
	}, "the bytes have sha256"},
	"truncated": {func(p *proven) error { return os.Truncate(p.path, blobSize-1) }, "unexpected EOF"},
	"replaced": {func(p *proven) error {
		return errors.Join(os.WriteFile(p.path+".new", make([]byte, blobSize), 0o644), os.Rename(p.path+".new", p.path))
	}, ""},
	"linked":  {func(p *proven) error { return os.Link(p.path, p.path+".link") }, ""},
	"removed": {func(p *proven) error { return os.Remove(p.path) }, ""},
}

// flip changes the first and the last byte.
func flip(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, at := range []int64{0, blobSize - 1} {
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, at); err != nil {
			return err
		}
		b[0]++
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
	}
	return nil
}

// TestChangesWhileSent: a file that changes while it is sent is noticed before its last byte
// has left, proven or not, by every strategy. Where its bytes turn out to be right after all,
// they arrive, and were hashed.
func TestChangesWhileSent(t *testing.T) {
	for name, change := range changes {
		for _, c := range []struct {
			strategy push.Strategy
			proven   bool
		}{{push.Chunked, true}, {push.Streamed, true}, {push.Monolithic, true}, {push.Chunked, false}} {
			t.Run(fmt.Sprintf("%s, %s, proven is %t", name, c.strategy, c.proven), func(t *testing.T) {
				f, p := newFront(t, push.Registry{Strategy: c.strategy, Chunk: chunk}), newProven(t)
				if !c.proven {
					p.memo = nil
				}
				o := quick()
				var once sync.Once
				var sent atomic.Int64
				o.Progress = func(n int64) {
					if sent.Add(n) > blobSize/2 {
						once.Do(func() { require.NoError(t, change.do(p)) })
					}
				}
				img := p.image(t)
				_, err := push.Publish(t.Context(), img, target(t, f.host+"/m:1"), o)
				if change.text == "" {
					require.NoError(t, err, "%v", f.log)
					require.GreaterOrEqual(t, p.read.Load(), int64(blobSize))
					return
				}
				require.ErrorContains(t, err, change.text, "%v", f.log)
				requireNotWhole(t, f, img)
			})
		}
	}
}

// requireNotWhole checks that a registry never got a model layer whole.
func requireNotWhole(t *testing.T, f *front, img *image.Image) {
	t.Helper()
	require.Zero(t, f.requests("PUT 400"), "it was never asked to take it")
	m, err := img.Manifest()
	require.NoError(t, err)
	f.mu.Lock()
	open := slices.Collect(maps.Values(f.sessions))
	f.mu.Unlock()
	for _, s := range open {
		s.Lock()
		require.Less(t, int64(s.Len()), m.Layers[0].Size)
		s.Unlock()
	}
}

// TestWrongProof: a memo that says what is not so makes no wrong image: the registry refuses
// the layer, and the file is read to say why.
func TestWrongProof(t *testing.T) {
	for _, strategy := range []push.Strategy{push.Chunked, push.Streamed, push.Monolithic} {
		t.Run(string(strategy), func(t *testing.T) {
			f, p := newFront(t, push.Registry{Strategy: strategy, Chunk: chunk}), newProven(t)
			require.NoError(t, flip(p.path))
			require.NoError(t, p.memo.Remember(p.path, p.sum()))
			img := p.image(t)
			_, err := push.Publish(t.Context(), img, target(t, f.host+"/m:1"), quick())
			require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
			require.ErrorContains(t, err, "the bytes have sha256")
			require.Contains(t, fault.HintOf(err), "verify -force=true")
			require.Equal(t, 1, f.requests("PUT 400"), "%v", f.log)
			require.Less(t, f.got, int64(2*blobSize), "the layer was sent once")
			p.memo = nil
			_, err = push.Publish(t.Context(), p.image(t), target(t, f.host+"/m:1"), quick())
			require.ErrorContains(t, err, "the bytes have sha256", "the registry still has no such layer")
		})
	}
}

// TestProofAgainstARegistry: where the registry has lost bytes that were proven, they are
// sent in another way.
func TestProofAgainstARegistry(t *testing.T) {
	f, p := newFront(t, push.Registry{Chunk: chunk}), newProven(t)
	f.drop, f.lie = true, true
	_, err := push.Publish(t.Context(), p.image(t), target(t, f.host+"/m:1"), quick())
	require.NoError(t, err, "%v", f.log)
}

// TestProvenCuts: after cuts, and in a new process, a proven file goes on where the registry
// stands without being read; what arrived of another file before is thrown away.
func TestProvenCuts(t *testing.T) {
	for name, before := range map[string]func(*proven) error{"same bytes": nil, "other bytes": func(p *proven) error { return flip(p.path) }} {
		t.Run(name, func(t *testing.T) {
			f, p := newFront(t, push.Registry{Chunk: chunk}), newProven(t)
			journal := filepath.Join(t.TempDir(), "uploads")
			publish := func(ctx context.Context) error {
				o := quick()
				o.Journal = openJournal(t, journal)
				defer o.Journal.Close()
				_, err := push.Publish(ctx, p.image(t), target(t, f.host+"/m:1"), o)
				return err
			}
			if before != nil {
				require.NoError(t, before(p))
				require.NoError(t, p.memo.Remember(p.path, p.sum()))
			}
			ctx, cancel := context.WithCancel(t.Context())
			chunks := 0
			f.patch = func() {
				if chunks++; chunks == 6 {
					cancel()
				}
			}
			require.ErrorIs(t, publish(ctx), context.Canceled)
			f.patch, f.cut = nil, []int64{chunk / 2, 7}
			f.refuse["PATCH"] = []reply{{503, nil}, {429, nil}}
			if before != nil {
				require.NoError(t, os.WriteFile(p.path, p.data, 0o644))
				require.NoError(t, p.memo.Remember(p.path, p.sum()))
			}
			p.read.Store(0)
			require.NoError(t, publish(t.Context()), "%v", f.log)
			require.LessOrEqual(t, p.read.Load(), int64(3*heldBack))
			if before == nil {
				require.Less(t, f.got, int64(blobSize+2*chunk))
			}
		})
	}
}

// TestProvenEarlyAnswer: a registry that answers before it has read the body, and reads no
// more of it, holds nobody up.
func TestProvenEarlyAnswer(t *testing.T) {
	f, p := newFront(t, push.Registry{}), newProven(t)
	var early sync.Once
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > blobSize/2 {
			hijacked := false
			early.Do(func() {
				c, _, err := http.NewResponseController(w).Hijack()
				require.NoError(t, err)
				t.Cleanup(func() { c.Close() })
				_, err = c.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"))
				require.NoError(t, err)
				hijacked = true
			})
			if hijacked {
				return
			}
		}
		f.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	push.Registries = append([]push.Registry{{Host: host, Strategy: push.Streamed}}, push.Registries...)
	_, err := push.Publish(t.Context(), p.image(t), target(t, host+"/m:1"), quick())
	require.NoError(t, err, "%v", f.log)
}

// TestProvenUnreadable: a proven file that cannot be read, such as one on a disk that fails,
// is told from a connection that breaks.
func TestProvenUnreadable(t *testing.T) {
	f, p := newFront(t, push.Registry{Chunk: chunk}), newProven(t)
	img := p.opened(t, func() (image.File, error) { return &unreadable{bytes.NewReader(p.data)}, nil })
	_, err := push.Publish(t.Context(), img, target(t, f.host+"/m:1"), quick())
	require.ErrorIs(t, err, errDisk)
	require.Zero(t, f.requests("GET"), "it is not tried again: %v", f.log)
}

var errDisk = errors.New("the disk fails")

// unreadable is a proven file that ends in a failing disk in its middle.
type unreadable struct{ *bytes.Reader }

func (*unreadable) Unchanged() error { return nil }
func (*unreadable) Close() error     { return nil }

func (u *unreadable) Read(p []byte) (int, error) {
	at := u.Size() - int64(u.Len())
	if at >= blobSize/2 {
		return 0, errDisk
	}
	return u.Reader.Read(p[:min(int64(len(p)), blobSize/2-at)])
}

func (u *unreadable) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > blobSize/2 {
		return 0, errDisk
	}
	return u.Reader.ReadAt(p, off)
}
