package contents_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/contents"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

func open(t *testing.T, reference string) *contents.Image {
	t.Helper()
	img, err := contents.Registry(t.Context(), reference, contents.Options{Keychain: authn.NewMultiKeychain()})
	require.NoError(t, err)
	return img
}

func TestRegistry(t *testing.T) {
	m := newModel(t)
	var requests sync.Map
	reference := m.serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := requests.LoadOrStore(r.URL.Path, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			h.ServeHTTP(w, r)
		})
	})
	img := open(t, reference)
	o := m.verify(t, img, nil)
	require.Empty(t, o.found())
	require.Equal(t, m.config, o.model)
	require.Equal(t, m.all(o), o.done)
	requests.Range(func(path, n any) bool {
		if strings.Contains(path.(string), "/blobs/") {
			require.EqualValues(t, 1, n.(*atomic.Int64).Load(), path)
		}
		return true
	})

	byDigest := strings.Replace(reference, ":1", "@"+img.Digest.String(), 1)
	require.Empty(t, m.verify(t, open(t, byDigest), nil).found())
}

// blobs stands before a registry and changes the answers to requests for one blob.
func blobs(digest string, do func(w http.ResponseWriter, r *http.Request, answer *httptest.ResponseRecorder)) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, digest) || r.Method != http.MethodGet {
				h.ServeHTTP(w, r)
				return
			}
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			do(w, r, answer)
		})
	}
}

// answer sends a body with a status, and of its headers the range.
func answer(w http.ResponseWriter, a *httptest.ResponseRecorder, body []byte) {
	if v := a.Header().Get("Content-Range"); v != "" {
		w.Header().Set("Content-Range", v)
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(a.Code)
	w.Write(body)
}

// TestRegistryDamage: a registry that gives out other bytes than it was sent.
func TestRegistryDamage(t *testing.T) {
	cases := map[string]struct {
		title string
		do    func(body []byte) []byte
		found []string
	}{
		"content": {part(1), flip(600), []string{weights + ": sha256", part(1) + ": layer-digest"}},
		"short":   {part(2), func(b []byte) []byte { return b[:5000] }, []string{weights + ": size", part(2) + ": layer-framing"}},
		"long":    {part(2), func(b []byte) []byte { return append(b, 0) }, []string{part(2) + ": layer-framing"}},
		"runtime": {"plimsoll runtime", flip(1537), []string{"plimsoll runtime: layer-digest"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newModel(t)
			thin, _ := m.layout(t, false)
			digest := descriptor(t, thin, tc.title).Digest.String()
			reference := m.serve(t, blobs(digest, func(w http.ResponseWriter, _ *http.Request, a *httptest.ResponseRecorder) {
				answer(w, a, tc.do(a.Body.Bytes()))
			}))
			require.ElementsMatch(t, tc.found, m.verify(t, open(t, reference), nil).found())
		})
	}
}

// TestRegistryIsBusy: an answer that passes is asked for again.
func TestRegistryIsBusy(t *testing.T) {
	m := newModel(t)
	var asked atomic.Int64
	reference := m.serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") && asked.Add(1) == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	require.Empty(t, m.verify(t, open(t, reference), nil).found())
}

// TestRegistryLacksABlob: the manifest is there and a blob is not.
func TestRegistryLacksABlob(t *testing.T) {
	m := newModel(t)
	thin, _ := m.layout(t, false)
	reference := m.serve(t, blobs(descriptor(t, thin, part(0)).Digest.String(), func(w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) {
		w.WriteHeader(http.StatusNotFound)
	}))
	require.Equal(t, []string{part(0) + ": layer-missing"}, m.verify(t, open(t, reference), nil).found())
}

// TestRegistryBreaksOff: a connection that breaks is taken up where it was, with a range
// or, from a registry that knows none, from the start.
func TestRegistryBreaksOff(t *testing.T) {
	for name, ranges := range map[string]bool{"ranges": true, "no ranges": false} {
		t.Run(name, func(t *testing.T) {
			m := newModel(t)
			thin, _ := m.layout(t, false)
			var asked []string
			reference := m.serve(t, blobs(descriptor(t, thin, part(1)).Digest.String(), func(w http.ResponseWriter, r *http.Request, a *httptest.ResponseRecorder) {
				asked = append(asked, r.Header.Get("Range"))
				body := a.Body.Bytes()
				if !ranges && a.Code == http.StatusPartialContent {
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				if len(asked) > 3 {
					answer(w, a, body)
					return
				}
				if v := a.Header().Get("Content-Range"); v != "" {
					w.Header().Set("Content-Range", v)
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				w.WriteHeader(a.Code)
				w.Write(body[:300_000]) // and the server closes the connection
			}))
			o := m.verify(t, open(t, reference), nil)
			if !ranges {
				require.Equal(t, "unreadable", o.report.Files[1].Findings[len(o.report.Files[1].Findings)-1].Code)
				require.Equal(t, fault.Registry, fault.KindOf(o.report.Err()))
				require.Len(t, asked, 1+5)
				return
			}
			require.Empty(t, o.found())
			require.Equal(t, m.all(o), o.done)
			require.Equal(t, []string{"", "bytes=300000-1050111", "bytes=600000-1050111", "bytes=900000-1050111"}, asked)
		})
	}
}

// TestRegistryWithoutRanges: a registry that answers a range with the whole blob.
func TestRegistryWithoutRanges(t *testing.T) {
	m := newModel(t)
	thin, _ := m.layout(t, false)
	d := descriptor(t, thin, part(1))
	whole := layerOf(t, m.files[1].Parts[1], m.data[weights])
	var asked atomic.Int64
	reference := m.serve(t, blobs(d.Digest.String(), func(w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) {
		body := whole
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		if asked.Add(1) == 1 {
			body = body[:777_777]
		}
		w.Write(body)
	}))
	require.Empty(t, m.verify(t, open(t, reference), nil).found())
	require.EqualValues(t, 2, asked.Load())
}

// TestRegistryRedirects: a blob may lie in another store, whose signed address stays
// secret, and a registry must not send a client where only the client can go.
func TestRegistryRedirects(t *testing.T) {
	m := newModel(t)
	thin, _ := m.layout(t, false)
	whole := layerOf(t, m.files[1].Parts[1], m.data[weights])
	var broken atomic.Bool
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			panic(http.ErrAbortHandler)
		}
		if r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusForbidden)
		}
		w.Write(whole)
	}))
	defer store.Close()
	reference := m.serve(t, blobs(descriptor(t, thin, part(1)).Digest.String(), func(w http.ResponseWriter, r *http.Request, _ *httptest.ResponseRecorder) {
		http.Redirect(w, r, store.URL+"/blob?signature=secret", http.StatusTemporaryRedirect)
	}))
	require.Empty(t, m.verify(t, open(t, reference), nil).found())

	broken.Store(true)
	o := m.verify(t, open(t, reference), nil)
	require.Equal(t, fault.Registry, fault.KindOf(o.report.Err()))
	require.NotContains(t, o.report.Findings().Err().Error(), "secret")
}

