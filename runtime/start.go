package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen"
	"github.com/plimsoll-oci/plimsoll/runtime/selftest"
)

// envState names the folder in which sums that were taken are remembered.
const envState = "PLIMSOLL_STATE"

// hubOff is what is said where the priority list comes to its last entry and may not follow it.
const hubOff = "no model is there, and the Hub is passed over: PLIMSOLL_HUB_DOWNLOAD=1 lets it come from there"

// The ways to verify at a start.
const (
	verifyStructure = "structure"
	verifyFull      = "full"
)

// startFlags are the flags of commands that load the model.
type startFlags struct {
	folder                folderFlags
	verify, state, source *string
	device, weights       *string
	gpuMemory             *string
}

func declareStart(flags *flag.FlagSet) startFlags {
	return startFlags{
		folder:    declareFolder(flags),
		verify:    flags.String("verify", verifyStructure, "`HOW` to verify first: "+verifyStructure+" looks at sizes and headers, "+verifyFull+" takes the sums of all bytes that are not remembered"),
		state:     flags.String("state", "", "`DIR` to remember sums in (default $"+envState+", else the user's cache folder)"),
		device:    flags.String("device", deviceAuto, "`WHAT` edits run on: "+deviceCUDA+" is the first GPU that CUDA_VISIBLE_DEVICES shows, "+deviceCPU+" plain Go, "+deviceAuto+" a GPU if there is one"),
		weights:   flags.String("weights", weightsAuto, "`HOW` a GPU holds 4-bit weights: "+weightsPacked+" as they are, "+weightsWhole+" in bfloat16, four times as large, "+weightsInt8+" in 8 bits, faster, on Hopper alone, "+weightsW4A4+" as they are, with inputs in 4 bits too, as the checkpoint was made, slowly, "+weightsAuto+" the faster that it can"),
		gpuMemory: flags.String("gpuMemory", "", "`SIZE` of a GPU's memory that may be taken, as 24GB or 24GiB (default all that is free): weights beyond it stream from the host"),
		source:    flags.String("model", "qwen-image-edit", "`NAME` of the model that a folder without model.json holds"),
	}
}

// check refuses values that are not known, and returns how much of a GPU's memory may be taken.
func (f startFlags) check() (limit int64, err error) {
	for _, v := range []struct {
		name, value string
		known       []string
	}{
		{"weights", *f.weights, []string{weightsAuto, weightsPacked, weightsWhole, weightsInt8, weightsW4A4}},
		{"device", *f.device, []string{deviceAuto, deviceCUDA, deviceCPU}},
	} {
		if !slices.Contains(v.known, v.value) {
			return 0, fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: %s is %q; %q are known", v.name, v.value, v.known))
		}
	}
	return parseMemory(*f.gpuMemory)
}

// starter takes a model from its files to the state in which it edits.
type starter struct {
	program *program
	flags   startFlags
	log     *slog.Logger
	// hub says that the priority list's entry "hub" may be followed.
	hub     bool
	machine machine
	// placed is how the model lies on the machine, once open has made its backend.
	placed placement
	// choose picks the checkpoints to load of those aboard, the preferred one first; nil loads
	// all.
	choose func(aboard []string) ([]string, error)
	// state is told what goes on: "downloading", "verifying", "loading", and how far it is
	// where that is known.
	state func(what string, done, total int64)
	// download is the one that find began, nil if there is none yet.
	download *download
}

// start finds, verifies and loads. The caller closes the model.
func (s *starter) start(ctx context.Context) (*qwen.Model, error) {
	defer s.machine.join()
	c, folder, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	return s.prepare(ctx, folder, c)
}

