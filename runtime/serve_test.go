package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/server"
)

// log is what a service writes while it runs.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	select {
	case l.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// find waits until the log has what the form wants, and returns its first group.
func (l *log) find(t *testing.T, form string) string {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		l.mu.Lock()
		found := regexp.MustCompile(form).FindSubmatch(l.text.Bytes())
		l.mu.Unlock()
		if found != nil {
			return string(found[1])
		}
		select {
		case <-l.more:
		case <-limit:
			require.Fail(t, "the log never says "+form, l.text.String())
		}
	}
}

// service is a running `serve`.
type service struct {
	url  string
	log  *log
	stop func() (code int)
}

func startService(t *testing.T, env map[string]string, args ...string) *service {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &service{log: &log{more: make(chan struct{}, 1)}}
	code := make(chan int, 1)
	state := t.TempDir()
	lookup := func(name string) (string, bool) {
		if name == envState {
			return state, true
		}
		v, ok := env[name]
		return v, ok
	}
	go func() {
		code <- run(ctx, append([]string{"serve", "-device=cpu", "-host=127.0.0.1", "-port=0"}, args...), lookup, io.Discard, s.log)
	}()
	s.stop = sync.OnceValue(func() int { cancel(); return <-code })
	t.Cleanup(func() { s.stop() })
	s.url = "http://" + s.log.find(t, `"listening","address":"([^"]+)"`)
	return s
}

func (s *service) get(t *testing.T, path string) (int, string) {
	t.Helper()
	r, err := http.Get(s.url + path)
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, string(body)
}

// edit asks for an edit and returns the answer.
func (s *service) edit(t *testing.T, body map[string]any) (int, map[string]any) {
	t.Helper()
	data, err := json.Marshal(body)
	require.NoError(t, err)
	r, err := http.Post(s.url+"/edit-image", "application/json", bytes.NewReader(data))
	require.NoError(t, err)
	defer r.Body.Close()
	answer := map[string]any{}
	require.NoError(t, json.NewDecoder(r.Body).Decode(&answer))
	return r.StatusCode, answer
}

// TestServe: the service edits with the model, and its picture is the one of the command
// line.
func TestServe(t *testing.T) {
	models, in := writeSet(t), writePicture(t)
	s := startService(t, nil, "-models="+models, "-model=demo")
	s.log.find(t, `"msg":"(serving)"`)
	s.log.find(t, `"msg":"(ready)","sinceStart":`)
	code, _ := s.get(t, "/readyz")
	require.Equal(t, http.StatusOK, code)
	data, err := os.ReadFile(in)
	require.NoError(t, err)
	wish := map[string]any{"image": base64.StdEncoding.EncodeToString(data), "prompt": "a red hat", "seed": 5}
	code, answer := s.edit(t, wish)
	require.Equal(t, http.StatusOK, code, "%v", answer)
	got, err := base64.StdEncoding.DecodeString(answer["edited_image"].(string))
	require.NoError(t, err)

	out := filepath.Join(t.TempDir(), "out.jpg")
	exit, _, stderr := call(t, "edit", "-device=cpu", "-models="+models, "-model=demo", "-image="+in, "-prompt=a red hat", "-seed=5", "-out="+out)
	require.Equal(t, 0, exit, stderr)
	want, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = picture.Decode(got, editLimits)
	require.NoError(t, err)

	wish["model"], wish["num_inference_steps"], wish["true_cfg_scale"], wish["negative_prompt"] = "plain", 3, 2.5, "a blue hat"
	code, answer = s.edit(t, wish)
	require.Equal(t, http.StatusOK, code, "%v", answer)
	exit, _, stderr = call(t, "edit", "-models="+models, "-model=demo", "-image="+in, "-prompt=a red hat", "-seed=5", "-out="+out,
		"-checkpoint=plain", "-steps=3", "-cfg=2.5", "-negative=a blue hat")
	require.Equal(t, 0, exit, stderr)
	want, err = os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, base64.StdEncoding.EncodeToString(want), answer["edited_image"])

	wish["num_inference_steps"] = 1
	code, answer = s.edit(t, wish)
	require.Equal(t, http.StatusUnprocessableEntity, code)
	require.Contains(t, answer["detail"], "making a schedule of 1 step")
	wish["num_inference_steps"] = 2
	wish["prompt"] = string(bytes.Repeat([]byte("word "), 1500))
	code, answer = s.edit(t, wish)
	require.Equal(t, http.StatusUnprocessableEntity, code)
	require.Contains(t, answer["detail"], "at most 1024 are taken")

	require.Equal(t, 0, s.stop())
}

