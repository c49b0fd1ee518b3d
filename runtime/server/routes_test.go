package server_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/server"
)

// TestRoutes: every route of the predecessor's, and ours, answers in every stage as
// documented; call holds each answer against openapi.json.
func TestRoutes(t *testing.T) {
	broken := fault.Wrap(fault.Invalid, "pull the image again", errors.New("verifying a.safetensors: sha256 is 1, model.json says 2"))
	stages := []struct {
		name  string
		bring func(t *testing.T, s *service)
		// health and ready are what the service says of itself, edit the status of an edit.
		health string
		ready  int
		edit   int
		reason string
	}{
		{"starting", func(*testing.T, *service) {}, "initializing", 503, 503, "not loaded yet: starting"},
		{"verifying", func(_ *testing.T, s *service) { s.Progress(server.StageVerifying, 21, 42) }, "initializing", 503, 503, "not loaded yet: verifying, 50 %"},
		{"ready", func(t *testing.T, s *service) { require.NoError(t, s.Ready(newDouble())) }, "healthy", 200, 200, ""},
		{"failed", func(_ *testing.T, s *service) { s.Failed(broken) }, "failed", 503, 503, "sha256 is 1, model.json says 2"},
	}
	for _, stage := range stages {
		t.Run(stage.name, func(t *testing.T) {
			s := fresh(t, nil)
			stage.bring(t, s)
			var h struct {
				Status      string            `json:"status"`
				Message     *string           `json:"message"`
				ModelLoaded bool              `json:"model_loaded"`
				GPU         bool              `json:"gpu_available"`
				Memory      map[string]string `json:"gpu_memory_info"`
				Stage       string            `json:"stage"`
			}
			a := s.call(t, "GET", "/health", "")
			require.Equal(t, 200, a.status)
			a.into(t, &h)
			require.Equal(t, stage.health, h.Status)
			require.Equal(t, stage.name, h.Stage)
			require.Equal(t, stage.ready == 200, h.ModelLoaded)
			require.Equal(t, map[string]string{"device_name": "NVIDIA Test", "total_memory": "24.00 GB", "allocated_memory": "13.00 GB", "free_memory": "10.00 GB"}, h.Memory)
			a = s.call(t, "GET", "/", "")
			a.into(t, &h)
			require.Equal(t, "healthy", h.Status)

			require.Equal(t, 200, s.call(t, "GET", "/healthz", "").status)
			a = s.call(t, "GET", "/readyz", "")
			require.Equal(t, stage.ready, a.status)
			require.Contains(t, string(a.body), stage.reason)
			require.Equal(t, stage.ready, s.call(t, "GET", "/model-info", "").status)
			require.Equal(t, 200, s.call(t, "GET", "/system-info", "").status)
			require.Equal(t, 403, s.call(t, "POST", "/model-config", "{}").status)
			for path, body := range map[string]string{"/edit-image": request(t, ""), "/batch-edit-image": "[" + request(t, "") + "]"} {
				if stage.edit == 200 {
					require.Equal(t, 200, s.call(t, "POST", path, body).status)
					continue
				}
				r := s.refuse(t, stage.edit, "POST", path, body)
				require.Equal(t, "MODEL_NOT_LOADED", r.Error)
				require.Contains(t, r.Detail, stage.reason)
			}
		})
	}
}

// TestFinal: what has failed is not talked round.
func TestFinal(t *testing.T) {
	s := fresh(t, nil)
	s.Failed(errors.New("no weights"))
	s.Progress(server.StageLoading, 1, 2)
	require.NoError(t, s.Ready(newDouble()))
	require.Equal(t, 503, s.call(t, "GET", "/readyz", "").status)
	require.Contains(t, s.refuse(t, 503, "POST", "/edit-image", request(t, "")).Detail, "no weights")
}

