package progress

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/fetch/cache"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// console is a writer that several goroutines may use.
type console struct {
	mu sync.Mutex
	bytes.Buffer
}

func (s *console) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.Write(p)
}

func (s *console) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.String()
}

// TestLines: percent, bytes, rate and time left, every beat; without control characters.
func TestLines(t *testing.T) {
	out := &console{}
	b := New(out, false, "push", 1_000_000_000)
	start := b.count.start
	b.Add(50_000_000)
	b.beat(start.Add(5 * time.Second))
	b.Add(50_000_000)
	b.beat(start.Add(10 * time.Second))
	b.beat(start.Add(35 * time.Second))
	b.beat(start.Add(80 * time.Second))
	b.count.start = start.Add(-time.Minute)
	b.Finish()
	b.Finish()
	lines := strings.Split(strings.TrimSuffix(out.text(), "\n"), "\n")
	require.Equal(t, []string{
		"push:   5 %, 50 MB of 1.0 GB, 10 MB/s, 1m35s left",
		"push:  10 %, 100 MB of 1.0 GB, 10 MB/s, 1m30s left",
		"push:  10 %, 100 MB of 1.0 GB, 1.7 MB/s, 9m0s left",
		"push:  10 %, 100 MB of 1.0 GB, 0 B/s, stalled",
	}, lines[:4])
	require.Regexp(t, `^push: 100 MB of 1\.0 GB in 1m0s, 1\.7 MB/s$`, lines[4])
	require.Len(t, lines, 5)
	require.NotContains(t, out.text(), "\r")
}

func TestUnknownTotal(t *testing.T) {
	out := &console{}
	b := New(out, false, "x", 0)
	b.Finish()
	require.Equal(t, "x: 0 B in 0s, 0 B/s\n", out.text())
}

func TestReport(t *testing.T) {
	out := &console{}
	b := New(out, false, "verify", 0)
	var callback func(done, total int64) = b.Report
	callback(10, 100)
	b.beat(b.count.start.Add(time.Second))
	callback(100, 100)
	b.Set(90)
	b.Grow(100)
	b.beat(b.count.start.Add(2 * time.Second))
	b.Finish()
	require.Contains(t, out.text(), "verify:  10 %, 10 B of 100 B, 10 B/s, 9s left\n")
	require.Contains(t, out.text(), "verify:  45 %, 90 B of 200 B")
}

// TestTerminal: a bar is drawn over itself, ends with a newline, and is full only if all is
// done.
func TestTerminal(t *testing.T) {
	for name, done := range map[string]int64{"all": 1000, "half": 500, "none": 0} {
		t.Run(name, func(t *testing.T) {
			out := &console{}
			b := New(out, true, "fetch", 1000)
			for range done / 100 {
				b.Add(100)
			}
			b.Say("something happened")
			b.Finish()
			text := out.text()
			require.Contains(t, text, "fetch: something happened\n")
			require.True(t, strings.HasSuffix(text, "\n"))
			require.Equal(t, done == 1000, strings.Contains(text, "100%"), text)
			if done > 0 {
				require.Contains(t, text, "\r")
			}
		})
	}
}

// TestTotalFollows: a total that was too small never shows as more than all.
func TestTotalFollows(t *testing.T) {
	for _, tty := range []bool{false, true} {
		out := &console{}
		b := New(out, tty, "x", 10)
		b.Add(25)
		b.beat(b.count.start.Add(time.Second))
		b.Finish()
		require.NotContains(t, out.text(), "250")
	}
}

// TestNothingToDo: a total of 0 is done at once, on a terminal too.
func TestNothingToDo(t *testing.T) {
	for _, tty := range []bool{false, true} {
		out := &console{}
		b := New(out, tty, "fetch", 0)
		b.Add(0)
		b.Finish()
		require.True(t, strings.HasSuffix(out.text(), "\n"), "%q", out.text())
		require.NotContains(t, out.text(), "NaN")
		b.Add(5) // late news is of no harm
		b.Say("late")
		require.True(t, strings.HasSuffix(out.text(), "fetch: late\n"))
	}
}

func TestManyGoroutines(t *testing.T) {
	out := &console{}
	b := New(out, true, "x", 8000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				b.Add(10)
				b.Say("hm")
			}
		})
	}
	wg.Wait()
	b.Finish()
	require.EqualValues(t, 8000, b.count.done)
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 432 * time.Millisecond: "400ms", 9 * time.Second: "9s", 38400 * time.Millisecond: "38s",
		725 * time.Second: "12m5s", 3*time.Hour + 2*time.Minute + 7*time.Second: "3h2m", 2 * time.Hour: "2h0m",
	} {
		require.Equal(t, want, short(d))
	}
}

func TestTerminalIsAFile(t *testing.T) {
	require.False(t, Terminal(io.Discard))
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer f.Close()
	require.False(t, Terminal(f))
}

// TestFiles: what a person sees of a fetch.
func TestFiles(t *testing.T) {
	out := &console{}
	p := Files(out, false)
	file := fetch.File{Repo: "org/name", Commit: strings.Repeat("a", 40), Path: "m.bin"}
	p.Start(fetch.Need{Files: 3, Blobs: 2, Total: 600, Cached: 100, Unchecked: 200, Partial: 50, Download: 250, Free: 5000})
	p.File(fetch.Event{File: file, Kind: fetch.Waiting, Owner: cache.Owner{PID: 17, Host: "box"}})
	p.File(fetch.Event{File: file, Kind: fetch.Checked, Bytes: 200})
	p.File(fetch.Event{File: file, Kind: fetch.Received, Bytes: 250})
	for range 3 {
		p.File(fetch.Event{File: file, Kind: fetch.Retrying, Err: errors.New("reset"), Wait: 2 * time.Second})
	}
	p.File(fetch.Event{File: file, Kind: fetch.Discarded, Bytes: 250, Err: errors.New("sha256 is a, lock says b")})
	other := file
	other.Path = "n.bin"
	p.File(fetch.Event{File: other, Kind: fetch.Retrying, Err: errors.New("503"), Wait: 2 * time.Second})
	p.File(fetch.Event{File: other, Kind: fetch.Retrying, Err: errors.New("404")})
	p.Done()
	require.Regexp(t, `^fetch: 3 files, 600 B: 100 B cached, 200 B to check, 50 B of an earlier fetch, 250 B to download, 5\.0 kB free
fetch: org/name@aaaaaaaaaaaa m\.bin is being fetched by process 17 on box: waiting for it
fetch: reset: trying again in 2s
fetch: sha256 is a, lock says b: fetching 250 B once more
fetch: 503: trying again in 2s
fetch: 404: going on with the next source
fetch: 450 B of 700 B in .*/s
$`, out.text())
}
