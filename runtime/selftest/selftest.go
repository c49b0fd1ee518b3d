// Package selftest finds out whether a backend computes rightly on the machine at hand: each
// operation of package compute once or a few times, small, against package ref.
//
//	inputs from a seed ──▶ backend ──▶ result ─┐
//	                  └──▶ ref ─────▶ result ─┴─▶ how far apart, and how far they may be
//
// A GPU of a kind that nobody has tried, a driver that compiles a kernel wrongly, a memory
// that is broken: all of them gave people pictures of noise, after minutes and without a
// word. This says it in a second, and names the operation.
//
// It is no conformance suite, which package computetest is: it asks each operation for the
// values of one usual case, in sizes that take every kernel that a backend has for large,
// middle and small work. Results are full of NaN before an operation writes them, and inputs
// are numbers that bfloat16 holds, so that their rounding is no error.
package selftest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
)

// ArenaBytes is an arena that is large enough for a backend with activations of 2 bytes.
const ArenaBytes = 64 << 20

// referenceArena is the reference's: it has activations of 4 bytes and few rows.
const referenceArena = 32 << 20

// ErrWrong says that results are not what they must be.
var ErrWrong = errors.New("the kernels compute wrongly on this device")

// hint is what to do about ErrWrong.
const hint = "do not use this device: -device=cpu does without it, CUDA_VISIBLE_DEVICES shows another one; with another driver it may be right"

// Options describe a test.
type Options struct {
	// EightBits says that the backend multiplies SVDQ linears in whole numbers of 8 bits: they
	// may then be further off.
	EightBits bool
	// W4A4 says that the backend rounds the inputs of SVDQ linears to codes of 4 bits, as package
	// ref's W4A4 does. They are held against that, and may be a few codes off.
	W4A4 bool
	// Few takes few rows where otherwise there are so many that they fill the largest GPU: for
	// a backend on a CPU.
	Few bool
}

// Run computes every operation on b and holds it against the reference. The report has all
// of them even if some are wrong; the error is then ErrWrong, of kind fault.Internal, and
// names them. An error of the backend itself ends the test and keeps its kind. b is used by
// this goroutine alone. Its arena has to have ArenaBytes left and is in the end as it was; a
// few MB of weights stay until Close.
func Run(ctx context.Context, b compute.Backend, o Options) (Report, error) {
	return run(ctx, b, o, checks())
}

func run(ctx context.Context, b compute.Backend, o Options, list []check) (Report, error) {
	options := ref.Options{ArenaBytes: referenceArena}
	if o.W4A4 {
		options.Numerics = ref.W4A4
	}
	reference := ref.New(options)
	defer reference.Close() // its errors were those of its results
	begin := time.Now()
	r := Report{Operations: []Result{}}
	for _, c := range list {
		if err := ctx.Err(); err != nil {
			return r, fmt.Errorf("testing the kernels: %w", err)
		}
		result, err := c.hold(b, reference, o)
		if err != nil {
			return r, fmt.Errorf("testing the kernels: %s: %w", c.name, err)
		}
		r.Operations = append(r.Operations, result)
		r.Seconds = time.Since(begin).Seconds()
	}
	r.OK = len(r.wrong()) == 0
	return r, r.err()
}

// check is an operation with inputs, and how far its result may be off.
type check struct {
	name  string
	bound bound
	// run makes the same calls whichever side it gets, and gives the results to side.result.
	run func(s *side)
}

// checks are all of them.
func checks() []check {
	all := dense()
	for _, more := range [][]check{quantised(), applied(), heads(), attentions(), convolutions(), moves()} {
		all = append(all, more...)
	}
	return all
}

// hold runs a check on both.
func (c check) hold(b, reference compute.Backend, o Options) (Result, error) {
	truth := newSide(reference, c.name, nil, o)
	if err := truth.do(c.run); err != nil {
		return Result{}, fmt.Errorf("computing the reference: %w", err)
	}
	begin := time.Now()
	s := newSide(b, c.name, truth.results, o)
	if err := s.do(c.run); err != nil {
		return Result{}, err
	}
	limit := c.bound.value(o)
	off := s.off
	return Result{Name: c.name, Error: Distance(off), Bound: limit, OK: off <= limit, Seconds: time.Since(begin).Seconds()}, nil
}

// err is what the results mean.
func (r Report) err() error {
	wrong := r.wrong()
	if len(wrong) == 0 {
		return nil
	}
	var list []string
	for _, w := range wrong {
		list = append(list, fmt.Sprintf("%s is off by %v, more than %v", w.Name, w.Error, Distance(w.Bound)))
	}
	return fault.Wrap(fault.Internal, hint, fmt.Errorf("testing the kernels: %w: %d of %d operations: %s",
		ErrWrong, len(wrong), len(r.Operations), strings.Join(list, "; ")))
}
