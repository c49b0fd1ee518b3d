package fetch

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

const modelSize = 200_003

// TestFaults: whatever goes wrong on the way, the bytes are right in the end, in a cache or
// read where they are.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		faults func(*site) []hubtest.Fault
		opts   []hubtest.Option
	}{
		"truncated":            {faults: effect(hubtest.CDN, 4, func(*site) hubtest.Effect { return hubtest.Cut(10_000) })},
		"cut at 0":             {faults: effect(hubtest.CDN, 2, func(*site) hubtest.Effect { return hubtest.Cut(0) })},
		"reset":                {faults: effect(hubtest.CDN, 4, func(*site) hubtest.Effect { return hubtest.Reset(10_000) })},
		"every connection cut": {faults: effect(hubtest.CDN, 0, func(*site) hubtest.Effect { return hubtest.Cut(9_000) })},
		"silence":              {faults: effect(hubtest.CDN, 2, func(s *site) hubtest.Effect { return s.Stall(5_000) })},
		"burst of 503":         {faults: effect(hubtest.CDN, 2, func(*site) hubtest.Effect { return hubtest.Status(503) })},
		"burst of 500 at hub":  {faults: effect(hubtest.Resolve, 2, func(*site) hubtest.Effect { return hubtest.Status(500) })},
		"429 Retry-After":      {faults: effect(hubtest.Resolve, 1, func(*site) hubtest.Effect { return hubtest.RetryAfter(429, 1) })},
		"429 RateLimit":        {faults: effect(hubtest.Resolve, 1, func(*site) hubtest.Effect { return hubtest.RateLimited(0) })},
		"range ignored":        {faults: effect(hubtest.CDN, 0, func(*site) hubtest.Effect { return hubtest.IgnoreRange() })},
		"range ignored at times, and cut": {faults: func(*site) []hubtest.Fault {
			return []hubtest.Fault{
				{Kind: hubtest.CDN, Skip: 1, Times: 2, Effect: hubtest.IgnoreRange()},
				{Kind: hubtest.CDN, Times: 2, Effect: hubtest.Cut(70_000)},
			}
		}},
		"another etag":       {faults: effect(hubtest.CDN, 0, func(*site) hubtest.Effect { return hubtest.SetHeader("ETag", `"`+strings.Repeat("f", 64)+`"`) })},
		"bytes changed once": {faults: effect(hubtest.CDN, 1, func(*site) hubtest.Effect { return hubtest.Garble(100) })},
		"artifactory": {
			opts:   []hubtest.Option{hubtest.Direct(), hubtest.Prefix("/artifactory/api/huggingfaceml/hf")},
			faults: func(*site) []hubtest.Fault { return []hubtest.Fault{hubtest.Artifactory()} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)}, c.opts...)
			s.Inject(c.faults(s)...)
			requireFetched(t, s, s.options(t))
			requireHit(t, s)
			if name == "bytes changed once" {
				return // a Proof finds out
			}
			again := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)}, c.opts...)
			again.Inject(c.faults(again)...)
			requireRead(t, again)
			requireHit(t, again)
		})
	}
}

// requireHit fails if an injected fault did not happen.
func requireHit(t *testing.T, s *site) {
	t.Helper()
	for i, hits := range s.Hits() {
		require.Positive(t, hits, "fault %d did not happen", i)
	}
}

func effect(kind hubtest.Kind, times int, make func(*site) hubtest.Effect) func(*site) []hubtest.Fault {
	return func(s *site) []hubtest.Fault {
		return []hubtest.Fault{{Kind: kind, Times: times, Effect: make(s)}}
	}
}

// requireFetched fetches m.bin and compares every byte.
func requireFetched(t *testing.T, s *site, opts Options) Result {
	t.Helper()
	results, err := Files(t.Context(), []File{s.file(t, "m.bin")}, opts)
	require.NoError(t, err)
	got, err := os.ReadFile(results[0].Blob)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content(t, s.files["m.bin"].Content), got))
	requireClean(t, opts.Cache)
	return results[0]
}

// TestNoSecondWriter: bytes that are there, and hashed, are not written again, whatever a
// source that ignores ranges sends in their place.
func TestNoSecondWriter(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	s.Inject(
		hubtest.Fault{Kind: hubtest.CDN, Times: 1, Effect: hubtest.Cut(modelSize / 2)},
		hubtest.Fault{Kind: hubtest.CDN, Skip: 1, Times: 1, Effect: hubtest.Effects(hubtest.Garble(0), hubtest.IgnoreRange())},
	)
	opts := s.options(t)
	seen := &events{}
	opts.Jobs, opts.Progress = 1, seen
	requireFetched(t, s, opts)
	require.Equal(t, []int{1, 1}, s.Hits())
	require.Zero(t, seen.count(Discarded))
	require.EqualValues(t, modelSize, seen.sum(Received), "what is skipped is not new")
}

