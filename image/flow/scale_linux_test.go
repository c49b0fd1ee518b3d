package flow_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/image/flow/magetest"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// scaleEnv asks for TestScale, by full or reduced.
const scaleEnv = "PLIMSOLL_SCALE"

// scaleDisk is the free disk of a runner, as a file system of its own.
const scaleDisk = "14g"

// scaleResident bounds the resident memory of the whole job, in bytes.
const scaleResident = 100_000_000

// reduced are dimensions of about 1.6 GB: the published widths, but for the vocabulary, and
// few layers.
func reduced() modelsettest.Params {
	p := modelsettest.Real()
	p.Text.Layers, p.Text.Rows, p.Text.Tokens = 1, 16384, 16000
	p.Vision.Depth, p.Vision.Full = 2, []int{1}
	p.Transformer.Layers, p.ShardLimit = 1, 0
	return p
}

// TestScale: a job with 14 GB of free disk publishes the real manifest's model with one
// command, from the committed lock: the Hub generates the files, in the published names,
// structure and, where that is asked for, sizes; the registry hashes and discards. The
// target scale runs it.
func TestScale(t *testing.T) {
	params, parts := reduced(), "partSize: 100 MB"
	switch os.Getenv(scaleEnv) {
	case "full":
		params, parts = modelsettest.Real(), "partSize: 9.5 GB"
	case "reduced":
	default:
		t.Skipf("%s is neither full nor reduced: run the scale target", scaleEnv)
	}
	began := time.Now()
	hub, kept := scaleHub(t, params)
	t.Logf("generated and hashed once, for what a Hub says about it: %s in %.0f s", humanize.Bytes(uint64(kept)), time.Since(began).Seconds())
	s := newScale(t, hub, parts)
	s.run("lock")
	hub.Reset()
	registry := registrytest.StartDiscard(t, nil)
	target := registry.Host + "/qwen-image-edit:1"

	before, began := ownCPU(t), time.Now()
	c := s.run("publish", "-stream=true", "-target="+target, "-digestFile="+filepath.Join(s.dir, "digest.txt"))
	wall, servers := time.Since(began).Seconds(), ownCPU(t)-before
	resident := s.resident.Load()
	sent, received := hub.Sent(""), registry.Received()
	digest, err := os.ReadFile(filepath.Join(s.dir, "digest.txt"))
	require.NoError(t, err)
	rate := sumRate()
	t.Logf("model files kept: %d bytes; %s", kept, strings.TrimSpace(string(digest)))
	t.Logf("bytes from the Hub: %d, %.4f x", sent, float64(sent)/float64(kept))
	t.Logf("bytes to the registry: %d, it holds %d", received, registry.Stored())
	t.Logf("disk: at most %s of a file system of %s", humanize.Bytes(uint64(s.peak.Load())), scaleDisk)
	t.Logf("memory: at most %s resident", humanize.Bytes(uint64(resident)))
	t.Logf("wall: %.1f s, %s/s; CPU: %.1f s of plimsoll and its compiler, %.1f s of Hub and registry", wall,
		humanize.Bytes(uint64(float64(kept)/wall)), c.ProcessState.UserTime().Seconds()+c.ProcessState.SystemTime().Seconds(), servers)
	t.Logf("floors: one sha256 of the files is %.1f s of one core, and three are needed (file, layer, registry)", float64(kept)/rate)

	require.LessOrEqual(t, sent, kept+kept/100+4<<20)
	require.Equal(t, received, registry.Stored(), "every byte was sent once")
	require.Less(t, resident, int64(scaleResident))
	require.Less(t, s.peak.Load(), int64(100_000_000), "small files, the runtime and the thin layout")

	hub.Reset()
	s.run("publish", "-stream=true", "-target="+registry.Host+"/qwen-image-edit:2")
	require.Zero(t, hub.Sent(""), "what is there is not read again")
	require.Equal(t, received, registry.Stored())
}

// scale is a machine with a small disk.
type scale struct {
	t             *testing.T
	magefile, dir string
	env           []string
	// peak is the most that lay on the disk, resident the most memory that a target held at
	// a time, without the compiler that it runs.
	peak, resident atomic.Int64
}

// newScale mounts the disk and copies the real manifest onto it.
func newScale(t *testing.T, hub *hubtest.Hub, parts string) *scale {
	t.Helper()
	mirror, err := basetest.Start()
	require.NoError(t, err)
	t.Cleanup(func() { mirror.Close() })
	s := &scale{t: t, magefile: magetest.Compile(t, root), dir: t.TempDir()}
	require.NoError(t, unix.Mount("tmpfs", s.dir, "tmpfs", 0, "size="+scaleDisk), "mounting a file system of %s, which needs root", scaleDisk)
	t.Cleanup(func() { require.NoError(t, unix.Unmount(s.dir, 0)) })
	data, err := os.ReadFile(filepath.Join(root, "manifests", "qwen-image-edit.yaml"))
	require.NoError(t, err)
	text := strings.Replace(string(data), "partSize: 9.5 GB", parts, 1)
	require.NoError(t, os.WriteFile(s.manifest(), []byte(text), 0o644))
	s.env = append(os.Environ(), "HF_ENDPOINT="+hub.URL(), "HF_HOME="+filepath.Join(s.dir, "hf"), "PLIMSOLL_OUT="+filepath.Join(s.dir, "out"),
		"TMPDIR="+s.dir, "PLIMSOLL_DEBIAN_MIRROR="+mirror.URL())
	return s
}

