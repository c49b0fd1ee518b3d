package flow_test

import (
	"bytes"
	"context"
	"encoding/json"
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
	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/gobinary"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// root is the module's root, seen from this package.
const root = "../.."

// world is a loopback Hub that serves the real repositories' names at tiny width, a
// registry, and a machine with an empty cache.
type world struct {
	t        *testing.T
	hub      *hubtest.Hub
	registry string
	dir      string
	stderr   bytes.Buffer
	// read counts the bytes read from model files by image and publish.
	read atomic.Int64
	env  map[string]string
	opts flow.Options
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), hub: hubtest.New()}
	base, err := modelsettest.Base(modelsettest.Tiny())
	require.NoError(t, err)
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(t, err)
	w.add("Qwen/Qwen-Image-Edit", base)
	w.add("nunchaku-ai/nunchaku-qwen-image-edit", checkpoints)
	_, err = w.hub.Start()
	require.NoError(t, err)
	t.Cleanup(func() { w.hub.Close() })
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	w.registry = strings.TrimPrefix(s.URL, "http://")
	w.env = map[string]string{"HF_ENDPOINT": w.hub.URL(), "HF_HOME": filepath.Join(w.dir, "hf")}
	w.opts = flow.Options{
		Root: root, Model: w.manifest(), Out: filepath.Join(w.dir, "out"), BaseOptional: true, Mirrors: []string{nobody(t)},
		Getenv: func(k string) string { return w.env[k] }, Stderr: &w.stderr, Open: w.open, Program: builtOnce,
	}
	return w
}

// program is the image's program, built once for all worlds: they have one source.
var program = sync.OnceValues(func() (*flow.Program, error) {
	dir, err := os.MkdirTemp("", "program")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return flow.BuildProgram(context.Background(), gobinary.Options{Dir: root, Package: "./runtime", Out: filepath.Join(dir, "program")})
})

func builtOnce(context.Context, gobinary.Options) (*flow.Program, error) { return program() }

func (w *world) add(repo string, files map[string]modelsettest.File) {
	w.t.Helper()
	_, err := w.hub.Add(hubtest.Repo{Name: repo, License: "apache-2.0", Files: served(files)})
	require.NoError(w.t, err)
}

// nobody is the address of a mirror that nobody serves.
func nobody(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	return s.URL
}

// manifest writes the demo's manifest, which pins no commit, into the world's folder.
func (w *world) manifest() string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "manifests", "demo.yaml"))
	require.NoError(w.t, err)
	path := filepath.Join(w.dir, "demo.yaml")
	require.NoError(w.t, os.WriteFile(path, data, 0o644))
	return path
}

// countingFile counts what is read from a model file.
type countingFile struct {
	*os.File
	n *atomic.Int64
}

func (f countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.n.Add(int64(n))
	return n, err
}

func (w *world) open(path string) (image.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return countingFile{File: f, n: &w.read}, nil
}

// job prepares a job, as a new process would.
func (w *world) job() *flow.Job {
	w.t.Helper()
	j, err := flow.New(w.opts)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { j.Close() })
	return j
}

