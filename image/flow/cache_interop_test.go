package flow_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// hubClients are the versions of the Hub's own client that share a cache with us: the
// newest and those of the majors before it.
var hubClients = map[string]string{
	"newest":  interoptest.Requirements,
	"major 1": interoptest.OlderHub1,
	"major 0": interoptest.OlderHub0,
}

// sharedRepo is the repository that a world's hub serves as owner/large.
var sharedRepo = map[string]hubtest.File{
	"config.json":           {Content: hubtest.Bytes([]byte(`{"a": 1}`))},
	"copy.json":             {Content: hubtest.Bytes([]byte(`{"a": 1}`))},
	"model-1-of-2.bin":      {Content: hubtest.Noise(1, 6_000_001), LFS: true},
	"unet/model-2-of-2.bin": {Content: hubtest.Noise(2, 5_000_000), LFS: true},
}

// shared is a cache that we and a version of the Hub's own client use at the same time.
type shared struct {
	*world
	hub      *hubtest.Hub
	commit   string
	packages string
	cache    string
}

func newShared(t *testing.T, packages string) *shared {
	t.Helper()
	interoptest.PythonWith(t, packages) // made before the clock of a test runs
	w := newWorld(t)
	s := &shared{world: w, hub: hubtest.New(), packages: packages, cache: filepath.Join(w.dir, "shared")}
	var err error
	s.commit, err = s.hub.Add(hubtest.Repo{Name: "owner/large", Files: sharedRepo})
	require.NoError(t, err)
	_, err = s.hub.Start()
	require.NoError(t, err)
	t.Cleanup(func() { s.hub.Close() })
	w.env["HF_ENDPOINT"], w.env["HF_HUB_CACHE"] = s.hub.URL(), filepath.Join(w.dir, "elsewhere")
	w.opts.Model = w.manifestOf(map[string][]string{"large": nil})
	_, err = flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	w.env["HF_HUB_CACHE"] = s.cache
	s.hub.Reset()
	return s
}

// slow lets a download last for seconds.
func (s *shared) slow() {
	s.hub.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Throttle(1_500_000)})
}

// download prints the folder into which the Hub's own client downloads everything.
const download = `
import sys, huggingface_hub
print(huggingface_hub.snapshot_download(sys.argv[1], revision=sys.argv[2]))
`

// theirs is a run of the Hub's own client.
type theirs struct {
	*exec.Cmd
	out, err bytes.Buffer
}

func (s *shared) theirs() *theirs {
	s.t.Helper()
	c := &theirs{Cmd: interoptest.ScriptWith(s.t, s.packages, download, []string{"owner/large", s.commit},
		"HF_ENDPOINT="+s.hub.URL(), "HF_HUB_CACHE="+s.cache, "HF_HUB_DISABLE_PROGRESS_BARS=1", "HF_HUB_DISABLE_TELEMETRY=1")}
	c.Stdout, c.Stderr = &c.out, &c.err
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(s.t, c.Start())
	return c
}

func (c *theirs) finish(s *shared) {
	s.t.Helper()
	require.NoError(s.t, c.Wait(), c.err.String())
	s.requireWhole(strings.TrimSpace(c.out.String()))
}

// ours fetches in this process and says what came.
func (s *shared) ours() (*flow.FetchResult, error) { return flow.Fetch(s.t.Context(), s.job()) }

// requireWhole compares every file of a snapshot.
func (s *shared) requireWhole(folder string) {
	s.t.Helper()
	for name, want := range sharedRepo {
		got, err := os.Open(filepath.Join(folder, name))
		require.NoError(s.t, err)
		requireEqualBytes(s.t, bytes.NewReader(contentOf(s.t, want.Content)), got, name)
		require.NoError(s.t, got.Close())
	}
}

func contentOf(t *testing.T, c hubtest.Content) []byte {
	t.Helper()
	data := make([]byte, c.Size())
	_, err := c.ReadAt(data, 0)
	require.NoError(t, err)
	return data
}

// sent is how many bytes of large files went to us, or to them.
func (s *shared) sent(us bool) (n int64) {
	for _, r := range s.hub.Requests() {
		if r.Kind == hubtest.CDN && us == (r.UserAgent == "plimsoll") {
			n += r.Sent
		}
	}
	return n
}

func (s *shared) awaitSent(us bool, least int64) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.sent(us) >= least }, 30*time.Second, 10*time.Millisecond)
}

