package server_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/server"
)

// post sends an edit in the background and returns the channel of its status, 0 for none.
func post(ctx context.Context, url, body string) <-chan int {
	status := make(chan int, 1)
	go func() {
		r, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(body))
		if err == nil {
			var response *http.Response
			if response, err = http.DefaultClient.Do(r); err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				status <- response.StatusCode
				return
			}
		}
		status <- 0
	}()
	return status
}

// waiting reads a number out of the metrics.
func (s *service) metric(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(string(s.call(t, "GET", "/metrics", "").body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestQueue: one edit runs at a time, in the order of asking; beyond the queue's length
// requests are refused with the time until another try.
func TestQueue(t *testing.T) {
	d := holding()
	s := start(t, d, func(c *server.Config) { c.Queue = 2 })
	first := post(t.Context(), s.url+"/edit-image", request(t, `"seed": 0`))
	<-d.started
	var others []<-chan int
	for i := range 2 {
		others = append(others, post(t.Context(), s.url+"/edit-image", request(t, `"seed": `+strconv.Itoa(i+1))))
		eventually(t, func() bool { return s.metric(t, "plimsoll_queue_waiting") == strconv.Itoa(i+1) }, "waiting")
	}
	require.Equal(t, "1", s.metric(t, "plimsoll_edits_running"))
	a := s.call(t, "POST", "/edit-image", request(t, ""))
	require.Equal(t, 429, a.status)
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	require.NoError(t, err)
	require.Positive(t, seconds)
	require.Equal(t, 429, s.call(t, "POST", "/batch-edit-image", "["+request(t, "")+"]").status)
	close(d.finish)
	require.Equal(t, 200, <-first)
	for i, o := range others {
		require.Equal(t, 200, <-o)
		require.Equal(t, uint64(i+1), (<-d.started).Seed, "in the order of asking")
	}
	require.Equal(t, "0", s.metric(t, "plimsoll_queue_waiting"))
	body := request(t, "")
	eventually(t, func() bool { return s.call(t, "POST", "/edit-image", body).status == 200 }, "places are free again")
}

// TestClientGone: a client that goes away ends its edit, or leaves the line.
func TestClientGone(t *testing.T) {
	d := holding()
	s := start(t, d, nil)
	ctx, leave := context.WithCancel(t.Context())
	running := post(ctx, s.url+"/edit-image", request(t, ""))
	<-d.started
	ctx2, leave2 := context.WithCancel(t.Context())
	waits := post(ctx2, s.url+"/edit-image", request(t, `"seed": 1`))
	eventually(t, func() bool { return s.metric(t, "plimsoll_queue_waiting") == "1" }, "waiting")
	leave2()
	require.Zero(t, <-waits)
	eventually(t, func() bool { return s.metric(t, "plimsoll_queue_waiting") == "0" }, "left the line")
	require.Equal(t, 1, d.count(), "never edited")
	leave()
	require.Zero(t, <-running)
	require.ErrorIs(t, <-d.ended, context.Canceled, "the edit's context ended")
	eventually(t, func() bool { return s.metric(t, `plimsoll_http_requests_total{code="499",route="/edit-image"}`) == "2" }, "counted")
	require.Equal(t, "1", s.metric(t, `plimsoll_edits_total{model="lightning",outcome="CLIENT_CLOSED_REQUEST"}`))
	close(d.finish)
	s.edit(t, request(t, ""))
}

// TestBatchClientGone: nobody waits for the rest of a batch, so the rest is not edited.
func TestBatchClientGone(t *testing.T) {
	d := holding()
	s := start(t, d, nil)
	ctx, leave := context.WithCancel(t.Context())
	asked := post(ctx, s.url+"/batch-edit-image", "["+request(t, "")+","+request(t, "")+"]")
	<-d.started
	leave()
	require.Zero(t, <-asked)
	require.ErrorIs(t, <-d.ended, context.Canceled)
	eventually(t, func() bool {
		return s.metric(t, `plimsoll_http_requests_total{code="499",route="/batch-edit-image"}`) == "1"
	}, "counted")
	require.Equal(t, 1, d.count())
}

// TestLongEdit: the time that a body may take does not end an edit that takes longer.
func TestLongEdit(t *testing.T) {
	const limit = 50 * time.Millisecond
	d := holding()
	s := start(t, d, func(c *server.Config) { c.BodyTimeout = limit })
	asked := post(t.Context(), s.url+"/edit-image", request(t, ""))
	<-d.started
	time.AfterFunc(3*limit, func() { close(d.finish) })
	require.Equal(t, 200, <-asked)
	require.NoError(t, <-d.ended)
}

// served is a service under Serve, as a process runs it.
func served(t *testing.T, d *double, change func(*server.Config)) (url string, stop func(), ended <-chan error) {
	t.Helper()
	c := server.Default()
	if change != nil {
		change(&c)
	}
	s, err := server.New(c, server.Options{Log: slog.New(slog.DiscardHandler), Model: modelConfig()})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	require.NoError(t, s.Ready(d))
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return "http://" + l.Addr().String(), cancel, done
}

func status(t *testing.T, method, url string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	response.Body.Close()
	return response.StatusCode
}

// TestGracefulStop: readiness ends, who waits and who comes is refused, and the running edit
// is answered.
func TestGracefulStop(t *testing.T) {
	d := holding()
	url, stop, ended := served(t, d, nil)
	running := post(t.Context(), url+"/edit-image", request(t, ""))
	<-d.started
	waits := post(t.Context(), url+"/edit-image", request(t, ""))
	stop()
	require.Equal(t, 503, <-waits)
	require.Equal(t, 503, status(t, "GET", url+"/readyz"))
	require.Equal(t, 200, status(t, "GET", url+"/healthz"))
	require.Equal(t, 503, status(t, "POST", url+"/edit-image"))
	require.Empty(t, ended)
	close(d.finish)
	require.Equal(t, 200, <-running)
	require.NoError(t, <-ended)
	_, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.Error(t, err)
}

// TestGraceOver: an edit that takes longer than the grace period is cancelled and answered so.
func TestGraceOver(t *testing.T) {
	d := holding()
	url, stop, ended := served(t, d, func(c *server.Config) { c.Grace = time.Millisecond })
	running := post(t.Context(), url+"/edit-image", request(t, ""))
	<-d.started
	began := time.Now()
	stop()
	require.Equal(t, 503, <-running)
	require.NoError(t, <-ended)
	require.Error(t, <-d.ended)
	require.Less(t, time.Since(began), 3*time.Second)
}

// TestListen: a port that is taken is an error that says which.
func TestListen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c := server.Default()
	c.Host, c.Port = "127.0.0.1", l.Addr().(*net.TCPAddr).Port
	s, err := server.New(c, server.Options{})
	require.NoError(t, err)
	err = s.ListenAndServe(t.Context())
	require.ErrorContains(t, err, l.Addr().String())
}

// TestSlowBody: a body that does not come gives its place up.
func TestSlowBody(t *testing.T) {
	s := start(t, newDouble(), func(c *server.Config) { c.BodyTimeout = 20 * time.Millisecond })
	reader, writer := io.Pipe()
	defer writer.Close()
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/edit-image", reader)
	require.NoError(t, err)
	go func() { _, _ = writer.Write([]byte(`{"image": "`)) }()
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
}

// TestLargeBody: a body over the limit is refused, whether its length is told or not.
func TestLargeBody(t *testing.T) {
	s := start(t, newDouble(), func(c *server.Config) { c.BodyBytes = 1 << 10 })
	large := `{"prompt": "` + strings.Repeat("x", 1<<10) + `"}`
	require.Equal(t, "BODY_TOO_LARGE", s.refuse(t, 413, "POST", "/edit-image", large).Error)
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/edit-image", io.MultiReader(strings.NewReader(large)))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, 413, response.StatusCode)
}

// TestMany: a crowd of clients, some of whom leave, ends with every place free.
func TestMany(t *testing.T) {
	d := newDouble()
	s := start(t, d, func(c *server.Config) { c.Queue = 3 })
	var all sync.WaitGroup
	body := request(t, "")
	statuses := make(chan int, 60)
	for i := range 60 {
		all.Go(func() {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(1+i%7)*5*time.Millisecond, errors.New("bored"))
			defer cancel()
			statuses <- <-post(ctx, s.url+"/edit-image", body)
		})
	}
	all.Wait()
	close(statuses)
	for got := range statuses {
		require.Contains(t, []int{0, 200, 429}, got)
	}
	eventually(t, func() bool {
		return s.metric(t, "plimsoll_queue_waiting") == "0" && s.metric(t, "plimsoll_edits_running") == "0"
	}, "all gone")
	// An answer is out before its place is left.
	eventually(t, func() bool { return s.call(t, "POST", "/edit-image", body).status == 200 }, "places are free again")
}