func TestWholeWay(t *testing.T) {
	w := newWorld(t)
	plan, err := flow.Plan(t.Context(), w.job())
	require.NoError(t, err)
	require.False(t, plan.Locked)
	require.Zero(t, plan.Total.Cached)
	require.Less(t, plan.Total.Download, plan.Total.Kept, "files with equal bytes come once")
	require.NoFileExists(t, filepath.Join(w.dir, "demo.lock"), "a plan writes nothing")

	j := w.job()
	lock, err := flow.Lock(t.Context(), j, false)
	require.NoError(t, err)
	require.True(t, lock.Written)
	fetched, err := flow.Fetch(t.Context(), j)
	require.NoError(t, err)
	require.Equal(t, plan.Total.Kept, fetched.Bytes)
	checked, err := flow.Verify(t.Context(), j, true)
	require.NoError(t, err)
	require.NoError(t, checked.Findings.Err())
	for _, f := range checked.Files {
		require.True(t, f.OK, f.Path)
	}

	w.read.Store(0)
	built, err := flow.Build(t.Context(), j)
	require.NoError(t, err)
	require.Zero(t, w.read.Load(), "after fetch, build reads no model file")
	published, err := flow.Publish(t.Context(), j, []string{w.registry + "/demo:1"}, filepath.Join(w.dir, "digest"))
	require.NoError(t, err)
	require.Equal(t, built.Digest, published.Digest)
	require.Equal(t, plan.Total.Kept, w.read.Load(), "publish reads every model file once")
	digest, err := os.ReadFile(filepath.Join(w.dir, "digest"))
	require.NoError(t, err)
	require.Equal(t, built.Digest+"\n", string(digest))

	r, err := flow.Report(t.Context(), j)
	require.NoError(t, err)
	require.Equal(t, built.Digest, r.Image.Digest)
	require.NotEmpty(t, r.Unused, "lm_head is aboard and not used")
}

// TestNewMachinePublishesWithoutBytes: a lock with layer lines and a registry that has the
// layers are enough.
func TestNewMachinePublishesWithoutBytes(t *testing.T) {
	w := newWorld(t)
	first, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	_, err = flow.Publish(t.Context(), w.job(), []string{w.registry + "/demo:1"}, "")
	require.NoError(t, err)

	w.env["HF_HOME"], w.env["CI"] = filepath.Join(w.dir, "empty"), "true"
	w.opts.Out = filepath.Join(w.dir, "elsewhere")
	w.hub.Close()
	w.read.Store(0)
	j := w.job()
	second, err := flow.Make(t.Context(), j)
	require.NoError(t, err)
	require.Equal(t, first.Digest, second.Digest, "two folders, one digest")
	r, err := flow.Publish(t.Context(), j, []string{w.registry + "/demo:2"}, "")
	require.NoError(t, err)
	require.Zero(t, r.Targets[0].SentBytes)
	require.Zero(t, w.read.Load())
}

// TestPublishFetchesWhatIsMissing: where the registry lacks layers, their files are
// fetched first.
func TestPublishFetchesWhatIsMissing(t *testing.T) {
	w := newWorld(t)
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	w.env["HF_HOME"] = filepath.Join(w.dir, "empty")
	j := w.job()
	r, err := flow.Publish(t.Context(), j, []string{w.registry + "/demo:1"}, "")
	require.NoError(t, err)
	require.Contains(t, w.stderr.String(), "fetching them")
	require.NotZero(t, r.Targets[0].SentBytes)
}

func TestOneFailingTargetDoesNotStopTheOthers(t *testing.T) {
	w := newWorld(t)
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	j := w.job()
	broken := strings.TrimPrefix(nobody(t), "http://")
	r, err := flow.Publish(t.Context(), j, []string{broken + "/demo:1", w.registry + "/demo:1"}, filepath.Join(w.dir, "digest"))
	require.Equal(t, fault.Registry, fault.KindOf(err))
	require.Len(t, r.Targets, 1)
	require.NoFileExists(t, filepath.Join(w.dir, "digest"))
}

func TestCI(t *testing.T) {
	w := newWorld(t)
	w.env["CI"] = "true"
	for name, verb := range map[string]func(j *flow.Job) error{
		"plan":  func(j *flow.Job) error { _, err := flow.Plan(t.Context(), j); return err },
		"lock":  func(j *flow.Job) error { _, err := flow.Lock(t.Context(), j, false); return err },
		"fetch": func(j *flow.Job) error { _, err := flow.Fetch(t.Context(), j); return err },
		"build": func(j *flow.Job) error { _, err := flow.Make(t.Context(), j); return err },
	} {
		err := verb(w.job())
		require.Equal(t, fault.Lock, fault.KindOf(err), "%s: %v", name, err)
		require.NotEmpty(t, fault.HintOf(err), name)
	}
	require.NoFileExists(t, filepath.Join(w.dir, "demo.lock"))
}

