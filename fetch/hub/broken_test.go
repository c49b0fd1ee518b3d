package hub_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

func TestBrokenBodies(t *testing.T) {
	const after = 100_000
	cases := []struct {
		name   string
		effect func(*hubtest.Hub) hubtest.Effect
		limit  time.Duration
		want   error
	}{
		{"cut", func(*hubtest.Hub) hubtest.Effect { return hubtest.Cut(after) }, 0, io.ErrUnexpectedEOF},
		{"reset", func(*hubtest.Hub) hubtest.Effect { return hubtest.Reset(after) }, 0, nil},
		{"stall", func(h *hubtest.Hub) hubtest.Effect { return h.Stall(after) }, 500 * time.Millisecond, hub.ErrStalled},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			h, commit := startHub(t, sampleRepo())
			h.Inject(hubtest.Fault{Kind: hubtest.CDN, Times: 1, Effect: tc.effect(h)})
			c := connect(t, hub.Config{Endpoint: h.URL(), StallTimeout: tc.limit})
			data, _, err := fetch(c, commit, large, 10, -1)
			require.True(t, hub.Temporary(err), "%v", err)
			var stream *hub.StreamError
			require.ErrorAs(t, err, &stream)
			if tc.want != nil {
				require.ErrorIs(t, err, tc.want)
			}
			discreet(t, err)
			require.Contains(t, err.Error(), large)
			require.Equal(t, largeData[10:10+len(data)], data, "what arrived before is good")

			rest, _, err := fetch(c, commit, large, 10+int64(len(data)), -1)
			require.NoError(t, err)
			require.Equal(t, largeData[10+len(data):], rest)
		})
	}
}

func TestServerThatNeverAnswers(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	h.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	}})
	_, _, err := fetch(connect(t, hub.Config{Endpoint: h.URL(), StallTimeout: 100 * time.Millisecond}), commit, large, 0, -1)
	require.ErrorIs(t, err, hub.ErrStalled)
	require.True(t, hub.Temporary(err))
	discreet(t, err)
}

func TestSlowReaderIsNotAStalledServer(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	c := connect(t, hub.Config{Endpoint: h.URL(), StallTimeout: 400 * time.Millisecond})
	body, err := c.Open(context.Background(), repoName, commit, large, 0, -1)
	require.NoError(t, err)
	defer body.Close()
	time.Sleep(600 * time.Millisecond) // the reader's own time
	_, err = io.Copy(io.Discard, body)
	require.NoError(t, err)
}

func TestCancelledContext(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	h.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: h.Stall(1000)})
	c := connect(t, hub.Config{Endpoint: h.URL()})
	ctx, cancel := context.WithCancel(context.Background())
	body, err := c.Open(ctx, repoName, commit, large, 0, -1)
	require.NoError(t, err)
	defer body.Close()
	_, err = io.ReadFull(body, make([]byte, 1000))
	require.NoError(t, err)
	cancel()
	_, err = body.Read(make([]byte, 10))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fault.Canceled, fault.KindOf(err))
	require.False(t, hub.Temporary(err))

	_, err = c.Open(ctx, repoName, commit, large, 0, -1)
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.List(ctx, repoName, "main")
	require.ErrorIs(t, err, context.Canceled)
}

func TestDeadlineIsNotTemporary(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	h.Inject(hubtest.Fault{Kind: hubtest.Resolve, Effect: h.Stall(0)})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := connect(t, hub.Config{Endpoint: h.URL()}).Open(ctx, repoName, commit, large, 0, -1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, hub.Temporary(err))
}

func TestRedirectsThatLeadNowhere(t *testing.T) {
	cases := []struct{ name, location, want string }{
		{"to itself", "/owner/model/resolve/main/config.json", "do not end"},
		{"ever deeper", "deeper/x?X-Amz-Signature=hunter2", "do not end after 10 hops"},
		{"nowhere", "", "no Location"},
		{"file", "file:///etc/passwd?X-Amz-Signature=hunter2", `scheme "file"`},
		{"not a URL", "http://[::1?X-Amz-Signature=hunter2", "not a URL"},
		{"no host", "https:///x", "leads to scheme"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", tc.location)
				w.WriteHeader(http.StatusFound)
			})
			_, _, err := fetch(connect(t, hub.Config{Endpoint: url, Token: secret}), "main", small, 0, -1)
			require.ErrorContains(t, err, tc.want)
			require.False(t, hub.Temporary(err))
			discreet(t, err)
		})
	}
}