// prepare verifies and loads what find found, and proves that a GPU computes rightly before
// anything is edited.
func (s *starter) prepare(ctx context.Context, folder *models.Folder, c *manifests.ModelConfig) (*qwen.Model, error) {
	defer s.machine.join()
	c, folder, err := s.complete(ctx, folder, c)
	if s.download != nil {
		s.download.client.Close()
	}
	if err != nil {
		return nil, err
	}
	names, err := s.checkpoints(c)
	if err != nil {
		return nil, err
	}
	m, b, err := s.load(ctx, folder, c, names, s.open)
	if err != nil {
		return nil, err
	}
	if err := s.proven(ctx, b); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// complete leaves out the checkpoints that are not there, as long as there is one: that is
// what the priority list is for. Where there is none the list may go on to the Hub.
func (s *starter) complete(ctx context.Context, folder *models.Folder, c *manifests.ModelConfig) (*manifests.ModelConfig, *models.Folder, error) {
	there := present(folder, c)
	switch {
	case len(there) == len(c.Checkpoints):
		return c, folder, nil
	case len(there) > 0:
		less := withCheckpoints(c, there)
		s.log.Warn("a checkpoint is not there", "there", len(there), "of", len(c.Checkpoints), "models", folder.Dir())
		return less, folder.With(less), nil
	case c.Serve == nil || !slices.Contains(c.Serve.Priority, manifests.PriorityHub):
		return c, folder, nil // which the check then says of each file
	case !s.hub:
		s.log.Warn(hubOff, "models", folder.Dir())
		return c, folder, nil
	}
	d, err := s.openDownload(folder.Dir())
	if err != nil {
		return nil, nil, err
	}
	one, err := d.fetch(ctx, folder, c)
	if err != nil {
		return nil, nil, err
	}
	return one, folder.With(one), nil
}

func (s *starter) openDownload(dir string) (d *download, err error) {
	if s.download == nil {
		s.download, err = newDownload(dir, s.program.env, s.log, func(done, total int64) { s.state("downloading", done, total) })
	}
	return s.download, err
}

// find reads model.json, or where there is none and a folder is named, looks into that.
func (s *starter) find(ctx context.Context) (*manifests.ModelConfig, *models.Folder, error) {
	if v := *s.flags.verify; v != verifyStructure && v != verifyFull {
		return nil, nil, fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: verify is %q; %q and %q are known", v, verifyStructure, verifyFull))
	}
	c, folder, settings, err := s.flags.folder.load(s.program)
	if err == nil {
		s.log.Info("model.json", "model", c.Name, "variant", c.Variant, "models", settings.Models.Value)
		return c, folder, nil
	}
	dir := s.modelsDir()
	switch {
	case !errors.Is(err, fs.ErrNotExist) || *s.flags.folder.config != "":
		return nil, nil, err
	case dir == "":
		hint := "-models=DIR names the folder of a model, -config=PATH a model.json; an image has it at " + defaultConfig
		return nil, nil, fault.Wrap(fault.Usage, hint, err)
	}
	data, ok := manifests.Embedded(*s.flags.source)
	if !ok {
		return nil, nil, fault.Wrap(fault.Usage, "", fmt.Errorf("looking for a model: %q is not known, %q are", *s.flags.source, manifests.EmbeddedNames()))
	}
	m, err := manifests.Parse(data)
	if err != nil {
		return nil, nil, err
	}
	folder, c, err = models.Discover(dir, m)
	if err != nil && s.hub && fault.KindOf(err) == fault.Usage {
		return s.findAtHub(ctx, dir, m)
	}
	if err != nil {
		s.log.Warn(hubOff, "models", dir)
		return nil, nil, err
	}
	s.log.Info("there is no model.json: the folder was searched", "model", c.Name, "models", dir, "files", len(c.Files), "checkpoints", len(c.Checkpoints))
	return c, folder, nil
}

// findAtHub describes a folder in which there is no model by what the Hub has.
func (s *starter) findAtHub(ctx context.Context, dir string, m *manifests.Manifest) (*manifests.ModelConfig, *models.Folder, error) {
	d, err := s.openDownload(dir)
	if err != nil {
		return nil, nil, err
	}
	c, err := d.list(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	return c, models.New(dir, c), nil
}

// modelsDir is the folder that flag or environment name, "" for none.
func (s *starter) modelsDir() string {
	if dir := *s.flags.folder.models; dir != "" {
		return dir
	}
	dir, _ := s.program.env(envModels)
	return dir
}

// checkpoints are the names of those to load, by the priority list.
func (s *starter) checkpoints(c *manifests.ModelConfig) ([]string, error) {
	if c.Serve == nil {
		return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("choosing a checkpoint: model.json of %s has no priority list: nothing of it can be served", c.Name))
	}
	aboard := map[string]bool{}
	for _, k := range c.Checkpoints {
		aboard[k.Name] = true
	}
	var names []string
	for _, name := range c.Serve.Priority {
		switch {
		case name == manifests.PriorityHub: // whose turn was before, if it was
		case aboard[name]:
			names = append(names, name)
		default:
			s.log.Info("a checkpoint of the priority list is not aboard", "checkpoint", name)
		}
	}
	if len(names) == 0 {
		return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("choosing a checkpoint: none of %q is aboard", c.Serve.Priority))
	}
	if s.choose != nil {
		var err error
		if names, err = s.choose(names); err != nil {
			return nil, err
		}
	}
	s.log.Info("checkpoints", "default", names[0], "loaded", names)
	return names, nil
}

