package fetch

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

// childEnv holds an order for a process of this test binary.
const childEnv = "PLIMSOLL_FETCH_TEST_ORDER"

// order is what a child process is to fetch.
type order struct {
	Endpoint, Cache string
	Tally           string // a file that counts what is received, by all children
	File            File
	Jobs            int
	Limits          Limits
}

// account is what a child process says in the end.
type account struct {
	Downloaded int64
	Cached     bool
	PeakBytes  int64 // VmHWM
}

// child fetches what the environment orders; false if it orders nothing, and this is the
// test itself.
func child() bool {
	text := os.Getenv(childEnv)
	if text == "" {
		return false
	}
	if err := obey(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func obey(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	client, err := hub.New(hub.Config{Endpoint: o.Endpoint})
	if err != nil {
		return err
	}
	store, err := cache.Open(o.Cache)
	if err != nil {
		return err
	}
	counted, err := newTally(client, o.Tally)
	if err != nil {
		return err
	}
	results, err := Files(context.Background(), []File{o.File}, Options{Sources: []Source{counted}, Cache: store, Jobs: o.Jobs, Limits: o.Limits})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(account{results[0].Downloaded, results[0].Cached, peak()})
}

// tally is a Source that counts in a file, so that the count outlives a kill.
type tally struct {
	Source
	mu   sync.Mutex
	file *os.File
	n    int64
}

func newTally(s Source, name string) (*tally, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	n, err := readTally(name)
	return &tally{Source: s, file: file, n: n}, err
}

func readTally(name string) (int64, error) {
	data, err := os.ReadFile(name)
	if err != nil || len(data) < 8 {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint64(data)), nil
}

func (t *tally) Open(ctx context.Context, repo, commit, path string, offset, length int64) (*hub.Body, error) {
	b, err := t.Source.Open(ctx, repo, commit, path, offset, length)
	if err == nil {
		b.ReadCloser = tallied{b.ReadCloser, t}
	}
	return b, err
}

type tallied struct {
	io.ReadCloser
	t *tally
}

func (b tallied) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.t.mu.Lock()
	defer b.t.mu.Unlock()
	b.t.n += int64(n)
	if _, err := b.t.file.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(b.t.n)), 0); err != nil {
		return 0, err
	}
	return n, err
}

// peak is the largest resident set that this process had, in bytes.
func peak() int64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return -1
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return -1
}

// process is a running child.
type process struct {
	*exec.Cmd
	out io.Reader
}

// start runs a child in a process group of its own.
func start(t *testing.T, o order) *process {
	t.Helper()
	o.Tally = filepath.Join(filepath.Dir(o.Cache), "tally")
	text, err := json.Marshal(o)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return &process{cmd, out}
}

// finish waits for a child that has to succeed.
func (p *process) finish(t *testing.T) account {
	t.Helper()
	var a account
	require.NoError(t, json.NewDecoder(p.out).Decode(&a))
	require.NoError(t, p.Wait())
	return a
}

// kill ends a child without a word.
func (p *process) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, syscall.Kill(-p.Process.Pid, syscall.SIGKILL))
	require.Error(t, p.Wait())
}

// TestKill kills the fetching process again and again. Each next one finds its owner dead,
// goes on with the partial, and loses a window at most.
func TestKill(t *testing.T) {
	const size, kills, window, jobs = 4 << 20, 4, 64 << 10, 4
	s := newSite(t, map[string]hubtest.File{"m.bin": large(9, size)})
	s.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Throttle(2 << 20)})
	o := order{Endpoint: s.URL(), Cache: filepath.Join(t.TempDir(), "hub"), File: s.file(t, "m.bin"), Jobs: jobs}
	o.Limits = Limits{Window: window, Range: 512 << 10, MinRange: 512 << 10}
	for n := range int64(kills) {
		p := start(t, o)
		require.Eventually(t, func() bool { return s.Sent("m.bin") > (n+1)*size/(kills+2) }, time.Minute, time.Millisecond)
		p.kill(t)
		require.NoFileExists(t, filepath.Join(o.Cache, "models--org--model", "blobs", o.File.SHA256))
	}
	last := start(t, o).finish(t)
	require.False(t, last.Cached)
	received, err := readTally(filepath.Join(filepath.Dir(o.Cache), "tally"))
	require.NoError(t, err)
	require.LessOrEqual(t, received, int64(size)+kills*window)
	require.Less(t, last.Downloaded, received, "it went on")
	store, err := cache.Open(o.Cache)
	require.NoError(t, err)
	defer store.Close()
	requireClean(t, store)

	again := start(t, o).finish(t)
	require.True(t, again.Cached)
}

// TestTwoProcesses: one downloads, the other waits and takes the result.
func TestTwoProcesses(t *testing.T) {
	const size = 2 << 20
	s := newSite(t, map[string]hubtest.File{"m.bin": large(9, size)})
	s.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Throttle(4 << 20)})
	o := order{Endpoint: s.URL(), Cache: filepath.Join(t.TempDir(), "hub"), File: s.file(t, "m.bin"), Jobs: 1}
	both := []*process{start(t, o), start(t, o)}
	cached := 0
	for _, p := range both {
		if a := p.finish(t); a.Cached {
			cached++
		} else {
			require.EqualValues(t, size, a.Downloaded)
		}
	}
	require.Equal(t, 1, cached)
	require.EqualValues(t, size, s.Sent("m.bin"))
}

// TestMemory: the size of a file and the number of connections do not show in memory.
func TestMemory(t *testing.T) {
	const size = 192 << 20
	noise := hubtest.Noise(11, size)
	s := newSite(t, map[string]hubtest.File{"m.bin": {Content: noise, LFS: true}})
	o := order{Endpoint: s.URL(), Cache: filepath.Join(t.TempDir(), "hub"), Jobs: 16}
	o.File = File{Repo: repoName, Commit: s.commit, Path: "m.bin", Size: size, SHA256: streamedSHA256(t, noise)}
	a := start(t, o).finish(t)
	require.EqualValues(t, size, a.Downloaded)
	require.Positive(t, a.PeakBytes)
	require.Less(t, a.PeakBytes, int64(100_000_000))
}
