package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	_ "golang.org/x/crypto/x509roots/fallback" // the image has no CA certificates of its own
)

// maxRedirects is how often the fetching of an image follows one.
const maxRedirects = 5

// userAgent is what servers of images see.
const userAgent = "plimsoll-runtime"

var (
	errPrivate   = errors.New("the address is not a public one")
	errRedirects = fmt.Errorf("it redirects more than %d times", maxRedirects)
	errScheme    = errors.New("it redirects to another scheme than http and https")
)

// newClient returns the client that fetches images for strangers. Addresses are judged when a
// connection is dialled, after the name is resolved, so that neither a redirect nor a name that
// resolves differently a second time leads inside. It uses no proxy: one would resolve names
// where nobody judges. Bodies are taken as they come, never decompressed.
func newClient(c Config) *http.Client {
	dialer := &net.Dialer{Timeout: c.FetchTimeout}
	if !c.PrivateURLs {
		dialer.Control = publicOnly
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, DisableKeepAlives: true, DisableCompression: true,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: 10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			switch {
			case len(via) > maxRedirects:
				return errRedirects
			case r.URL.Scheme != "http" && r.URL.Scheme != "https":
				return errScheme
			}
			return nil
		},
	}
}

// publicOnly is a net.Dialer's Control: it refuses to connect to what is not public.
func publicOnly(network, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" || !public(a.Addr()) {
		return errPrivate
	}
	return nil
}

// nat64 is the prefix whose addresses stand for IPv4's (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// global is all of IPv6 that is given out for the internet.
var global = netip.MustParsePrefix("2000::/3")

// special are the networks of IANA's special-purpose registries (RFC 6890 and its successors)
// that are not public hosts; of IPv6 those within global.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

// public reports whether an address is one of the internet: not this machine, not its
// network, no cloud's metadata, no multicast, and no other spelling of these.
func public(a netip.Addr) bool {
	a = a.Unmap()
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if !a.IsValid() || a.Zone() != "" || a.Is6() && !global.Contains(a) {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// fetch gets the bytes behind a URL, no more than a picture may have. Failures name the host
// alone: the rest of a URL may hold a secret.
func (s *sources) fetch(ctx context.Context, u *url.URL) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, s.config.FetchTimeout)
	defer cancel()
	data, err := s.get(limited, u)
	if err == nil {
		return data, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f := badImage(fmt.Sprintf("fetching the image from %s: %v", clip(u.Hostname()), s.plain(limited, err)), err)
	if errors.Is(err, errPrivate) {
		f.hint = "PLIMSOLL_ALLOW_PRIVATE_URLS=1 lets the service fetch from there"
	}
	f.cause = nil // its text has the whole URL
	return nil, f
}

func (s *sources) get(ctx context.Context, u *url.URL) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Accept", "image/jpeg, image/png, image/webp, image/bmp, */*;q=0.1")
	response, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	limit := int64(s.config.Picture.Bytes)
	switch {
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answers %d, not 200", response.StatusCode)
	case response.ContentLength > limit:
		return nil, fmt.Errorf("it has %d bytes, the limit is %d", response.ContentLength, limit)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it has more than %d bytes, the limit", limit)
	}
	return data, err
}

// plain is the part of an error that anybody may know: no URL, no address inside, no name of
// a resolver.
func (s *sources) plain(ctx context.Context, err error) error {
	var dns *net.DNSError
	var inURL *url.Error
	var timed net.Error
	switch {
	case errors.Is(err, errPrivate):
		return errPrivate
	case ctx.Err() != nil || errors.As(err, &timed) && timed.Timeout():
		return fmt.Errorf("it takes longer than %s", s.config.FetchTimeout)
	case errors.As(err, &dns):
		return errors.New("its name cannot be resolved")
	case errors.As(err, &inURL):
		return inURL.Err
	}
	return err
}
