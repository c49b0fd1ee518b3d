package push_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

const (
	// blobSize is that of the model file in these tests, chunk that of a chunk.
	blobSize = 10 << 20
	chunk    = 1 << 20
)

// noise is a file whose bytes are all different, so that a byte at a wrong place shows. It
// counts what is read of it.
type noise struct {
	data []byte
	read atomic.Int64
	// turn changes the last byte once so much was read.
	turn int64
}

func newNoise(size int) *noise {
	n := &noise{data: make([]byte, size)}
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(n.data)
	return n
}

func (n *noise) ReadAt(p []byte, off int64) (int, error) {
	m := copy(p, n.data[off:])
	if n.read.Add(int64(m)) > n.turn && n.turn > 0 && off+int64(m) == int64(len(n.data)) {
		p[m-1]++
	}
	return m, nil
}

func (n *noise) Close() error { return nil }

// image is an image of the file.
func (n *noise) image(t *testing.T) *image.Image {
	t.Helper()
	return n.opened(t, func() (image.File, error) { return n, nil })
}

// opened is the image of the same bytes, which open opens.
func (n *noise) opened(t *testing.T, open image.Opener) *image.Image {
	t.Helper()
	const path = "app/models/base/w"
	part := pack.Part{Name: path, Count: 1, Length: int64(len(n.data))}
	prefix, err := pack.Prefix(part)
	require.NoError(t, err)
	h := sha256.New()
	h.Write(prefix)
	h.Write(n.data)
	h.Write(make([]byte, pack.SuffixLen(part.Length)))
	sum := sha256.Sum256(n.data)
	d := manifests.Decision{Source: "base", Keep: true, ImagePath: path, File: manifests.File{Path: "w", Size: part.Length, SHA256: hex.EncodeToString(sum[:])}}
	img, err := image.Build(image.Spec{
		Manifest: &manifests.Manifest{Name: "t", Title: "T", Runtime: manifests.RuntimeNone},
		Model:    &manifests.ModelConfig{SchemaVersion: 1, Name: "t", Files: []manifests.ModelFile{{Path: "base/w", Size: d.Size, SHA256: d.SHA256}}},
		Files: []image.ModelFile{{
			Decision: d, Parts: []pack.Part{part}, Digests: []string{fmt.Sprintf("sha256:%x", h.Sum(nil))},
			Open: open,
		}},
	})
	require.NoError(t, err)
	return img
}

func TestStrategies(t *testing.T) {
	cases := []struct {
		name     string
		registry push.Registry
		set      func(*front)
		patches  int   // that were answered well
		puts     int64 // bytes at most that arrived in vain
	}{
		{"chunked", push.Registry{Chunk: chunk}, nil, 13, 0},
		{"streamed", push.Registry{Strategy: push.Streamed}, nil, 3, 0},
		{"monolithic", push.Registry{Strategy: push.Monolithic}, nil, 0, 0},
		{"ranges refused", push.Registry{Chunk: chunk}, func(f *front) { f.ranged = http.StatusNotImplemented }, 3, 0},
		{"PATCH refused", push.Registry{Chunk: chunk}, func(f *front) { f.patched = http.StatusMethodNotAllowed }, 0, 0},
		{"chunks have a least size", push.Registry{Chunk: chunk}, func(f *front) { f.minimum = fmt.Sprint(4 << 20) }, 5, 0},
		{"later bodies are dropped", push.Registry{Chunk: chunk}, func(f *front) { f.drop = true }, 0, 2 * chunk},
		{"later bodies are dropped in silence", push.Registry{Chunk: chunk}, func(f *front) { f.drop, f.lie = true, true }, 0, blobSize + chunk},
		{"requests have a largest size", push.Registry{Chunk: 4 << 20}, func(f *front) { f.largest = 3 << 19 }, 13, 0},
		{"requests that grow have a largest size", push.Registry{Chunk: chunk / 2, LargestChunk: 8 * chunk}, func(f *front) { f.largest = chunk }, -1, 0},
		{"what flows has a largest size", push.Registry{Chunk: chunk}, func(f *front) {
			f.docker, f.largest = map[string]string{uploadID: "u"}, 3<<19
		}, 13, 0},
		{"what flows is refused", push.Registry{Chunk: chunk}, func(f *front) {
			f.docker, f.patched = map[string]string{uploadID: "u"}, http.StatusMethodNotAllowed
		}, 0, 0},
		{"streams have a largest size", push.Registry{Strategy: push.Streamed, Chunk: chunk}, func(f *front) { f.largest = 3 << 19 }, 13, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, n := newFront(t, c.registry), newNoise(blobSize)
			if c.set != nil {
				c.set(f)
			}
			r, err := push.Publish(t.Context(), n.image(t), target(t, f.host+"/m:1"), quick())
			require.NoError(t, err, "%v", f.log)
			require.Equal(t, 2, r.Sent)
			if c.patches > 0 {
				require.Equal(t, c.patches, accepted(f), "%v", f.log)
			}
			require.LessOrEqual(t, f.got, r.Bytes+configSize(t, n.image(t))+c.puts)
			if c.set == nil {
				require.EqualValues(t, blobSize, n.read.Load(), "the file is read once")
			}
			again, err := push.Publish(t.Context(), n.image(t), target(t, f.host+"/m:2"), quick())
			require.NoError(t, err)
			require.Zero(t, again.SentBytes)
		})
	}
}

