package flow_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/flow/magetest"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// TestInteropStream: 2 GB go from the Hub to a registry of others and are not kept: less than
// 100 MB of memory and no disk are used. Killed and interrupted on the way, the last run
// brings the rest.
func TestInteropStream(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	const size = 2_000_000_000
	hub := hubtest.New()
	_, err := hub.Add(hubtest.Repo{Name: "owner/big", Files: map[string]hubtest.File{
		"weights.bin": {Content: hubtest.Noise(1, size), LFS: true}, "config.json": {Content: hubtest.Bytes([]byte("{}"))},
	}})
	require.NoError(t, err)
	url, err := hub.Start()
	require.NoError(t, err)
	t.Cleanup(func() { hub.Close() })
	dir := t.TempDir()
	manifest, magefile := filepath.Join(dir, "big.yaml"), magetest.Compile(t, root)
	require.NoError(t, os.WriteFile(manifest, []byte(bigModel), 0o644))
	target := registrytest.Start(t, registrytest.Options{}).Host + "/big:1"
	start := func(ci string, args ...string) *exec.Cmd {
		c := exec.Command(magefile, append(args, "-model="+manifest)...)
		c.Dir, c.SysProcAttr = root, &syscall.SysProcAttr{Setpgid: true}
		c.Env = append(os.Environ(), "HF_ENDPOINT="+url, "HF_HOME="+filepath.Join(dir, "hf"), "PLIMSOLL_OUT="+filepath.Join(dir, "out"), "TMPDIR="+dir, "CI="+ci)
		out := &bytes.Buffer{}
		c.Stdout, c.Stderr = out, out
		require.NoError(t, c.Start())
		t.Cleanup(func() { _ = c.Process.Kill() })
		return c
	}
	require.NoError(t, start("", "lock").Wait())
	hub.Reset()

	publish := func(share int64, signal syscall.Signal) (sent int64) {
		hub.Reset()
		c := start("true", "publish", "-stream=true", "-target="+target)
		for hub.Sent("weights.bin") < size/100*share {
			time.Sleep(5 * time.Millisecond) // the Hub is what is watched
		}
		require.NoError(t, syscall.Kill(-c.Process.Pid, signal))
		require.Error(t, c.Wait())
		require.Empty(t, tagged(t, target))
		return hub.Sent("weights.bin")
	}
	killed := publish(20, syscall.SIGKILL)
	interrupted := publish(60, syscall.SIGINT)
	require.Less(t, interrupted, int64(size), "it was interrupted")

	hub.Reset()
	c := start("true", "publish", "-stream=true", "-target="+target)
	held := residence(c.Process.Pid)
	require.NoError(t, c.Wait(), "%s", c.Stdout)
	resident := held()
	rest := hub.Sent("weights.bin")
	t.Logf("of %d bytes, from the Hub: %d until it was killed, then %d until it was interrupted, then %d\n%s", int64(size), killed, interrupted, rest,
		tail(c.Stdout.(*bytes.Buffer).String(), 5))
	require.NotEmpty(t, tagged(t, target))
	const small = size/50 + 64<<20 // 2 % and one chunk of each layer in flight
	require.LessOrEqual(t, interrupted+rest, int64(size+small), "an interrupt loses nothing")
	require.LessOrEqual(t, killed+interrupted+rest, size+killed+small, "a kill inside a chunk loses the layer in flight to this registry")
	t.Logf("at most %d bytes resident", resident)
	require.Less(t, resident, int64(streamResident))
	require.Less(t, onDisk(t, dir), int64(15_000_000), "manifest, lock, journals and small files")
}
