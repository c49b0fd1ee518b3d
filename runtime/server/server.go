package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Options are what a service is made of beside its configuration.
type Options struct {
	// Log gets one line a request, and more; nil discards them.
	Log *slog.Logger
	// Model is the image's model.json: its priority list says which checkpoint serves
	// requests that name none.
	Model *manifests.ModelConfig
	// Version is the program's.
	Version string
	// Device describes what edits run on, with its memory as it is now; nil is a CPU. It is
	// called often, from several goroutines, before and during edits.
	Device func() Device
}

// Server is the service. Its methods are safe for concurrent use; Serve is called once.
type Server struct {
	config  Config
	options Options
	log     *slog.Logger
	sources *sources
	queue   *queue
	metrics *metrics
	state   state
	tuning  tuning
	routes  []route
	openapi []byte
	// hard ends running edits, by errStopping.
	hard   context.Context
	cutOff context.CancelCauseFunc
}

// New makes a service, in StageStarting. It does not listen yet.
func New(c Config, o Options) (*Server, error) {
	s := &Server{config: c, options: o, log: o.Log, queue: newQueue(c.Queue)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.options.Model == nil {
		s.options.Model = &manifests.ModelConfig{}
	}
	s.sources = &sources{client: newClient(c), config: c}
	s.state = state{now: snapshot{stage: StageStarting}, since: time.Now()}
	s.metrics = newMetrics(s)
	s.hard, s.cutOff = context.WithCancelCause(context.Background())
	s.routes = s.table()
	var err error
	if s.openapi, err = document(c, o.Version); err != nil {
		return nil, err
	}
	return s, nil
}

// device is what edits run on now.
func (s *Server) device() Device {
	if s.options.Device == nil {
		return Device{Name: "CPU"}
	}
	return s.options.Device()
}

// ListenAndServe is Serve on the configuration's address. A port that is taken is an error
// of kind fault.Resource.
func (s *Server) ListenAndServe(ctx context.Context) error {
	var l net.ListenConfig
	listener, err := l.Listen(ctx, "tcp", s.config.Address())
	if err != nil {
		return fault.Wrap(fault.Resource, "API_HOST and API_PORT name the address", fmt.Errorf("listening: %w", err))
	}
	return s.Serve(ctx, listener)
}

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	headerBytes   = 64 << 10
	// farewell is what answers under way get when all edits are over.
	farewell = 5 * time.Second
)

// Serve answers requests until ctx ends, stops as the package comment says, and returns nil
// then. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytes,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.log.Info("listening", "address", l.Addr().String())
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(l) }()
	select {
	case err := <-failed:
		s.stop(context.Background())
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Grace)
	defer cancel()
	s.stop(limited)
	return s.shutdown(h, failed)
}

// stop refuses new edits and waits for the running one, until ctx ends and with it the edit.
func (s *Server) stop(ctx context.Context) {
	began := time.Now()
	waiting, busy := s.queue.load()
	s.log.Info("stopping", "waiting", waiting, "running", busy, "grace_seconds", s.config.Grace.Seconds())
	s.move(func(n *snapshot) { n.stage = StageStopping })
	s.queue.close()
	select {
	case <-s.queue.drained():
	case <-ctx.Done():
		s.log.Warn("the grace period is over: the running edit is cancelled")
	}
	s.cutOff(errStopping)
	s.log.Info("stopped", "took_seconds", seconds(time.Since(began)))
}

// shutdown lets answers out and closes what is left.
func (s *Server) shutdown(h *http.Server, failed <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	err := h.Shutdown(ctx)
	if err != nil {
		s.log.Warn("closing connections that did not end", "error", err.Error())
		err = h.Close()
	}
	if ended := <-failed; err == nil && !errors.Is(ended, http.ErrServerClosed) {
		err = ended
	}
	if err != nil {
		return fmt.Errorf("stopping the service: %w", err)
	}
	return nil
}
