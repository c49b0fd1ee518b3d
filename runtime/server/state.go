package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Stage is how far the service is. Edits are served in StageReady alone.
type Stage string

// The stages in their usual order. StageFailed and StageStopping are final.
const (
	StageStarting    Stage = "starting"
	StageDownloading Stage = "downloading"
	StageVerifying   Stage = "verifying"
	StageLoading     Stage = "loading"
	StageReady       Stage = "ready"
	StageFailed      Stage = "failed"
	StageStopping    Stage = "stopping"
)

// snapshot is the state at one time.
type snapshot struct {
	stage       Stage
	done, total int64 // bytes of the stage, 0 of 0 where nobody counts
	err         error // why it failed
	lost        bool  // it could edit, and never will again
	editor      Editor
	models      []Model
	standard    Model // serves requests that name none
}

// state holds the latest snapshot. It is safe for concurrent use.
type state struct {
	mu    sync.Mutex
	now   snapshot
	since time.Time
}

func (s *state) snapshot() snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// change applies a change unless the state is final, and returns what was and how long, if
// the stage is another now.
func (s *state) change(apply func(*snapshot)) (was Stage, took time.Duration, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was = s.now.stage
	if was == StageFailed || was == StageStopping {
		return was, 0, false
	}
	apply(&s.now)
	if s.now.stage == was {
		return was, 0, false
	}
	took, s.since = time.Since(s.since), time.Now()
	return was, took, true
}

// Progress says how far loading is, in bytes or whatever the stage counts; total 0 means that
// nobody knows. It may be called often, and from several goroutines.
func (s *Server) Progress(stage Stage, done, total int64) {
	s.move(func(n *snapshot) {
		if n.stage != StageReady {
			n.stage, n.done, n.total = stage, done, total
		}
	})
}

// Ready hands the editor over: from now on edits are served. An editor without a checkpoint
// of the priority list is an error of kind fault.Invalid, and the service has failed.
func (s *Server) Ready(e Editor) error {
	models := e.Models()
	standard, err := s.choose(models)
	if err != nil {
		s.Failed(err)
		return err
	}
	s.move(func(n *snapshot) { *n = snapshot{stage: StageReady, editor: e, models: models, standard: standard} })
	s.log.Info("serving", "model", standard.Name, "version", standard.Version, "models", names(models))
	return nil
}

// Failed says that the service will never edit, and why. It goes on answering with that.
func (s *Server) Failed(err error) {
	s.log.Error("the model cannot be served", "error", err.Error(), "hint", fault.HintOf(err))
	s.move(func(n *snapshot) { *n = snapshot{stage: StageFailed, err: err} })
}

// lose is Failed for a device that broke while it served.
func (s *Server) lose(err error) {
	s.log.Error("the device is lost", "error", err.Error(), "hint", fault.HintOf(err))
	s.move(func(n *snapshot) { *n = snapshot{stage: StageFailed, err: err, lost: true} })
}

// move changes the state, and notes how long the former stage took.
func (s *Server) move(apply func(*snapshot)) {
	was, took, changed := s.state.change(apply)
	if !changed {
		return
	}
	now := s.state.snapshot().stage
	if was != StageReady {
		s.metrics.stage.WithLabelValues(string(was)).Set(took.Seconds())
	}
	s.log.Info("stage", "stage", now, "before", was, "took_seconds", seconds(took))
}

// choose finds the checkpoint for requests that name none: the first of the priority list that
// is aboard. Without a list it is the first there is.
func (s *Server) choose(models []Model) (Model, error) {
	var priority []string
	if serve := s.options.Model.Serve; serve != nil {
		priority = serve.Priority
	}
	if len(priority) == 0 && len(models) > 0 {
		return models[0], nil
	}
	for _, name := range priority {
		if i := slices.IndexFunc(models, func(m Model) bool { return m.Name == name }); i >= 0 {
			return models[i], nil
		}
		s.passOver(name)
	}
	err := fmt.Errorf("choosing a checkpoint: of the priority list [%s] none is among those loaded [%s]", strings.Join(priority, ", "), strings.Join(names(models), ", "))
	if len(models) == 0 {
		err = errors.New("choosing a checkpoint: none is loaded")
	}
	return Model{}, fault.Wrap(fault.Invalid, "pull the image again, or mount the folder with its checkpoints", err)
}

// passOver logs that an entry of the priority list does not serve.
func (s *Server) passOver(name string) {
	switch {
	case name != manifests.PriorityHub:
		s.log.Warn("checkpoint of the priority list is not loaded: passed over", "model", name)
	case s.config.HubDownload:
		s.log.Warn("the Hub download of the priority list brought no checkpoint: passed over", "model", name)
	default:
		s.log.Warn("the Hub download of the priority list is switched off: passed over", "model", name, "hint", "PLIMSOLL_HUB_DOWNLOAD=1 switches it on")
	}
}

func names(models []Model) (out []string) {
	for _, m := range models {
		out = append(out, m.Name)
	}
	return out
}
