package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
)

// editLimits are what a picture on the command line may be: more than the service takes,
// since it is the user's own.
var editLimits = picture.Limits{Bytes: 1 << 28, Side: 1 << 14, Pixels: 1 << 27}

// editFlags are the flags of edit.
type editFlags struct {
	start            startFlags
	images           list
	out              *string
	prompt, negative optional
	checkpoint, size *string
	steps            *int
	scale            *float64
	seed             optional
	json             *bool
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// optional is a flag whose absence differs from an empty value.
type optional struct{ value *string }

func (o *optional) String() string { return "" }

func (o *optional) Set(s string) error { o.value = &s; return nil }

// editResult is the result of the edit command.
type editResult struct {
	SchemaVersion int      `json:"schemaVersion"`
	Out           string   `json:"out"`
	Width         int      `json:"width"`
	Height        int      `json:"height"`
	Checkpoint    string   `json:"checkpoint"`
	Steps         int      `json:"steps"`
	TrueCFGScale  float64  `json:"trueCFGScale"`
	Guided        bool     `json:"guided"`
	Seed          uint64   `json:"seed"`
	Seconds       float64  `json:"seconds"`
	ArenaBytes    int64    `json:"arenaBytes"`
	Warnings      []string `json:"warnings"`
}

// setupEdit edits one picture.
func setupEdit(flags *flag.FlagSet) action {
	e := &editFlags{start: declareStart(flags)}
	flags.Var(&e.images, "image", "`FILE` of the picture: JPEG, PNG, WEBP or BMP; a model that takes several has it several times")
	flags.Var(&e.prompt, "prompt", "`TEXT` that says what to change")
	e.out = flags.String("out", "", "`FILE` to write: .png or .jpg")
	flags.Var(&e.negative, "negative", "`TEXT` that guidance leads away from (default a space, where the scale is over 1)")
	e.checkpoint = flags.String("checkpoint", "", "`NAME` of the checkpoint (default the first of the priority list)")
	e.size = flags.String("size", "", "`WxH` of the result in pixels (default by the picture)")
	e.steps = flags.Int("steps", 0, "`N` steps (default the checkpoint's)")
	e.scale = flags.Float64("cfg", 0, "`SCALE` of guidance (default the checkpoint's)")
	flags.Var(&e.seed, "seed", "`N` that the noise follows from (default a random one, which is printed)")
	e.json = jsonFlag(flags)
	return e.run
}

func (e *editFlags) run(ctx context.Context, p *program, _ []string) error {
	wish, err := e.wish()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	machine, err := chooseMachine(e.start, log)
	if err != nil {
		return err
	}
	say := func(what string, _, _ int64) { fmt.Fprintln(p.stderr, what+" the model") }
	s := &starter{program: p, flags: e.start, log: log, machine: machine, choose: e.choose, state: say}
	m, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	warnings := m.Warnings(wish)
	for _, w := range warnings {
		fmt.Fprintln(p.stderr, "warning: "+w)
	}
	fmt.Fprintln(p.stderr, "reading the picture and the prompt")
	bar := newSteps(p.stderr)
	defer bar.end()
	wish.Progress = bar.show
	done, err := m.Edit(ctx, wish)
	if err != nil {
		return err
	}
	if err := save(*e.out, done.Picture); err != nil {
		return err
	}
	return e.print(p, done, warnings)
}

// choose is the one checkpoint that is needed.
func (e *editFlags) choose(aboard []string) ([]string, error) {
	switch name := *e.checkpoint; {
	case name == "":
		return aboard[:1], nil
	case slices.Contains(aboard, name):
		return []string{name}, nil
	default:
		return nil, fault.Wrap(fault.Usage, fmt.Sprintf("aboard are %q", aboard), fmt.Errorf("reading the flags: checkpoint is %q, which is not aboard", name))
	}
}

// wish reads the flags and the pictures. What is wrong with them is said before a model is
// loaded.
func (e *editFlags) wish() (w qwen.Edit, err error) {
	if err := e.check(); err != nil {
		return w, err
	}
	w = qwen.Edit{Checkpoint: *e.checkpoint, Prompt: *e.prompt.value, Negative: e.negative.value, Steps: *e.steps, TrueCFGScale: *e.scale}
	if w.Negative == nil {
		space := " " // the published default, and what the plain checkpoint is meant to run with
		w.Negative = &space
	}
	if w.Seed, err = e.readSeed(); err != nil {
		return w, err
	}
	if w.Size, err = parseSize(*e.size); err != nil {
		return w, err
	}
	for _, name := range e.images {
		picture, err := load(name)
		if err != nil {
			return w, err
		}
		w.Pictures = append(w.Pictures, picture)
	}
	return w, nil
}

// check looks at what is given, and whether the result can be written.
func (e *editFlags) check() error {
	for _, f := range []struct {
		name  string
		given bool
	}{{"image", len(e.images) > 0}, {"prompt", e.prompt.value != nil}, {"out", *e.out != ""}} {
		if !f.given {
			return fault.Wrap(fault.Usage, "plimsoll-runtime edit -image=in.png -prompt=\"...\" -out=out.png", fmt.Errorf("reading the flags: -%s is not given", f.name))
		}
	}
	if _, err := encoder(*e.out); err != nil {
		return err
	}
	if n := *e.steps; n < 0 || n > schedule.MaxSteps {
		return fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: steps is %d, want 1 to %d, or 0 for the checkpoint's", n, schedule.MaxSteps))
	}
	if x := *e.scale; !(x >= 0 && x <= math.MaxFloat32) {
		return fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: cfg is %g, want a number over 0, or 0 for the checkpoint's", x))
	}
	return checkOut(*e.out)
}

// checkOut looks at where the result is to go: that it can't be written is to be known before it
// is computed.
func checkOut(name string) error {
	folder := filepath.Dir(name)
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: out is %q, and %s is no folder", name, folder))
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: out is %q, which is a folder", name))
	}
	if err := unix.Access(folder, unix.W_OK); err != nil {
		return fault.Wrap(fault.Resource, "", fmt.Errorf("reading the flags: out is %q, and %s is not writable: %w", name, folder, err))
	}
	return nil
}

