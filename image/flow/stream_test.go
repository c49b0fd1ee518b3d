package flow_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// streamResident bounds the resident memory of a streamed publication, in bytes.
const streamResident = 100_000_000

// above is the size from which on these tests stream: of the tiny model, every container.
const above = 50_000

// ciMachine is a machine in CI that has the committed lock and nothing else.
func ciMachine(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	_, err := flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	w.env["CI"] = "true"
	w.hub.Reset()
	return w
}

func (w *world) stream(targets ...string) (*flow.PublishResult, error) {
	return flow.PublishTo(w.t.Context(), w.job(), flow.PublishOptions{Targets: targets, Stream: true, StreamAbove: above})
}

// kept lists the model's files.
func (w *world) kept() []manifests.LockFile {
	w.t.Helper()
	l, err := manifests.LoadLock(filepath.Join(w.dir, "demo.lock"))
	require.NoError(w.t, err)
	var out []manifests.LockFile
	for _, f := range l.Files {
		if f.Keep {
			out = append(out, f)
		}
	}
	return out
}

// largest is the size of the largest file below a folder.
func largest(t *testing.T, dir string) (n int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		n = max(n, info.Size())
		return err
	}))
	return n
}

// TestStream: from the lock alone, on a machine with nothing, one command publishes the same
// image as fetch, build and publish do. Every large file is read once, and none is kept.
func TestStream(t *testing.T) {
	w := ciMachine(t)
	w.opts.Out = filepath.Join(w.dir, "ci", "out")
	r, err := w.stream(w.registry + "/demo:1")
	require.NoError(t, err, "%s", w.stderr.String())
	for _, f := range w.kept() {
		if f.Size > above {
			require.LessOrEqual(t, w.hub.Sent(f.Path), f.Size+256<<10, f.Path)
			blob := filepath.Join(w.dir, "hf", "hub", "models--"+strings.ReplaceAll(f.Repo, "/", "--"), "blobs", f.SHA256)
			require.NoFileExists(t, blob)
		}
	}
	require.LessOrEqual(t, largest(t, filepath.Join(w.dir, "hf")), int64(above))
	require.Equal(t, r.Targets[0].Bytes, r.Targets[0].SentBytes)
	require.Contains(t, w.stderr.String(), "are not stored on this machine")

	verified, err := flow.VerifyIn(t.Context(), w.job(), flow.VerifyOptions{In: "docker://" + w.registry + "/demo:1"})
	require.NoError(t, err)
	require.True(t, verified.OK)

	other := newWorld(t)
	built, err := flow.Make(t.Context(), other.job())
	require.NoError(t, err)
	require.Equal(t, built.Digest, r.Digest, "the same image as a build's")
	is, err := os.ReadFile(filepath.Join(w.dir, "ci", "out", "demo.lock"))
	require.NoError(t, err)
	want, err := os.ReadFile(filepath.Join(other.dir, "demo.lock"))
	require.NoError(t, err)
	require.Equal(t, string(want), string(is), "the same is learned")

	w.hub.Close()
	again, err := w.stream(w.registry + "/demo:2")
	require.NoError(t, err, "nothing is needed of the Hub")
	require.Zero(t, again.Targets[0].SentBytes)
	require.Equal(t, r.Digest, again.Digest)
}

// plainModel is a manifest of one repository without a runtime, whose large file is cut into
// three layers.
const plainModel = "apiVersion: plimsoll/v1\nname: mine\ntitle: Mine\nruntime: none\npartSize: 3 MB\nsources:\n"

// plainSize is the size of its large file.
const plainSize = 8_000_000

// plainMachine is a machine in CI with the lock of a plain model, served by a Hub of its own.
func plainMachine(t *testing.T, opts ...hubtest.Option) *world {
	return plainMachineOf(t, plainSize, opts...)
}

func plainMachineOf(t *testing.T, size int64, opts ...hubtest.Option) *world {
	t.Helper()
	w := newWorld(t)
	w.hub = startHub(t, size, "", []string{"large"}, opts...)
	w.env["HF_ENDPOINT"] = w.hub.URL()
	w.opts.Model = filepath.Join(w.dir, "mine.yaml")
	require.NoError(t, os.WriteFile(w.opts.Model, []byte(plainModel+fmt.Sprintf(oneSource, "large", "")), 0o644))
	_, err := flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	w.env["CI"] = "true"
	w.hub.Reset()
	return w
}

// digestOfBuild is the digest of the image that the normal way makes.
func (w *world) digestOfBuild() string {
	w.t.Helper()
	o, env := w.opts, maps.Clone(w.env)
	env["HF_HOME"] = filepath.Join(w.dir, "normal")
	o.Getenv, o.Out = func(k string) string { return env[k] }, filepath.Join(w.dir, "normal-out")
	j, err := flow.New(o)
	require.NoError(w.t, err)
	defer j.Close()
	r, err := flow.Make(w.t.Context(), j)
	require.NoError(w.t, err)
	return r.Digest
}

// tagged reports what a tag names, "" if nothing.
func tagged(t *testing.T, reference string) string {
	t.Helper()
	ref, err := name.ParseReference(reference)
	require.NoError(t, err)
	d, err := remote.Head(ref)
	if err != nil {
		return ""
	}
	return d.Digest.String()
}

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

