package hubtest

import (
	"io"
	"log"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// Request is what the Hub remembers of a request. It never holds a query, as that may be a
// signature, nor a token.
type Request struct {
	Kind   Kind
	Method string
	// Repo and File are the repository and the path in it, where the request names them.
	Repo, File string
	// Path is the URL's path.
	Path string
	// Range is the request's Range header.
	Range string
	// Authorized says that the request had an Authorization header.
	Authorized bool
	// UserAgent and AcceptEncoding are the request's headers.
	UserAgent, AcceptEncoding string
	// Status is the answer's status, 0 while there is none.
	Status int
	// Sent is the number of body bytes handed to the connection.
	Sent int64
}

// requestLog is the Hub's memory.
type requestLog struct {
	mu   sync.Mutex
	list []*record
}

// record is a request that may still be going on.
type record struct {
	Request
	status, sent atomic.Int64
}

func (l *requestLog) add(r *record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, r)
}

// Requests returns all requests since the start or the last Reset, in the order of their
// arrival, those of both origins together.
func (h *Hub) Requests() []Request {
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	out := make([]Request, len(h.log.list))
	for i, r := range h.log.list {
		out[i] = r.Request
		out[i].Status, out[i].Sent = int(r.status.Load()), r.sent.Load()
	}
	return out
}

// Sent returns how many body bytes of files were sent, both origins together; of one file
// if path is not "".
func (h *Hub) Sent(path string) int64 {
	var n int64
	for _, r := range h.Requests() {
		if (path == "" || r.File == path) && slices.Contains([]Kind{Resolve, Cache, CDN}, r.Kind) && r.Status/100 == 2 {
			n += r.Sent
		}
	}
	return n
}

// Reset forgets all requests. Faults stay.
func (h *Hub) Reset() {
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	h.log.list = nil
}

// middleware records a request and lets faults change it.
func (h *Hub) middleware(next http.Handler, describe func(*http.Request) Request) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &record{Request: describe(r)}
		rec.Method, rec.Path, rec.Range = r.Method, r.URL.Path, r.Header.Get("Range")
		rec.Authorized = r.Header.Get("Authorization") != ""
		rec.UserAgent, rec.AcceptEncoding = r.Header.Get("User-Agent"), r.Header.Get("Accept-Encoding")
		h.log.add(rec)
		h.faulty(next, rec.Request).ServeHTTP(&counter{ResponseWriter: w, rec: rec}, r)
	})
}

func (h *Hub) describeHub(r *http.Request) Request {
	to := h.route(r)
	return Request{Kind: to.kind, Repo: to.repo, File: to.path}
}

func (h *Hub) describeCDN(r *http.Request) Request {
	h.mu.RLock()
	defer h.mu.RUnlock()
	o := h.objects[r.URL.Path]
	return Request{Kind: CDN, Repo: o.repo, File: o.file.path}
}

// counter counts what an answer sends. Bytes are counted before they are handed on and
// corrected afterwards: a client that has read a byte always finds it counted.
type counter struct {
	http.ResponseWriter
	rec *record
}

// countStep is how much of a file is handed to the kernel at once.
const countStep = 4 << 20

// WriteHeader implements http.ResponseWriter.
func (c *counter) WriteHeader(status int) {
	c.rec.status.Store(int64(status))
	c.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.rec.status.CompareAndSwap(0, http.StatusOK)
	c.rec.sent.Add(int64(len(p)))
	n, err := c.ResponseWriter.Write(p)
	c.rec.sent.Add(int64(n - len(p)))
	return n, err
}

// ReadFrom implements io.ReaderFrom: net/http's own lets the kernel copy from a file.
func (c *counter) ReadFrom(src io.Reader) (int64, error) {
	to, ok := c.ResponseWriter.(io.ReaderFrom)
	lim, limited := src.(*io.LimitedReader)
	if !ok || !limited {
		return io.Copy(struct{ io.Writer }{c}, src)
	}
	var total int64
	for lim.N > 0 {
		step := &io.LimitedReader{R: lim.R, N: min(lim.N, countStep)}
		c.rec.sent.Add(step.N)
		n, err := to.ReadFrom(step)
		c.rec.sent.Add(n - min(lim.N, countStep))
		lim.N -= n
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
	return total, nil
}

// Unwrap lets http.ResponseController reach the connection.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// silentLog drops net/http's complaints about clients that went away.
func silentLog() *log.Logger { return log.New(io.Discard, "", 0) }
