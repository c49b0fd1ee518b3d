package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Codes of X-Error-Code that have a meaning of their own (huggingface_hub, utils/_http.py).
const (
	CodeRepoNotFound     = "RepoNotFound"
	CodeRevisionNotFound = "RevisionNotFound"
	CodeEntryNotFound    = "EntryNotFound"
	CodeGatedRepo        = "GatedRepo"
)

// maxCode bounds an X-Error-Code; the longest known one has 16 letters.
const maxCode = 40

// ErrStalled is inside the error of a server that stayed silent for Config.StallTimeout.
var ErrStalled = errors.New("the server fell silent")

// StatusError is a server's refusal.
type StatusError struct {
	// Op is "listing" or "opening"; Path is "" for a listing.
	Op, Repo, Revision, Path string
	// Host is the host that refused: the endpoint's, a mirror's or the CDN's.
	Host string
	// Status is the HTTP status; 3xx means a redirect that could not be followed.
	Status int
	// Code is the X-Error-Code, "" if there is none: it names the reason where the status
	// does not.
	Code string
	// Message is what the Hub says about it, "" from other hosts.
	Message string
	// RetryAfter is how long the server asks to be left alone, 0 if it does not say.
	RetryAfter time.Duration
	// Size is the file's size that a 416 names, else -1.
	Size int64
}

// Error names the thing, the host, the status and the reason; never a URL.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s: %s answers %d %s", subject{e.Op, e.Repo, e.Revision, e.Path}, e.Host, e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Temporary reports whether the same request can succeed later: 408, 429 and 5xx, but for
// 501 and 505, which are about what the server can do at all.
func (e *StatusError) Temporary() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return e.Status >= 500
}

// StreamError is a connection that could not be made or broke: while connecting, waiting
// for the answer, or in the middle of a body.
type StreamError struct {
	// Op is "listing" or "opening"; Path is "" for a listing.
	Op, Repo, Revision, Path string
	// Host is the other end's host.
	Host string
	// Err is the reason; it never holds a URL.
	Err error
}

// Error names the thing, the host and the reason.
func (e *StreamError) Error() string {
	return fmt.Sprintf("%s: %s: %v", subject{e.Op, e.Repo, e.Revision, e.Path}, e.Host, e.Err)
}

// Unwrap returns the reason.
func (e *StreamError) Unwrap() error { return e.Err }

// Temporary reports whether a new connection can succeed: not where the host does not
// exist or its certificate is not trusted.
func (e *StreamError) Temporary() bool {
	var dns *net.DNSError
	if errors.As(e.Err, &dns) {
		return !dns.IsNotFound
	}
	return !untrusted(e.Err)
}

// Temporary reports whether err, or an error that it wraps, says that trying again can
// help. Errors that do not say are permanent; so is an ended context.
func Temporary(err error) bool {
	// Only this package's types are asked: the standard library calls an ended context
	// temporary.
	var status *StatusError
	var stream *StreamError
	switch {
	case errors.As(err, &status):
		return status.Temporary()
	case errors.As(err, &stream):
		return stream.Temporary()
	}
	return false
}

// RetryAfter returns how long the server behind err asks to be left alone, 0 if it does
// not say.
func RetryAfter(err error) time.Duration {
	var status *StatusError
	if errors.As(err, &status) {
		return status.RetryAfter
	}
	return 0
}

// untrusted reports whether err is about the other end's certificate.
func untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	return errors.As(err, &verification) || errors.As(err, &authority)
}

// subject is what a request is about, for its errors.
type subject struct{ op, repo, revision, path string }

// String reads like "opening owner/name@main path".
func (s subject) String() string {
	text := s.op + " " + s.repo + "@" + s.revision
	if s.path != "" {
		text += " " + s.path
	}
	return text
}

// streamError turns a failure below HTTP into an error without any URL, with its hint. A
// context that ended on the caller's side is not the stream's fault.
func streamError(ctx context.Context, s subject, host string, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(fault.Upstream, "", fmt.Errorf("%s: %w", s, context.Cause(ctx)))
	}
	return fault.Wrap(fault.Upstream, streamHint(err), &StreamError{
		Op: s.op, Repo: s.repo, Revision: s.revision, Path: s.path,
		Host: host, Err: withoutURL(err),
	})
}