// load verifies the files and makes the model of them on a backend. Documents are read, weights
// mapped and memory is planned beside the check; nothing of a weight reaches the backend before the
// check has ended well. Where it did not, its error is the one that is returned.
func (s *starter) load(ctx context.Context, folder *models.Folder, c *manifests.ModelConfig, names []string, open func(needs) (compute.Backend, int64, error)) (*qwen.Model, compute.Backend, error) {
	s.remember(folder)
	s.state("verifying", 0, 0)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := s.checkBeside(ctx, cancel, folder, c)
	var b compute.Backend
	verified := func(need needs) (_ compute.Backend, arena int64, err error) {
		if b, arena, err = open(need); err != nil {
			return nil, 0, err
		}
		if err := wait(); err != nil {
			if closing := b.Close(); closing != nil {
				s.log.Error("the backend did not close", "error", closing.Error())
			}
			return nil, 0, err
		}
		s.state("loading", 0, 0)
		return b, arena, nil
	}
	m, err := qwen.Load(ctx, folder, c, qwen.Options{Open: verified, Checkpoints: names})
	if wrong := wait(); wrong != nil {
		return nil, nil, wrong // no model: it is loaded only behind a check that ended well
	}
	if err != nil {
		return nil, nil, err
	}
	for _, l := range m.Loaded() {
		s.log.Info("loaded", "component", l.Name, "bytes", l.Bytes, "seconds", seconds(l.Time), "sinceStart", seconds(l.Done.Sub(programStart)))
	}
	return m, b, nil
}

// proven tests a GPU's kernels; the CPU is what they are tested against.
func (s *starter) proven(ctx context.Context, b compute.Backend) error {
	if s.machine.driver == nil {
		return nil
	}
	return prove(ctx, b, selftest.Options{EightBits: s.machine.weights == weightsInt8, W4A4: s.machine.weights == weightsW4A4}, s.log)
}

// seconds is a time as logs have it, to the millisecond.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// open makes the machine's backend, and says what a picture like the model's own takes before the
// first one is asked for. One that doesn't fit is a warning here, since smaller ones may.
func (s *starter) open(of needs) (compute.Backend, int64, error) {
	b, p, need, err := s.machine.open(of, *s.flags.weights == weightsAuto, s.log)
	if err != nil {
		return nil, 0, err
	}
	s.placed = p
	for _, stage := range append(need.Stages, need.Total) {
		s.log.Info("plan", "stage", stage.Name, "tflop", math.Round(float64(stage.FLOPs)/1e8)/1e4, "launches", stage.Launches, "arenaBytes", stage.ArenaPeak)
	}
	s.log.Info("plan", "weightBytes", need.WeightBytes, "arenaBytes", p.arena)
	if need.Total.ArenaPeak > p.arena {
		s.log.Warn("a picture of the model's own area does not fit: smaller ones may", "takesBytes", need.Total.ArenaPeak, "arenaBytes", p.arena)
	}
	return b, p.arena, nil
}
