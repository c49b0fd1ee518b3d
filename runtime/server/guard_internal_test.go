package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

func TestPublic(t *testing.T) {
	for _, a := range []string{
		"8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.0", "100.63.0.1", "100.128.0.1", "192.0.1.1", "198.17.0.1", "198.20.0.1", "223.255.255.255",
		"2606:4700:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808",
	} {
		require.True(t, public(netip.MustParseAddr(a)), a)
	}
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255",
		"192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
		"240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1",
		"2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
		"fec0::1", "ff02::1", "4000::1", "2606:4700::1%eth0",
	} {
		require.False(t, public(netip.MustParseAddr(a)), a)
	}
	require.False(t, public(netip.Addr{}))
}

// TestPublicOnly: what is dialled is judged, not what was asked for.
func TestPublicOnly(t *testing.T) {
	require.NoError(t, publicOnly("tcp4", "8.8.8.8:80", nil))
	require.NoError(t, publicOnly("tcp6", "[2606:4700::1]:443", nil))
	for _, a := range []string{"127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "localhost:80", "/run/docker.sock"} {
		require.ErrorIs(t, publicOnly("tcp4", a, nil), errPrivate)
	}
	require.ErrorIs(t, publicOnly("unix", "8.8.8.8:80", nil), errPrivate)
}

func sourcesFor(t *testing.T, change func(*Config)) *sources {
	c := Default()
	change(&c)
	s := &sources{client: newClient(c), config: c}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func tiny(t testing.TB) []byte {
	data, err := (&picture.RGB{W: 2, H: 1, Pix: []uint8{1, 2, 3, 4, 5, 6}}).PNG()
	require.NoError(t, err)
	return data
}

// TestGuard: no way leads inside: neither an address, nor a name, nor a redirect, nor
// another spelling. The server that must not be asked counts.
func TestGuard(t *testing.T) {
	asked := 0
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer inside.Close()
	t.Setenv("HTTP_PROXY", inside.URL) // a proxy would be asked instead
	port := inside.URL[strings.LastIndexByte(inside.URL, ':'):]
	s := sourcesFor(t, func(*Config) {})
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "[fd00:ec2::254]", "user:pass@127.0.0.1"} {
		_, err := s.load(t.Context(), "http://"+host+port+"/secret?token=x")
		var f *failure
		require.ErrorAs(t, err, &f, host)
		require.Equal(t, codeImage, f.code)
		require.Contains(t, f.detail, "the address is not a public one", host)
		require.NotContains(t, f.Error(), "token")
		require.NotContains(t, f.Error(), "pass")
		require.Contains(t, f.hint, "PLIMSOLL_ALLOW_PRIVATE_URLS")
	}
	require.Zero(t, asked)
}

// TestGuardRedirect: a public server that leads inside is followed no further. The first
// connection is let through, since there is no public server in a test.
func TestGuardRedirect(t *testing.T) {
	asked := 0
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer inside.Close()
	outside := httptest.NewServer(http.RedirectHandler(inside.URL, http.StatusFound))
	defer outside.Close()
	s := sourcesFor(t, func(*Config) {})
	judged := s.client.Transport.(*http.Transport).DialContext
	open := outside.Listener.Addr().String()
	s.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == open {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		}
		return judged(ctx, network, address)
	}
	_, err := s.load(t.Context(), outside.URL)
	require.ErrorContains(t, err, "the address is not a public one")
	require.Zero(t, asked)
}

