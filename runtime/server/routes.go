package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// route is one path with its method.
type route struct {
	method, path string
	// open says that it needs no API key.
	open   bool
	handle http.HandlerFunc
}

// table lists every route of the service; openapi.json describes the same ones.
func (s *Server) table() []route {
	return []route{
		{http.MethodGet, "/", true, s.root},
		{http.MethodGet, "/health", true, s.health},
		{http.MethodGet, "/healthz", true, s.alive},
		{http.MethodGet, "/readyz", true, s.ready},
		{http.MethodGet, "/metrics", true, s.metrics.handler().ServeHTTP},
		{http.MethodGet, "/docs", true, s.docs},
		{http.MethodGet, "/openapi.json", true, s.description},
		{http.MethodPost, "/edit-image", false, s.editImage},
		{http.MethodPost, "/batch-edit-image", false, s.batchEditImage},
		{http.MethodGet, "/model-info", false, s.modelInfo},
		{http.MethodPost, "/model-config", false, s.modelConfig},
		{http.MethodGet, "/system-info", false, s.systemInfo},
	}
}

// requestKey is the key of a request's id in its context.
type requestKey struct{}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// takenID is an id of a request's that is taken over.
var takenID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ServeHTTP answers a request: it gives it an id, finds its route, lets it in or not, and
// notes what became of it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	id := r.Header.Get("X-Request-ID")
	if !takenID.MatchString(id) {
		id = newID()
	}
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
	record := &recorder{ResponseWriter: w}
	h := record.Header()
	h.Set("X-Request-ID", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	name := "other"
	defer func() { s.account(r, record, name, began) }()
	defer s.recover(record, r)
	name = s.dispatch(record, r)
}

// newID makes an id of 128 random bits.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// dispatch finds the route and answers. It returns the path of the route, for metrics.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) string {
	var allowed []string
	for _, route := range s.routes {
		if route.path != r.URL.Path {
			continue
		}
		allowed = append(allowed, route.method)
		if route.method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
		if s.shared(w, r, allowed) {
			return route.path
		}
		if slices.Contains(allowed, r.Method) {
			if route.open || s.admit(w, r) {
				route.handle(w, r)
			}
			return route.path
		}
	}
	if len(allowed) == 0 {
		s.fail(w, r, &failure{status: http.StatusNotFound, code: codeNotFound, detail: "there is no such path; /docs lists them"})
		return "other"
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	s.fail(w, r, &failure{status: http.StatusMethodNotAllowed, code: codeMethod, detail: fmt.Sprintf("method %s is not one of %s", clip(r.Method), strings.Join(allowed, ", "))})
	return r.URL.Path
}

// admit holds a request against the API key and answers 401 itself.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) bool {
	if s.config.APIKey == "" {
		return true
	}
	given := r.Header.Get("X-API-Key")
	if kind, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(kind, "Bearer") {
		given = strings.TrimSpace(token)
	}
	// Sums are compared, so that not even the key's length shows in the time.
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(s.config.APIKey))
	if subtle.ConstantTimeCompare(a[:], b[:]) == 1 {
		return true
	}
	s.fail(w, r, &failure{
		status: http.StatusUnauthorized, code: codeUnauthorized, detail: "the API key is missing or wrong",
		hint: "send it as Authorization: Bearer KEY, or as X-API-Key: KEY",
	})
	return false
}

// shared says which other origins' pages may read the answer, and answers their question
// before a request (CORS). It reports whether that was the question.
func (s *Server) shared(w http.ResponseWriter, r *http.Request, allowed []string) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || len(s.config.Origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	switch {
	case slices.Contains(s.config.Origins, "*"):
		h.Set("Access-Control-Allow-Origin", "*")
	case slices.Contains(s.config.Origins, origin):
		h.Set("Access-Control-Allow-Origin", origin)
	default:
		return false
	}
	h.Set("Access-Control-Expose-Headers", "X-Request-ID, Retry-After")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", strings.Join(allowed, ", "))
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key, X-Request-ID")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// recover answers for a handler that panicked.
func (s *Server) recover(w *recorder, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	s.log.Error("panic", "request_id", requestID(r.Context()), "value", fmt.Sprint(v), "stack", string(debug.Stack()))
	if w.status == 0 {
		s.fail(w, r, &failure{status: http.StatusInternalServerError, code: codeInternal, detail: "a defect of the service; its log has more"})
	}
}

// account writes the request's line in the log, and counts it.
func (s *Server) account(r *http.Request, w *recorder, route string, began time.Time) {
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	s.metrics.request(route, status)
	log := s.log.Info
	if route == "/healthz" || route == "/readyz" || route == "/metrics" {
		log = s.log.Debug // asked every few seconds
	}
	log("request", "request_id", requestID(r.Context()), "method", r.Method, "path", clip(r.URL.Path), "status", status,
		"seconds", seconds(time.Since(began)), "bytes", w.bytes, "remote", r.RemoteAddr)
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// note records a status that is not sent.
func note(w http.ResponseWriter, status int) {
	if r, ok := w.(*recorder); ok && r.status == 0 {
		r.status = status
	}
}

// write answers with JSON. A client that reads too slowly is cut off.
func (s *Server) write(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("encoding an answer: %w", err)) // types are ours
	}
	s.send(w, status, "application/json", append(data, '\n'))
}

func (s *Server) send(w http.ResponseWriter, status int, contentType string, data []byte) {
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(s.config.WriteTimeout)) // a recorder of tests has none
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data) // the client is gone
	_ = c.Flush()
	_ = c.SetWriteDeadline(time.Time{})
}

// seconds are those of a duration, to the millisecond.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