// TestExpired: signed URLs that end in the middle of a file are asked for again.
func TestExpired(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	opts := s.options(t)
	opts.Jobs = 1
	s.Inject(hubtest.Fault{Kind: hubtest.CDN, Times: 1, Effect: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.ExpireSignatures()
			hubtest.Cut(50_000)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write(content(t, s.files["m.bin"].Content))
			})).ServeHTTP(w, r)
		})
	}})
	requireFetched(t, s, opts)
}

// TestPermanent: what waiting cannot heal is not tried again.
func TestPermanent(t *testing.T) {
	for name, c := range map[string]struct {
		kind   hubtest.Kind
		effect hubtest.Effect
		text   string
	}{
		"missing":        {hubtest.Resolve, hubtest.Status(404, "X-Error-Code", "EntryNotFound"), "EntryNotFound"},
		"gated":          {hubtest.Resolve, hubtest.Status(403, "X-Error-Code", "GatedRepo"), "GatedRepo"},
		"another size":   {hubtest.Resolve, hubtest.SetHeader("X-Linked-Size", "200004"), "the Hub says"},
		"another sha256": {hubtest.Resolve, hubtest.SetHeader("X-Linked-Etag", `"`+strings.Repeat("f", 64)+`"`), "lock says"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
			s.Inject(hubtest.Fault{Kind: c.kind, Effect: c.effect})
			opts := s.options(t)
			opts.Jobs = 1
			seen := &events{}
			opts.Progress = seen
			_, err := Files(t.Context(), []File{s.file(t, "m.bin")}, opts)
			require.ErrorContains(t, err, c.text)
			require.Equal(t, fault.Upstream, fault.KindOf(err))
			require.Equal(t, []int{1}, s.Hits())
			require.Zero(t, seen.sum(Received))
		})
	}
}

// TestTriesEnd: a source that never delivers is given up after Tries, however many
// connections ask it.
func TestTriesEnd(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	s.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Status(503)})
	opts := s.options(t)
	_, err := Files(t.Context(), []File{s.file(t, "m.bin")}, opts)
	require.ErrorContains(t, err, "503")
	require.Equal(t, fault.Upstream, fault.KindOf(err))
	require.LessOrEqual(t, s.Hits()[0], quick.Tries*defaultJobs)
	require.GreaterOrEqual(t, s.Hits()[0], quick.Tries)
}

// TestLongRetryAfter: nobody waits an hour in silence.
func TestLongRetryAfter(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	s.Inject(hubtest.Fault{Kind: hubtest.Resolve, Effect: hubtest.RetryAfter(429, 3600)})
	_, err := Files(t.Context(), []File{s.file(t, "m.bin")}, s.options(t))
	require.ErrorContains(t, err, "429")
}

// TestWrongBytes: right size and wrong bytes are fetched once more, then refused with both
// sums, and nothing is left behind.
func TestWrongBytes(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	s.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Garble(100)})
	opts := s.options(t)
	seen := &events{}
	opts.Progress = seen
	f := s.file(t, "m.bin")
	_, err := Files(t.Context(), []File{f}, opts)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Regexp(t, "verifying .*m.bin: sha256 is [0-9a-f]{64}, lock says "+f.SHA256, err.Error())
	require.NotEmpty(t, fault.HintOf(err))
	require.Equal(t, 1, seen.count(Discarded))
	require.EqualValues(t, 2*modelSize, seen.sum(Received))
	requireClean(t, opts.Cache)
	_, err = opts.Cache.Lookup(repoName, s.commit, "m.bin")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestBothSumsGate: a git blob id and a sha256 must both hold.
func TestBothSumsGate(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"c.json": {Content: hubtest.Bytes([]byte("{}"))}})
	good := s.file(t, "c.json")
	onlyID, badSHA, badID := good, good, good
	onlyID.SHA256 = ""
	badSHA.SHA256 = strings.Repeat("0", 64)
	badID.SHA1 = strings.Repeat("0", 40)
	results, err := Files(t.Context(), []File{onlyID}, s.options(t))
	require.NoError(t, err)
	require.Equal(t, good.SHA256, results[0].SHA256, "computed though nobody knew it")
	_, err = Files(t.Context(), []File{badSHA}, s.options(t))
	require.ErrorContains(t, err, "sha256 is "+good.SHA256+", lock says "+badSHA.SHA256)
	_, err = Files(t.Context(), []File{badID}, s.options(t))
	require.ErrorContains(t, err, "git blob id is "+good.SHA1+", lock says "+badID.SHA1)
}

