package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/plimsoll-oci/plimsoll/image/refusals"
)

// client speaks with one repository of one registry. ggcr's transport under it finds the
// scheme, logs in, and gets a new token when one has expired; a request whose body has
// left by then fails, and whoever sent it goes on where the registry stands. It is safe
// for concurrent use.
type client struct {
	repo name.Repository
	http *http.Client
}

// connect logs in for pushing to the target, and for reading the repositories to mount
// from.
func (o Options) connect(ctx context.Context, t Target, sources []name.Repository) (*client, error) {
	auth, err := authn.Resolve(ctx, credentials{o.keychain()}, t.ref.Context())
	if err != nil {
		return nil, err
	}
	scopes := []string{t.ref.Scope(transport.PushScope)}
	for _, s := range sources {
		scopes = append(scopes, s.Scope(transport.PullScope))
	}
	base := o.Transport
	if base == nil {
		base = direct()
	}
	if o.UserAgent != "" {
		base = transport.NewUserAgent(base, o.UserAgent)
	}
	tr, err := transport.NewWithContext(ctx, t.ref.Context().Registry, auth, once{base}, scopes)
	if err != nil {
		return nil, unveil(err)
	}
	return &client{repo: t.ref.Context(), http: &http.Client{Transport: tr}}, nil
}

// unveil is the error of a registry that could not be opened. Where plain http may be spoken
// ggcr tries both schemes and joins both errors: of a registry without TLS, the one of https
// says nothing.
func unveil(err error) error {
	var answer *transport.Error
	if !strings.Contains(err.Error(), refusals.NotTLS) || !errors.As(err, &answer) {
		return quiet(err)
	}
	return &refusal{err: plainly(answer)}
}

// plainly is an answer without a proxy's page, which says no more than its status.
func plainly(answer *transport.Error) *transport.Error {
	if len(answer.Errors) == 0 && strings.Contains(answer.Error(), "<html") {
		return &transport.Error{StatusCode: answer.StatusCode, Request: answer.Request}
	}
	return answer
}

// once is a transport that sends a body once. ggcr's sends a request again with a new token
// when the old one has expired, while the first may still be reading from the body: the
// second would put bytes from the middle at the place of the first.
type once struct{ http.RoundTripper }

// RoundTrip refuses a body that has been sent before.
func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	b, ok := r.Body.(*body)
	if f, open := r.Body.(*flowing); open {
		b, ok, r = f.body, true, f.watched(r)
	}
	if ok && b.sent.Swap(true) {
		b.Close()
		return nil, errClosed
	}
	return o.RoundTripper.RoundTrip(r)
}

// keychain is the caller's, or docker's.
func (o Options) keychain() authn.Keychain {
	if o.Keychain != nil {
		return o.Keychain
	}
	return authn.DefaultKeychain
}

// url is an address below a repository.
func (c *client) url(repo name.Repository, path string, query url.Values) string {
	u := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + path, RawQuery: query.Encode()}
	return u.String()
}

// answer is what the registry said; bodies say nothing that matters here.
type answer struct {
	status int
	header http.Header
	at     *url.URL
}

// do sends a request and reads its answer, which has one of the given codes. content may
// be nil.
func (c *client) do(ctx context.Context, method, address string, content *body, header http.Header, codes ...int) (answer, error) {
	var r io.Reader
	if content != nil {
		r = content.reader()
		defer content.Close()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, r)
	if err != nil {
		return answer{}, quiet(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if content != nil {
		req.ContentLength = content.length()
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	resp, err := c.http.Do(req)
	if content != nil && content.failed() != nil {
		return answer{}, &sourceError{content.failed()}
	}
	if err != nil {
		return answer{}, quiet(err)
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, codes...); err != nil {
		return answer{}, answered(resp, err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // keeps the connection
	return answer{status: resp.StatusCode, header: resp.Header, at: resp.Request.URL}, nil
}

// has asks whether a repository holds a blob.
func (c *client) has(ctx context.Context, repo name.Repository, digest v1.Hash) (bool, error) {
	a, err := c.do(ctx, http.MethodHead, c.url(repo, "/blobs/"+digest.String(), nil), nil, nil, http.StatusOK, http.StatusNotFound)
	return a.status == http.StatusOK, err
}

// sourceError is an error of the bytes, not of the registry.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// refusal is a registry's answer that was no success.
type refusal struct {
	err *transport.Error
	// wait is what Retry-After asks for, 0 if nothing.
	wait time.Duration
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// answered makes a refusal of an answer with the wrong code.
func answered(resp *http.Response, err error) error {
	var e *transport.Error
	if !errors.As(err, &e) {
		return quiet(err)
	}
	return &refusal{err: plainly(e), wait: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
}

// retryAfter reads the header in both of its forms (RFC 9110, 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	if s, err := strconv.Atoi(text); err == nil && s > 0 {
		return time.Duration(min(s, 1<<20)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// quiet takes the address out of a client's error: it may be a signed one.
func quiet(err error) error {
	var e *url.Error
	if !errors.As(err, &e) {
		return err
	}
	u, parseErr := url.Parse(e.URL)
	if parseErr != nil {
		return fmt.Errorf("%s: %w", strings.ToUpper(e.Op), e.Err)
	}
	return fmt.Errorf("%s %s://%s%s: %w", strings.ToUpper(e.Op), u.Scheme, u.Host, u.Path, e.Err)
}

// location is where an upload goes on. A registry must not send the bytes to a machine
// inside of this network: another host with a private address is refused.
func (a answer) location() (string, error) {
	text := a.header.Get("Location")
	if text == "" {
		return "", errors.New("the registry names no Location for the upload")
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("the registry's Location for the upload is no URL")
	}
	u = a.at.ResolveReference(u)
	if u.Hostname() != a.at.Hostname() && private(u.Hostname()) {
		return "", fmt.Errorf("the registry sends the upload to the private address %s", u.Hostname())
	}
	return u.String(), nil
}

// private reports whether a host is an address that only machines inside can reach.
func private(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host == "localhost" || strings.HasSuffix(host, ".localhost")
	}
	ip = ip.Unmap()
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified()
}

// received reads the Range of an upload: how many bytes have arrived. known is false
// without one. Registries say 0-0 of an empty upload.
func (a answer) received() (n int64, known bool, err error) {
	return parseRange(a.header.Get("Range"))
}

func parseRange(text string) (n int64, known bool, err error) {
	if text == "" {
		return 0, false, nil
	}
	from, to, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(text), "bytes="), "-")
	last, err := strconv.ParseInt(to, 10, 64)
	if err != nil || from != "0" || last < 0 || last == 1<<63-1 {
		return 0, false, fmt.Errorf("the registry's Range for the upload is %q", text)
	}
	if last == 0 {
		return 0, true, nil
	}
	return last + 1, true, nil
}

// withQuery adds a parameter to an address, which keeps its own.
func withQuery(address, key, value string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the registry's Location for the upload is no URL")
	}
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// offline reports whether nobody can be reached at all, which waiting does not heal.
func offline(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}
