package hubtest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Status answers with a status, without asking the Hub. Headers are given as name, value,
// name, value.
func Status(status int, headers ...string) Effect {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			plain(w, status, http.StatusText(status))
		})
	}
}

// RateLimited answers 429 with the Hub's RateLimit header: the window ends in so many
// seconds.
func RateLimited(seconds int) Effect {
	return Status(http.StatusTooManyRequests,
		"RateLimit", fmt.Sprintf(`"resolve";r=0;t=%d`, seconds),
		"RateLimit-Policy", `"fixed window";"resolve";q=3000;w=300`)
}

// RetryAfter answers with a status and a Retry-After of so many seconds.
func RetryAfter(status, seconds int) Effect {
	return Status(status, "Retry-After", strconv.Itoa(seconds))
}

// Redirect answers with a redirect to where to says.
func Redirect(status int, to func(*http.Request) string) Effect {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", to(r))
			plain(w, status, "Redirecting")
		})
	}
}

// RedirectTo sends every request on to the same path and query below another base URL, as
// a mirror does that points back to the Hub.
func RedirectTo(base string) Effect {
	return Redirect(http.StatusPermanentRedirect, func(r *http.Request) string { return base + r.URL.RequestURI() })
}

// IgnoreRange answers as if no range had been asked for: 200 and the whole file.
func IgnoreRange() Effect {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context())
			r.Header.Del("Range")
			next.ServeHTTP(w, r)
		})
	}
}

// SetHeader changes or adds a header of the answer; an empty value removes it.
func SetHeader(name, value string) Effect {
	return rewrite(func(h http.Header, _ int) {
		if value == "" {
			h.Del(name)
			return
		}
		h.Set(name, value)
	})
}

// Cut ends the connection after so many bytes of the body, in an orderly way: the answer
// is shorter than its Content-Length says.
func Cut(after int64) Effect {
	return atByte(after, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
}

// Reset breaks the connection after so many bytes of the body by a TCP reset.
func Reset(after int64) Effect {
	return atByte(after, func(_ http.ResponseWriter, r *http.Request) {
		if tcp, ok := r.Context().Value(connKey{}).(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		panic(http.ErrAbortHandler)
	})
}

// Stall stays silent after so many bytes of the body, until the client goes away or the
// Hub closes.
func (h *Hub) Stall(after int64) Effect {
	return atByte(after, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-h.closing:
		}
		panic(http.ErrAbortHandler)
	})
}

// Garble flips the bits of the byte at a place of the file; the size stays right.
func Garble(at int64) Effect {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&garbler{ResponseWriter: w, left: at}, r)
		})
	}
}

// Throttle sends at most so many bytes of the body per second on each connection.
func Throttle(bytesPerSecond int64) Effect {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&throttle{ResponseWriter: w, rate: bytesPerSecond, start: time.Now()}, r)
		})
	}
}

// Effects applies several effects to one request, the first outermost.
func Effects(list ...Effect) Effect {
	return func(next http.Handler) http.Handler {
		for i := len(list) - 1; i >= 0; i-- {
			next = list[i](next)
		}
		return next
	}
}

// Artifactory returns the faults that make a Hub, built with Direct and a Prefix, answer
// like a JFrog Artifactory remote repository: no X-Repo-Commit, no X-Linked-*, an ETag
// that is the plain sha1 of the bytes and so no git id, and a 206 without Content-Range.
func Artifactory() Fault {
	return Fault{Effect: rewrite(func(h http.Header, status int) {
		for _, name := range []string{"X-Repo-Commit", "X-Linked-Etag", "X-Linked-Size"} {
			h.Del(name)
		}
		if tag := h.Get("ETag"); tag != "" {
			h.Set("ETag", otherHash("artifactory", tag)[:40])
		}
		if status == http.StatusPartialContent {
			h.Del("Content-Range")
		}
	})}
}

// rewrite changes the headers of an answer before they are sent.
func rewrite(change func(h http.Header, status int)) Effect {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&rewriter{ResponseWriter: w, change: change}, r)
		})
	}
}

type rewriter struct {
	http.ResponseWriter
	change func(http.Header, int)
	done   bool
}

func (w *rewriter) WriteHeader(status int) {
	if !w.done {
		w.done = true
		w.change(w.Header(), status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *rewriter) Write(p []byte) (int, error) {
	if !w.done {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

func (w *rewriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// atByte runs then when so many bytes of the body have been sent, or at the end of a
// shorter one.
func atByte(after int64, then func(http.ResponseWriter, *http.Request)) Effect {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b := &barrier{ResponseWriter: w, left: after, then: func() {
				_ = http.NewResponseController(w).Flush()
				then(w, r)
			}}
			next.ServeHTTP(b, r)
			b.then()
		})
	}
}

// barrier lets so many bytes pass.
type barrier struct {
	http.ResponseWriter
	left int64
	then func()
}

func (b *barrier) Write(p []byte) (int, error) {
	pass := p[:min(int64(len(p)), b.left)]
	n, err := b.ResponseWriter.Write(pass)
	b.left -= int64(n)
	if err == nil && len(pass) < len(p) {
		b.then()
	}
	return n, err
}

func (b *barrier) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// garbler changes one byte. left counts down to it from the place where the answer begins.
type garbler struct {
	http.ResponseWriter
	left int64
}

func (g *garbler) WriteHeader(status int) {
	if rest, ok := strings.CutPrefix(g.Header().Get("Content-Range"), "bytes "); ok {
		first, _, _ := strings.Cut(rest, "-")
		n, err := strconv.ParseInt(first, 10, 64)
		if err == nil {
			g.left -= n
		}
	}
	g.ResponseWriter.WriteHeader(status)
}

func (g *garbler) Write(p []byte) (int, error) {
	if g.left >= 0 && g.left < int64(len(p)) {
		changed := append([]byte(nil), p...)
		changed[g.left] ^= 0xff
		p = changed
	}
	n, err := g.ResponseWriter.Write(p)
	g.left -= int64(n)
	return n, err
}

func (g *garbler) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// throttle paces writes against a clock that started with the request.
type throttle struct {
	http.ResponseWriter
	rate, sent int64
	start      time.Time
}

// throttleStep is how much is sent at once.
const throttleStep = 64 << 10

func (t *throttle) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		due := t.start.Add(time.Duration(float64(t.sent) / float64(t.rate) * float64(time.Second)))
		time.Sleep(time.Until(due))
		n, err := t.ResponseWriter.Write(p[done:min(done+throttleStep, len(p))])
		done += n
		t.sent += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (t *throttle) Unwrap() http.ResponseWriter { return t.ResponseWriter }

var _ io.ReaderFrom = (*counter)(nil)
