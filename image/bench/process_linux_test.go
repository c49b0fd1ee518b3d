package bench

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// measured runs one command that must do well.
func measured(t *testing.T, c command) outcome {
	t.Helper()
	out, err := measure(t.Context(), script{{c}})
	require.NoError(t, err)
	return out
}

// onDisk reports whether a folder lies on a disk: what is written to memory is no I/O.
func onDisk(t *testing.T, dir string) bool {
	t.Helper()
	var s unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &s))
	return s.Type != unix.TMPFS_MAGIC && s.Type != unix.OVERLAYFS_SUPER_MAGIC
}

func TestBytesAreCounted(t *testing.T) {
	const size = 8 << 20
	dir := t.TempDir()
	out := measured(t, acting("write", filepath.Join(dir, "f"), "8388608"))
	require.GreaterOrEqual(t, out.CallsWritten, int64(size))
	require.Less(t, out.CallsWritten, int64(size+size/8))
	if onDisk(t, dir) {
		require.GreaterOrEqual(t, out.DiskWritten, int64(size))
	}
	less := measured(t, acting("say", "nothing"))
	require.Less(t, less.CallsWritten, int64(size/8), "each process is counted by itself")
}

// TestPeakMemoryIsItsOwn: it is seen, and that of the process which starts others
// is none of theirs.
func TestPeakMemoryIsItsOwn(t *testing.T) {
	own := make([]byte, 256<<20)
	for i := range own {
		own[i] = 1
	}
	out := measured(t, acting("hold", "67108864"))
	require.Greater(t, out.PeakMemory, int64(64<<20))
	require.Less(t, out.PeakMemory, int64(256<<20))
	small := measured(t, acting("say", "x"))
	require.Positive(t, small.PeakMemory)
	require.Less(t, small.PeakMemory, out.PeakMemory)
	require.Equal(t, byte(1), own[len(own)-1])
}

func TestTimeIsCounted(t *testing.T) {
	out := measured(t, acting("burn"))
	require.GreaterOrEqual(t, out.Seconds, 0.1)
	require.GreaterOrEqual(t, out.CPU(), 0.01, "a tenth of a second of work, on however busy a machine")
}

func TestStagesComeInTurnCommandsSideBySide(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	out, err := measure(t.Context(), script{
		{acting("say", "first")},
		{acting("meet", a, b), acting("meet", b, a)}, // each fails without the other
		{acting("say", "last"), acting("say", "beside")},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"first", "", "", "last", "beside"}, out.stdout)
	require.False(t, out.ended)
}

func TestFailureSaysWhatWasSaid(t *testing.T) {
	_, err := measure(t.Context(), script{{acting("fail", "the disk is made of cheese")}, {acting("write", "/never", "1")}})
	require.ErrorContains(t, err, "fail the disk is made of cheese: exit status 1")
	require.ErrorContains(t, err, "\nthe disk is made of cheese")
	require.NotContains(t, err.Error(), "/never", "what comes after a failure is not run")
	_, err = measure(t.Context(), script{{{program: "/does/not/exist"}}})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestUntilEnds: by a kill, which the process does not notice, or by an interrupt.
func TestUntilEnds(t *testing.T) {
	for _, interrupt := range []bool{false, true} {
		dir := t.TempDir()
		here, noticed := filepath.Join(dir, "here"), filepath.Join(dir, "noticed")
		c := acting("linger", here, noticed)
		c.interrupt = interrupt
		c.until = func(Usage) bool {
			_, err := os.Stat(here)
			return err == nil
		}
		out, err := measure(t.Context(), script{{c}})
		require.NoError(t, err)
		require.True(t, out.ended)
		_, err = os.Stat(noticed)
		require.Equal(t, interrupt, err == nil)
	}
}

func TestEndOfContextKills(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	here := filepath.Join(dir, "here")
	go func() {
		for {
			if _, err := os.Stat(here); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err := measure(ctx, script{{acting("meet", here, filepath.Join(dir, "never"))}})
	require.ErrorIs(t, err, context.Canceled)
}

func TestParseIO(t *testing.T) {
	text := "rchar: 323934931\nwchar: 323929600\nsyscr: 632687\nsyscw: 632675\nread_bytes: 4096\nwrite_bytes: 323932160\ncancelled_write_bytes: 7\n"
	require.Equal(t, Usage{CallsRead: 323934931, CallsWritten: 323929600, DiskRead: 4096, DiskWritten: 323932160}, parseIO([]byte(text)))
	require.Zero(t, parseIO(nil))
}

func TestField(t *testing.T) {
	status := []byte("Name:\tVmHWM: 7\nVmPeak:\t  9000 kB\nVmHWM:\t  4242 kB\n")
	require.Equal(t, int64(4242), field(status, "VmHWM"))
	require.Zero(t, field(status, "VmSwap"))
}

func TestParseStat(t *testing.T) {
	for text, want := range map[string]float64{
		"12 (curl) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20":     3,
		"12 (a) b) 77 (c) R 1 2 3 4 5 6 7 8 9 10 1 2 0 0 20": 0.03,
		"12 (short) S 1 2 3":                                 0,
		"":                                                   0,
		"12 (words) S 1 2 3 4 5 6 7 8 9 10 many minutes 0 0 20 ": 0,
	} {
		require.InDelta(t, want, parseStat([]byte(text)), 1e-9, text)
	}
}

func FuzzParseStat(f *testing.F) {
	own, err := os.ReadFile("/proc/self/stat")
	require.NoError(f, err)
	f.Add(own)
	f.Add([]byte("1 (x) R"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		parseStat(text)
		parseIO(text)
	})
}

func TestOwnCPUGrows(t *testing.T) {
	before, outside := ownCPU(), cpuOf(os.Getpid())
	for start := time.Now(); ownCPU() < before+0.05; {
		require.Less(t, time.Since(start), 20*time.Second)
	}
	require.GreaterOrEqual(t, cpuOf(os.Getpid()), outside+0.03)
	require.Zero(t, cpuOf(-1))
}

func TestMachineIsDescribed(t *testing.T) {
	m := machine()
	require.Equal(t, "linux", m.OS)
	require.Positive(t, m.CPUs)
	require.Positive(t, m.Memory)
	require.NotContains(t, m.CPU, "\n")
}
