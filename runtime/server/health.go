package server

import (
	"fmt"
	"net/http"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// healthAnswer is the predecessor's, with the stage.
type healthAnswer struct {
	Status       string        `json:"status"` // healthy, initializing, warning, failed or stopping
	Message      *string       `json:"message"`
	ModelLoaded  bool          `json:"model_loaded"`
	GPUAvailable bool          `json:"gpu_available"`
	GPUMemory    *deviceMemory `json:"gpu_memory_info"`
	Timestamp    float64       `json:"timestamp"` // seconds since 1970
	Stage        Stage         `json:"stage"`
}

// deviceMemory describes a GPU in the predecessor's words, such as "23.69 GB". A GB is 2^30
// bytes here, as it was there.
type deviceMemory struct {
	DeviceName string `json:"device_name"`
	Total      string `json:"total_memory"`
	Allocated  string `json:"allocated_memory"`
	Free       string `json:"free_memory"`
}

func gigabytes(n int64) string { return fmt.Sprintf("%.2f GB", float64(n)/(1<<30)) }

func memoryOf(d Device) *deviceMemory {
	if !d.GPU {
		return nil
	}
	return &deviceMemory{DeviceName: d.Name, Total: gigabytes(d.TotalMemory), Allocated: gigabytes(d.AllocatedMemory), Free: gigabytes(d.FreeMemory)}
}

// healthNow describes the service. It is 200 whatever it says, as the predecessor's was:
// readyz is for probes.
func (s *Server) healthNow() healthAnswer {
	now, d := s.state.snapshot(), s.device()
	a := healthAnswer{
		Status: "healthy", ModelLoaded: now.stage == StageReady, GPUAvailable: d.GPU, GPUMemory: memoryOf(d),
		Timestamp: float64(time.Now().UnixMilli()) / 1000, Stage: now.stage,
	}
	switch {
	case now.stage == StageFailed:
		a.Status = "failed"
	case now.stage == StageStopping:
		a.Status = "stopping"
	case !d.GPU:
		a.Status = "warning"
	case now.stage != StageReady:
		a.Status = "initializing"
	}
	if text := now.reason(); text != "" {
		a.Message = &text
	} else if !d.GPU {
		text = "there is no CUDA device: edits run on the CPU"
		a.Message = &text
	}
	return a
}

// reason says why edits are not served; "" if they are.
func (n snapshot) reason() string {
	switch {
	case n.stage == StageReady:
		return ""
	case n.stage == StageFailed:
		return n.err.Error()
	case n.stage == StageStopping:
		return errStopping.Error()
	case n.total > 0:
		return fmt.Sprintf("the model is not loaded yet: %s, %.0f %%", n.stage, 100*float64(n.done)/float64(n.total))
	}
	return fmt.Sprintf("the model is not loaded yet: %s", n.stage)
}

// serving returns the state in which edits are served, or the 503 that says why they aren't.
func (s *Server) serving() (snapshot, error) {
	now := s.state.snapshot()
	switch now.stage {
	case StageReady:
		return now, nil
	case StageStopping:
		return now, stopping()
	}
	f := &failure{status: http.StatusServiceUnavailable, code: codeNotLoaded, detail: now.reason()}
	if now.stage == StageFailed {
		f.hint = fault.HintOf(now.err)
	} else {
		f.retryAfter = firstEstimate
	}
	return now, f
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, s.healthNow())
}

// root is the predecessor's greeting: healthy as long as somebody answers.
func (s *Server) root(w http.ResponseWriter, _ *http.Request) {
	a := s.healthNow()
	text := "plimsoll is running; /docs describes it"
	if a.Message != nil {
		text += "; " + *a.Message
	}
	a.Status, a.Message = "healthy", &text
	s.write(w, http.StatusOK, a)
}

// probeAnswer is what probes get.
type probeAnswer struct {
	Status string `json:"status"`
	Stage  Stage  `json:"stage"`
	// Done of Total says how far the stage is, where somebody counts.
	Done   int64  `json:"done,omitempty"`
	Total  int64  `json:"total,omitempty"`
	Reason string `json:"reason,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// alive fails only when a new process would do better than this one: not while it loads, and
// not for weights that are wrong.
func (s *Server) alive(w http.ResponseWriter, _ *http.Request) {
	now := s.state.snapshot()
	if now.lost {
		s.write(w, http.StatusServiceUnavailable, now.probe("lost"))
		return
	}
	s.write(w, http.StatusOK, now.probe("alive"))
}

// ready succeeds only when edits are served.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	now := s.state.snapshot()
	if now.stage != StageReady {
		s.write(w, http.StatusServiceUnavailable, now.probe("not ready"))
		return
	}
	s.write(w, http.StatusOK, now.probe("ready"))
}

func (n snapshot) probe(status string) probeAnswer {
	return probeAnswer{Status: status, Stage: n.stage, Done: n.done, Total: n.total, Reason: n.reason(), Hint: fault.HintOf(n.err)}
}
