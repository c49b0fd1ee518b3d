package push_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

const (
	// killSize is the size of the model file that is cut. An eighth of it is less than the
	// first chunk: where it goes in chunks, they do not grow.
	killSize   = 200 << 20
	firstChunk = 32 << 20
	// restOfCut is what a second run may send after a cut at 60 %: the rest, 2 % and a chunk.
	restOfCut = killSize*4/10 + killSize*2/100 + firstChunk
)

// cutEnv holds the order for a process of this test binary: the target, the journal, and
// the signal to send to itself at 60 %, if any.
const cutEnv = "PLIMSOLL_PUSH_TEST_CUT"

type cutOrder struct {
	Target, Journal string
	Signal          syscall.Signal
}

// TestInteropCutChild is such a process; it prints the result as JSON.
func TestInteropCutChild(t *testing.T) {
	var order cutOrder
	if json.Unmarshal([]byte(os.Getenv(cutEnv)), &order) != nil {
		t.Skip("only as a child")
	}
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGINT)
	defer stop()
	var sent atomic.Int64
	o := push.Options{Journal: openJournal(t, order.Journal), Progress: func(n int64) {
		if order.Signal != 0 && sent.Add(n) > killSize*6/10 && sent.Load()-n <= killSize*6/10 {
			_ = syscall.Kill(os.Getpid(), order.Signal)
		}
	}}
	r, err := push.Publish(ctx, newNoise(killSize).image(t), target(t, order.Target), o)
	if order.Signal == 0 {
		require.NoError(t, err)
		require.NoError(t, json.NewEncoder(os.Stdout).Encode(r))
		return
	}
	require.ErrorIs(t, err, context.Canceled)
}

// publishIn runs the order in a process of its own and returns what it says.
func publishIn(t *testing.T, o cutOrder) (out []byte, err error) {
	t.Helper()
	order, err := json.Marshal(o)
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInteropCutChild$", "-test.count=1")
	c.Env = append(os.Environ(), cutEnv+"="+string(order))
	return c.Output()
}

// resume runs an order to its end.
func resume(t *testing.T, o cutOrder) (r push.Result) {
	t.Helper()
	o.Signal = 0
	out, err := publishIn(t, o)
	require.NoError(t, err, "%s", out)
	require.NoError(t, json.NewDecoder(bytes.NewReader(out)).Decode(&r))
	return r
}

// TestInteropInterrupted: a process that is interrupted at 60 % ends its PATCH, and the
// next process sends no more than the rest.
func TestInteropInterrupted(t *testing.T) {
	interoptest.Require(t, "docker-registry", "nginx")
	for name, c := range map[string]struct {
		program   string
		collected bool
		bound     int64
	}{
		"distribution 2.8":            {"", false, restOfCut - firstChunk},
		"distribution 3":              {registrytest.Distribution3(t), false, restOfCut - firstChunk},
		"distribution 2.8, collected": {"", true, restOfCut},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, registrytest.Options{Program: c.program})
			host := r.Host
			if c.collected {
				host = registrytest.StartNginx(t, r, "proxy_request_buffering on;")
			}
			o := cutOrder{Target: host + "/team/model:1", Journal: filepath.Join(t.TempDir(), "uploads.jsonl"), Signal: syscall.SIGINT}
			out, err := publishIn(t, o)
			require.NoError(t, err, "%s", out)
			result := resume(t, o)
			require.Equal(t, 1, result.Resumed)
			require.LessOrEqual(t, result.SentBytes, c.bound)
		})
	}
}

// TestInteropKilled: a process that is killed at 60 %. The next one sends no more than the
// rest where the registry is distribution 3, or never sees half a chunk, since nginx before it
// collects requests, as it does by default. Distribution 2.8 that does see it gets the layer
// anew; TestInteropHalfAChunk shows why.
func TestInteropKilled(t *testing.T) {
	interoptest.Require(t, "docker-registry", "nginx")
	for name, c := range map[string]struct {
		o         registrytest.Options
		collected bool
		bound     int64
	}{
		"distribution 3":                {registrytest.Options{Program: registrytest.Distribution3(t)}, false, restOfCut},
		"distribution 2.8, collected":   {registrytest.Options{}, true, restOfCut},
		"distribution 2.8, half chunks": {registrytest.Options{}, false, killSize + 1<<20},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, c.o)
			host := r.Host
			if c.collected {
				host = registrytest.StartNginx(t, r, "proxy_request_buffering on;")
			}
			o := cutOrder{Target: host + "/team/model:1", Journal: filepath.Join(t.TempDir(), "uploads.jsonl"), Signal: syscall.SIGKILL}
			_, err := publishIn(t, o)
			require.ErrorContains(t, err, "killed")
			result := resume(t, o)
			require.LessOrEqual(t, result.SentBytes, c.bound)
			if c.bound == restOfCut {
				require.Equal(t, 1, result.Resumed)
			}
			again := resume(t, o)
			require.Zero(t, again.SentBytes)
		})
	}
}

