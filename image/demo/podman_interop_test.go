package demo

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// TestInteropPodmanEdits: the image that the demo leaves behind edits the golden picture as a
// careful platform runs it: as its own user, on a root that nothing can write to, without a
// right, and stops well when it is asked to.
func TestInteropPodmanEdits(t *testing.T) {
	interoptest.Require(t, "podman", "runc")
	out, err := os.MkdirTemp("", "demo") // podman takes the path for a name, and wants that in lower case
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(out)) })
	require.NoError(t, Run(t.Context(), Options{Root: "../..", Out: out, Stdout: io.Discard, Stderr: os.Stderr}))
	podman := startPodman(t)
	id := podman("pull", "--quiet", "oci:"+filepath.Join(out, Model))
	require.Equal(t, image.User, podman("image", "inspect", "--format={{.Config.User}}", id))

	address := freeAddress(t)
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	name := podman("run", "--detach", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=host",
		"--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096", "--env=API_HOST="+host, "--env=API_PORT="+port, id)
	defer func() {
		if t.Failed() {
			t.Log(podman("logs", name))
		}
	}()
	s := &service{url: "http://" + address}
	require.NoError(t, s.listening(t.Context()))
	a, err := s.ask(t.Context())
	require.NoError(t, err)
	require.NoError(t, alike(a.EditedImage, golden))
	podman("stop", "--time=30", name)
	require.Equal(t, "0", podman("inspect", "--format={{.State.ExitCode}}", name), podman("logs", name))
}

// startPodman returns podman with a storage of the test's own.
func startPodman(t *testing.T) func(args ...string) string {
	dir, err := os.MkdirTemp("", "pod") // podman takes no runroot of more than 50 characters
	require.NoError(t, err)
	base := []string{"--root=" + filepath.Join(dir, "root"), "--runroot=" + filepath.Join(dir, "run"), "--tmpdir=" + filepath.Join(dir, "tmp"),
		"--runtime=runc", "--cgroup-manager=cgroupfs"}
	t.Cleanup(func() {
		_ = exec.Command("podman", append(base, "system", "reset", "--force")...).Run() // its mounts go before the folder does
		require.NoError(t, os.RemoveAll(dir))
	})
	return func(args ...string) string {
		t.Helper()
		c := exec.Command("podman", append(base[:len(base):len(base)], args...)...)
		var stderr bytes.Buffer
		c.Stderr = &stderr
		out, err := c.Output()
		require.NoError(t, err, stderr.String())
		return string(bytes.TrimSpace(out))
	}
}

// freeAddress is an address on this machine that nobody listens on now.
func freeAddress(t *testing.T) string {
	var l net.ListenConfig
	listener, err := l.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

// listening waits until somebody answers.
func (s *service) listening(ctx context.Context) error {
	for {
		if _, _, err := fetch(ctx, "GET", s.url+"/healthz", nil); err == nil || ctx.Err() != nil {
			return err
		}
	}
}
