package push_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// TestInteropProven: real registries take a file that the kernel sends, and give the same
// bytes back. Over TLS the file passes through this process once.
func TestInteropProven(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	for name, c := range map[string]struct {
		o    registrytest.Options
		read int64
	}{
		"distribution 2.8":      {registrytest.Options{}, heldBack},
		"distribution 3":        {registrytest.Options{Program: registrytest.Distribution3(t)}, heldBack},
		"distribution 2.8, TLS": {registrytest.Options{TLS: true}, blobSize},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := registrytest.Start(t, c.o), newProven(t)
			o, transport := push.Options{}, http.RoundTripper(http.DefaultTransport)
			if r.CA != "" {
				transport = trusting(t, r.CA)
				o.Transport = transport
			}
			img := p.image(t)
			sent, err := push.Publish(t.Context(), img, target(t, r.Host+"/team/model:1"), o)
			require.NoError(t, err)
			require.Equal(t, sent.Bytes, sent.SentBytes)
			require.LessOrEqual(t, p.read.Load(), c.read)
			requireServed(t, r.Host+"/team/model", img, remote.WithTransport(transport))
		})
	}
}

// TestInteropFlowing: a large layer flows to Docker's registry in one PATCH, and over TLS too;
// behind nginx it goes in chunks, since nginx may collect them.
func TestInteropFlowing(t *testing.T) {
	interoptest.Require(t, "docker-registry", "nginx")
	for name, c := range map[string]struct {
		o       registrytest.Options
		nginx   bool
		patches int
	}{
		"distribution 2.8":        {registrytest.Options{}, false, 3},
		"distribution 3":          {registrytest.Options{Program: registrytest.Distribution3(t)}, false, 3},
		"distribution 2.8, TLS":   {registrytest.Options{TLS: true}, false, 3},
		"distribution 2.8, nginx": {registrytest.Options{}, true, 13},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := registrytest.Start(t, c.o), newProven(t)
			o, host := push.Options{}, r.Host
			if c.nginx {
				host = registrytest.StartNginx(t, r, "proxy_request_buffering on;")
			}
			if r.CA != "" {
				o.Transport = trusting(t, r.CA)
			}
			known := push.Registries
			t.Cleanup(func() { push.Registries = known })
			push.Registries = append([]push.Registry{{Host: host, Chunk: chunk}}, known...)
			_, err := push.Publish(t.Context(), p.image(t), target(t, host+"/team/model:1"), o)
			require.NoError(t, err)
			r.Stop()
			require.Equal(t, c.patches, r.Requests(http.MethodPatch))
		})
	}
}

// requireServed reads every layer of an image from a repository. The library holds what comes
// against the digest.
func requireServed(t *testing.T, repository string, img *image.Image, o ...remote.Option) {
	t.Helper()
	repo, err := name.NewRepository(repository)
	require.NoError(t, err)
	m, err := img.Manifest()
	require.NoError(t, err)
	for _, d := range m.Layers {
		l, err := remote.Layer(repo.Digest(d.Digest.String()), o...)
		require.NoError(t, err)
		body, err := l.Compressed()
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, body)
		require.NoError(t, err)
		require.Equal(t, d.Size, n)
		require.NoError(t, body.Close())
	}
}
