package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen"
	"github.com/plimsoll-oci/plimsoll/runtime/server"
)

// setupServe runs the HTTP service. Its configuration is the environment's, as the
// predecessor's was.
func setupServe(flags *flag.FlagSet) action {
	start := declareStart(flags)
	host := flags.String("host", "", "`ADDRESS` to listen on (default $API_HOST, else all)")
	port := flags.String("port", "", "`PORT` to listen on, 0 for any free one (default $API_PORT, else 8000)")
	return func(ctx context.Context, p *program, _ []string) error {
		flagged := map[string]string{"API_HOST": *host, "API_PORT": *port}
		config, err := server.FromEnv(func(name string) (string, bool) {
			if v := flagged[name]; v != "" {
				return v, true
			}
			return p.env(name)
		})
		if err != nil {
			return err
		}
		return p.serve(ctx, start, config)
	}
}

// serve listens at once and loads meanwhile. What keeps the model from being served is what
// the service then answers, and at its end the command's error.
func (p *program) serve(ctx context.Context, flags startFlags, config server.Config) error {
	log, closer, err := server.NewLog(config, p.stderr)
	if err != nil {
		return err
	}
	defer closer.Close()
	machine, err := chooseMachine(flags, log)
	if err != nil {
		return err
	}
	defer machine.join()
	s := &starter{program: p, flags: flags, log: log, hub: config.HubDownload, machine: machine}
	c, folder, err := s.find(ctx)
	if err != nil {
		return err
	}
	service, err := server.New(config, server.Options{Log: log, Model: c, Version: programVersion, Device: machine.describe})
	if err != nil {
		return err
	}
	s.state = func(stage string, done, total int64) { service.Progress(server.Stage(stage), done, total) }
	loading, cancel := context.WithCancel(ctx)
	loaded := make(chan error, 1)
	var model *qwen.Model
	go func() {
		var err error
		model, err = s.prepare(loading, folder, c)
		if err != nil && loading.Err() == nil {
			service.Failed(err)
		}
		if err == nil {
			err = ready(service, &editor{model, c}, log)
		}
		loaded <- err
	}()
	served := service.ListenAndServe(ctx)
	cancel()
	failed := <-loaded
	if errors.Is(failed, context.Canceled) {
		failed = nil // it was stopped while it loaded
	}
	if model != nil {
		failed = errors.Join(failed, closeModel(model, log))
	}
	return errors.Join(served, failed)
}

// ready hands the editor over, and says how long the start took if the service serves it. Why it
// does not the service knows.
func ready(service *server.Server, e server.Editor, log *slog.Logger) error {
	if err := service.Ready(e); err != nil {
		return err
	}
	log.Info("ready", "sinceStart", seconds(time.Since(programStart)))
	return nil
}

// lastBlock is how long the end waits for an edit that was cancelled, which goes on to the end
// of a block: of the published model on a CPU that may be a minute.
const lastBlock = 5 * time.Second

// closeModel closes the model, or leaves it to the end of the process where an edit still reads
// it.
func closeModel(m *qwen.Model, log *slog.Logger) error {
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(lastBlock):
		log.Warn("the running edit has not ended: it is left to the end of the process", "waited_seconds", lastBlock.Seconds())
		return nil
	}
}

// editor is the model as the service sees it.
type editor struct {
	model  *qwen.Model
	config *manifests.ModelConfig
}

var _ server.Editor = (*editor)(nil)

// Models implements server.Editor.
func (e *editor) Models() []server.Model {
	var out []server.Model
	for _, b := range e.model.Checkpoints() {
		for _, c := range e.config.Checkpoints {
			if c.Name == b.Name {
				out = append(out, server.ModelOf(c))
			}
		}
	}
	return out
}

// Edit implements server.Editor.
func (e *editor) Edit(ctx context.Context, wish server.Edit) (*server.Edited, error) {
	done, err := e.model.Edit(ctx, qwen.Edit{
		Checkpoint: wish.Model, Pictures: wish.Pictures, Prompt: wish.Prompt, Negative: wish.NegativePrompt,
		Steps: wish.Steps, TrueCFGScale: wish.TrueCFGScale, Seed: wish.Seed, Progress: wish.Progress,
	})
	if err != nil {
		return nil, forService(err)
	}
	return &server.Edited{Picture: done.Picture, Duration: done.Times.Total(), PeakMemory: done.ArenaBytes}, nil
}

// forService says of an edit's error what the service has to know.
func forService(err error) error {
	switch {
	case errors.Is(err, qwen.ErrUnusable), errors.Is(err, cuda.ErrLost), errors.Is(err, cuda.ErrHung):
		return fmt.Errorf("%w: %w", server.ErrUnusable, err)
	case errors.Is(err, qwen.ErrMemory), errors.Is(err, cuda.ErrMemory):
		return fmt.Errorf("%w: %w", server.ErrMemory, err)
	}
	return err
}