// accepted counts the PATCHes that were taken.
func accepted(f *front) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.log {
		if len(l) > 5 && l[:5] == "PATCH" && l[len(l)-3:] == "202" {
			n++
		}
	}
	return n
}

// TestCuts: whatever breaks, the upload goes on at what has arrived.
func TestCuts(t *testing.T) {
	cases := []struct {
		name     string
		registry push.Registry
		set      func(*front)
		waste    int64 // bytes at most that are sent twice
	}{
		{"a chunk", push.Registry{Chunk: chunk}, func(f *front) { f.cut = []int64{chunk, chunk, 1 << 18, chunk, 3 << 18} }, 0},
		{"at the first byte, often", push.Registry{Chunk: chunk}, func(f *front) { f.cut = []int64{0, 0, 2, 2, 2, 2} }, 0},
		{"a stream", push.Registry{Strategy: push.Streamed, Chunk: chunk}, func(f *front) { f.cut = []int64{6 << 20} }, 0},
		{"no status", push.Registry{Chunk: chunk}, func(f *front) { f.cut, f.noStatus = []int64{chunk, 1 << 18}, true }, chunk + 1<<18},
		{"a registry that drops", push.Registry{Strategy: push.Streamed, Restart: true}, func(f *front) { f.cut, f.drop = []int64{6 << 20}, true }, 6 << 20},
		{"monolithic", push.Registry{Strategy: push.Monolithic}, func(f *front) { f.cut = []int64{6 << 20} }, 6 << 20},
		{"busy", push.Registry{Chunk: chunk}, func(f *front) {
			f.refuse["PATCH"] = []reply{{503, nil}, {429, map[string]string{"Retry-After": "0"}}, {500, nil}, {502, nil}}
		}, 0},
		{"busy before", push.Registry{Chunk: chunk}, func(f *front) {
			f.refuse["HEAD"] = []reply{{503, nil}, {429, nil}, {502, nil}}
			f.refuse["POST"] = []reply{{503, nil}, {500, nil}}
		}, 0},
		{"the commit", push.Registry{Chunk: chunk}, func(f *front) { f.refuse["PUT"] = []reply{{504, nil}, {503, nil}} }, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, n := newFront(t, c.registry), newNoise(blobSize)
			c.set(f)
			r, err := push.Publish(t.Context(), n.image(t), target(t, f.host+"/m:1"), quick())
			require.NoError(t, err, "%v", f.log)
			require.LessOrEqual(t, f.got, r.Bytes+configSize(t, n.image(t))+c.waste, "%v", f.log)
		})
	}
}

// TestExpiredUpload: an upload that the registry forgot starts anew.
func TestExpiredUpload(t *testing.T) {
	f, n := newFront(t, push.Registry{Chunk: chunk}), newNoise(blobSize)
	patches := 0
	f.patch = func() {
		if patches++; patches == 5 {
			f.forget()
		}
	}
	r, err := push.Publish(t.Context(), n.image(t), target(t, f.host+"/m:1"), quick())
	require.NoError(t, err, "%v", f.log)
	require.Less(t, f.got, r.Bytes+6*chunk)
	require.Equal(t, 4, f.requests("POST"), "three blobs, one of them twice")
}

