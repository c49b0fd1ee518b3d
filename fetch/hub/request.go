package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

const (
	// maxHops bounds a chain of redirects; the longest real one has four.
	maxHops = 10
	// drainLimit is how much of a redirect's or refusal's body is read, so that the
	// connection can be used again.
	drainLimit = 16 << 10
)

// facts is what the Hub's hops said about a file on the way to its bytes.
type facts struct {
	etag   string // "" unknown
	size   int64  // -1 unknown
	commit string // "" unknown
}

// absorb takes what one hop says. Only a hop that speaks as a Hub counts: X-Linked-* are
// Hub headers, and a plain ETag is the file's only beside X-Repo-Commit. The CDN has
// neither, and its ETag is another hash of the same length.
func (f *facts) absorb(resp *http.Response) {
	h := resp.Header
	commit := h.Get("X-Repo-Commit")
	if isCommit(commit) {
		f.commit = commit
	}
	if tag := parseETag(h.Get("X-Linked-Etag")); tag != "" {
		f.etag = tag
	} else if tag := parseETag(h.Get("ETag")); tag != "" && isCommit(commit) {
		f.etag = tag
	}
	if n, ok := parseDigits(h.Get("X-Linked-Size")); ok {
		f.size = n
	}
}

// answer is the end of a chain of redirects.
type answer struct {
	resp    *http.Response
	facts   facts
	foreign bool // some hop was at another origin than the endpoint
	watch   *watchdog
}

// close lets go of the connection, in a state to be used again if the rest is short.
func (a *answer) close() {
	a.drain()
	a.discard()
}

// drain reads the rest of a short body. What goes wrong there does not matter any more.
func (a *answer) drain() {
	a.watch.start()
	defer a.watch.stop()
	_, _ = io.CopyN(io.Discard, a.resp.Body, drainLimit)
}

// discard closes without reading on.
func (a *answer) discard() {
	_ = a.resp.Body.Close()
	a.watch.end()
}

// get sends a GET to u and follows redirects. The answer is of any status outside of the
// redirects; the caller closes it. foreign says that u is already a signed URL.
func (c *Client) get(ctx context.Context, s subject, u *url.URL, header http.Header, foreign bool) (*answer, error) {
	if c.cfg.Offline {
		return nil, c.offline(s)
	}
	a := &answer{facts: facts{size: -1}, foreign: foreign, watch: watch(ctx, c.cfg.StallTimeout)}
	seen := map[string]bool{}
	for hop := 0; ; hop++ {
		if hop == maxHops || seen[u.String()] {
			a.watch.end()
			return nil, redirectError(s, u, fmt.Errorf("the redirects do not end after %d hops", hop))
		}
		seen[u.String()] = true
		a.foreign = a.foreign || !c.isEndpoint(u)
		resp, err := c.hop(a, u, header)
		if err != nil {
			err = streamError(ctx, s, u.Host, a.watch.reason(err))
			a.watch.end()
			return nil, err
		}
		a.resp = resp
		a.facts.absorb(resp)
		if !isRedirect(resp.StatusCode) {
			return a, nil
		}
		next, err := target(u, resp.Header.Get("Location"))
		a.drain()
		_ = resp.Body.Close()
		if err != nil {
			a.watch.end()
			return nil, redirectError(s, u, err)
		}
		u = next
	}
}

// hop sends one request. The token goes along only while the chain has not left the
// endpoint's origin.
func (c *Client) hop(a *answer, u *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(a.watch.ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	if c.auth != "" && !a.foreign {
		req.Header.Set("Authorization", c.auth)
	}
	a.watch.start()
	defer a.watch.stop()
	return c.transport.RoundTrip(req)
}

// isEndpoint reports whether u has the endpoint's origin.
func (c *Client) isEndpoint(u *url.URL) bool {
	return u.Scheme == c.endpoint.Scheme && u.Host == c.endpoint.Host
}

// isRedirect reports whether a status names another place for a GET (RFC 9110, 15.4).
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// target resolves a Location against the URL that answered with it. Its errors do not
// repeat it, as it may be signed.
func target(base *url.URL, location string) (*url.URL, error) {
	if location == "" {
		return nil, errors.New("a redirect has no Location")
	}
	next, err := base.Parse(location)
	if err != nil {
		return nil, errors.New("a redirect's Location is not a URL")
	}
	if next.Scheme != "http" && next.Scheme != "https" || next.Host == "" {
		return nil, fmt.Errorf("a redirect leads to scheme %q", clip(next.Scheme))
	}
	next.Fragment, next.User = "", nil
	return next, nil
}

// redirectError is a chain that leads nowhere. It is permanent.
func redirectError(s subject, u *url.URL, err error) error {
	return fault.Wrap(fault.Upstream, "check HF_ENDPOINT, or the proxy in front of it", fmt.Errorf("%s: %s: %w", s, u.Host, err))
}

// watchdog ends a request whose server is silent for too long. Time counts only between
// start and stop, so that a slow consumer is not taken for a slow server.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	limit  time.Duration
	timer  *time.Timer
}

// watch returns a stopped watchdog; end releases it.
func watch(parent context.Context, limit time.Duration) *watchdog {
	ctx, cancel := context.WithCancelCause(parent)
	w := &watchdog{ctx: ctx, cancel: cancel, limit: limit}
	w.timer = time.AfterFunc(limit, func() { cancel(fmt.Errorf("%w for %v", ErrStalled, limit)) })
	w.timer.Stop()
	return w
}

func (w *watchdog) start() { w.timer.Reset(w.limit) }

func (w *watchdog) stop() { w.timer.Stop() }

func (w *watchdog) end() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// reason returns the stall if that is why err happened, else err.
func (w *watchdog) reason(err error) error {
	if cause := context.Cause(w.ctx); errors.Is(cause, ErrStalled) {
		return cause
	}
	return err
}