func (e *editFlags) readSeed() (uint64, error) {
	if e.seed.value == nil {
		var b [4]byte
		rand.Read(b[:])
		return uint64(binary.LittleEndian.Uint32(b[:])), nil
	}
	n, err := strconv.ParseUint(*e.seed.value, 10, 64)
	if err != nil {
		return 0, fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: seed is %q, want a number from 0 to 18446744073709551615", *e.seed.value))
	}
	return n, nil
}

// parseSize reads "640x480"; "" is no size.
func parseSize(text string) (s picture.Size, err error) {
	if text == "" {
		return s, nil
	}
	w, h, ok := strings.Cut(text, "x")
	if ok {
		s.W, err = strconv.Atoi(w)
	}
	if ok && err == nil {
		s.H, err = strconv.Atoi(h)
	}
	if !ok || err != nil || s.W < 1 || s.H < 1 {
		return s, fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: size is %q, want WIDTHxHEIGHT in pixels", text))
	}
	return s, nil
}

// load reads a picture, of a file that is none no more than a picture may have.
func load(name string) (*picture.RGB, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, "", fmt.Errorf("reading the picture: %w", err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(editLimits.Bytes)+1))
	if err != nil {
		return nil, fault.Wrap(fault.Usage, "", fmt.Errorf("reading the picture: %w", err))
	}
	p, err := picture.Decode(data, editLimits)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, "", fmt.Errorf("reading %s: %w", name, err))
	}
	return p, nil
}

// encoder is how a file's name says that a picture is written.
func encoder(name string) (func(*picture.RGB) ([]byte, error), error) {
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".png":
		return (*picture.RGB).PNG, nil
	case ".jpg", ".jpeg":
		return (*picture.RGB).JPEG, nil
	default:
		return nil, fault.Wrap(fault.Usage, "", fmt.Errorf("reading the flags: out is %q; .png, .jpg and .jpeg can be written", name))
	}
}

// save writes a picture whole or not at all.
func save(name string, p *picture.RGB) error {
	encode, err := encoder(name)
	if err != nil {
		return err
	}
	data, err := encode(p)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", name, err)
	}
	var suffix [4]byte
	rand.Read(suffix[:])
	unfinished := name + "." + hex.EncodeToString(suffix[:]) + ".part"
	err = os.WriteFile(unfinished, data, 0o666)
	if err == nil {
		err = os.Rename(unfinished, name)
	}
	if err != nil {
		return fault.Wrap(fault.Resource, "", errors.Join(fmt.Errorf("writing %s: %w", name, err), os.RemoveAll(unfinished)))
	}
	return nil
}

func (e *editFlags) print(p *program, done *qwen.Edited, warnings []string) error {
	r := editResult{
		SchemaVersion: 1, Out: *e.out, Width: done.Picture.W, Height: done.Picture.H, Checkpoint: done.Checkpoint, Steps: done.Steps,
		TrueCFGScale: done.TrueCFGScale, Guided: done.Guided, Seed: done.Seed, Seconds: done.Times.Total().Seconds(),
		ArenaBytes: done.ArenaBytes, Warnings: append([]string{}, warnings...),
	}
	if *e.json {
		return p.printJSON(r)
	}
	return p.print(fmt.Sprintf("%s: %d×%d, checkpoint %s, %d steps, guidance %g, seed %d, %.1f s\n",
		r.Out, r.Width, r.Height, r.Checkpoint, r.Steps, r.TrueCFGScale, r.Seed, r.Seconds))
}
