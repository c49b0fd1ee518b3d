package push_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/plimsoll-oci/plimsoll/image/push"
)

// front takes uploads as the OCI distribution specification has it, ranges and their status
// included, and hands whole blobs to go-containerregistry's registry, which has no status.
// It fails in the ways that it is told to.
type front struct {
	inner http.Handler
	host  string

	mu       sync.Mutex
	sessions map[string]*sent
	opened   int
	// log lists the requests about uploads: "PATCH 0-99 202".
	log []string
	// got counts the bytes of bodies that arrived.
	got int64

	// refuse holds answers for the next requests of a method, without reading them.
	refuse map[string][]reply
	// cut breaks the next bodies of a MiB or more after so many bytes; what arrived is kept.
	cut []int64
	// ranged is the answer to a PATCH with Content-Range, 0 to take it; patched to any.
	ranged, patched int
	// largest is the largest body.
	largest int64
	// drop throws the bodies of all PATCHes after a session's first away, lie says it did not.
	drop, lie bool
	// docker makes the answers about uploads Docker's, with these headers.
	docker map[string]string
	// minimum is sent as OCI-Chunk-Min-Length.
	minimum string
	// noStatus refuses to tell what has arrived.
	noStatus bool
	// tokens, if not nil, are wanted: each is good for so many more requests.
	tokens map[string]int
	// patch is called during a PATCH.
	patch func()
}

// sent is what has arrived of an upload. A request holds it, as registries lock an upload.
type sent struct {
	sync.Mutex
	bytes.Buffer
	// large says that a whole chunk came.
	large atomic.Bool
}

type reply struct {
	code   int
	header map[string]string
}

