package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
)

// modelInfoAnswer is the predecessor's, with the checkpoints.
type modelInfoAnswer struct {
	ModelName      string        `json:"model_name"`
	ModelVersion   string        `json:"model_version"`
	SupportedRanks []int         `json:"supported_ranks"`
	DefaultSteps   int           `json:"default_steps"`
	MaxSteps       int           `json:"max_steps"`
	GPUMemoryUsage *string       `json:"gpu_memory_usage"`
	ModelConfig    modelSettings `json:"model_config"`
	Models         []modelLoaded `json:"models"`
}

// modelLoaded is a checkpoint that requests may name.
type modelLoaded struct {
	Name         string  `json:"name"`
	Version      string  `json:"version"`
	Precision    string  `json:"precision"`
	Rank         int     `json:"rank"`
	Steps        int     `json:"steps"`
	TrueCFGScale float64 `json:"true_cfg_scale"`
	Default      bool    `json:"default"`
}

// modelSettings are the values in effect for requests that name none.
type modelSettings struct {
	DefaultModel       string  `json:"default_model"`
	DefaultSteps       int     `json:"default_steps"`
	DefaultRank        int     `json:"default_rank"`
	TrueCFGScale       float64 `json:"true_cfg_scale"`
	EnableCPUOffload   bool    `json:"enable_cpu_offload"`
	MemoryOptimization bool    `json:"memory_optimization"`
}

func (s *Server) modelInfo(w http.ResponseWriter, r *http.Request) {
	now, err := s.serving()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	a := modelInfoAnswer{
		ModelName: cmp.Or(s.options.Model.Name, now.standard.Name), ModelVersion: now.standard.Version, MaxSteps: maxSteps,
		ModelConfig: s.settings(now), SupportedRanks: []int{}, Models: []modelLoaded{},
	}
	a.DefaultSteps = a.ModelConfig.DefaultSteps
	if d := s.device(); d.GPU {
		text := gigabytes(d.AllocatedMemory)
		a.GPUMemoryUsage = &text
	}
	for _, m := range now.models {
		a.Models = append(a.Models, modelLoaded{m.Name, m.Version, m.Precision, m.Rank, m.Steps, m.TrueCFGScale, m.Name == now.standard.Name})
		a.SupportedRanks = append(a.SupportedRanks, m.Rank)
	}
	slices.Sort(a.SupportedRanks)
	a.SupportedRanks = slices.Compact(a.SupportedRanks)
	s.write(w, http.StatusOK, a)
}

// settings are the tuned values over those of the standard checkpoint.
func (s *Server) settings(now snapshot) modelSettings {
	s.tuning.mu.Lock()
	defer s.tuning.mu.Unlock()
	return modelSettings{
		DefaultModel: now.standard.Name, DefaultSteps: cmp.Or(s.tuning.defaultSteps, now.standard.Steps), DefaultRank: now.standard.Rank,
		TrueCFGScale: now.standard.TrueCFGScale, EnableCPUOffload: s.tuning.offload, MemoryOptimization: s.tuning.optimize,
	}
}

// tuning is what /model-config has changed. It is safe for concurrent use.
type tuning struct {
	mu                sync.Mutex
	defaultSteps      int // 0 for the checkpoint's own
	offload, optimize bool
}

// steps are those of requests that name none, 0 for the checkpoint's own.
func (t *tuning) steps() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.defaultSteps
}

// modelConfigAnswer is the predecessor's, with warnings.
type modelConfigAnswer struct {
	Success       bool          `json:"success"`
	UpdatedConfig modelSettings `json:"updated_config"`
	Warnings      []string      `json:"warnings"`
}

