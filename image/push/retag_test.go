package push_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

func TestRetag(t *testing.T) {
	f := newFront(t, push.Registry{})
	first, err := push.Publish(t.Context(), newNoise(1<<10).image(t), target(t, f.host+"/m:1"), quick())
	require.NoError(t, err)
	second, err := push.Publish(t.Context(), newNoise(2<<10).image(t), target(t, f.host+"/m:prod"), quick())
	require.NoError(t, err)
	require.NotEqual(t, first.Digest, second.Digest)

	before := len(f.log)
	r, err := push.Retag(t.Context(), f.host+"/m@"+first.Digest, "prod", quick())
	require.NoError(t, err)
	require.Equal(t, first.Digest, r.Digest)
	require.Equal(t, f.host+"/m:prod", r.Reference)
	r, err = push.Retag(t.Context(), f.host+"/m:prod", "old", quick())
	require.NoError(t, err)
	require.Equal(t, first.Digest, r.Digest)
	require.Len(t, f.log, before, "no blob travelled")

	_, err = push.Retag(t.Context(), f.host+"/m:none", "prod", quick())
	require.Equal(t, fault.Registry, fault.KindOf(err))
	for _, bad := range [][2]string{{"m", "1"}, {f.host + "/m@sha256:1234", "1"}, {"https://" + f.host + "/m:1", "1"}, {f.host + "/m:1", "not a tag"}, {f.host + "/m:1", ""}} {
		_, err = push.Retag(t.Context(), bad[0], bad[1], quick())
		require.Equal(t, fault.Usage, fault.KindOf(err), "%v", bad)
	}
}

// TestToldHints: what a registry says in words counts more than its status.
func TestToldHints(t *testing.T) {
	cases := map[string]string{
		`{"errors":[{"code":"TAG_INVALID","message":"The image tag '1' already exists and cannot be overwritten because the repository is immutable."}]}`: "new tag",
		`{"errors":[{"code":"DENIED","message":"adding 5 GiB would exceed the quota of 1 GiB"}]}`:                                                         "quota",
		`{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}`:                                                          "create the repository",
	}
	for text, hint := range cases {
		host := serve(t, func(inner http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost {
					inner.ServeHTTP(w, r)
					return
				}
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(text))
			})
		})
		_, err := push.Publish(t.Context(), testImage(t, []byte("w"), false), target(t, host+"/m:1"), quick())
		require.Equal(t, fault.Registry, fault.KindOf(err))
		require.Contains(t, fault.HintOf(err), hint)
	}
}