// TestPriority: the first checkpoint of the priority list that is loaded serves requests that
// name none, what is passed over is logged, and without any the service does not serve.
func TestPriority(t *testing.T) {
	d := newDouble()
	d.models = d.models[:1]
	s := start(t, d, nil)
	require.Equal(t, "plain", s.edit(t, request(t, "")).Model.Model)
	require.Contains(t, s.log.String(), `passed over","model":"lightning"`)

	for hub, want := range map[bool]string{false: "is switched off: passed over", true: "brought no checkpoint"} {
		s = fresh(t, func(c *server.Config) { c.HubDownload = hub })
		other := newDouble()
		other.models = []server.Model{{Name: "other"}}
		err := s.Ready(other)
		require.EqualError(t, err, "choosing a checkpoint: of the priority list [lightning, plain, hub] none is among those loaded [other]")
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Contains(t, s.log.String(), want)
		require.Equal(t, 503, s.call(t, "GET", "/readyz", "").status)
	}
	require.ErrorContains(t, fresh(t, nil).Ready(&double{}), "none is loaded")
}

// TestNoGPU: on the CPU the predecessor's word is warning, also where edits are served.
func TestNoGPU(t *testing.T) {
	s, err := server.New(server.Default(), server.Options{})
	require.NoError(t, err)
	require.NoError(t, s.Ready(newDouble()))
	w := record(s, "GET", "/health", "")
	require.Contains(t, w, `"status":"warning"`)
	require.Contains(t, w, `"model_loaded":true,"gpu_available":false,"gpu_memory_info":null`)
}

// TestModelInfo: the predecessor's fields, and every checkpoint.
func TestModelInfo(t *testing.T) {
	s := start(t, newDouble(), nil)
	var got map[string]any
	s.call(t, "GET", "/model-info", "").into(t, &got)
	want := `{
		"model_name": "qwen-image-edit", "model_version": "lightningv1.0", "supported_ranks": [128], "default_steps": 8, "max_steps": 50,
		"gpu_memory_usage": "13.00 GB",
		"model_config": {"default_model": "lightning", "default_steps": 8, "default_rank": 128, "true_cfg_scale": 1, "enable_cpu_offload": false, "memory_optimization": false},
		"models": [
			{"name": "plain", "version": "plain", "precision": "int4", "rank": 128, "steps": 50, "true_cfg_scale": 4, "default": false},
			{"name": "lightning", "version": "lightningv1.0", "precision": "int4", "rank": 128, "steps": 8, "true_cfg_scale": 1, "default": true}
		]
	}`
	data, err := json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, want, string(data))
}

// TestModelConfig: closed unless switched on; then what it sets counts for requests that name
// nothing.
func TestModelConfig(t *testing.T) {
	r := start(t, newDouble(), nil).refuse(t, 403, "POST", "/model-config", `{"default_steps": 4}`)
	require.Equal(t, "FORBIDDEN", r.Error)
	require.Contains(t, r.Hint, "PLIMSOLL_MODEL_CONFIG=1")

	d := newDouble()
	s := start(t, d, func(c *server.Config) { c.ModelConfig = true })
	var got struct {
		Success bool           `json:"success"`
		Updated map[string]any `json:"updated_config"`
		Warn    []string       `json:"warnings"`
	}
	a := s.call(t, "POST", "/model-config", `{"default_steps": 4, "default_rank": 64, "enable_cpu_offload": true, "memory_optimization": false, "x": 1}`)
	require.Equal(t, 200, a.status, string(a.body))
	a.into(t, &got)
	require.True(t, got.Success)
	require.Equal(t, 4.0, got.Updated["default_steps"])
	require.Equal(t, 128.0, got.Updated["default_rank"])
	require.Equal(t, true, got.Updated["enable_cpu_offload"])
	require.Len(t, got.Warn, 4)
	require.Equal(t, "default_rank 64 is ignored: there is rank 128 alone", got.Warn[0])
	e := s.edit(t, request(t, ""))
	require.Equal(t, 4, d.last(t).Steps)
	require.Contains(t, e.Warnings[0], "4 steps spoil pictures of lightning")
	for body, want := range map[string]string{
		`{"default_steps": 0}`:                     "body.default_steps: 0 is not within 1 to 50",
		`{"default_steps": 5, "default_steps": 6}`: "the key occurs twice",
		`{"memory_optimization": 1}`:               "body.memory_optimization: Input should be a valid boolean",
		`[]`:                                       "valid dictionary",
	} {
		require.Contains(t, s.refuse(t, 422, "POST", "/model-config", body).Detail, want)
	}
	require.Equal(t, 4, s.edit(t, request(t, "")).Model.Steps, "a refused change changes nothing")
}

