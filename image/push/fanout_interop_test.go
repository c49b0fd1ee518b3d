package push_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// staller is a proxy that lets no more than limit bytes of each connection through until it
// is released.
func staller(t *testing.T, host string, limit int64, released <-chan struct{}) string {
	t.Helper()
	return relay(t, host, func(in, out *net.TCPConn) {
		if n, _ := io.CopyN(out, in, limit); n == limit {
			<-released
			_, _ = io.Copy(out, in)
		}
	})
}

// TestInteropFanOut publishes to four registries of others at once: a fast one, one that
// stands still until the fast one has the whole image, one that wants a password, and one
// that is down. The fast one waits for nobody, the slow one reads for itself what it fell
// behind with, and the two that fail say why.
func TestInteropFanOut(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	const large = 160 << 20 // more than the window
	fast, slow := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	guarded, down := registrytest.Start(t, registrytest.Options{Auth: true}), registrytest.Start(t, registrytest.Options{})
	down.Stop()
	newLogin(t, "elsewhere.example", registrytest.User, registrytest.Password)
	done := make(chan struct{})
	n := newNoise(large)
	img := n.image(t)
	targets := []push.Target{
		target(t, down.Host+"/m:1"), target(t, staller(t, slow.Host, 1<<20, done)+"/m:1"), target(t, guarded.Host+"/m:1"), target(t, fast.Host+"/m:1"),
	}
	go func() {
		defer close(done)
		awaitTag(t, fast.Host+"/m:1")
	}()
	out := push.PublishAll(t.Context(), img, targets, func(push.Target) push.Options { return quick() })
	require.Equal(t, fault.Registry, fault.KindOf(out[0].Err))
	require.Contains(t, fault.HintOf(out[0].Err), "is it running")
	require.Equal(t, fault.Registry, fault.KindOf(out[2].Err))
	require.Contains(t, fault.HintOf(out[2].Err), "docker login "+guarded.Host)
	digest, err := img.Digest()
	require.NoError(t, err)
	for i, host := range map[int]string{1: slow.Host, 3: fast.Host} {
		require.NoError(t, out[i].Err)
		require.Equal(t, digest.String(), out[i].Result.Digest)
		require.Equal(t, digest.String(), names(t, host+"/m:1"))
	}
	require.Greater(t, n.read.Load(), int64(large), "the slow one was left behind")
	require.LessOrEqual(t, n.read.Load(), int64(2*large), "once for each at most")
}

// awaitTag asks until a registry names something by a reference.
func awaitTag(t *testing.T, ref string) {
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Error(err)
		return
	}
	for t.Context().Err() == nil {
		if _, err := remote.Head(tag); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
