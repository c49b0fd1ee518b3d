package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/server"
)

// discovered is the demo's model in a folder.
func discovered(t *testing.T, dir string) (*models.Folder, *manifests.ModelConfig) {
	t.Helper()
	data, ok := manifests.Embedded("demo")
	require.True(t, ok)
	m, err := manifests.Parse(data)
	require.NoError(t, err)
	folder, c, err := models.Discover(dir, m)
	require.NoError(t, err)
	return folder, c
}

// newStarter is a starter by a command line's flags, which says nothing.
func newStarter(t *testing.T, log slog.Handler, args ...string) *starter {
	t.Helper()
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	declared := declareStart(flags)
	require.NoError(t, flags.Parse(append([]string{"-state=" + t.TempDir()}, args...)))
	p := &program{env: func(string) (string, bool) { return "", false }, stdout: io.Discard, stderr: io.Discard}
	return &starter{program: p, flags: declared, log: slog.New(log), state: func(string, int64, int64) {}}
}

// counted is a backend that counts what is loaded onto it.
type counted struct {
	compute.Backend
	loads   atomic.Int32
	opened  bool
	closes  int
	closing error
}

func (b *counted) LoadLinear(s compute.LinearSpec) (compute.Linear, error) {
	b.loads.Add(1)
	return b.Backend.LoadLinear(s)
}

func (b *counted) LoadConv(s compute.ConvSpec) (compute.Conv, error) {
	b.loads.Add(1)
	return b.Backend.LoadConv(s)
}

func (b *counted) LoadVector(w compute.Weight) (compute.Vector, error) {
	b.loads.Add(1)
	return b.Backend.LoadVector(w)
}

func (b *counted) LoadTable(w compute.Weight) (compute.Table, error) {
	b.loads.Add(1)
	return b.Backend.LoadTable(w)
}

func (b *counted) Close() error {
	b.closes++
	return errors.Join(b.closing, b.Backend.Close())
}

// open makes nothing: the backend is there.
func (b *counted) open(need needs) (compute.Backend, int64, error) {
	_, err := need(plan.Options{ActBytes: 4})
	b.opened = true
	return b, 1 << 20, err
}

// holder is a log that holds the check where it says how it ended, which is before it returns.
type holder struct {
	slog.Handler
	once          sync.Once
	held, release chan struct{}
}

func (h *holder) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "verified" || r.Level == slog.LevelError {
		h.once.Do(func() { close(h.held); <-h.release })
	}
	return h.Handler.Handle(ctx, r)
}

