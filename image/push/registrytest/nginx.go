package registrytest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nginxConfig has the directives of a server that hands everything on as it comes. %s:
// folder, zones, address, extra directives, the registry's host.
const nginxConfig = `daemon off;
pid %[1]s/pid;
error_log stderr warn;
user root;
worker_processes 1;
events {}
http {
  access_log off;
  client_max_body_size 0;
  proxy_request_buffering off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  scgi_temp_path %[1]s/scgi;
  uwsgi_temp_path %[1]s/uwsgi;
  limit_req_zone all zone=requests:1m rate=20r/s;
  limit_conn_zone all zone=connections:1m;
  server {
    listen %[2]s;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    %[3]s
    location / { proxy_pass http://%[4]s; }
  }
}
`

// StartNginx puts Debian's nginx before a registry, with further directives of its server,
// and returns its host. It ends with the test. The zones that limits may name are requests,
// of 20 a second, and connections; all clients are one.
func StartNginx(t testing.TB, r *Registry, directives string) (host string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host = l.Addr().String()
	require.NoError(t, l.Close())
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	directives = strings.ReplaceAll(directives, "REGISTRY", "http://"+r.Host)
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, host, directives, r.Host), 0o600))
	c := exec.Command("nginx", "-e", "stderr", "-c", config)
	said := &log{}
	c.Stdout, c.Stderr = said, said
	require.NoError(t, c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt) // its workers end with it
		<-ended
	})
	deadline := time.After(startup)
	for {
		if conn, err := net.Dial("tcp", host); err == nil {
			require.NoError(t, conn.Close())
			return host
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("starting nginx: %v\n%s", err, said)
		case <-deadline:
			t.Fatalf("starting nginx: it does not listen after %s\n%s", startup, said)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