func (s *scale) manifest() string { return filepath.Join(s.dir, "qwen-image-edit.yaml") }

// run runs a target in CI, but for the lock, and watches the disk meanwhile.
func (s *scale) run(args ...string) *exec.Cmd {
	s.t.Helper()
	c := exec.Command(s.magefile, append(args, "-model="+s.manifest())...)
	c.Dir = root
	c.Env = append(s.env, fmt.Sprintf("CI=%t", args[0] != "lock"))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	require.NoError(s.t, c.Start())
	s.resident.Store(0)
	stop := s.watch(c.Process.Pid)
	err := c.Wait()
	stop()
	require.NoError(s.t, err, "%s", &out)
	s.t.Logf("%s:\n%s", args[0], tail(out.String(), 12))
	return c
}

// watch takes the most that lies on the disk, and in the process's memory, until it is
// stopped.
func (s *scale) watch(pid int) (stop func()) {
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			var fs unix.Statfs_t
			if unix.Statfs(s.dir, &fs) == nil {
				s.peak.Store(max(s.peak.Load(), int64(fs.Blocks-fs.Bfree)*fs.Bsize))
			}
			s.resident.Store(max(s.resident.Load(), highWater(pid)))
			select {
			case <-done:
				return
			case <-ticker.C:
			}
		}
	})
	return func() {
		close(done)
		wait.Wait()
	}
}

// tail is the last lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// scaleHub serves both repositories of the real manifest and returns how many bytes the
// manifest keeps. Sums of kept files are taken; of the others, which nobody downloads, made
// up.
func scaleHub(t *testing.T, p modelsettest.Params) (*hubtest.Hub, int64) {
	t.Helper()
	base, err := modelsettest.Base(p)
	require.NoError(t, err)
	checkpoints, err := modelsettest.Checkpoints(p)
	require.NoError(t, err)
	m, _, err := manifests.Open(root, "qwen-image-edit")
	require.NoError(t, err)
	hub, sets := hubtest.New(), map[string]map[string]hubtest.File{m.Sources[0].Name: served(base), m.Sources[1].Name: served(checkpoints)}
	total := sumKept(t, m, sets)
	for _, source := range m.Sources {
		r := hubtest.Repo{Name: source.Repo, License: "apache-2.0", Files: sets[source.Name]}
		if source.Pinned() {
			r.Commit = source.Revision
		}
		_, err := hub.Add(r)
		require.NoError(t, err)
	}
	_, err = hub.Start()
	require.NoError(t, err)
	t.Cleanup(func() { hub.Close() })
	return hub, total
}

// sumKept takes the sums of the LFS files that the manifest keeps, and makes up the others.
// It returns the size of all that is kept.
func sumKept(t *testing.T, m *manifests.Manifest, sets map[string]map[string]hubtest.File) (total int64) {
	t.Helper()
	listings := map[string]manifests.Listing{}
	for name, files := range sets {
		l := manifests.Listing{Repo: name, Commit: realCommit}
		for path, f := range files {
			l.Files = append(l.Files, manifests.File{Path: path, Size: f.Content.Size(), SHA256: madeUp(path, f)})
		}
		listings[name] = l
	}
	s, err := m.Select("", listings)
	require.NoError(t, err)
	var mu sync.Mutex
	group := errgroup.Group{}
	group.SetLimit(4)
	for _, d := range s.Decisions {
		mu.Lock()
		f := sets[d.Source][d.Path]
		f.SHA256 = d.SHA256
		sets[d.Source][d.Path] = f
		mu.Unlock()
		if d.Keep {
			total += d.Size
		}
		if !d.Keep || !f.LFS {
			continue
		}
		group.Go(func() error {
			sum, err := sumOf(f.Content)
			mu.Lock()
			defer mu.Unlock()
			f.SHA256 = sum
			sets[d.Source][d.Path] = f
			return err
		})
	}
	require.NoError(t, group.Wait())
	return total
}

// madeUp is a sum for a file that nobody reads, "" for small ones, which have none.
func madeUp(path string, f hubtest.File) string {
	if !f.LFS {
		return ""
	}
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:])
}

// sumOf reads a content once.
func sumOf(c hubtest.Content) (string, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(h, struct{ io.Reader }{io.NewSectionReader(c, 0, c.Size())}, make([]byte, 1<<20))
	return hex.EncodeToString(h.Sum(nil)), err
}

// sumRate is how many bytes a second one core hashes here, now.
func sumRate() float64 {
	h, buf := sha256.New(), make([]byte, 1<<20)
	began := time.Now()
	const rounds = 512
	for range rounds {
		h.Write(buf)
	}
	return rounds * float64(len(buf)) / time.Since(began).Seconds()
}

// ownCPU is the processor time of this process, which is Hub and registry, in seconds.
func ownCPU(t *testing.T) float64 {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