// newFront starts a front and makes the table know it.
func newFront(t *testing.T, r push.Registry) *front {
	t.Helper()
	f := &front{inner: registry.New(registry.Logger(log.New(io.Discard, "", 0))), sessions: map[string]*sent{}, refuse: map[string][]reply{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	f.host = strings.TrimPrefix(s.URL, "http://")
	r.Host = f.host
	known := push.Registries
	push.Registries = append([]push.Registry{r}, known...)
	t.Cleanup(func() { push.Registries = known })
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.refused(w, r) || !f.allowed(w, r) {
		return
	}
	if !strings.Contains(r.URL.Path, "/blobs/uploads/") {
		f.inner.ServeHTTP(w, r)
		return
	}
	code := f.upload(w, r)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %d", r.Method, strings.Join(r.TransferEncoding, ","), r.Header.Get("Content-Range"), code)), " "))
}

// refused answers from the list of refusals.
func (f *front) refused(w http.ResponseWriter, r *http.Request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.refuse[r.Method]
	if len(list) == 0 || !strings.Contains(r.URL.Path, "/blobs/") {
		return false
	}
	f.refuse[r.Method] = list[1:]
	for k, v := range list[0].header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(list[0].code)
	f.log = append(f.log, fmt.Sprintf("%s refused %d", r.Method, list[0].code))
	return true
}

// allowed checks the token, and gives one out.
func (f *front) allowed(w http.ResponseWriter, r *http.Request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	have, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case f.tokens == nil:
		return true
	case r.URL.Path == "/token":
		token := fmt.Sprint("token-", len(f.tokens))
		f.tokens[token] = 4
		fmt.Fprintf(w, `{"token": %q}`, token)
		return false
	case f.tokens[have] > 0:
		f.tokens[have]--
		return true
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="front"`, f.host))
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

// upload answers a request about an upload and returns the code.
func (f *front) upload(w http.ResponseWriter, r *http.Request) int {
	id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	repo, _, _ := strings.Cut(r.URL.Path, "blobs/uploads/")
	if r.Method == http.MethodPost {
		return f.open(w, r, repo)
	}
	f.mu.Lock()
	s := f.sessions[id]
	f.mu.Unlock()
	if s == nil {
		return answer(w, http.StatusNotFound)
	}
	s.Lock()
	defer s.Unlock()
	switch r.Method {
	case http.MethodGet:
		if f.noStatus {
			return answer(w, http.StatusMethodNotAllowed)
		}
		return f.where(w, s, repo, id, http.StatusNoContent)
	case http.MethodPatch:
		return f.take(w, r, s, repo, id)
	case http.MethodPut:
		return f.close(w, r, s, repo, id)
	}
	f.mu.Lock()
	delete(f.sessions, id)
	f.mu.Unlock()
	return answer(w, http.StatusNoContent)
}

func (f *front) open(w http.ResponseWriter, r *http.Request, repo string) int {
	if digest := r.URL.Query().Get("mount"); digest != "" {
		w.Header().Set("Location", repo+"blobs/"+digest) // the inner registry shares all blobs
		return answer(w, http.StatusCreated)
	}
	f.mu.Lock()
	f.opened++
	id, s := fmt.Sprint("u", f.opened), &sent{}
	f.sessions[id] = s
	f.mu.Unlock()
	if f.minimum != "" {
		w.Header().Set("OCI-Chunk-Min-Length", f.minimum)
	}
	return f.where(w, s, repo, id, http.StatusAccepted)
}

// where says where an upload stands.
func (f *front) where(w http.ResponseWriter, s *sent, repo, id string, code int) int {
	for k, v := range f.docker {
		w.Header().Set(k, v)
	}
	w.Header().Set("Location", repo+"blobs/uploads/"+id+"?_state=secret-state")
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(s.Len()-1, 0)))
	return answer(w, code)
}

// take reads a PATCH.
func (f *front) take(w http.ResponseWriter, r *http.Request, s *sent, repo, id string) int {
	from, to := int64(s.Len()), int64(0)
	header := r.Header.Get("Content-Range")
	if header != "" {
		if _, err := fmt.Sscanf(header, "%d-%d", &from, &to); err != nil {
			return answer(w, http.StatusBadRequest)
		}
	}
	switch {
	case f.patched != 0:
		return answer(w, f.patched)
	case header != "" && f.ranged != 0:
		return answer(w, f.ranged)
	case f.largest > 0 && (r.ContentLength > f.largest || r.ContentLength < 0):
		return answer(w, http.StatusRequestEntityTooLarge)
	case from != int64(s.Len()) && !f.lie:
		return answer(w, http.StatusRequestedRangeNotSatisfiable)
	}
	if r.ContentLength >= chunk || r.ContentLength < 0 {
		s.large.Store(true)
	}
	if f.patch != nil {
		f.patch()
	}
	dropped := f.drop && from > 0
	f.read(r, s, dropped)
	if dropped && f.lie {
		w.Header().Set("Location", repo+"blobs/uploads/"+id)
		w.Header().Set("Range", fmt.Sprintf("0-%d", to))
		return answer(w, http.StatusAccepted)
	}
	return f.where(w, s, repo, id, http.StatusAccepted)
}

// read takes a body into a session, up to the next cut.
func (f *front) read(r *http.Request, s *sent, dropped bool) {
	f.mu.Lock()
	limit := int64(1 << 40)
	if len(f.cut) > 0 && (r.ContentLength >= 1<<20 || r.ContentLength < 0) {
		limit, f.cut = f.cut[0], f.cut[1:]
	}
	f.mu.Unlock()
	data, err := io.ReadAll(io.LimitReader(r.Body, limit))
	f.mu.Lock()
	f.got += int64(len(data))
	f.mu.Unlock()
	if !dropped {
		s.Write(data)
	}
	if err != nil || limit < r.ContentLength || r.ContentLength < 0 && int64(len(data)) == limit {
		panic(http.ErrAbortHandler) // the connection breaks
	}
}

// close hands the blob to the registry behind.
func (f *front) close(w http.ResponseWriter, r *http.Request, s *sent, repo, id string) int {
	if f.largest > 0 && r.ContentLength > f.largest {
		return answer(w, http.StatusRequestEntityTooLarge)
	}
	f.read(r, s, false)
	digest := r.URL.Query().Get("digest")
	if digest != fmt.Sprintf("sha256:%x", sha256.Sum256(s.Bytes())) {
		return answer(w, http.StatusBadRequest)
	}
	inner := httptest.NewRequest(http.MethodPost, repo+"blobs/uploads/?digest="+digest, bytes.NewReader(s.Bytes()))
	f.inner.ServeHTTP(w, inner)
	f.mu.Lock()
	delete(f.sessions, id)
	f.mu.Unlock()
	return http.StatusCreated
}

func answer(w http.ResponseWriter, code int) int {
	w.WriteHeader(code)
	return code
}

// requests counts the lines of the log with a prefix.
func (f *front) requests(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.log {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

// forget expires all uploads of which a whole chunk has come: small ones may be about to end.
func (f *front) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.sessions, func(_ string, s *sent) bool { return s.large.Load() })
}

// quick are options that do not wait.
func quick() push.Options { return push.Options{Pause: time.Millisecond} }
