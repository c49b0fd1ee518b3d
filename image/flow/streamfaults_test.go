package flow_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// TestStreamFaults: whatever the Hub does, the image is the right one.
func TestStreamFaults(t *testing.T) {
	for name, c := range map[string]struct {
		faults func(*hubtest.Hub) []hubtest.Fault
		opts   []hubtest.Option
		sent   float64 // of the file at most
	}{
		"no fault":        {sent: 1},
		"cut in the file": {faults: cdn(3, hubtest.Cut(300_000)), sent: 1.2},
		"reset":           {faults: cdn(3, hubtest.Reset(1_000_000)), sent: 1.6}, // what a reset throws away was sent
		"range ignored":   {faults: cdn(0, hubtest.IgnoreRange()), sent: 4},
		"range ignored, and cut": {faults: func(h *hubtest.Hub) []hubtest.Fault {
			return []hubtest.Fault{{Kind: hubtest.CDN, Times: 1, Effect: hubtest.Cut(5_000_000)}, {Kind: hubtest.CDN, Effect: hubtest.IgnoreRange()}}
		}, sent: 5},
		"wrong byte once": {faults: cdn(2, hubtest.Garble(2_500_000)), sent: 2},
		"wrong head":      {faults: cdn(1, hubtest.Garble(5)), sent: 2},
		"artifactory": {
			opts:   []hubtest.Option{hubtest.Direct(), hubtest.Prefix("/artifactory/api/huggingfaceml/hf")},
			faults: func(*hubtest.Hub) []hubtest.Fault { return []hubtest.Fault{hubtest.Artifactory()} }, sent: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := plainMachine(t, c.opts...)
			if c.faults != nil {
				w.hub.Inject(c.faults(w.hub)...)
			}
			r, err := w.stream(w.registry + "/mine:1")
			require.NoError(t, err, "%s", w.stderr.String())
			for _, hits := range w.hub.Hits() {
				require.Positive(t, hits)
			}
			require.LessOrEqual(t, float64(w.hub.Sent("model.bin")), c.sent*plainSize)
			require.Equal(t, r.Digest, tagged(t, w.registry+"/mine:1"))
			w.hub.Calm()
			require.Equal(t, w.digestOfBuild(), r.Digest)
			require.LessOrEqual(t, largest(t, filepath.Join(w.dir, "hf")), int64(above))
		})
	}
}

// cdn makes a fault of the CDN's answers.
func cdn(times int, e hubtest.Effect) func(*hubtest.Hub) []hubtest.Fault {
	return func(*hubtest.Hub) []hubtest.Fault {
		return []hubtest.Fault{{Kind: hubtest.CDN, File: "model.bin", Times: times, Effect: e}}
	}
}

// TestStreamNeverTagsWrongBytes: a byte that stays wrong ends the publication without a tag;
// the layer in which the file ends is not even closed.
func TestStreamNeverTagsWrongBytes(t *testing.T) {
	for name, at := range map[string]int64{"first layer": 100, "last layer": plainSize - 100} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, d := plainMachine(t), registrytest.StartDiscard(t, nil)
			w.hub.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Garble(at)})
			r, err := w.stream(d.Host + "/mine:1")
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.ErrorContains(t, err, "lock says")
			require.NotEmpty(t, fault.HintOf(err))
			require.Empty(t, r.Targets)
			require.Empty(t, tagged(t, d.Host+"/mine:1"))
			require.NoFileExists(t, filepath.Join(w.dir, "out", "mine", "index.json"))
			require.Less(t, d.Stored(), int64(3<<21+10_000), "the last of four layers, cut at 2 MiB, was never closed")
			require.EqualValues(t, 2*plainSize, w.hub.Sent("model.bin"), "it was asked for once more")

			w.hub.Calm()
			r, err = w.stream(d.Host + "/mine:1")
			require.NoError(t, err)
			require.Equal(t, w.digestOfBuild(), r.Digest)
		})
	}
}