// TestServeSaysWhy: a model that cannot be served is what the service answers, and no picture
// is ever made without it; the command fails in the end.
func TestServeSaysWhy(t *testing.T) {
	models := writeSet(t)
	name := filepath.Join(models, "Qwen--Qwen-Image-Edit", "vae", "diffusion_pytorch_model.safetensors")
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(name, info.Size()-1))
	s := startService(t, nil, "-models="+models, "-model=demo")
	s.log.find(t, `"msg":"(the model cannot be served)"`)
	code, body := s.get(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "failed")
	code, _ = s.get(t, "/healthz")
	require.Equal(t, http.StatusOK, code)
	code, answer := s.edit(t, map[string]any{"image": "AAAA", "prompt": "x"})
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "MODEL_NOT_LOADED", answer["error"])
	require.Equal(t, 5, s.stop())
}

// TestServeStopsWhileLoading: a stop during the start is no failure.
func TestServeStopsWhileLoading(t *testing.T) {
	s := startService(t, map[string]string{"LOG_LEVEL": "DEBUG"}, "-models="+writeSet(t), "-model=demo")
	require.Equal(t, 0, s.stop())
}

// TestServeSettings: what the environment says wrongly is refused at once.
func TestServeSettings(t *testing.T) {
	r := runProgram(t, map[string]string{"API_PORT": "99999"}, "serve")
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "API_PORT")
	r = runProgram(t, nil, "serve", "-config="+filepath.Join(t.TempDir(), "model.json"))
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "loading model.json")
}

// TestServePortTaken: the address is why the service ends, whatever the model was at.
func TestServePortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	r := runProgram(t, map[string]string{envState: t.TempDir()}, "serve", "-models="+writeSet(t), "-model=demo", "-host=127.0.0.1", "-port="+port)
	require.Equal(t, 6, r.code)
	require.Contains(t, r.stderr, "plimsoll-runtime: listening: listen tcp 127.0.0.1:"+port+": bind: address already in use\nhint: API_HOST and API_PORT name the address\n")
	require.NotContains(t, r.stderr, "canceled")
}

// TestServeNamesWhatIsMissing: neither a model.json nor a folder.
func TestServeNamesWhatIsMissing(t *testing.T) {
	r := runProgram(t, nil, "serve")
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "hint: -models=DIR names the folder of a model, -config=PATH a model.json")
}

// TestEditorErrors: what the service has to tell apart it can.
func TestEditorErrors(t *testing.T) {
	data, ok := manifests.Embedded("demo")
	require.True(t, ok)
	m, err := manifests.Parse(data)
	require.NoError(t, err)
	folder, c, err := models.Discover(writeSet(t), m)
	require.NoError(t, err)
	load := func(arena int64) (*editor, *ref.Backend) {
		b := ref.New(ref.Options{ArenaBytes: arena})
		open := func(need needs) (compute.Backend, int64, error) {
			_, err := need(plan.Options{ActBytes: 4})
			return b, arena, err
		}
		m, err := qwen.Load(t.Context(), folder, c, qwen.Options{Open: open, Checkpoints: []string{"lightning"}})
		require.NoError(t, err)
		t.Cleanup(func() { m.Close() })
		return &editor{m, c}, b
	}
	wish := server.Edit{Pictures: []*picture.RGB{{W: 8, H: 8, Pix: make([]byte, 192)}}, Prompt: "x", Steps: 2, TrueCFGScale: 1, Progress: func(int, int) {}}
	small, _ := load(1 << 16)
	_, err = small.Edit(t.Context(), wish)
	require.ErrorIs(t, err, server.ErrMemory)
	require.NotErrorIs(t, err, server.ErrUnusable)

	e, b := load(1 << 24)
	done, err := e.Edit(t.Context(), wish)
	require.NoError(t, err)
	require.Positive(t, done.PeakMemory)
	wish.Progress = func(int, int) {
		defer b.Reset(b.Mark())
		x := b.Alloc(compute.F32, 1, 1)
		b.Upload(x, []float32{float32(math.Inf(1))})
		b.Finite(x, "what the test broke")
	}
	_, err = e.Edit(t.Context(), wish)
	require.ErrorContains(t, err, "what the test broke")
	require.NotErrorIs(t, err, server.ErrUnusable)
	require.NotErrorIs(t, err, server.ErrMemory)
	wish.Progress = func(int, int) {}
	_, err = e.Edit(t.Context(), wish)
	require.NoError(t, err)

	for _, cause := range []error{qwen.ErrUnusable, cuda.ErrLost, cuda.ErrHung} {
		require.ErrorIs(t, forService(cause), server.ErrUnusable)
	}
	for _, cause := range []error{qwen.ErrMemory, cuda.ErrMemory} {
		require.ErrorIs(t, forService(cause), server.ErrMemory)
	}
}
