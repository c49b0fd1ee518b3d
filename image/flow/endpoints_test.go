package flow_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// oneSource is a source of a manifest whose repository is kept whole.
const oneSource = `  - name: %[1]s
    title: %[1]s
    role: base
    repo: owner/%[1]s
    revision: main
    license: Apache-2.0
    path: %[1]s
%[2]s    rules:
      - name: all
        keep: ["**"]
        reason: all of it
`

// manifestOf writes a manifest of sources, each with its endpoints, and returns its path.
func (w *world) manifestOf(sources map[string][]string) string {
	w.t.Helper()
	text := "apiVersion: plimsoll/v1\nname: mine\ntitle: Mine\nruntime: none\nsources:\n"
	for _, name := range []string{"large", "other"} {
		if endpoints, ok := sources[name]; ok {
			own := ""
			if endpoints != nil {
				own = "    endpoints: [" + strings.Join(endpoints, ", ") + "]\n"
			}
			text += fmt.Sprintf(oneSource, name, own)
		}
	}
	path := filepath.Join(w.dir, "mine.yaml")
	require.NoError(w.t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// startHub serves owner/NAME, of one large and one small file, for each name.
func startHub(t *testing.T, size int64, sha256 string, names []string, opts ...hubtest.Option) *hubtest.Hub {
	t.Helper()
	h := hubtest.New(opts...)
	for _, name := range names {
		_, err := h.Add(hubtest.Repo{Name: "owner/" + name, Files: map[string]hubtest.File{
			"model.bin":   {Content: hubtest.Noise(5, size), LFS: true, SHA256: sha256},
			"config.json": {Content: hubtest.Bytes([]byte("{}"))},
		}})
		require.NoError(t, err)
	}
	_, err := h.Start()
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

// dies closes a Hub in the middle of an answer.
func dies(h *hubtest.Hub, after int64) hubtest.Fault {
	var once sync.Once
	return hubtest.Fault{Kind: hubtest.CDN, Effect: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer once.Do(func() { go h.Close() })
			hubtest.Cut(after)(next).ServeHTTP(w, r)
		})
	}}
}

// TestEndpointsInOrder: a source's first endpoint dies in the middle of a file, and the
// second goes on with what came. Neither sees the token, which belongs to HF_ENDPOINT.
func TestEndpointsInOrder(t *testing.T) {
	t.Parallel()
	const size, came = 3_000_000, 1_000_000
	w := newWorld(t)
	first, second := startHub(t, size, "", []string{"large"}), startHub(t, size, "", []string{"large"})
	delete(w.env, "HF_ENDPOINT")
	w.env["HF_TOKEN"] = "hf_secret"
	w.opts.Model = w.manifestOf(map[string][]string{"large": {first.URL(), second.URL()}})
	_, err := flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	require.Empty(t, second.Requests(), "the first endpoint answers")

	first.Inject(dies(first, came))
	r, err := flow.Fetch(t.Context(), w.job())
	require.NoError(t, err)
	require.EqualValues(t, size, r.Downloaded, "the partial goes on")
	require.EqualValues(t, size-came, second.Sent("model.bin"))
	require.Contains(t, w.stderr.String(), "going on with the next source")
	for _, seen := range append(first.Requests(), second.Requests()...) {
		require.False(t, seen.Authorized, "%v", seen)
	}
	require.NotContains(t, w.stderr.String(), "hf_secret")

	second.Reset()
	again, err := flow.Lock(t.Context(), w.job(), true)
	require.NoError(t, err)
	require.False(t, again.Written)
	require.NotEmpty(t, second.Requests(), "the first is dead, so the second is asked for its listing")
}

// TestTokenStaysWithItsEndpoint: HF_ENDPOINT is asked first, with the token; the manifest's
// endpoint comes after it, without.
func TestTokenStaysWithItsEndpoint(t *testing.T) {
	w := newWorld(t)
	own := startHub(t, 100_000, "", []string{"large"}, hubtest.Token("hf_secret"))
	mirror := startHub(t, 100_000, "", []string{"large"})
	w.env["HF_ENDPOINT"], w.env["HF_TOKEN"] = own.URL(), "hf_secret"
	w.opts.Model = w.manifestOf(map[string][]string{"large": {mirror.URL()}})
	own.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Status(404)})
	_, err := flow.Fetch(t.Context(), w.job())
	require.NoError(t, err)
	authorized := 0
	for _, seen := range own.Requests() {
		if seen.Authorized {
			authorized++
		}
		require.Equal(t, seen.Kind != hubtest.CDN, seen.Authorized, "%v", seen)
	}
	require.Positive(t, authorized)
	require.EqualValues(t, 100_000, mirror.Sent("model.bin"))
	for _, seen := range mirror.Requests() {
		require.False(t, seen.Authorized, "%v", seen)
	}
}

