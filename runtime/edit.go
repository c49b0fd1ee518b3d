package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

// editLimits are what a picture on the command line may be: more than the service takes,
// since it is the user's own.
var editLimits = picture.Limits{Bytes: 1 << 28, Side: 1 << 14, Pixels: 1 << 27}

// editFlags are the flags of edit.
type editFlags struct {
	start            startFlags
	images           list
	prompt, out      *string
	negative         optional
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
	e.prompt = flags.String("prompt", "", "`TEXT` that says what to change")
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
	machine, err := e.start.machine(log)
	if err != nil {
		return err
	}
	s := starter{program: p, flags: e.start, log: log, machine: machine, state: func(string) {}}
	m, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	wish.Progress = newSteps(p.stderr).show
	done, err := m.Edit(ctx, wish)
	if err != nil {
		return err
	}
	if err := save(*e.out, done.Picture); err != nil {
		return err
	}
	return e.print(p, done, m.Warnings(wish))
}

// wish reads the flags and the pictures.
func (e *editFlags) wish() (w qwen.Edit, err error) {
	for _, f := range []struct{ name, value string }{{"image", e.images.String()}, {"prompt", *e.prompt}, {"out", *e.out}} {
		if f.value == "" {
			return w, fault.Wrap(fault.Usage, "plimsoll-runtime edit -image=in.png -prompt=\"...\" -out=out.png", fmt.Errorf("reading the flags: -%s is not given", f.name))
		}
	}
	if _, err := encoder(*e.out); err != nil {
		return w, err
	}
	w = qwen.Edit{Checkpoint: *e.checkpoint, Prompt: *e.prompt, Negative: e.negative.value, Steps: *e.steps, TrueCFGScale: *e.scale}
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

func load(name string) (*picture.RGB, error) {
	data, err := os.ReadFile(name)
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
	for _, w := range warnings {
		fmt.Fprintf(p.stderr, "warning: %s\n", w)
	}
	return p.print(fmt.Sprintf("%s: %d×%d, checkpoint %s, %d steps, guidance %g, seed %d, %.1f s\n",
		r.Out, r.Width, r.Height, r.Checkpoint, r.Steps, r.TrueCFGScale, r.Seed, r.Seconds))
}
