package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/server"
)

// double is the other side of server.Editor: it answers with the picture at half its size,
// fails or waits as it is told, and remembers what it was asked.
type double struct {
	models []server.Model

	mu      sync.Mutex
	edits   []server.Edit
	fail    error
	panic   any
	started chan server.Edit // gets every edit that begins, if not nil
	finish  chan struct{}    // an edit waits for it, if not nil
	ended   chan error       // gets what a waiting edit ended with
	peak    int64
}

func newDouble() *double {
	return &double{models: []server.Model{
		{Name: "plain", Version: "plain", Precision: "int4", Rank: 128, Steps: 50, TrueCFGScale: 4},
		{Name: "lightning", Version: "lightningv1.0", Precision: "int4", Rank: 128, Steps: 8, TrueCFGScale: 1},
	}}
}

// holding is a double whose edits wait.
func holding() *double {
	d := newDouble()
	d.started, d.finish, d.ended = make(chan server.Edit, 100), make(chan struct{}), make(chan error, 100)
	return d
}

func (d *double) Models() []server.Model { return d.models }

func (d *double) Edit(ctx context.Context, e server.Edit) (*server.Edited, error) {
	d.mu.Lock()
	d.edits = append(d.edits, e)
	fail, broken := d.fail, d.panic
	d.mu.Unlock()
	if d.started != nil {
		d.started <- e
	}
	if d.finish != nil {
		select {
		case <-d.finish:
			d.ended <- nil
		case <-ctx.Done():
			d.ended <- context.Cause(ctx)
			return nil, fmt.Errorf("editing: %w", ctx.Err())
		}
	}
	if broken != nil {
		panic(broken)
	}
	if fail != nil {
		return nil, fail
	}
	for step := range e.Steps + 1 {
		e.Progress(step, e.Steps)
	}
	p := e.Pictures[0]
	half, err := picture.Resize(p, max(1, p.W/2), max(1, p.H/2), picture.Lanczos)
	if err != nil {
		return nil, err
	}
	return &server.Edited{Picture: half, Duration: 1500 * time.Millisecond, PeakMemory: d.peak}, nil
}

// set changes what later edits do.
func (d *double) set(fail error, broken any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail, d.panic = fail, broken
}

// last is the latest edit.
func (d *double) last(t *testing.T) server.Edit {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	require.NotEmpty(t, d.edits)
	return d.edits[len(d.edits)-1]
}

func (d *double) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.edits)
}

// modelConfig is a model.json as far as the service reads it.
func modelConfig() *manifests.ModelConfig {
	return &manifests.ModelConfig{
		Name: "qwen-image-edit", Variant: "default",
		Serve: &manifests.Serve{Priority: []string{"lightning", "plain", "hub"}, SupportedRanks: []int{128}, DefaultRank: 128, DefaultSteps: 8},
	}
}

func gpu() server.Device {
	return server.Device{Name: "NVIDIA Test", GPU: true, Count: 1, TotalMemory: 24 << 30, FreeMemory: 10 << 30, AllocatedMemory: 13 << 30, Driver: "580.1", CUDA: "13.0", Capability: "8.9"}
}

// service is a server under test, its log and its contract.
type service struct {
	*server.Server
	url string
	log *lockedBuffer

	compile sync.Mutex
	schemas *jsonschema.Compiler
}

