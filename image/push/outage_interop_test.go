package push_test

import (
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// line is a proxy that is cut when so many bytes have come from clients: it resets all its
// connections, and every new one, until it is mended.
type line struct {
	addr string
	mu   sync.Mutex
	left int64
	open map[net.Conn]bool
	// uncut: bytes are not counted any more.
	uncut bool
}

func newLine(t *testing.T, host string, limit int64) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	p := &line{addr: l.Addr().String(), left: limit, open: map[net.Conn]bool{}}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(in, host)
		}
	}()
	return p
}

// serve carries one connection.
func (p *line) serve(in net.Conn, host string) {
	out, err := net.Dial("tcp", host)
	if err != nil {
		in.Close()
		return
	}
	if !p.take(0, in, out) {
		return
	}
	go func() {
		buffer := make([]byte, 32<<10)
		for {
			n, err := out.Read(buffer)
			if _, writeErr := in.Write(buffer[:n]); err != nil || writeErr != nil {
				in.Close()
				return
			}
		}
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := in.Read(buffer)
		if !p.take(int64(n), in, out) {
			return
		}
		if _, writeErr := out.Write(buffer[:n]); err != nil || writeErr != nil {
			out.Close()
			return
		}
	}
}

// take counts bytes of a connection; false means that the line is cut.
func (p *line) take(n int64, ends ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range ends {
		p.open[c] = true
	}
	if p.left -= n; p.uncut || p.left > 0 {
		return true
	}
	for c := range p.open {
		_ = c.(*net.TCPConn).SetLinger(0) // the end is a RST
		c.Close()
	}
	clear(p.open)
	return false
}

// mend lets all pass.
func (p *line) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uncut = true
}

// TestInteropOutage: the network goes at 60 % and stays away, so that the run ends with an
// error; when it is back, the next run sends no more than the rest. The tag names the old
// image until then.
func TestInteropOutage(t *testing.T) {
	interoptest.Require(t, "docker-registry", "nginx")
	for name, c := range map[string]struct {
		program string
		nginx   bool
	}{
		"distribution 3":                     {registrytest.Distribution3(t), false},
		"distribution 2.8, collected before": {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, registrytest.Options{Program: c.program})
			host := r.Host
			if c.nginx {
				host = registrytest.StartNginx(t, r, "proxy_request_buffering on;")
			}
			old, err := push.Publish(t.Context(), testImage(t, []byte("old"), false), target(t, host+"/m:1"), quick())
			require.NoError(t, err)
			p := newLine(t, host, killSize*6/10)
			n, path := newNoise(killSize), filepath.Join(t.TempDir(), "uploads.jsonl")
			publish := func() (push.Result, error) {
				o := quick()
				o.Journal = openJournal(t, path)
				defer o.Journal.Close()
				return push.Publish(t.Context(), n.image(t), target(t, p.addr+"/m:1"), o)
			}
			_, err = publish()
			require.Equal(t, fault.Registry, fault.KindOf(err), "%v", err)
			require.Contains(t, fault.HintOf(err), "run publish again: what has arrived is not sent again")
			require.Equal(t, old.Digest, names(t, host+"/m:1"))
			p.mend()
			second, err := publish()
			require.NoError(t, err)
			require.Equal(t, 1, second.Resumed)
			require.LessOrEqual(t, second.SentBytes, int64(restOfCut))
			require.Equal(t, second.Digest, names(t, host+"/m:1"))
		})
	}
}