// TestFetch: what a server may do, with private addresses allowed.
func TestFetch(t *testing.T) {
	png := tiny(t)
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain") // content tells
		_, _ = w.Write(png)
	})
	mux.HandleFunc("/gone", http.NotFound)
	mux.HandleFunc("/html", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") })
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "2000") })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 512)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			http.Error(w, "asked for compression", http.StatusTeapot)
			return
		}
		_, _ = w.Write(png)
	})
	mux.HandleFunc("/redirect/{n}", func(w http.ResponseWriter, r *http.Request) {
		n := len(r.PathValue("n"))
		if n == 1 {
			http.Redirect(w, r, "/ok", http.StatusFound)
			return
		}
		http.Redirect(w, r, "/redirect/"+strings.Repeat("x", n-1), http.StatusFound)
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "file:///etc/passwd")
		w.WriteHeader(302)
	})
	web := httptest.NewServer(mux)
	defer web.Close()
	defer close(release)
	s := sourcesFor(t, func(c *Config) { c.PrivateURLs = true; c.Picture.Bytes = 1000; c.FetchTimeout = 100 * time.Millisecond })
	for path, want := range map[string]string{
		"/ok": "", "/gzip": "", "/redirect/xxxxx": "",
		"/redirect/xxxxxx": "it redirects more than 5 times",
		"/gone":            "fetching the image from 127.0.0.1: it answers 404, not 200",
		"/html":            "only single pictures in JPEG, PNG, WEBP and BMP are read",
		"/large":           "it has 2000 bytes, the limit is 1000",
		"/endless":         "it has more than 1000 bytes",
		"/slow":            "it takes longer than 100ms",
		"/file":            "another scheme",
	} {
		p, err := s.load(t.Context(), web.URL+path)
		if want == "" {
			require.NoError(t, err, path)
			require.Equal(t, []uint8{1, 2, 3, 4, 5, 6}, p.Pix)
			continue
		}
		require.ErrorContains(t, err, want, path)
		require.Equal(t, 400, judge(t.Context(), err).status)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.load(ctx, web.URL+"/ok")
	require.ErrorIs(t, err, context.Canceled, "the client's leaving is no fault of the image")
	_, err = s.load(t.Context(), "http://no-such-host.invalid/a")
	require.ErrorContains(t, err, "its name cannot be resolved")
	require.NotContains(t, err.Error(), "lookup")
}

func TestParseReference(t *testing.T) {
	data := []byte{0xfb, 0xff, 0xbf, 1, 2}
	std, web := base64.StdEncoding.EncodeToString(data), base64.URLEncoding.EncodeToString(data)
	require.NotEqual(t, std, web)
	for _, text := range []string{
		std, web, strings.TrimRight(std, "="), " " + std[:3] + "\r\n" + std[3:] + "\n",
		"data:image/png;base64," + std, "DATA:;BASE64," + web, "data:text/plain;charset=x;base64," + url.PathEscape(std), "data:image/png;base64,\n" + std,
	} {
		r, err := parseReference(text, 100)
		require.NoError(t, err, text)
		require.Equal(t, data, r.data, text)
		require.Nil(t, r.url)
	}
	for _, text := range []string{"http://a/b?c", "HTTPS://a:1/"} {
		r, err := parseReference(text, 100)
		require.NoError(t, err)
		require.NotNil(t, r.url)
	}
	for text, want := range map[string]string{
		"": "it is empty", "====": "it is empty", "data:image/png;base64,": "it is empty",
		"data:image/png,abc": "does not have the form", "data:image/png;base64": "does not have the form", "data:;base64,%zz": "percent-encoding is broken",
		"file:///etc/passwd": "scheme file: is not", "gopher://a": "scheme gopher", "http://": "not a valid one", "http:a": "not a valid one", "https://%zz/": "not a valid one",
		"C:\\a.png": "scheme c", "/etc/passwd.png": "neither a data URL", strings.Repeat("A", 400): "it has 300 bytes, the limit is 100", "é": "neither",
	} {
		_, err := parseReference(text, 100)
		require.ErrorContains(t, err, strings.ReplaceAll(want, "file:", "file"), text)
	}
}

// FuzzParseReference: any text is one of the three forms or an error, and what is decoded is
// within the limit and comes back from its base64.
func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"aGk=", "data:image/png;base64,aGk=", "https://example.org/a.png?x#y", "data:,", "http://[::1]/", "a-_b", " \n", "data:;base64,%41%41"} {
		f.Add(s)
	}
	const limit = 1 << 10
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseReference(s, limit)
		switch {
		case err != nil:
			require.NotEmpty(t, err.Error())
		case r.url != nil:
			require.Contains(t, []string{"http", "https"}, r.url.Scheme)
			require.NotEmpty(t, r.url.Hostname())
			require.Nil(t, r.data)
		default:
			require.NotEmpty(t, r.data)
			require.LessOrEqual(t, len(r.data), limit)
			again, err := parseReference(base64.URLEncoding.EncodeToString(r.data), limit)
			require.NoError(t, err)
			require.Equal(t, r.data, again.data)
		}
	})
}

// TestBodyError: a connection that ends within a body is a client that went away.
func TestBodyError(t *testing.T) {
	s := &Server{config: Default()}
	require.Equal(t, statusClientGone, judge(t.Context(), s.bodyError(io.ErrUnexpectedEOF)).status)
	require.Equal(t, 400, judge(t.Context(), s.bodyError(errors.New("malformed chunked encoding"))).status)
}
