// Package hubtest is a Hugging Face Hub on loopback: real HTTP from two hosts, the Hub at
// 127.0.0.1 and its CDN at 127.0.0.2, with the listings, headers, redirects and refusals of
// the real one, close enough for the huggingface_hub Python client to download from it.
// (Two ports of one host would not do: that client compares host names alone, and would
// take the CDN for the Hub. Where a system has no 127.0.0.2, it is two ports nevertheless.)
//
// # What it serves
//
// Repositories are given as names, sizes and an io.ReaderAt for each file. Bytes are asked
// for when a request wants them, so a repository of full-size generated files needs neither
// disk nor memory. Commits are real git commits of the content: the same files give the
// same commit on any machine, and adding a repository again moves its branch.
//
// A large file ("LFS") takes the way of the real Hub: 302 from /resolve/ to a signed,
// expiring URL of the CDN, with X-Linked-Etag (the sha256), X-Linked-Size and
// X-Repo-Commit on the redirect; the CDN's own ETag is another hash, and a request that
// brings the CDN an Authorization header is refused, as storage services do. A small file
// goes by 307 to /api/resolve-cache/. An old name of a renamed repository answers 307
// without ETag and commit. Xet is absent, as for a client without it.
//
// # Faults
//
// A Fault changes what some requests see: connections that are cut or reset, silence,
// refusals, rate limits, ignored ranges, wrong bytes of the right size. Faults are
// middleware, so they compose; see Fault. Profiles such as Artifactory change the whole
// server.
//
// # Use
//
// The package does not import testing: demos and benchmarks run it as a library. A Hub is
// safe for concurrent use; Close leaves no goroutine behind.
package hubtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Hub is one loopback Hub. Use New, Add, Start and Close; Add works before and after Start.
type Hub struct {
	opts options
	key  []byte // signs CDN URLs

	mu      sync.RWMutex
	repos   map[string]*repo
	aliases map[string]string // old name → name
	objects map[string]object // CDN path → file
	faults  []*armed

	generation atomic.Int64 // signatures of older generations are void
	log        requestLog

	hub, cdn *origin
	closing  chan struct{} // closed by Close: lets go of stalled requests
	closed   sync.Once
}

// Option sets up a Hub.
type Option func(*options)

type options struct {
	pageSize int
	ttl      time.Duration
	tokens   map[string]grant
	direct   bool   // the Hub serves all bytes itself
	prefix   string // path in front of every Hub path
}

// grant is what a token may do.
type grant int

const (
	nothing grant = iota // known, but let into no private or gated repository
	everything
)

// PageSize sets how many entries a page of the tree has. Default: 1000, as the real Hub.
func PageSize(n int) Option { return func(o *options) { o.pageSize = n } }

// SignatureTTL sets how long a signed CDN URL is honoured. Default: an hour.
func SignatureTTL(d time.Duration) Option { return func(o *options) { o.ttl = d } }

// Token makes a token known that may read everything. As soon as one token is known,
// others are refused, even for public repositories, as by the real Hub; with none known,
// any token is a stranger's.
func Token(token string) Option { return func(o *options) { o.tokens[token] = everything } }

// StrangerToken makes a token known that may read public repositories only.
func StrangerToken(token string) Option { return func(o *options) { o.tokens[token] = nothing } }

// Direct makes the Hub serve all bytes itself, without a redirect to the CDN, as caching
// proxies do.
func Direct() Option { return func(o *options) { o.direct = true } }

// Prefix puts a path in front of every Hub path, such as /artifactory/api/huggingfaceml/hf.
// It is part of the URL that Start returns.
func Prefix(path string) Option { return func(o *options) { o.prefix = path } }

// New returns a Hub without repositories. It does not listen yet.
func New(opts ...Option) *Hub {
	h := &Hub{
		opts:    options{pageSize: 1000, ttl: time.Hour, tokens: map[string]grant{}},
		key:     make([]byte, 32),
		repos:   map[string]*repo{},
		aliases: map[string]string{},
		objects: map[string]object{},
		closing: make(chan struct{}),
	}
	_, _ = rand.Read(h.key) // never fails (crypto/rand)
	for _, opt := range opts {
		opt(&h.opts)
	}
	return h
}

// Start listens on free ports of loopback and returns the endpoint's URL, for HF_ENDPOINT.
// A Hub starts once.
func (h *Hub) Start() (string, error) {
	if h.hub != nil {
		return "", errors.New("starting a loopback Hub: it has been started")
	}
	cdn, err := listen(h.CDNHandler(), "127.0.0.2:0", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	hub, err := listen(h.Handler(), "127.0.0.1:0")
	if err != nil {
		return "", errors.Join(err, cdn.close())
	}
	h.hub, h.cdn = hub, cdn
	return h.URL(), nil
}

// URL is the endpoint's URL, without a trailing slash. It is valid after Start.
func (h *Hub) URL() string { return h.hub.url + h.opts.prefix }

// CDN is the URL of the CDN's origin. It is valid after Start.
func (h *Hub) CDN() string { return h.cdn.url }

// Close stops both servers, cuts open connections, waits for all handlers and closes the
// contents that are io.Closers. It may be called more than once.
func (h *Hub) Close() error {
	var errs []error
	h.closed.Do(func() {
		close(h.closing)
		for _, o := range []*origin{h.hub, h.cdn} {
			if o != nil {
				errs = append(errs, o.close())
			}
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, r := range h.repos {
			errs = append(errs, r.close())
		}
	})
	return errors.Join(errs...)
}

// ExpireSignatures voids every CDN URL signed until now, as if its time were over.
func (h *Hub) ExpireSignatures() { h.generation.Add(1) }

// Handler is the Hub's origin, for servers of one's own, such as one with TLS. The CDN is
// still the one of Start.
func (h *Hub) Handler() http.Handler {
	return h.middleware(http.HandlerFunc(h.serveHub), h.describeHub)
}

// CDNHandler is the CDN's origin.
func (h *Hub) CDNHandler() http.Handler {
	return h.middleware(http.HandlerFunc(h.serveCDN), h.describeCDN)
}

// origin is one listening server.
type origin struct {
	url      string
	server   *http.Server
	handlers sync.WaitGroup
	served   chan struct{}
}

// connKey is the context key of a request's connection.
type connKey struct{}

// listen starts a server on the first address that this machine has.
func listen(handler http.Handler, addresses ...string) (*origin, error) {
	l, err := listenFirst(addresses)
	if err != nil {
		return nil, fmt.Errorf("starting a loopback Hub: %w", err)
	}
	o := &origin{url: "http://" + l.Addr().String(), served: make(chan struct{})}
	o.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			o.handlers.Add(1)
			defer o.handlers.Done()
			handler.ServeHTTP(w, r)
		}),
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          silentLog(),
	}
	go func() {
		defer close(o.served)
		_ = o.server.Serve(l) // always ErrServerClosed, after close
	}()
	return o, nil
}

func listenFirst(addresses []string) (net.Listener, error) {
	var errs []error
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err == nil {
			return l, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// close cuts all connections and waits for the handlers.
func (o *origin) close() error {
	err := o.server.Close()
	<-o.served
	o.handlers.Wait()
	return err
}

// closeContent closes a content that needs it.
func closeContent(c Content) error {
	if closer, ok := c.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