func TestAnswersThatCannotBeTrusted(t *testing.T) {
	const commit = "0123456789012345678901234567890123456789"
	cases := []struct {
		name    string
		status  int
		headers string
		body    string
		want    string
	}{
		{"another start", 206, "Content-Range: bytes 0-4/100", "01234", "bytes 0-4, asked for 5 from 10"},
		{"more than asked", 206, "Content-Range: bytes 10-19/100", "0123456789", "bytes 10-19, asked for 5 from 10"},
		{"odd range", 206, "Content-Range: bytes 19-10/100", "01234", "not inside the total"},
		{"another length", 206, "Content-Range: bytes 10-14/100", "0123", "the answer has 4 bytes, its Content-Range 5"},
		{"another size", 206, "Content-Range: bytes 10-14/100|X-Linked-Size: 99", "01234", "the file has 100 bytes, the Hub says 99"},
		{"several parts", 206, "Content-Type: multipart/byteranges; boundary=x", "01234", "several parts"},
		{"too much without range", 206, "X-Repo-Commit: " + commit, "0123456789", "10 bytes without a Content-Range, asked for 5"},
		{"whole, another size", 200, "X-Linked-Size: 99", "01234", "5 bytes, the Hub says the file has 99"},
		{"gzip", 206, "Content-Range: bytes 10-14/100|Content-Encoding: gzip", "01234", `encoded as "gzip"`},
		{"another commit", 206, "Content-Range: bytes 10-14/100|X-Repo-Commit: " + strings.Repeat("f", 40), "01234", "of commit ffff"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				for _, h := range strings.Split(tc.headers, "|") {
					name, value, _ := strings.Cut(h, ": ")
					w.Header().Set(name, value)
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			_, _, err := fetch(connect(t, hub.Config{Endpoint: url}), commit, small, 10, 5)
			require.ErrorContains(t, err, tc.want)
			require.False(t, hub.Temporary(err))
			require.Equal(t, fault.Upstream, fault.KindOf(err))
		})
	}
}

func TestBodyWithoutLengthThatEndsEarly(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Linked-Size", "100")
		_, _ = io.WriteString(w, "only this")
		_ = http.NewResponseController(w).Flush() // chunked, and properly ended
	})
	data, body, err := fetch(connect(t, hub.Config{Endpoint: url}), "main", small, 0, -1)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.True(t, hub.Temporary(err))
	require.Equal(t, "only this", string(data))
	require.Equal(t, int64(100), body.Length)
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	c := connect(t, hub.Config{Endpoint: "http://" + l.Addr().String(), Token: secret})
	_, _, err = fetch(c, "main", small, 0, -1)
	require.True(t, hub.Temporary(err))
	require.ErrorContains(t, err, "connection refused")
	require.ErrorContains(t, err, l.Addr().String())
	discreet(t, err)
}

func TestHostThatDoesNotExist(t *testing.T) {
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "hub.invalid", IsNotFound: true}
	}}}
	_, _, err := fetch(connect(t, hub.Config{Endpoint: "http://hub.invalid", HTTP: client}), "main", small, 0, -1)
	require.False(t, hub.Temporary(err))
	require.ErrorContains(t, err, "hub.invalid")
	require.Contains(t, fault.HintOf(err), "HF_ENDPOINT")
}

func TestDeadCDNHostIsResolvedAgain(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	c := connect(t, hub.Config{Endpoint: h.URL()})
	_, _, err := fetch(c, commit, large, 0, 10)
	require.NoError(t, err)
	// Twice: the transport itself retries once where a kept connection was closed meanwhile.
	h.Inject(hubtest.Fault{Kind: hubtest.CDN, Times: 2, Effect: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	}})
	_, _, err = fetch(c, commit, large, 0, 10)
	require.True(t, hub.Temporary(err), "%v", err)
	h.Reset()
	_, _, err = fetch(c, commit, large, 0, 10)
	require.NoError(t, err)
	require.Equal(t, []hubtest.Kind{hubtest.Resolve, hubtest.CDN}, kinds(h))
}
