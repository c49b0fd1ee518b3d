package flow_test

import (
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
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