// TestInteropHalfAChunk: what a registry says of an upload of which half a chunk has arrived,
// to a client that knows the address it had before. Distribution 3 answers for every byte.
// 2.8 refuses whatever is asked, since the address holds an offset, signed, that is no longer
// the size of its file; and no other answer holds a newer one.
func TestInteropHalfAChunk(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	for name, c := range map[string]struct {
		program string
		status  int
		says    string
	}{
		"distribution 2.8": {"", http.StatusNotFound, "BLOB_UPLOAD_INVALID"},
		"distribution 3":   {registrytest.Distribution3(t), http.StatusNoContent, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, registrytest.Options{Program: c.program})
			location := sendHalf(t, r.Host)
			resp, err := http.Get(location)
			require.NoError(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, resp.StatusCode, "%s", text)
			require.Contains(t, string(text), c.says)
			if c.says == "" {
				require.NotEqual(t, "0-0", resp.Header.Get("Range"))
				require.NotEqual(t, location, resp.Header.Get("Location"))
			}
		})
	}
}

// sendHalf opens an upload and breaks the connection within its first chunk, when the
// registry has taken notice of the end. It returns the upload's address.
func sendHalf(t *testing.T, host string) (location string) {
	t.Helper()
	opened, err := http.Post("http://"+host+"/v2/m/blobs/uploads/", "", nil)
	require.NoError(t, err)
	require.NoError(t, opened.Body.Close())
	location = opened.Header.Get("Location")
	at, err := url.Parse(location)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", host)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/octet-stream\r\nContent-Length: 2000000\r\n\r\n%s",
		at.RequestURI(), host, strings.Repeat("x", 1000000))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	_, _ = io.Copy(io.Discard, conn) // it answers, or hangs up: then the half is on its disk
	return location
}

// cutter is a proxy that resets every connection on which more than limit bytes have come,
// as often as it is told to; then it lets all pass.
func cutter(t *testing.T, host string, limit int64, times int32) (string, *atomic.Int32) {
	t.Helper()
	var cuts atomic.Int32
	return relay(t, host, func(in, out *net.TCPConn) {
		if n, _ := io.CopyN(out, in, limit); n == limit && cuts.Add(1) > times {
			_, _ = io.Copy(out, in)
			return
		}
		for _, c := range []*net.TCPConn{in, out} {
			_ = c.SetLinger(0) // the end is a RST
		}
	}), &cuts
}

// relay is a proxy for connections to host: send carries what the client says, and both ends
// are closed after it.
func relay(t *testing.T, host string, send func(in, out *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", host)
				if err != nil {
					return
				}
				defer out.Close()
				go func() { _, _ = io.Copy(in, out) }()
				send(in.(*net.TCPConn), out.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String()
}

// TestInteropBrokenConnections: the image arrives whole over connections that break inside
// chunks.
func TestInteropBrokenConnections(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	r := registrytest.Start(t, registrytest.Options{})
	host, cuts := cutter(t, r.Host, 5<<20, 3)
	n := newNoise(48 << 20)
	first, err := push.Publish(t.Context(), n.image(t), target(t, host+"/m:1"), quick())
	require.NoError(t, err)
	require.Greater(t, cuts.Load(), int32(2))
	again, err := push.Publish(t.Context(), n.image(t), target(t, r.Host+"/m:1"), quick())
	require.NoError(t, err)
	require.Zero(t, again.SentBytes)
	require.Equal(t, first.Digest, again.Digest)
}

// TestInteropProbe: a real registry grants an upload, and lets it be cancelled.
func TestInteropProbe(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	r := registrytest.Start(t, registrytest.Options{})
	list := push.Probe(t.Context(), target(t, r.Host+"/m:1"), quick())
	require.Equal(t, "+reachable +credentials +login +push +repository +tag", checks(list))
	require.Equal(t, "granted", list[3].Detail, "the upload was cancelled")
}
