package push_test

import (
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
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/attest"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/referrers"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// referrerServer is a registry, with the referrers API or without, that counts writes.
func referrerServer(t *testing.T, api bool, wrap func(http.Handler) http.Handler) (host string, writes *atomic.Int64) {
	t.Helper()
	writes = &atomic.Int64{}
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(api))
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			writes.Add(1)
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), writes
}

// published sends an image and returns documents about it.
func published(t *testing.T, ref string, content string) []*referrers.Artifact {
	t.Helper()
	img := testImage(t, []byte(content), false)
	r, err := push.Publish(t.Context(), img, target(t, ref), quick())
	require.NoError(t, err)
	digest, err := v1.NewHash(r.Digest)
	require.NoError(t, err)
	size, err := img.Size()
	require.NoError(t, err)
	var out []*referrers.Artifact
	for _, name := range []string{"sbom", "provenance", "verification"} {
		a, err := referrers.New(v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: size, Digest: digest},
			attest.Document{Name: name, MediaType: attest.TypeInToto, Predicate: "p/" + name, Data: []byte(content + name)})
		require.NoError(t, err)
		out = append(out, a)
	}
	return out
}

// listed asks as any client does.
func listed(t *testing.T, repo string, a *referrers.Artifact) (out []string) {
	t.Helper()
	d, err := name.NewDigest(repo + "@" + a.Subject.Digest.String())
	require.NoError(t, err)
	index, err := remote.Referrers(d)
	require.NoError(t, err)
	m, err := index.IndexManifest()
	require.NoError(t, err)
	for _, d := range m.Manifests {
		out = append(out, d.Digest.String())
	}
	return out
}

func digestsOf(list []*referrers.Artifact) (out []string) {
	for _, a := range list {
		out = append(out, a.Manifest.Descriptor.Digest.String())
	}
	return out
}

// TestAttach: documents are found from the image, with the referrers API and without, and a
// second time nothing is written.
func TestAttach(t *testing.T) {
	for name, api := range map[string]bool{"referrers API": true, "tag schema": false} {
		t.Run(name, func(t *testing.T) {
			host, writes := referrerServer(t, api, nil)
			repo := host + "/team/model"
			one, other := published(t, repo+":1", "one"), published(t, repo+":2", "other")
			got, err := push.Attach(t.Context(), one, target(t, repo+":1"), quick())
			require.NoError(t, err)
			require.Len(t, got, 3)
			for i, r := range got {
				require.True(t, r.Written)
				require.Equal(t, one[i].Name, r.Name)
				require.Equal(t, one[i].Subject.Digest.String(), r.Subject)
			}
			require.ElementsMatch(t, digestsOf(one), listed(t, repo, one[0]))
			require.Empty(t, listed(t, repo, other[0]), "another image's")

			before := writes.Load()
			again, err := push.Attach(t.Context(), one, target(t, repo+":other-tag"), quick())
			require.NoError(t, err)
			require.Equal(t, before, writes.Load(), "nothing is written twice")
			for i, r := range again {
				require.False(t, r.Written)
				require.Equal(t, got[i].Digest, r.Digest)
			}

			both := append(append([]*referrers.Artifact{}, one[:1]...), other...)
			got, err = push.Attach(t.Context(), both, target(t, repo+":1"), quick())
			require.NoError(t, err)
			require.Len(t, got, 4)
			require.False(t, got[0].Written)
			require.ElementsMatch(t, digestsOf(other), listed(t, repo, other[0]))
		})
	}
}

// TestAttachNamesTheDocument: without the API the list holds what a client chooses by.
func TestAttachNamesTheDocument(t *testing.T) {
	host, _ := referrerServer(t, false, nil)
	one := published(t, host+"/m:1", "one")
	_, err := push.Attach(t.Context(), one, target(t, host+"/m:1"), quick())
	require.NoError(t, err)
	d, err := name.NewDigest(host + "/m@" + one[0].Subject.Digest.String())
	require.NoError(t, err)
	index, err := remote.Referrers(d, remote.WithFilter("artifactType", attest.TypeInToto))
	require.NoError(t, err)
	m, err := index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, m.Manifests, 3)
	for _, got := range m.Manifests {
		require.Contains(t, got.Annotations[referrers.PredicateKey], "p/")
	}
}

// TestAttachAgainstAnother: another writer's list replaces ours once. It is written again.
func TestAttachAgainstAnother(t *testing.T) {
	var lost atomic.Bool
	host, _ := referrerServer(t, false, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256-") && !lost.Swap(true) {
				w.WriteHeader(http.StatusCreated) // and the next one to write never saw it
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	one := published(t, host+"/m:1", "one")
	got, err := push.Attach(t.Context(), one, target(t, host+"/m:1"), quick())
	require.NoError(t, err)
	require.True(t, lost.Load())
	require.Len(t, got, 3)
	require.ElementsMatch(t, digestsOf(one), listed(t, host+"/m", one[0]))
}

// TestAttachRefused: a registry that takes no artifacts is an error that says what stands
// and what to do.
func TestAttachRefused(t *testing.T) {
	for name, c := range map[string]struct {
		refuse func(r *http.Request) bool
		status int
		text   string
	}{
		"manifest": {func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:")
		}, http.StatusBadRequest, "sbom"},
		"the list": {func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/referrers/") }, http.StatusMethodNotAllowed, "listing the referrers"},
		"no rights": {func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256-")
		}, http.StatusForbidden, "sbom"},
		"forgets": {func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256-")
		}, http.StatusCreated, "does not list it"},
	} {
		t.Run(name, func(t *testing.T) {
			host, _ := referrerServer(t, false, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if c.refuse(r) {
						w.WriteHeader(c.status)
						return
					}
					h.ServeHTTP(w, r)
				})
			})
			one := published(t, host+"/m:1", "one")
			got, err := push.Attach(t.Context(), one, target(t, host+"/m:1"), quick())
			require.ErrorContains(t, err, c.text)
			require.Equal(t, fault.Registry, fault.KindOf(err))
			require.Contains(t, fault.HintOf(err), "pass -referrers=false")
			require.Empty(t, got, "nothing is claimed that is not listed")
		})
	}
}