// requireSound verifies all that lies in the cache in the end.
func (s *shared) requireSound() {
	s.t.Helper()
	s.requireWhole(filepath.Join(s.cache, "models--owner--large", "snapshots", s.commit))
	j := s.job()
	checked, err := flow.CacheVerify(s.t.Context(), j)
	require.NoError(s.t, err)
	require.Equal(s.t, 3, checked.Files)
	list, err := flow.CacheList(s.t.Context(), j)
	require.NoError(s.t, err)
	require.Len(s.t, list.Repositories, 1)
	require.Empty(s.t, list.Repositories[0].Partials)
	require.Empty(s.t, list.Repositories[0].Busy)
}

// eachHubClient runs a test for each version.
func eachHubClient(t *testing.T, test func(t *testing.T, packages string)) {
	interoptest.Require(t, "python3")
	for name, packages := range hubClients {
		t.Run(name, func(t *testing.T) { test(t, packages) })
	}
}

// TestInteropOneCache: the Hub's own client and we download the same files into the same
// cache at the same time, whoever begins, and all files are whole.
func TestInteropOneCache(t *testing.T) {
	eachHubClient(t, func(t *testing.T, packages string) {
		t.Run("they begin", func(t *testing.T) {
			s := newShared(t, packages)
			s.slow()
			them := s.theirs()
			s.awaitSent(false, 1)
			_, err := s.ours()
			require.NoError(t, err)
			them.finish(s)
			require.Positive(t, s.sent(true), "both downloaded")
			s.requireSound()
		})
		t.Run("we begin", func(t *testing.T) {
			s := newShared(t, packages)
			s.slow()
			done := make(chan error, 1)
			go func() { _, err := s.ours(); done <- err }()
			s.awaitSent(true, 1)
			them := s.theirs()
			them.finish(s)
			require.NoError(t, <-done)
			require.Positive(t, s.sent(false), "both downloaded")
			s.requireSound()
		})
	})
}

// TestInteropTheyTakeNothingHalf: what we left unfinished is not taken for theirs: they
// download every byte, and leave our part as it is.
func TestInteropTheyTakeNothingHalf(t *testing.T) {
	eachHubClient(t, func(t *testing.T, packages string) {
		s := newShared(t, packages)
		s.hub.Inject(
			hubtest.Fault{Kind: hubtest.CDN, Times: 2, Effect: hubtest.Cut(2_000_000)},
			hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Status(404)},
		)
		_, err := s.ours()
		require.ErrorContains(t, err, "404")
		before := s.beside(".plimsoll.")
		require.NotEmpty(t, before)

		s.hub.Calm()
		s.hub.Reset()
		s.theirs().finish(s)
		require.GreaterOrEqual(t, s.sent(false), int64(11_000_001), "all of it")
		require.Equal(t, before, s.beside(".plimsoll."))

		got, err := s.ours()
		require.NoError(t, err)
		require.Zero(t, got.Downloaded, "theirs is taken, whole as it is")
		require.Empty(t, s.beside(".plimsoll."), "ours is of no use any more")
		s.requireSound()
	})
}

// TestInteropWeTakeNothingHalf: what they left unfinished is neither used nor removed.
func TestInteropWeTakeNothingHalf(t *testing.T) {
	eachHubClient(t, func(t *testing.T, packages string) {
		s := newShared(t, packages)
		s.slow()
		them := s.theirs()
		s.awaitSent(false, 2_000_000)
		require.NoError(t, syscall.Kill(-them.Process.Pid, syscall.SIGKILL))
		require.Error(t, them.Wait())
		before := s.beside(".incomplete")
		require.NotEmpty(t, before)

		s.hub.Calm()
		got, err := s.ours()
		require.NoError(t, err)
		require.EqualValues(t, 11_000_001, largeCame(got))
		require.Equal(t, before, s.beside(".incomplete"))
		pruned, err := flow.CachePrune(t.Context(), s.job(), flow.PruneOptions{Age: "0s", Remove: true})
		require.NoError(t, err)
		require.Empty(t, pruned.Garbage)
		require.Len(t, pruned.Foreign, len(before))
		require.Equal(t, before, s.beside(".incomplete"))

		s.hub.Reset()
		s.theirs().finish(s)
		require.Zero(t, s.sent(false), "ours is taken")
		s.requireSound()
	})
}

// largeCame adds up what was downloaded of large files.
func largeCame(r *flow.FetchResult) (n int64) {
	for _, f := range r.Files {
		if f.Size > 1000 {
			n += f.Downloaded
		}
	}
	return n
}

// beside takes the sums of what lies beside the blobs, under names with a part in common.
func (s *shared) beside(part string) map[string]string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.cache, "models--owner--large", "blobs", "*"+part+"*"))
	require.NoError(s.t, err)
	out := map[string]string{}
	for _, name := range found {
		data, err := os.ReadFile(name)
		require.NoError(s.t, err)
		out[filepath.Base(name)] = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	return out
}