// TestStreamKnownDigests: where the lock knows the layers, a registry that lacks them gets
// them from the Hub, and their own sums keep wrong bytes from it.
func TestStreamKnownDigests(t *testing.T) {
	w, d := plainMachine(t), registrytest.StartDiscard(t, nil)
	first, err := w.stream(w.registry + "/mine:1")
	require.NoError(t, err)
	w.hub.Reset()
	w.hub.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Garble(3_000_000)})
	_, err = w.stream(d.Host + "/mine:1")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "lock again")
	require.Empty(t, tagged(t, d.Host+"/mine:1"))

	w.hub.Calm()
	w.hub.Reset()
	r, err := w.stream(d.Host+"/mine:1", w.registry+"/mine:2")
	require.NoError(t, err)
	require.Equal(t, first.Digest, r.Digest)
	require.Equal(t, r.Digest, tagged(t, d.Host+"/mine:1"))
	require.LessOrEqual(t, w.hub.Sent(""), int64(plainSize), "what the first try brought is not read again")
	require.Zero(t, r.Targets[1].SentBytes)
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

// TestStreamJudgesFirst: what is wrong with a checkpoint or the set is found before a large
// file moves, in the words of a build.
func TestStreamJudgesFirst(t *testing.T) {
	w := newWorld(t)
	data, err := os.ReadFile(w.opts.Model)
	require.NoError(t, err)
	changed := strings.Replace(string(data), "precision: int4\n    rank: 128", "precision: int4\n    rank: 64", 1)
	require.NotEqual(t, string(data), changed)
	changed = strings.Replace(changed, "supportedRanks: [128]", "supportedRanks: [64, 128]", 1)
	require.NoError(t, os.WriteFile(w.opts.Model, []byte(changed), 0o644))
	_, err = flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	_, normal := flow.Make(t.Context(), w.job())
	require.Equal(t, fault.Invalid, fault.KindOf(normal))

	w.env["HF_HOME"] = filepath.Join(w.dir, "empty")
	require.NoError(t, os.Remove(filepath.Join(w.dir, "demo.lock")))
	_, err = flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	w.env["CI"] = "true"
	w.hub.Reset()
	_, err = w.stream(w.registry + "/demo:1")
	require.EqualError(t, err, normal.Error())
	require.Equal(t, fault.HintOf(normal), fault.HintOf(err))
	for _, f := range w.kept() {
		require.LessOrEqual(t, w.hub.Sent(f.Path), int64(512<<10), "only the header of %s was read", f.Path)
	}
}

// TestStreamTargets: several registries and repositories in one run read the Hub once; one
// that fails does not stop the others.
func TestStreamTargets(t *testing.T) {
	w := plainMachine(t)
	other := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(other.Close)
	dead := strings.TrimPrefix(nobody(t), "http://")
	full := failing(t, 2_000_000)
	targets := []string{w.registry + "/a:1", strings.TrimPrefix(other.URL, "http://") + "/b:1", w.registry + "/c:2", dead + "/d:1", full + "/e:1"}
	r, err := w.stream(targets...)
	require.Equal(t, fault.Registry, fault.KindOf(err))
	require.Len(t, r.Targets, 3, "%v", err)
	require.Len(t, r.Failed, 2)
	require.EqualValues(t, plainSize, w.hub.Sent("model.bin"))
	for _, target := range targets[:3] {
		require.Equal(t, r.Digest, tagged(t, target))
	}
	_, err = w.stream(dead + "/d:1")
	require.Equal(t, fault.Registry, fault.KindOf(err))
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

// TestStreamMonolithic: a registry that wants the digest first gets the bytes in a second
// reading, and a note says so before.
func TestStreamMonolithic(t *testing.T) {
	const size = 40_000_000 // twice the window of a file
	w := plainMachineOf(t, size)
	known := push.Registries
	push.Registries = append([]push.Registry{{Host: w.registry, Strategy: push.Monolithic, Restart: true}}, known...)
	t.Cleanup(func() { push.Registries = known })
	r, err := w.stream(w.registry + "/mine:1")
	require.NoError(t, err)
	require.Contains(t, w.stderr.String(), "are read twice")
	require.Greater(t, w.hub.Sent("model.bin"), int64(size*3/2))
	require.LessOrEqual(t, w.hub.Sent("model.bin"), int64(2*size))
	require.Equal(t, w.digestOfBuild(), r.Digest)
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

// TestStreamUsage: flags that contradict each other are refused, and a dry run changes
// nothing.
func TestStreamUsage(t *testing.T) {
	w := plainMachine(t)
	for _, o := range []flow.PublishOptions{
		{Stream: true}, {Stream: true, Targets: []string{"a.example/b:1"}, From: "dir"}, {Stream: true, Targets: []string{"a.example/b:1"}, Tag: "x"},
	} {
		_, err := flow.PublishTo(t.Context(), w.job(), o)
		require.Equal(t, fault.Usage, fault.KindOf(err))
		require.NotEmpty(t, fault.HintOf(err))
	}
	r, err := flow.PublishTo(t.Context(), w.job(), flow.PublishOptions{Targets: []string{w.registry + "/mine:1"}, Stream: true, StreamAbove: above, DryRun: true})
	require.NoError(t, err)
	require.Greater(t, r.Plans[0].Bytes[push.ToStream], int64(plainSize))
	require.Contains(t, r.Text(), "to stream")
	require.NotContains(t, r.Text(), "digest")
	require.Zero(t, w.hub.Sent(""))
	require.NoDirExists(t, filepath.Join(w.dir, "out"))

	require.NoError(t, os.Remove(filepath.Join(w.dir, "mine.lock")))
	_, err = w.stream(w.registry + "/mine:1")
	require.Equal(t, fault.Lock, fault.KindOf(err))
}

// onDisk adds up the files below a folder.
func onDisk(t *testing.T, dir string) (n int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		n += info.Size()
		return err
	}))
	return n
}