// TestNothingUnverifiedIsLoaded: a model is planned and its backend made beside the check, but not
// a weight is loaded before that has ended, and none at all where it ended badly or the files are
// not the ones that it saw. Each of these sets could be loaded.
func TestNothingUnverifiedIsLoaded(t *testing.T) {
	base := func(dir, name string) string { return filepath.Join(dir, "Qwen--Qwen-Image-Edit", name) }
	replace := func(t *testing.T, name string, change func([]byte) []byte) {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name+".new", change(data), 0o666))
		require.NoError(t, os.Chtimes(name+".new", info.ModTime(), info.ModTime()))
		require.NoError(t, os.Rename(name+".new", name))
	}
	for name, c := range map[string]struct {
		before, meanwhile func(t *testing.T, dir string)
		wrong             string
	}{
		"right": {},
		"wrong": {before: func(t *testing.T, dir string) {
			replace(t, base(dir, "text_encoder/model.safetensors.index.json"), func([]byte) []byte { return []byte("{}") })
		}, wrong: "the files of source base do not fit together"},
		"replaced": {meanwhile: func(t *testing.T, dir string) {
			replace(t, base(dir, "vae/diffusion_pytorch_model.safetensors"), bytes.Clone)
		}, wrong: "vae/diffusion_pytorch_model.safetensors changed or was replaced while it was checked"},
		"written to": {meanwhile: func(t *testing.T, dir string) {
			later := time.Now().Add(time.Hour)
			require.NoError(t, os.Chtimes(base(dir, "vae/config.json"), later, later))
		}, wrong: "vae/config.json changed or was replaced"},
		"gone": {meanwhile: func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(base(dir, "vae/config.json")))
		}, wrong: "and is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeSet(t)
			if c.before != nil {
				c.before(t, dir)
			}
			folder, config := discovered(t, dir)
			names := []string{"lightning"}
			free := &counted{Backend: ref.New(ref.Options{ArenaBytes: 1 << 20})}
			m, err := qwen.Load(t.Context(), folder, config, qwen.Options{Open: free.open, Checkpoints: names})
			require.NoError(t, err, "without a check")
			require.NoError(t, m.Close())

			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				log := &holder{Handler: slog.NewTextHandler(&out, nil), held: make(chan struct{}), release: make(chan struct{})}
				s := newStarter(t, log)
				b := &counted{Backend: ref.New(ref.Options{ArenaBytes: 1 << 20}), closing: errors.New("the device is lost")}
				release := sync.OnceFunc(func() { close(log.release) })
				defer release()
				loaded := make(chan struct{})
				go func() {
					defer close(loaded)
					m, _, err = s.load(t.Context(), folder, config, names, b.open)
				}()
				<-log.held
				synctest.Wait() // until the load can go no further
				require.Zero(t, b.loads.Load(), "loaded before the check has ended")
				require.True(t, b.opened, "not begun beside the check")
				if c.meanwhile != nil {
					c.meanwhile(t, dir)
				}
				release()
				<-loaded
				if c.wrong == "" {
					require.NoError(t, err)
					require.Equal(t, free.loads.Load(), b.loads.Load())
					require.ErrorIs(t, m.Close(), b.closing)
					return
				}
				require.Nil(t, m)
				require.ErrorContains(t, err, "verifying models in "+dir)
				require.ErrorContains(t, err, c.wrong)
				require.Equal(t, fault.Invalid, fault.KindOf(err))
				require.NotErrorIs(t, err, b.closing)
				require.Zero(t, b.loads.Load())
				require.Equal(t, 1, b.closes)
				require.Contains(t, out.String(), `level=ERROR msg="the backend did not close" error="the device is lost"`)
			})
		})
	}
}

// TestFailedStartLeavesTheGPU: a start that fails before it has a backend gives back the GPU that
// was opened early, wherever it fails, since a service goes on to say why.
func TestFailedStartLeavesTheGPU(t *testing.T) {
	l := cudatest.TwoDevices()
	driver, err := cuda.OpenLibrary(l.Load())
	require.NoError(t, err)
	devices, err := driver.Devices()
	require.NoError(t, err)
	dir := writeSet(t)
	folder, c := discovered(t, dir)
	for name, start := range map[string]func(s *starter) error{
		"nothing is found": func(s *starter) error { _, err := s.start(t.Context()); return err },
		"nothing to serve": func(s *starter) error {
			none := *c
			none.Serve = nil
			_, err := s.prepare(t.Context(), folder, &none)
			return err
		},
		"no room": func(s *starter) error { _, err := s.prepare(t.Context(), folder, c); return err },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStarter(t, slog.DiscardHandler)
			s.machine = machine{driver: driver, device: devices[0], weights: weightsPacked, limit: 1, joined: openEarly(driver, devices[0])}
			require.Eventually(t, func() bool { return l.Retained.Load() == 1 }, time.Minute, time.Millisecond)
			require.Error(t, start(s))
			require.Zero(t, l.Retained.Load())
		})
	}
}

// modelless is an editor without a checkpoint.
type modelless struct{ server.Editor }

func (modelless) Models() []server.Model { return nil }

// TestNotReady: a service that cannot serve the model is not said to be ready.
func TestNotReady(t *testing.T) {
	_, c := discovered(t, writeSet(t))
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	service, err := server.New(server.Default(), server.Options{Log: log, Model: c, Version: programVersion})
	require.NoError(t, err)
	require.ErrorContains(t, ready(service, modelless{}, log), "none is loaded")
	require.Contains(t, out.String(), "the model cannot be served")
	require.NotContains(t, out.String(), "msg=ready")
}