// TestOffline: with everything cached there is not one request; with something missing
// there is an error, and not one request either.
func TestOffline(t *testing.T) {
	w := newWorld(t)
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	w.hub.Reset()
	w.env["HF_HUB_OFFLINE"] = "1"
	j := w.job()
	r, err := flow.Fetch(t.Context(), j)
	require.NoError(t, err)
	require.Zero(t, r.Downloaded)
	_, err = flow.Verify(t.Context(), j, true)
	require.NoError(t, err)
	_, err = flow.Make(t.Context(), j)
	require.NoError(t, err)
	require.Empty(t, w.hub.Requests())

	blobs, err := filepath.Glob(filepath.Join(w.env["HF_HOME"], "hub", "models--*", "blobs", "*"))
	require.NoError(t, err)
	require.NoError(t, os.Remove(blobs[0]))
	_, err = flow.Fetch(t.Context(), w.job())
	require.Equal(t, fault.Upstream, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "HF_HUB_OFFLINE")
	require.Empty(t, w.hub.Requests())
}

// TestProxies: with a lock, a Hub behind a proxy that hides half of what the Hub says, and
// a mirror that sends everybody back, deliver the same bytes.
func TestProxies(t *testing.T) {
	for name, start := range map[string]func(w *world) *hubtest.Hub{
		"artifactory": func(w *world) *hubtest.Hub {
			h := hubtest.New(hubtest.Direct(), hubtest.Prefix("/artifactory/api/huggingfaceml/hf"))
			w.serve(h)
			h.Inject(hubtest.Artifactory())
			return h
		},
		"mirror that redirects back": func(w *world) *hubtest.Hub {
			h := hubtest.New()
			h.Inject(hubtest.Fault{Effect: hubtest.RedirectTo(w.hub.URL())})
			return h
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			locked, err := flow.Lock(t.Context(), w.job(), false)
			require.NoError(t, err)
			h := start(w)
			_, err = h.Start()
			require.NoError(t, err)
			t.Cleanup(func() { h.Close() })
			w.env["HF_ENDPOINT"], w.env["HF_HOME"], w.env["CI"] = h.URL(), filepath.Join(w.dir, "second"), "true"
			j := w.job()
			r, err := flow.Fetch(t.Context(), j)
			require.NoError(t, err)
			require.Equal(t, locked.KeptBytes, r.Bytes)
			require.NotZero(t, r.Downloaded)
			require.NotEmpty(t, h.Requests())
			checked, err := flow.Verify(t.Context(), j, true)
			require.NoError(t, err)
			require.NoError(t, checked.Err())
		})
	}
}

// serve adds the world's repositories to another Hub.
func (w *world) serve(h *hubtest.Hub) {
	w.t.Helper()
	base, err := modelsettest.Base(modelsettest.Tiny())
	require.NoError(w.t, err)
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(w.t, err)
	for name, files := range map[string]map[string]modelsettest.File{"Qwen/Qwen-Image-Edit": base, "nunchaku-ai/nunchaku-qwen-image-edit": checkpoints} {
		_, err := h.Add(hubtest.Repo{Name: name, License: "apache-2.0", Files: served(files)})
		require.NoError(w.t, err)
	}
}

// TestPlanAhead: before the first byte of any source it is said what all of them take, and
// that the disk has too little room.
func TestPlanAhead(t *testing.T) {
	const size, vast = 100_000, int64(1) << 50
	w := newWorld(t)
	one := startHub(t, size, "", []string{"large"})
	two := startHub(t, size, "", []string{"other"})
	w.opts.Model = w.manifestOf(map[string][]string{"large": {one.URL()}, "other": {two.URL()}})
	delete(w.env, "HF_ENDPOINT")
	_, err := flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	w.stderr.Reset()
	_, err = flow.Fetch(t.Context(), w.job())
	require.NoError(t, err)
	plan, _, _ := strings.Cut(w.stderr.String(), "\n")
	require.Regexp(t, `^fetch: 4 files, 200 kB: 0 B cached, 4 B to check, 0 B of an earlier fetch, 200 kB to download, .* free$`, plan)
	require.Equal(t, 1, strings.Count(w.stderr.String(), "to download"), "one plan for both sources")
	require.Regexp(t, `\nfetch: 200 kB in .*\n$`, w.stderr.String())

	large := startHub(t, vast, strings.Repeat("a", 64), []string{"other"})
	w.opts.Model = w.manifestOf(map[string][]string{"large": {one.URL()}, "other": {large.URL()}})
	_, err = flow.Lock(t.Context(), w.job(), true)
	require.NoError(t, err)
	one.Reset()
	w.env["HF_HOME"] = filepath.Join(w.dir, "second")
	_, err = flow.Fetch(t.Context(), w.job())
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.ErrorContains(t, err, "more are needed on disk")
	require.Contains(t, fault.HintOf(err), "HF_HUB_CACHE")
	require.Empty(t, one.Requests(), "nothing is asked for")
}

// TestEvents: with Options.Events all that is said is JSON, and nothing is asked.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.opts.Events, w.opts.TTY, w.opts.Stdin = true, true, strings.NewReader("no\n")
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	kinds := map[string]int{}
	for line := range strings.Lines(w.stderr.String()) {
		_, rest, ok := strings.Cut(line, `{"event":"`)
		require.True(t, ok, line)
		kind, _, _ := strings.Cut(rest, `"`)
		kinds[kind]++
	}
	for _, kind := range []string{"plan", "began", "received", "finished", "ended"} {
		require.Positive(t, kinds[kind], kind)
	}
	require.Equal(t, kinds["plan"], strings.Count(w.stderr.String(), `"step":"fetch","done"`), "each fetch has one end")
}