// withoutURL drops the layer in which net/http repeats the URL, which may be signed.
func withoutURL(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return err
}

// streamHint is the way out of a broken connection.
func streamHint(err error) string {
	var dns *net.DNSError
	switch {
	case untrusted(err):
		return "if a proxy re-signs TLS here, let SSL_CERT_FILE name its CA"
	case errors.As(err, &dns) && dns.IsNotFound, errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENETUNREACH),
		errors.Is(err, syscall.EHOSTUNREACH), dialTimedOut(err):
		return unreachableHint
	}
	return ""
}

// unreachableHint is the way out where no server was met at all.
const unreachableHint = "check HF_ENDPOINT, and HTTPS_PROXY if this network has no direct way out"

// dialTimedOut reports whether nobody answered a connection, as behind a firewall.
func dialTimedOut(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" && op.Timeout()
}

// statusError reads a refusal. A server's words are kept only if it is the endpoint; codes
// are kept where they look like codes.
func (c *Client) statusError(s subject, resp *http.Response, foreign bool) error {
	e := &StatusError{
		Op: s.op, Repo: s.repo, Revision: s.revision, Path: s.path,
		Host:       resp.Request.URL.Host,
		Status:     resp.StatusCode,
		RetryAfter: retryDelay(resp.StatusCode, resp.Header, time.Now()),
		Size:       -1,
	}
	if code := resp.Header.Get("X-Error-Code"); plainName(code) && len(code) <= maxCode {
		e.Code = code
	}
	if !foreign {
		e.Message = c.quote(resp.Header.Get("X-Error-Message"))
	}
	if span, err := parseContentRange(resp.Header.Get("Content-Range")); err == nil && e.Status == http.StatusRequestedRangeNotSatisfiable {
		e.Size = span.total
	}
	return fault.Wrap(fault.Upstream, c.statusHint(e, s, foreign), e)
}

// quote makes a server's words fit for an error: one short line, without our own token.
func (c *Client) quote(text string) string {
	for _, secret := range []string{c.auth, c.cfg.Token} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[token]")
		}
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	return clip(text)
}

// statusHint is the way out of a refusal.
func (c *Client) statusHint(e *StatusError, s subject, foreign bool) string {
	if hint := c.codeHint(e.Code, s); hint != "" {
		return hint
	}
	switch {
	case foreign && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden):
		return "a redirect led from " + c.endpoint.Host + " to this host, which never gets the token"
	case foreign:
		return ""
	case e.Status == http.StatusUnauthorized && c.auth == "":
		return s.repo + " is private, gated or does not exist: check the name, and set HF_TOKEN if it is not public"
	case e.Status == http.StatusUnauthorized:
		return "the Hub refuses the token: check that HF_TOKEN is valid and may read " + s.repo
	case e.Status == http.StatusForbidden:
		return "the token lacks the permission to read " + s.repo
	case e.Status == http.StatusNotFound:
		return "check the name, and that HF_ENDPOINT is a Hub: " + c.endpoint.Host + " does not say what is missing"
	case e.Status == http.StatusProxyAuthRequired:
		return "the proxy of HTTPS_PROXY wants a user and a password"
	case e.Status == http.StatusTooManyRequests && c.auth == "":
		return "anonymous requests are limited: set HF_TOKEN, or try again later"
	}
	return ""
}

// codeHint is the way out where the Hub names the reason.
func (c *Client) codeHint(code string, s subject) string {
	switch code {
	case CodeGatedRepo:
		return fmt.Sprintf("accept the terms at %s/%s and set HF_TOKEN to a token of that account", c.Endpoint(), s.repo)
	case CodeRepoNotFound:
		return s.repo + " does not exist, or is private: check the name, and set HF_TOKEN if it is not public"
	case CodeRevisionNotFound:
		return fmt.Sprintf("%s has no revision %s: check the branch, tag or commit", s.repo, s.revision)
	case CodeEntryNotFound:
		return fmt.Sprintf("%s has no such file at %s", s.repo, s.revision)
	}
	return ""
}