// TestUnknown: other paths and methods have answers of the same shape.
func TestUnknown(t *testing.T) {
	s := start(t, newDouble(), nil)
	require.Equal(t, "NOT_FOUND", s.refuse(t, 404, "GET", "/edit", "").Error)
	require.Equal(t, "METHOD_NOT_ALLOWED", s.refuse(t, 405, "GET", "/edit-image", "").Error)
	require.Equal(t, "POST", s.call(t, "DELETE", "/edit-image", "").header.Get("Allow"))
	require.Equal(t, "GET, HEAD", s.call(t, "POST", "/health", "").header.Get("Allow"))
	a := s.call(t, "HEAD", "/health", "")
	require.Equal(t, 200, a.status)
	require.Empty(t, a.body)
	eventually(t, func() bool { return s.metric(t, `plimsoll_http_requests_total{code="404",route="other"}`) == "1" }, "counted")
}

// TestRequestID: an id that can stand in a log is taken over, any other replaced.
func TestRequestID(t *testing.T) {
	s := start(t, newDouble(), nil)
	require.Equal(t, "trace-1.a_B", s.call(t, "GET", "/health", "", "X-Request-ID", "trace-1.a_B").header.Get("X-Request-ID"))
	for _, bad := range []string{"", `a"b`, strings.Repeat("a", 65)} {
		a, b := s.call(t, "GET", "/health", "", "X-Request-ID", bad), s.call(t, "GET", "/health", "")
		require.Regexp(t, "^[0-9a-f]{32}$", a.header.Get("X-Request-ID"))
		require.NotEqual(t, a.header.Get("X-Request-ID"), b.header.Get("X-Request-ID"))
	}
}

// TestAPIKey: with a key nothing that costs or tells is open, and probes are.
func TestAPIKey(t *testing.T) {
	s := start(t, newDouble(), func(c *server.Config) { c.APIKey = "s3cret" })
	for _, path := range []string{"/", "/health", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"} {
		require.Equal(t, 200, s.call(t, "GET", path, "").status, path)
	}
	for _, headers := range [][]string{
		{}, {"Authorization", "Bearer wrong"}, {"Authorization", "Bearer "}, {"Authorization", "Basic s3cret"}, {"X-API-Key", "s3cret2"}, {"X-API-Key", "s3cre"},
	} {
		for method, paths := range map[string][]string{"GET": {"/model-info", "/system-info"}, "POST": {"/edit-image", "/batch-edit-image", "/model-config"}} {
			for _, path := range paths {
				a := s.call(t, method, path, "{}", headers...)
				require.Equal(t, 401, a.status, path)
				require.Contains(t, a.header.Get("WWW-Authenticate"), "Bearer")
			}
		}
	}
	require.Equal(t, 200, s.call(t, "GET", "/model-info", "", "Authorization", "bearer s3cret").status)
	require.Equal(t, 200, s.call(t, "POST", "/edit-image", request(t, ""), "X-API-Key", "s3cret").status)
	require.NotContains(t, s.log.String(), "s3cret")
}

// TestOrigins: a page of another origin may ask only where that is configured.
func TestOrigins(t *testing.T) {
	preflight := []string{"Origin", "https://a.example", "Access-Control-Request-Method", "POST"}
	s := start(t, newDouble(), nil)
	require.Equal(t, 405, s.call(t, "OPTIONS", "/edit-image", "", preflight...).status)
	require.Empty(t, s.call(t, "GET", "/health", "", preflight...).header.Get("Access-Control-Allow-Origin"))

	s = start(t, newDouble(), func(c *server.Config) { c.Origins, c.APIKey = []string{"https://a.example"}, "k" })
	a := s.call(t, "OPTIONS", "/edit-image", "", preflight...)
	require.Equal(t, 204, a.status)
	require.Equal(t, "https://a.example", a.header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "Origin", a.header.Get("Vary"), "a cache keeps answers to origins apart")
	require.Equal(t, "POST", a.header.Get("Access-Control-Allow-Methods"))
	require.Equal(t, "https://a.example", s.call(t, "POST", "/edit-image", "{}", "Origin", "https://a.example").header.Get("Access-Control-Allow-Origin"), "errors too can be read")
	require.Empty(t, s.call(t, "GET", "/health", "", "Origin", "https://b.example").header.Get("Access-Control-Allow-Origin"))

	s = start(t, newDouble(), func(c *server.Config) { c.Origins = []string{"*"} })
	require.Equal(t, "*", s.call(t, "GET", "/health", "", "Origin", "https://b.example").header.Get("Access-Control-Allow-Origin"))
}