// TestTooLong: a source without headers that has more bytes than the lock says.
func TestTooLong(t *testing.T) {
	data := content(t, hubtest.Noise(7, modelSize))
	longer := &silentShelf{shelf{files: map[string]hubtest.Content{"m.bin": hubtest.Bytes(append(bytes.Clone(data), 'x'))}, piece: 1 << 20}}
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	opts := s.options(t)
	opts.Sources = []Source{longer}
	_, err := Files(t.Context(), []File{s.file(t, "m.bin")}, opts)
	require.ErrorContains(t, err, "more bytes than 200003")
}

// TestAnotherFile: a source that says that it has something else is not read.
func TestAnotherFile(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	other := &shelf{files: map[string]hubtest.Content{"m.bin": hubtest.Noise(7, modelSize+1)}, piece: 1 << 20}
	opts := s.options(t)
	opts.Jobs, opts.Sources = 1, []Source{other}
	_, err := Files(t.Context(), []File{s.file(t, "m.bin")}, opts)
	require.ErrorContains(t, err, "its size is 200004, lock says 200003")
	require.Zero(t, other.sent)
	require.EqualValues(t, 1, other.opens.Load())
}

// silentShelf does not say how large its files are.
type silentShelf struct{ shelf }

func (s *silentShelf) Open(ctx context.Context, repo, commit, path string, offset, length int64) (*hub.Body, error) {
	b, err := s.shelf.Open(ctx, repo, commit, path, offset, length)
	b.Size, b.Length = -1, -1
	return b, err
}

// TestSources: a source that fails is left for the next, which goes on with the partial.
func TestSources(t *testing.T) {
	for name, c := range map[string]struct {
		fault hubtest.Fault
		twice bool // what the first sent is of no use
	}{
		"missing":           {fault: hubtest.Fault{Kind: hubtest.Resolve, Effect: hubtest.Status(404)}},
		"breaks and closes": {fault: hubtest.Fault{Kind: hubtest.CDN, Skip: 1, Effect: hubtest.Status(503)}},
		"wrong bytes":       {fault: hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Garble(5)}, twice: true},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]hubtest.File{"m.bin": large(7, modelSize)}
			first, second := newSite(t, files), newSite(t, files)
			first.Inject(c.fault)
			opts := second.options(t)
			opts.Sources = []Source{first.client(t), second.client(t)}
			got := requireFetched(t, second, opts)
			require.Positive(t, second.Sent("m.bin"))
			if c.twice {
				require.EqualValues(t, 2*modelSize, got.Downloaded)
				require.GreaterOrEqual(t, second.Sent("m.bin"), int64(modelSize))
				return
			}
			require.EqualValues(t, modelSize, got.Downloaded, "the partial goes on")
		})
	}
}

// TestAllSourcesFail: the error tells of each.
func TestAllSourcesFail(t *testing.T) {
	files := map[string]hubtest.File{"m.bin": large(7, 1000)}
	first, second := newSite(t, files), newSite(t, files)
	first.Inject(hubtest.Fault{Kind: hubtest.Resolve, Effect: hubtest.Status(404)})
	second.Inject(hubtest.Fault{Kind: hubtest.Resolve, Effect: hubtest.Status(403)})
	opts := second.options(t)
	opts.Sources = []Source{first.client(t), second.client(t)}
	_, err := Files(t.Context(), []File{second.file(t, "m.bin")}, opts)
	require.ErrorContains(t, err, "404")
	require.ErrorContains(t, err, "403")
}

// TestSomeRefused: a source that serves two connections at a time and refuses the others is
// slow, not broken.
func TestSomeRefused(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	tokens := make(chan struct{}, 2)
	var refused atomic.Int64
	s.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case tokens <- struct{}{}:
				defer func() { <-tokens }()
				time.Sleep(20 * time.Millisecond) // a connection lasts
				next.ServeHTTP(w, r)
			default:
				refused.Add(1)
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
	}})
	opts := s.options(t)
	opts.Limits.Tries = 4
	opts.Limits.Wait, opts.Limits.MaxWait = 20*time.Millisecond, 100*time.Millisecond
	requireFetched(t, s, opts)
	require.Greater(t, refused.Load(), int64(opts.Limits.Tries), "more than one stream may take for final")
}

// TestCanceled: the end of a context ends everything at once, and is the error.
func TestCanceled(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	s.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: s.Stall(1000)})
	c, err := hub.New(hub.Config{Endpoint: s.URL()}) // patient: only ctx can end it
	require.NoError(t, err)
	defer c.Close()
	opts := s.options(t)
	opts.Sources = []Source{c}
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("had enough")
	time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	start := time.Now()
	_, err = Files(ctx, []File{s.file(t, "m.bin")}, opts)
	require.ErrorIs(t, err, reason)
	require.Equal(t, fault.Canceled, fault.KindOf(err))
	require.Less(t, time.Since(start), 5*time.Second)
	list, err := opts.Cache.Partials()
	require.NoError(t, err)
	require.Len(t, list, 1, "what came is kept")
	require.Nil(t, list[0].Owner)
}