// TestTokensExpire: a token that ends in the middle of a layer is replaced.
func TestTokensExpire(t *testing.T) {
	f, n := newFront(t, push.Registry{Chunk: chunk}), newNoise(blobSize)
	f.tokens = map[string]int{}
	r, err := push.Publish(t.Context(), n.image(t), target(t, f.host+"/m:1"), quick())
	require.NoError(t, err, "%v", f.log)
	require.Greater(t, len(f.tokens), 3)
	require.Equal(t, r.Bytes+configSize(t, n.image(t)), f.got, "no byte arrived twice: %v", f.log)
}

func configSize(t *testing.T, img *image.Image) int64 {
	t.Helper()
	c, err := img.RawConfigFile()
	require.NoError(t, err)
	return int64(len(c))
}

// TestNoProgress: an upload that does not move ends, and says why; what a registry asks to
// wait for too long ends at once.
func TestNoProgress(t *testing.T) {
	f, n := newFront(t, push.Registry{Chunk: chunk}), newNoise(blobSize)
	for range 100 {
		f.refuse["PATCH"] = append(f.refuse["PATCH"], reply{503, nil})
	}
	_, err := push.Publish(t.Context(), n.image(t), target(t, f.host+"/m:1"), quick())
	require.Equal(t, fault.Registry, fault.KindOf(err))
	require.ErrorContains(t, err, "503")
	require.NotContains(t, err.Error(), "secret-state")
	require.Less(t, f.requests("PATCH refused"), 20)

	f.refuse["PATCH"] = []reply{{429, map[string]string{"Retry-After": "86400"}}, {429, map[string]string{"Retry-After": "86400"}}}
	_, err = push.Publish(t.Context(), n.image(t), target(t, f.host+"/m:1"), quick())
	require.Contains(t, fault.HintOf(err), "wait")
}

// TestSecretsStayOut: an address with a state in it never shows in an error.
func TestSecretsStayOut(t *testing.T) {
	f, n := newFront(t, push.Registry{Chunk: chunk}), newNoise(1<<20)
	f.cut = make([]int64, 100)
	_, err := push.Publish(t.Context(), n.image(t), target(t, f.host+"/m:1"), quick())
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret-state")
	require.ErrorContains(t, err, "/blobs/uploads/")
}

// TestChangedFile: a file that changes under an upload is noticed before its last byte has
// left.
func TestChangedFile(t *testing.T) {
	f, n := newFront(t, push.Registry{Chunk: chunk}), newNoise(blobSize)
	img := n.image(t)
	n.turn = 1 << 20
	_, err := push.Publish(t.Context(), img, target(t, f.host+"/m:1"), quick())
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "the bytes have sha256")
	require.NotContains(t, f.log, "PUT 400", "the registry was never asked to take it")
	m, err := img.Manifest()
	require.NoError(t, err)
	require.Less(t, f.got, m.Layers[0].Size+m.Layers[1].Size)
}

// TestNewProcess: what a process left open, another one ends.
func TestNewProcess(t *testing.T) {
	for _, strategy := range []push.Strategy{push.Chunked, push.Streamed} {
		t.Run(string(strategy), func(t *testing.T) {
			f, n := newFront(t, push.Registry{Strategy: strategy, Chunk: chunk}), newNoise(blobSize)
			path := filepath.Join(t.TempDir(), "plimsoll", "uploads.jsonl")
			ctx, cancel := context.WithCancel(t.Context())
			var sent atomic.Int64
			o := quick()
			o.Progress = func(n int64) {
				if sent.Add(n) > blobSize*6/10 {
					cancel()
				}
			}
			o.Journal = openJournal(t, path)
			_, err := push.Publish(ctx, n.image(t), target(t, f.host+"/m:1"), o)
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, fault.Canceled, fault.KindOf(err))
			require.NoError(t, o.Journal.Close())

			f.mu.Lock()
			before := f.got
			f.mu.Unlock()
			o = quick()
			o.Journal = openJournal(t, path)
			r, err := push.Publish(t.Context(), n.image(t), target(t, f.host+"/m:1"), o)
			require.NoError(t, err, "%v", f.log)
			// The large layer; small ones too, where they were under way at the cut.
			require.Positive(t, r.Resumed, "%v", f.log)
			require.LessOrEqual(t, r.SentBytes, int64(blobSize*4/10+blobSize*2/100+chunk))
			require.LessOrEqual(t, before, int64(blobSize*6/10+2*chunk))
			require.NoError(t, o.Journal.Close())
		})
	}
}

func openJournal(t *testing.T, path string) *push.Journal {
	t.Helper()
	j, ok, err := push.OpenJournal(path)
	require.NoError(t, err)
	require.True(t, ok)
	return j
}