// TestMetrics: what the issue names is there: queue, step time, memory, load time.
func TestMetrics(t *testing.T) {
	d := newDouble()
	d.peak = 1 << 30
	s := fresh(t, nil)
	s.Progress(server.StageVerifying, 0, 1)
	s.Progress(server.StageLoading, 0, 1)
	require.Equal(t, "0", s.metric(t, "plimsoll_ready"))
	require.NoError(t, s.Ready(d))
	s.edit(t, request(t, `"rank": 64`))
	for name, want := range map[string]string{
		"plimsoll_ready":                                       "1",
		"plimsoll_queue_waiting":                               "0",
		"plimsoll_edits_running":                               "0",
		"plimsoll_queue_wait_seconds_count":                    "1",
		`plimsoll_step_seconds_count{model="lightning"}`:       "8",
		`plimsoll_edit_seconds_count{model="lightning"}`:       "1",
		`plimsoll_edits_total{model="lightning",outcome="ok"}`: "1",
		"plimsoll_edits_warned_total":                          "1",
		"plimsoll_edit_peak_memory_bytes":                      "1.073741824e+09",
		"plimsoll_device_memory_total_bytes":                   "2.5769803776e+10",
	} {
		require.Equal(t, want, s.metric(t, name), name)
	}
	eventually(t, func() bool { return s.metric(t, `plimsoll_http_requests_total{code="200",route="/edit-image"}`) == "1" }, "counted")
	for _, stage := range []string{"starting", "verifying", "loading"} {
		require.NotEmpty(t, s.metric(t, `plimsoll_load_seconds{stage="`+stage+`"}`))
	}
	require.NotEmpty(t, s.metric(t, "go_goroutines"))
}

// TestLogLines: one JSON object a line, with what finds a request again, and no prompt.
func TestLogLines(t *testing.T) {
	s := start(t, newDouble(), nil)
	s.call(t, "POST", "/edit-image", request(t, ""), "X-Request-ID", "find-me")
	found := func() (n int) {
		for line := range strings.Lines(s.log.String()) {
			var v map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &v), line)
			if v["request_id"] == "find-me" {
				n++
			}
		}
		return n
	}
	eventually(t, func() bool { return found() == 2 }, "a line of the edit and one of the request, which follows the answer")
	require.NotContains(t, s.log.String(), "make it night")
}

// TestDocs: the page needs nothing from elsewhere, and its policy lets its own script run.
func TestDocs(t *testing.T) {
	s := start(t, newDouble(), nil)
	a := s.call(t, "GET", "/docs", "")
	require.Equal(t, 200, a.status)
	require.Contains(t, a.header.Get("Content-Type"), "text/html")
	require.NotContains(t, string(a.body), "//cdn")
	require.NotContains(t, string(a.body), "https://")
	require.Contains(t, a.header.Get("Content-Security-Policy"), "script-src 'sha256-")
}

// TestPanic: a defect in a handler is answered and does not end the service.
func TestPanic(t *testing.T) {
	c := server.Default()
	s, err := server.New(c, server.Options{Device: func() server.Device { panic("driver") }})
	require.NoError(t, err)
	w := record(s, "GET", "/health", "")
	require.Contains(t, w, `"error":"INTERNAL_ERROR"`)
	require.NotContains(t, w, "driver")
	require.Contains(t, record(s, "GET", "/healthz", ""), "alive")
}

// record asks a server that listens nowhere.
func record(h http.Handler, method, path, body string) string {
	w := recorder{header: http.Header{}}
	r, err := http.NewRequest(method, path, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	h.ServeHTTP(&w, r)
	return w.String()
}

type recorder struct {
	strings.Builder
	header http.Header
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}
