// Package hub speaks the Hugging Face Hub's read protocol: what does a repository hold at
// a revision, and give me these bytes of that file. It knows nothing of disks, journals
// or progress; package fetch decides what to ask for, how often, and where it goes.
//
// # Two hosts
//
// A file is asked for at the Hub, {endpoint}/{repo}/resolve/{commit}/{path}. The Hub
// answers with a chain of redirects, which this package follows by hand because the hops
// mean different things:
//
//   - a renamed repository: 307 to the same origin, with neither ETag nor commit;
//   - a small file: 307 to /api/resolve-cache/… on the same origin, then the bytes;
//   - a large file: 302 to a signed URL of another host (the CDN). This hop alone knows
//     the file: X-Linked-Etag is its sha256, X-Linked-Size its size, X-Repo-Commit the
//     commit. The CDN's own ETag is another hash of the same length and is never used.
//
// The token goes to the endpoint's origin (scheme, host and port) and to no other; once a
// chain has left that origin no later hop gets it. A signed URL is a secret too: it works
// for anybody who sees it until it expires. Neither is ever part of an error: errors name
// the repository, the path in it and a host.
//
// A client remembers the signed URL of each file, so that the many ranges of one file
// cost one request to the Hub, whose rate limits are per request. A remembered URL that
// is refused is resolved again; a fresh one that is refused is an error, because resolving
// forever would hide the reason.
//
// # Who retries
//
// List retries by itself: it is small and idempotent. Open does not: only the caller knows
// whether bytes arrived since the last failure. Both return errors that say by Temporary
// whether trying again can help, and by RetryAfter how long the server wants to be left
// alone.
//
// # What is checked here
//
// Names, sizes and sums of a listing are checked before anything sees them. Of a body only
// its place is checked (Content-Range against the request and the Hub's size): the bytes
// are the caller's to verify against the listing's sums.
package hub

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// DefaultEndpoint is the public Hub.
const DefaultEndpoint = "https://huggingface.co"

// Defaults of Config.
const (
	DefaultStallTimeout = 30 * time.Second
	DefaultRetryBase    = time.Second
	DefaultRetryTries   = 6
	// DefaultRetryWait is over the Hub's rate-limit window of 300 s, so that an exhausted
	// limit can always be waited for.
	DefaultRetryWait = 330 * time.Second
)

const (
	dialTimeout = 20 * time.Second
	tlsTimeout  = 20 * time.Second
	idleTimeout = 90 * time.Second
	// idlePerHost covers the parallel ranges of a few files; more connections than this
	// are closed when they fall idle.
	idlePerHost = 32
)

// Config says how to reach a Hub. The zero value is the public Hub without a token.
type Config struct {
	// Endpoint is the Hub's base URL; a path is allowed, as proxies have one. A user and
	// password in it are sent as basic authentication if there is no Token. Default:
	// DefaultEndpoint.
	Endpoint string
	// Token is sent as a bearer token to the endpoint's origin only.
	Token string
	// Offline makes every request fail before it leaves this machine.
	Offline bool
	// HTTP replaces the client's own pool: of it the Transport alone is used, as redirects
	// are followed here. It must not decompress.
	HTTP *http.Client
	// UserAgent is sent with every request. Default: "plimsoll".
	UserAgent string
	// StallTimeout is how long a server may stay silent: until its answer begins, and
	// between two reads of a body. There is no limit on the whole. Default:
	// DefaultStallTimeout.
	StallTimeout time.Duration
	// RetryBase is List's first wait; waits double, with jitter. Default: DefaultRetryBase.
	RetryBase time.Duration
	// RetryTries is how often List sends one request at most. Default: DefaultRetryTries.
	RetryTries int
	// RetryWait is the longest wait that List accepts from a rate limit; a server that asks
	// for more gets an error at once. Default: DefaultRetryWait.
	RetryWait time.Duration
	// OnWait, if set, is told why and how long List is about to wait. It is called from the
	// goroutine of List.
	OnWait func(reason error, wait time.Duration)
}

// String shows the endpoint's host and hides the secrets, so that a Config can be logged.
func (cfg Config) String() string {
	host := "unreadable endpoint"
	if u, _, err := parseEndpoint(cfg.Endpoint); err == nil {
		host = u.String()
	}
	return fmt.Sprintf("hub.Config{%s, token: %t, offline: %t}", host, cfg.Token != "", cfg.Offline)
}

// GoString is String: %#v must not show the token either.
func (cfg Config) GoString() string { return cfg.String() }

