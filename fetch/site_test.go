package fetch

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
	"github.com/plimsoll-oci/plimsoll/verify"
)

const repoName = "org/model"

// site is a loopback Hub with one repository, and the files that it has.
type site struct {
	*hubtest.Hub
	commit string
	files  map[string]hubtest.File
}

// newSite starts a Hub. It is closed with the test.
func newSite(t testing.TB, files map[string]hubtest.File, opts ...hubtest.Option) *site {
	t.Helper()
	h := hubtest.New(opts...)
	commit, err := h.Add(hubtest.Repo{Name: repoName, Files: files})
	require.NoError(t, err)
	_, err = h.Start()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return &site{h, commit, files}
}

// client returns a client that gives a silent server up quickly.
func (s *site) client(t testing.TB) *hub.Client {
	t.Helper()
	c, err := hub.New(hub.Config{Endpoint: s.URL(), StallTimeout: 300 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// file is what a lock would say about a path.
func (s *site) file(t testing.TB, path string) File {
	t.Helper()
	f := s.files[path]
	data := content(t, f.Content)
	got := File{Repo: repoName, Commit: s.commit, Path: path, Size: int64(len(data)), SHA256: sha256Of(data)}
	if !f.LFS {
		got.SHA1 = gitID(data)
	}
	return got
}

func content(t testing.TB, c hubtest.Content) []byte {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	require.NoError(t, err)
	return data
}

func sha256Of(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func streamedSHA256(t testing.TB, c hubtest.Content) string {
	t.Helper()
	h := sha256.New()
	_, err := io.Copy(h, io.NewSectionReader(c, 0, c.Size()))
	require.NoError(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

func gitID(data []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", len(data))
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// large is an LFS file of noise.
func large(seed uint64, size int64) hubtest.File {
	return hubtest.File{Content: hubtest.Noise(seed, size), LFS: true}
}

// newCache is a cache in a folder of the test's own.
func newCache(t testing.TB) *cache.Cache {
	t.Helper()
	c, err := cache.Open(filepath.Join(t.TempDir(), "hub"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func newMemo(t testing.TB) *verify.Memo {
	t.Helper()
	m, err := verify.OpenMemo(filepath.Join(t.TempDir(), "memo"))
	require.NoError(t, err)
	return m
}

// quick are limits under which small files take the ways of large ones.
var quick = Limits{
	Window: 64 << 10, Range: 32 << 10, MinRange: 8 << 10,
	Tries: 3, Wait: time.Millisecond, MaxWait: 5 * time.Millisecond,
}

// options fetch from the site into a new cache.
func (s *site) options(t testing.TB) Options {
	return Options{Sources: []Source{s.client(t)}, Cache: newCache(t), Memo: newMemo(t), Limits: quick}
}

// layerDigest is computed from the definition, in one go.
func layerDigest(t testing.TB, p pack.Part, data []byte) string {
	t.Helper()
	prefix, err := pack.Prefix(p)
	require.NoError(t, err)
	h := sha256.New()
	h.Write(prefix)
	h.Write(data[p.Offset : p.Offset+p.Length])
	h.Write(make([]byte, pack.SuffixLen(p.Length)))
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// requireClean fails if anything but finished blobs lies in the blobs folder.
func requireClean(t testing.TB, c *cache.Cache) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.Dir(), "models--org--model", "blobs"))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, cache.CheckEtag(e.Name()), "left behind: %s", e.Name())
	}
}

// events is a Progress that keeps what it is told.
type events struct {
	mu     sync.Mutex
	need   Need
	starts int
	dones  int
	list   []Event
}

func (e *events) Start(n Need) { e.mu.Lock(); defer e.mu.Unlock(); e.need = n; e.starts++ }
func (e *events) Done()        { e.mu.Lock(); defer e.mu.Unlock(); e.dones++ }
func (e *events) File(v Event) { e.mu.Lock(); defer e.mu.Unlock(); e.list = append(e.list, v) }

// sum adds the bytes of all events of a kind.
func (e *events) sum(k Kind) (n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.list {
		if v.Kind == k {
			n += v.Bytes
		}
	}
	return n
}

// count counts the events of a kind.
func (e *events) count(k Kind) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.list {
		if v.Kind == k {
			n++
		}
	}
	return n
}

// shelf is a Source without a network: it reads contents by path. Its bodies come in small
// pieces, and it can break off.
type shelf struct {
	files map[string]hubtest.Content
	piece int // bytes of one Read at most
	opens atomic.Int64

	mu   sync.Mutex
	sent int64 // bytes read from bodies
	// after, if not nil, is called with the number of bytes that were sent so far; no other
	// byte is sent meanwhile.
	after func(sent int64) error
}

func (s *shelf) Open(ctx context.Context, _, _, path string, offset, length int64) (*hub.Body, error) {
	s.opens.Add(1)
	c := s.files[path]
	if length < 0 {
		length = c.Size() - offset
	}
	r := &shelfBody{s: s, ctx: ctx, r: io.NewSectionReader(c, offset, length)}
	return &hub.Body{ReadCloser: r, Offset: offset, Length: length, Size: c.Size()}, nil
}

type shelfBody struct {
	s   *shelf
	ctx context.Context
	r   io.Reader
}

func (b *shelfBody) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	n, err := b.r.Read(p[:min(len(p), b.s.piece)])
	b.s.sent += int64(n)
	if err == nil && b.s.after != nil {
		err = b.s.after(b.s.sent)
	}
	return n, err
}

func (b *shelfBody) Close() error { return nil }
