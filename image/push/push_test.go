package push_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

type bytesFile struct{ *bytes.Reader }

func (bytesFile) Close() error { return nil }

// testImage is an image of one model file; opener nil means that its bytes are absent.
func testImage(t *testing.T, data []byte, absent bool) *image.Image {
	t.Helper()
	const path = "app/models/base/w"
	part := pack.Part{Name: path, Count: 1, Length: int64(len(data))}
	prefix, err := pack.Prefix(part)
	require.NoError(t, err)
	layer := append(append(prefix, data...), make([]byte, pack.SuffixLen(part.Length))...)
	sum := sha256.Sum256(data)
	d := manifests.Decision{Source: "base", Keep: true, ImagePath: path, File: manifests.File{Path: "w", Size: part.Length, SHA256: hex.EncodeToString(sum[:])}}
	open := func() (image.File, error) {
		if absent {
			return nil, image.ErrAbsent
		}
		return bytesFile{bytes.NewReader(data)}, nil
	}
	img, err := image.Build(image.Spec{
		Manifest: &manifests.Manifest{Name: "t", Title: "T", Runtime: manifests.RuntimeNone},
		Model:    &manifests.ModelConfig{SchemaVersion: 1, Name: "t", Files: []manifests.ModelFile{{Path: "base/w", Size: d.Size, SHA256: d.SHA256}}},
		Files:    []image.ModelFile{{Decision: d, Parts: []pack.Part{part}, Digests: []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}, Open: open}},
	})
	require.NoError(t, err)
	return img
}

func serve(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	var h http.Handler = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func target(t *testing.T, ref string) push.Target {
	t.Helper()
	out, err := push.ParseTarget(ref)
	require.NoError(t, err)
	return out
}

func TestPublishSendsOnce(t *testing.T) {
	host := serve(t, nil)
	data := bytes.Repeat([]byte("w"), 100_000)
	img := testImage(t, data, false)
	var progress atomic.Int64
	first, err := push.Publish(t.Context(), img, target(t, host+"/team/model:1"), push.Options{Progress: func(n int64) { progress.Add(n) }})
	require.NoError(t, err)
	require.Equal(t, 2, first.Sent)
	require.Equal(t, first.Bytes, first.SentBytes)
	require.Equal(t, first.SentBytes, progress.Load())

	second, err := push.Publish(t.Context(), img, target(t, host+"/team/model:2"), push.Options{})
	require.NoError(t, err)
	require.Zero(t, second.SentBytes)
	require.Equal(t, first.Digest, second.Digest)

	ref, err := name.ParseReference(host + "/team/model:2")
	require.NoError(t, err)
	back, err := remote.Image(ref)
	require.NoError(t, err)
	digest, err := back.Digest()
	require.NoError(t, err)
	require.Equal(t, first.Digest, digest.String())
}

func TestPublishWithoutBytes(t *testing.T) {
	host := serve(t, nil)
	data := bytes.Repeat([]byte("w"), 1000)
	_, err := push.Publish(t.Context(), testImage(t, data, true), target(t, host+"/m:1"), push.Options{})
	require.ErrorIs(t, err, image.ErrAbsent)
	require.Equal(t, fault.Usage, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "fetch")

	_, err = push.Publish(t.Context(), testImage(t, data, false), target(t, host+"/m:1"), push.Options{})
	require.NoError(t, err)
	r, err := push.Publish(t.Context(), testImage(t, data, true), target(t, host+"/m:2"), push.Options{})
	require.NoError(t, err, "the registry has the layer")
	require.Zero(t, r.SentBytes)
}

func TestRefusals(t *testing.T) {
	cases := []struct {
		status int
		hint   string
	}{
		{http.StatusUnauthorized, "log in"},
		{http.StatusForbidden, "right to push"},
		{http.StatusNotFound, "create the repository"},
		{http.StatusRequestEntityTooLarge, "partSize"},
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			host := serve(t, func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/v2/" {
						return
					}
					w.WriteHeader(c.status)
				})
			})
			_, err := push.Publish(t.Context(), testImage(t, []byte("w"), false), target(t, host+"/m:1"), push.Options{})
			require.Equal(t, fault.Registry, fault.KindOf(err), "%v", err)
			require.Contains(t, fault.HintOf(err), c.hint)
			require.ErrorContains(t, err, host+"/m:1")
		})
	}
}

func TestNobodyListens(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	_, err := push.Publish(t.Context(), testImage(t, []byte("w"), false), target(t, strings.TrimPrefix(s.URL, "http://")+"/m:1"), push.Options{})
	require.Equal(t, fault.Registry, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "running")
}

func TestParseTarget(t *testing.T) {
	for _, bad := range []string{"", "model", "model:1", "ghcr.io/owner/model", "ghcr.io/owner/model@sha256:" + strings.Repeat("0", 64), "ghcr.io/UPPER/x:1", "https://ghcr.io/owner/model:1", "docker://ghcr.io/owner/model:1"} {
		_, err := push.ParseTarget(bad)
		require.Equal(t, fault.Usage, fault.KindOf(err), bad)
		require.ErrorContains(t, err, fmt.Sprintf("%q", bad))
	}
	_, err := push.ParseTarget("https://ghcr.io/owner/model:1")
	require.Equal(t, "leave https:// away", fault.HintOf(err))
	_, err = push.ParseTarget("ghcr.io/owner/model")
	require.ErrorContains(t, err, "it names no tag")
	require.Equal(t, "ghcr.io/owner/model:1", target(t, "ghcr.io/owner/model:1").String())
}

// sized is an image whose only layer claims a size.
type sized struct {
	v1.Image
	size int64
}

func (s sized) Manifest() (*v1.Manifest, error) {
	return &v1.Manifest{Layers: []v1.Descriptor{{Size: s.size}}}, nil
}

func (sized) RawManifest() ([]byte, error) { return []byte("{}"), nil }

func TestLimits(t *testing.T) {
	cases := []struct {
		ref  string
		size int64
		ok   bool
	}{
		{"ghcr.io/o/m:1", 10_000_000_000, true},
		{"ghcr.io/o/m:1", 10_000_000_001, false},
		{"public.ecr.aws/o/m:1", 12_654_443_144, false},
		{"123.dkr.ecr.eu-central-1.amazonaws.com/m:1", 12_654_443_144, true},
		{"registry.example/o/m:1", 1 << 50, true},
	}
	for _, c := range cases {
		err := target(t, c.ref).Check(sized{size: c.size})
		if c.ok {
			require.NoError(t, err, c.ref)
			continue
		}
		require.Equal(t, fault.Usage, fault.KindOf(err), c.ref)
		require.Contains(t, fault.HintOf(err), "partSize")
	}
}