// TestCICompletesItsOwnCopy: with a lock that has no layer lines, CI builds all the same,
// reads no file twice, and leaves the committed lock alone.
func TestCICompletesItsOwnCopy(t *testing.T) {
	w := newWorld(t)
	_, err := flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	committed, err := os.ReadFile(filepath.Join(w.dir, "demo.lock"))
	require.NoError(t, err)
	w.env["CI"] = "true"
	j := w.job()
	_, err = flow.Fetch(t.Context(), j)
	require.NoError(t, err)
	w.read.Store(0)
	_, err = flow.Build(t.Context(), j)
	require.NoError(t, err)
	require.Zero(t, w.read.Load())
	after, err := os.ReadFile(filepath.Join(w.dir, "demo.lock"))
	require.NoError(t, err)
	require.Equal(t, string(committed), string(after))
	require.FileExists(t, filepath.Join(w.dir, "out", "demo.lock"))
}

func TestStaleLock(t *testing.T) {
	w := newWorld(t)
	_, err := flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	data, err := os.ReadFile(w.opts.Model)
	require.NoError(t, err)
	changed := strings.Replace(string(data), "partSize: 8 MB", "partSize: 9 MB", 1)
	require.NotEqual(t, string(data), changed)
	require.NoError(t, os.WriteFile(w.opts.Model, []byte(changed), 0o644))
	w.env["CI"] = "true"
	j := w.job()
	_, err = flow.Build(t.Context(), j)
	require.Equal(t, fault.Lock, fault.KindOf(err))
	require.ErrorContains(t, err, "partSize is 8000000 in the lock and 9000000 in the manifest")
}

func TestLockKeepsPinsUntilUpdated(t *testing.T) {
	w := newWorld(t)
	first, err := flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	_, err = w.hub.Add(hubtest.Repo{Name: "nunchaku-ai/nunchaku-qwen-image-edit", Files: w.newer()})
	require.NoError(t, err)
	again, err := flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	require.False(t, again.Written)
	require.Equal(t, first.Sources, again.Sources)
	updated, err := flow.Lock(t.Context(), w.job(), true)
	require.NoError(t, err)
	require.True(t, updated.Written)
	require.NotEqual(t, first.Sources[1].Commit, updated.Sources[1].Commit)
	require.Contains(t, strings.Join(updated.Changes, "\n"), "README.md is new")
}

// newer is the checkpoints' repository with one more file.
func (w *world) newer() map[string]hubtest.File {
	w.t.Helper()
	files, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(w.t, err)
	out := served(files)
	out["README.md"] = hubtest.File{Content: hubtest.Bytes([]byte("new"))}
	return out
}

func TestVariants(t *testing.T) {
	w := newWorld(t)
	w.opts.Variant = "lightning"
	r, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	require.Equal(t, filepath.Join(w.dir, "out", "demo-lightning"), r.Layout)
	for _, l := range r.Layers {
		require.NotContains(t, l.Title, "svdq-int4_r128-qwen-image-edit.safetensors")
	}
	w.opts.Variant = "nonsense"
	_, err = flow.Make(t.Context(), w.job())
	require.Equal(t, fault.Usage, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "lightning")
}

func TestResultsAsJSON(t *testing.T) {
	w := newWorld(t)
	var out bytes.Buffer
	require.NoError(t, flow.Do(w.opts, &out, true, func(j *flow.Job) (flow.Result, error) { return flow.Plan(t.Context(), j) }))
	var got struct {
		SchemaVersion int
		Files         []manifests.Decision
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	require.Equal(t, 1, got.SchemaVersion)
	require.Len(t, got.Files, 39+12)
}