// modelConfig changes the defaults of all requests, where that is allowed.
func (s *Server) modelConfig(w http.ResponseWriter, r *http.Request) {
	if !s.config.ModelConfig {
		s.fail(w, r, &failure{
			status: http.StatusForbidden, code: codeForbidden, detail: "changing the defaults of everybody's requests is switched off",
			hint: "a request can name its own model, num_inference_steps and true_cfg_scale; PLIMSOLL_MODEL_CONFIG=1 switches this route on",
		})
		return
	}
	now, err := s.serving()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	data, err := s.body(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	change, err := parseTuning(data, now.standard.Rank)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.tuning.apply(change)
	s.log.Warn("defaults changed", "request_id", requestID(r.Context()), "config", s.settings(now), "warnings", change.warnings)
	s.write(w, http.StatusOK, modelConfigAnswer{Success: true, UpdatedConfig: s.settings(now), Warnings: change.warnings})
}

// tuningChange is the body of /model-config, as far as it was given.
type tuningChange struct {
	defaultSteps      *int
	offload, optimize *bool
	warnings          []string
}

func (t *tuning) apply(c *tuningChange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.defaultSteps != nil {
		t.defaultSteps = *c.defaultSteps
	}
	if c.offload != nil {
		t.offload = *c.offload
	}
	if c.optimize != nil {
		t.optimize = *c.optimize
	}
}

// parseTuning reads a change of the defaults. The failure is a 422 that names each field.
func parseTuning(data []byte, rank int) (*tuningChange, error) {
	c := &tuningChange{warnings: []string{}}
	r := &reader{}
	r.object("body")
	say := func(format string, args ...any) { c.warnings = append(c.warnings, fmt.Sprintf(format, args...)) }
	err := members(data, func(key string, value json.RawMessage) {
		if r.seen[key] {
			r.report(clip(key), "duplicate_key", "the key occurs twice")
		}
		r.seen[key] = true
		switch key {
		case "default_steps":
			c.defaultSteps = r.integer(key, value, minSteps, maxSteps)
		case "default_rank":
			if string(value) != fmt.Sprint(rank) {
				say("default_rank %s is ignored: there is rank %d alone", clip(string(value)), rank)
				r.check(key, value)
			}
		case "enable_cpu_offload":
			c.offload = r.truth(key, value)
			say("%s is kept but has no effect: where weights lie is decided when they are loaded", key)
		case "memory_optimization":
			c.optimize = r.truth(key, value)
			say("%s is kept but has no effect: memory is planned when the model is loaded", key)
		default:
			say("unknown key %q is ignored", clip(key))
			r.check(key, value)
		}
	})
	if err != nil {
		r.wrong = append(r.wrong, syntax(err, []any{"body"}))
	}
	if len(r.wrong) > 0 {
		return nil, unfit(r.wrong...)
	}
	return c, nil
}

func (r *reader) truth(key string, value json.RawMessage) *bool {
	b := string(value) == "true"
	if !b && string(value) != "false" {
		r.report(key, "bool_type", "Input should be a valid boolean")
		return nil
	}
	return &b
}

// systemInfoAnswer describes the machine, as the predecessor's did for Python.
type systemInfoAnswer struct {
	Platform     string        `json:"platform"`
	Architecture string        `json:"architecture"`
	Processors   int           `json:"processors"`
	GoVersion    string        `json:"go_version"`
	ServiceName  string        `json:"service_name"`
	APIVersion   string        `json:"api_version"`
	GPUAvailable bool          `json:"gpu_available"`
	GPUCount     int           `json:"gpu_count"`
	GPUInfo      *deviceMemory `json:"gpu_info"`
	CUDAVersion  *string       `json:"cuda_version"`
	Driver       *string       `json:"driver_version"`
	Capability   *string       `json:"compute_capability"`
	// ProcessMemory is what the Go runtime holds of this machine's memory, in bytes.
	ProcessMemory uint64 `json:"process_memory"`
	Model         string `json:"model"`
	Variant       string `json:"variant"`
	Stage         Stage  `json:"stage"`
}

func (s *Server) systemInfo(w http.ResponseWriter, _ *http.Request) {
	d := s.device()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s.write(w, http.StatusOK, systemInfoAnswer{
		Platform: runtime.GOOS, Architecture: runtime.GOARCH, Processors: runtime.NumCPU(), GoVersion: runtime.Version(),
		ServiceName: "plimsoll", APIVersion: s.options.Version,
		GPUAvailable: d.GPU, GPUCount: d.Count, GPUInfo: memoryOf(d), CUDAVersion: known(d.CUDA), Driver: known(d.Driver), Capability: known(d.Capability),
		ProcessMemory: memory.Sys, Model: s.options.Model.Name, Variant: s.options.Model.Variant, Stage: s.state.snapshot().stage,
	})
}

// known is null in JSON for what is not known.
func known(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