func TestRegistryRefusals(t *testing.T) {
	m := newModel(t)
	reference := m.serve(t, nil)
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	refusing := func(status int) string {
		return m.serve(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		})
	}
	lying := m.serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				r.URL.Path = strings.Split(r.URL.Path, "/manifests/")[0] + "/manifests/1"
				w.Header().Set("X", "y")
				a := httptest.NewRecorder()
				h.ServeHTTP(a, r)
				w.Header().Set("Content-Type", a.Header().Get("Content-Type"))
				w.Write(append(a.Body.Bytes(), ' '))
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	for name, tc := range map[string]struct {
		reference string
		kind      fault.Kind
		hint      string
	}{
		"no tag":      {strings.TrimSuffix(reference, ":1"), fault.Usage, "REGISTRY/REPOSITORY:TAG"},
		"no registry": {"model:1", fault.Usage, "REGISTRY/REPOSITORY:TAG"},
		"unknown tag": {strings.TrimSuffix(reference, "1") + "2", fault.Registry, "check repository and tag"},
		"nobody":      {strings.TrimPrefix(down.URL, "http://") + "/m:1", fault.Registry, "is it running"},
		"no login":    {refusing(http.StatusUnauthorized), fault.Registry, ""},
		"too many":    {refusing(http.StatusTooManyRequests), fault.Registry, "wait"},
		"failing":     {refusing(http.StatusInternalServerError), fault.Registry, "run the target again"},
		"forbidden":   {refusing(http.StatusForbidden), fault.Registry, "lack the right"},
		"other bytes": {strings.Replace(lying, ":1", "@"+mustDigest(t, m), 1), fault.Invalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := contents.Registry(t.Context(), tc.reference, contents.Options{Keychain: authn.NewMultiKeychain()})
			require.Error(t, err)
			require.Equal(t, tc.kind, fault.KindOf(err), err)
			require.Contains(t, fault.HintOf(err), tc.hint)
		})
	}
}

func mustDigest(t *testing.T, m *model) string {
	t.Helper()
	h, err := m.image.Digest()
	require.NoError(t, err)
	return h.String()
}

// failing is a credential helper that cannot answer.
type failing struct{}

func (failing) Resolve(authn.Resource) (authn.Authenticator, error) {
	return nil, fmt.Errorf("the helper is broken")
}

func TestRegistryCredentials(t *testing.T) {
	m := newModel(t)
	_, err := contents.Registry(t.Context(), m.serve(t, nil), contents.Options{Keychain: failing{}})
	require.Equal(t, fault.Registry, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "credential helper")
}

// TestRegistryCanceled: a context that ends while blobs are read ends everything.
func TestRegistryCanceled(t *testing.T) {
	m := newModel(t)
	ctx, cancel := context.WithCancel(t.Context())
	img, err := contents.Registry(ctx, m.serve(t, nil), contents.Options{Keychain: authn.NewMultiKeychain()})
	require.NoError(t, err)
	_, err = modelfiles.Verify(ctx, m.config, img.Files(m.files, nil), modelfiles.Options{Progress: func(int64) { cancel() }})
	require.Equal(t, fault.Canceled, fault.KindOf(err))
}
