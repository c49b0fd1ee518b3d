package hubtest_test

import (
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

// direct serves o/n/big.bin without redirects, with faults.
func direct(t *testing.T, faults ...hubtest.Fault) (h *hubtest.Hub, url string) {
	t.Helper()
	h, _ = start(t, hubtest.Direct())
	h.Inject(faults...)
	return h, h.URL() + "/o/n/resolve/main/big.bin"
}

func TestStatusFaults(t *testing.T) {
	h, url := direct(t, hubtest.Fault{Times: 1, Effect: hubtest.Status(503)},
		hubtest.Fault{Skip: 1, Times: 1, Effect: hubtest.RateLimited(7)},
		hubtest.Fault{Skip: 2, Times: 1, Effect: hubtest.RetryAfter(500, 9)})
	require.Equal(t, 503, ask(t, "GET", url).StatusCode)
	r := ask(t, "GET", url)
	require.Equal(t, 429, r.StatusCode)
	require.Equal(t, `"resolve";r=0;t=7`, r.Header.Get("RateLimit"))
	require.Equal(t, "9", ask(t, "GET", url).Header.Get("Retry-After"))
	require.Equal(t, 200, ask(t, "GET", url).StatusCode)
	require.Equal(t, []int{1, 1, 1}, h.Hits())
	h.Calm()
	require.Empty(t, h.Hits())
}

func TestFaultsHitWhatTheyName(t *testing.T) {
	h, url := direct(t, hubtest.Fault{File: "other", Effect: hubtest.Status(500)},
		hubtest.Fault{Kind: hubtest.Tree, Effect: hubtest.Status(500)})
	require.Equal(t, 200, ask(t, "GET", url).StatusCode)
	require.Equal(t, 500, ask(t, "GET", h.URL()+"/api/models/o/n/tree/main").StatusCode)
	require.Equal(t, []int{0, 1}, h.Hits())
}

func TestCut(t *testing.T) {
	_, url := direct(t, hubtest.Fault{Effect: hubtest.Cut(4)})
	r := ask(t, "GET", url)
	require.Equal(t, "0123", r.body)
	require.ErrorIs(t, r.err, io.ErrUnexpectedEOF)
}

func TestReset(t *testing.T) {
	_, url := direct(t, hubtest.Fault{Effect: hubtest.Reset(4)})
	req, err := http.NewRequest("GET", url, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	if err == nil { // the reset can overtake the first bytes
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, resp.Body.Close())
	}
	require.True(t, errors.Is(err, syscall.ECONNRESET), "%v", err)
}

func TestStallEndsWithTheHub(t *testing.T) {
	h, url := direct(t)
	h.Inject(hubtest.Fault{Effect: h.Stall(4)})
	resp, err := client.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.ReadFull(resp.Body, make([]byte, 4))
	require.NoError(t, err)
	require.NoError(t, h.Close())
	_, err = resp.Body.Read(make([]byte, 1))
	require.Error(t, err)
}

func TestIgnoreRange(t *testing.T) {
	_, url := direct(t, hubtest.Fault{Effect: hubtest.IgnoreRange()})
	r := ask(t, "GET", url, "Range", "bytes=3-4")
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, "0123456789", r.body)
}

func TestGarble(t *testing.T) {
	_, url := direct(t, hubtest.Fault{Effect: hubtest.Garble(4)})
	require.Equal(t, "0123\xcb56789", ask(t, "GET", url).body)
	require.Equal(t, "\xcb5", ask(t, "GET", url, "Range", "bytes=4-5").body)
	require.Equal(t, "56", ask(t, "GET", url, "Range", "bytes=5-6").body)
}

func TestHeadersAndRedirects(t *testing.T) {
	_, url := direct(t,
		hubtest.Fault{Times: 1, Effect: hubtest.Effects(hubtest.SetHeader("ETag", `"x"`), hubtest.SetHeader("X-Repo-Commit", ""))},
		hubtest.Fault{Skip: 1, Effect: hubtest.RedirectTo("http://elsewhere")})
	r := ask(t, "GET", url)
	require.Equal(t, `"x"`, r.Header.Get("ETag"))
	require.Empty(t, r.Header.Get("X-Repo-Commit"))
	require.Equal(t, "0123456789", r.body)
	r = ask(t, "GET", url+"?q=1")
	require.Equal(t, 308, r.StatusCode)
	require.Equal(t, "http://elsewhere/o/n/resolve/main/big.bin?q=1", r.Header.Get("Location"))
}

func TestThrottle(t *testing.T) {
	h, _ := start(t, hubtest.Direct())
	_, err := h.Add(hubtest.Repo{Name: "o/n", Files: map[string]hubtest.File{"f": {Content: hubtest.Noise(1, 256<<10), LFS: true}}})
	require.NoError(t, err)
	h.Inject(hubtest.Fault{Effect: hubtest.Throttle(1 << 20)})
	began := time.Now()
	r := ask(t, "GET", h.URL()+"/o/n/resolve/main/f")
	require.Len(t, r.body, 256<<10)
	require.Greater(t, time.Since(began), 150*time.Millisecond, "3 of 4 steps wait for a sixteenth of a second")
}

func TestArtifactory(t *testing.T) {
	_, url := direct(t, hubtest.Artifactory())
	r := ask(t, "GET", url, "Range", "bytes=3-4")
	require.Equal(t, 206, r.StatusCode)
	require.Equal(t, "34", r.body)
	for _, name := range []string{"Content-Range", "X-Repo-Commit", "X-Linked-Etag"} {
		require.Empty(t, r.Header.Get(name))
	}
	require.Len(t, r.Header.Get("ETag"), 40)
}