// lockedBuffer is a log that many write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fresh starts a server on a loopback port, not ready yet. change may be nil.
func fresh(t *testing.T, change func(*server.Config)) *service {
	t.Helper()
	c := server.Default()
	if change != nil {
		change(&c)
	}
	out := &service{log: &lockedBuffer{}, schemas: jsonschema.NewCompiler()}
	log := slog.New(slog.NewJSONHandler(out.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	out.Server, err = server.New(c, server.Options{Log: log, Model: modelConfig(), Version: "1.2.3", Device: gpu})
	require.NoError(t, err)
	web := httptest.NewServer(out)
	t.Cleanup(web.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	out.url = web.URL
	out.schemas.Draft = jsonschema.Draft2020
	response, err := http.Get(out.url + "/openapi.json")
	require.NoError(t, err)
	defer response.Body.Close()
	require.NoError(t, out.schemas.AddResource("openapi.json", response.Body))
	return out
}

// start is fresh with an editor.
func start(t *testing.T, e server.Editor, change func(*server.Config)) *service {
	t.Helper()
	s := fresh(t, change)
	require.NoError(t, s.Ready(e))
	return s
}

// answer is what a server said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// into decodes the answer.
func (a answer) into(t *testing.T, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(a.body, v), string(a.body))
}

// edited is an answer to an edit as a client reads it.
type edited struct {
	Success      bool    `json:"success"`
	Image        *string `json:"edited_image"`
	ErrorMessage *string `json:"error_message"`
	Time         float64 `json:"processing_time"`
	Model        struct {
		Steps         int     `json:"steps"`
		Rank          int     `json:"rank"`
		Version       string  `json:"model_version"`
		InferenceTime float64 `json:"inference_time"`
		Memory        string  `json:"gpu_memory_used"`
		Model         string  `json:"model"`
		Scale         float64 `json:"true_cfg_scale"`
	} `json:"model_info"`
	RequestID string   `json:"request_id"`
	Seed      *uint64  `json:"seed"`
	Warnings  []string `json:"warnings"`
	Error     string   `json:"error"`
	Status    int      `json:"status"`
}

// refused is an error answer.
type refused struct {
	Error, Detail, Timestamp, Hint string
	RequestID                      string `json:"request_id"`
	Errors                         []struct {
		Loc  []any
		Msg  string
		Type string
	}
}

// call asks the server, and holds its answer against the contract: the status is documented
// for the route and the body of the documented shape.
func (s *service) call(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	a := answer{response.StatusCode, response.Header, data}
	require.NotEmpty(t, a.header.Get("X-Request-ID"))
	if media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";"); media == "application/json" && method != http.MethodHead {
		s.conforms(t, method, path, a)
	}
	return a
}

// conforms validates an answer; those outside of any route have the shape of errors.
func (s *service) conforms(t *testing.T, method, path string, a answer) {
	t.Helper()
	pointer := "/components/schemas/Error"
	if a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed {
		pointer = "/paths/" + strings.ReplaceAll(path, "/", "~1") + "/" + strings.ToLower(method) + "/responses/" + strconv.Itoa(a.status) + "/content/application~1json/schema"
	}
	s.compile.Lock()
	defer s.compile.Unlock()
	schema, err := s.schemas.Compile("openapi.json#" + pointer)
	require.NoError(t, err, "%s %s answers %d, which is not in openapi.json", method, path, a.status)
	var v any
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber()
	require.NoError(t, d.Decode(&v))
	require.NoError(t, schema.Validate(v), string(a.body))
}

// edit asks for an edit that succeeds.
func (s *service) edit(t *testing.T, body string) edited {
	t.Helper()
	a := s.call(t, "POST", "/edit-image", body)
	require.Equal(t, 200, a.status, string(a.body))
	var e edited
	a.into(t, &e)
	return e
}

// refuse asks for something that is refused.
func (s *service) refuse(t *testing.T, status int, method, path, body string, headers ...string) refused {
	t.Helper()
	a := s.call(t, method, path, body, headers...)
	require.Equal(t, status, a.status, string(a.body))
	var r refused
	a.into(t, &r)
	_, err := time.Parse(time.RFC3339Nano, r.Timestamp)
	require.NoError(t, err)
	require.Equal(t, a.header.Get("X-Request-ID"), r.RequestID)
	return r
}

// sample is a picture of w × h pixels as a PNG.
func sample(t testing.TB, w, h int) []byte {
	t.Helper()
	p := &picture.RGB{W: w, H: h, Pix: make([]uint8, 3*w*h)}
	for i := range p.Pix {
		p.Pix[i] = uint8(i * 7)
	}
	data, err := p.PNG()
	require.NoError(t, err)
	return data
}

func bare(t testing.TB, w, h int) string { return base64.StdEncoding.EncodeToString(sample(t, w, h)) }

// request is the body of an edit of a small picture; more are further members.
func request(t testing.TB, more string) string {
	if more != "" {
		more = ", " + more
	}
	return fmt.Sprintf(`{"image": %q, "prompt": "make it night"%s}`, bare(t, 40, 30), more)
}

// eventually waits for what other goroutines bring about.
func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, 5*time.Second, time.Millisecond, what)
}