// TestStreamHubDies: that the Hub fails for good is said with its words, and costs nothing
// of what was done.
func TestStreamHubDies(t *testing.T) {
	w := plainMachine(t)
	w.hub.Inject(hubtest.Fault{Kind: hubtest.CDN, File: "model.bin", Skip: 2, Effect: hubtest.Status(404)})
	_, err := w.stream(w.registry + "/mine:1")
	require.Equal(t, fault.Upstream, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "404")
	require.Empty(t, tagged(t, w.registry+"/mine:1"))
	w.hub.Calm()
	r, err := w.stream(w.registry + "/mine:1")
	require.NoError(t, err)
	require.Equal(t, w.digestOfBuild(), r.Digest)
}

// failing is a registry whose disk is full after so many bytes.
func failing(t *testing.T, after int64) string {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var got atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch && got.Add(r.ContentLength) > after {
			w.WriteHeader(http.StatusInsufficientStorage)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// TestStreamRegistryCut: a registry that breaks a layer off gets the rest of it. What the
// window does not hold any more is asked of the Hub again: all, where the registry has
// forgotten the upload, and little where it has not.
func TestStreamRegistryCut(t *testing.T) {
	const size, after = 60_000_000, 25_000_000
	for name, c := range map[string]struct {
		forget bool
		again  int64
	}{"kept": {false, 17 << 20}, "forgotten": {true, size}} {
		t.Run(name, func(t *testing.T) {
			var d *registrytest.Discard
			var once sync.Once
			d = registrytest.StartDiscard(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					cut := false
					if r.Method == http.MethodPatch && r.ContentLength > after {
						once.Do(func() { cut, r.Body = true, io.NopCloser(io.LimitReader(r.Body, after)) })
					}
					if !cut {
						next.ServeHTTP(w, r)
						return
					}
					next.ServeHTTP(httptest.NewRecorder(), r)
					if c.forget {
						d.Forget()
					}
					panic(http.ErrAbortHandler)
				})
			})
			w := plainMachineOf(t, size)
			data, err := os.ReadFile(w.opts.Model)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(w.opts.Model, []byte(strings.Replace(string(data), "partSize: 3 MB\n", "", 1)), 0o644))
			delete(w.env, "CI")
			_, err = flow.Lock(t.Context(), w.job(), false)
			require.NoError(t, err)
			w.env["CI"] = "true"
			w.hub.Reset()
			r, err := w.stream(d.Host + "/mine:1")
			require.NoError(t, err, "%s", w.stderr.String())
			require.Equal(t, r.Digest, tagged(t, d.Host+"/mine:1"))
			require.Equal(t, 1-map[bool]int{true: 1}[c.forget], r.Targets[0].Resumed)
			require.LessOrEqual(t, w.hub.Sent("model.bin"), size+c.again)
			require.Equal(t, w.digestOfBuild(), r.Digest)
		})
	}
}

// TestStreamInterrupted: interrupted anywhere, the next run brings the rest. What is done
// is neither read nor sent again.
func TestStreamInterrupted(t *testing.T) {
	w := plainMachine(t)
	ctx, cancel := context.WithCancel(t.Context())
	var seen atomic.Int64
	w.hub.Inject(hubtest.Fault{Kind: hubtest.CDN, File: "model.bin", Effect: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if seen.Add(1) == 3 {
				cancel()
			}
			next.ServeHTTP(rw, r)
		})
	}})
	o := flow.PublishOptions{Targets: []string{w.registry + "/mine:1"}, Stream: true, StreamAbove: above}
	_, err := flow.PublishTo(ctx, w.job(), o)
	require.Equal(t, fault.Canceled, fault.KindOf(err))
	require.Empty(t, tagged(t, w.registry+"/mine:1"))
	w.hub.Calm()
	r, err := w.stream(w.registry + "/mine:1")
	require.NoError(t, err)
	require.Equal(t, w.digestOfBuild(), r.Digest)
	entries, err := os.ReadDir(filepath.Join(w.dir, "hf", "hub", "plimsoll", "streams"))
	require.NoError(t, err)
	require.Empty(t, entries, "what is done needs no journal")
}