// Client talks to one endpoint. It is safe for concurrent use.
type Client struct {
	cfg      Config
	endpoint *url.URL // without user, trailing slash, query and fragment
	auth     string   // Authorization of the endpoint's origin, "" for none
	// transport is used without an http.Client around it: that would parse the Location of
	// a redirect by itself, and repeat a signed URL in its errors.
	transport http.RoundTripper
	own       *http.Transport // nil when Config.HTTP was given

	mu        sync.Mutex
	locations map[subject]*location
}

// New returns a client. It does not send anything. The error is about the endpoint.
func New(cfg Config) (*Client, error) {
	endpoint, auth, err := parseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if cfg.Token != "" {
		if !printable(cfg.Token) {
			return nil, fault.Wrap(fault.Usage, "check HF_TOKEN", errors.New("reading the Hub token: it holds spaces or control characters"))
		}
		auth = "Bearer " + cfg.Token
	}
	c := &Client{cfg: cfg.withDefaults(), endpoint: endpoint, auth: auth, locations: map[subject]*location{}}
	switch {
	case cfg.HTTP == nil:
		c.own = newTransport()
		c.transport = c.own
	case cfg.HTTP.Transport == nil:
		c.transport = http.DefaultTransport
	default:
		c.transport = cfg.HTTP.Transport
	}
	return c, nil
}

// Endpoint returns the endpoint's base URL, without user, password and trailing slash.
func (c *Client) Endpoint() string { return c.endpoint.String() }

// String names the endpoint and hides the token, so that a Client can be logged.
func (c *Client) String() string { return "hub.Client{" + c.Endpoint() + "}" }

// Close drops the idle connections of the client's own pool. The client stays usable.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// withDefaults fills in what the caller left out.
func (cfg Config) withDefaults() Config {
	if cfg.UserAgent == "" {
		cfg.UserAgent = "plimsoll"
	}
	if cfg.StallTimeout <= 0 {
		cfg.StallTimeout = DefaultStallTimeout
	}
	if cfg.RetryBase <= 0 {
		cfg.RetryBase = DefaultRetryBase
	}
	if cfg.RetryTries <= 0 {
		cfg.RetryTries = DefaultRetryTries
	}
	if cfg.RetryWait <= 0 {
		cfg.RetryWait = DefaultRetryWait
	}
	return cfg
}

// newTransport returns a pool that obeys HTTP_PROXY, HTTPS_PROXY and NO_PROXY; the roots
// of trust are Go's, which obey SSL_CERT_FILE and SSL_CERT_DIR. HTTP/2 is left out on
// purpose: it would put all ranges of a file into one connection and one congestion window.
func newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: tlsTimeout,
		IdleConnTimeout:     idleTimeout,
		MaxIdleConnsPerHost: idlePerHost,
		DisableCompression:  true, // ranges count bytes of the file, not of an encoding
		Protocols:           protocols,
	}
}

// parseEndpoint splits an endpoint into a base URL and the Authorization that its user
// part asks for.
func parseEndpoint(text string) (*url.URL, string, error) {
	if text == "" {
		text = DefaultEndpoint
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		// The text may hold a password, so the error does not repeat it.
		return nil, "", fault.Wrap(fault.Usage, "set HF_ENDPOINT to a URL such as "+DefaultEndpoint,
			errors.New("reading the Hub endpoint: it is not an http or https URL"))
	}
	auth := ""
	if u.User != nil {
		password, _ := u.User.Password()
		auth = basicAuth(u.User.Username(), password)
	}
	base := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/"), RawPath: strings.TrimRight(u.RawPath, "/")}
	return base, auth, nil
}

// basicAuth is the Authorization header of RFC 7617.
func basicAuth(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

// url returns an address below the endpoint. Segments are escaped one by one, so that a
// revision such as refs/pr/1 stays one segment.
func (c *Client) url(query string, segments ...string) *url.URL {
	u := *c.endpoint
	raw := u.EscapedPath()
	plain := u.Path
	for _, s := range segments {
		raw += "/" + url.PathEscape(s)
		plain += "/" + s
	}
	u.Path, u.RawPath, u.RawQuery = plain, raw, query
	return &u
}

// offline is the error of a client that may not ask anybody.
func (c *Client) offline(s subject) error {
	return fault.Wrap(fault.Upstream, "unset HF_HUB_OFFLINE to allow requests",
		fmt.Errorf("%s: offline, and not in the cache", s))
}
