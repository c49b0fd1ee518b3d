package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// contestant is one way to do the work of a case.
type contestant struct {
	name string
	// needs are the programs of others that it cannot do without.
	needs []string
	// reads are files that are brought into the page cache first, drops such as leave it.
	reads, drops []string
	// ready prepares a new, empty folder for one turn, unmeasured; nil: nothing to prepare.
	ready func(ctx context.Context, dir string) error
	// script is what is measured in that folder.
	script func(dir string) script
	// check looks at the result; an error ends the bench. first says that it is the
	// contestant's first turn. nil: the exit code says it all.
	check func(dir string, out outcome, first bool) error
}

// server is watched while a contestant works.
type server interface {
	// begin forgets what was before.
	begin()
	// end enters what was since begin.
	end(*Sample)
}

// contest lets the contestants of a case take turns and enters what they cost.
func (s *session) contest(ctx context.Context, name, title string, watched server, list ...contestant) error {
	s.declare(name, title, list...)
	here := slices.DeleteFunc(slices.Clone(list), func(x contestant) bool { return len(s.missing(x)) > 0 })
	for round := range s.Runs {
		for _, i := range order(round, len(here)) {
			if err := s.turn(ctx, name, round, watched, here[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// order is who follows whom in a round of n contestants. In as many rounds as there are of
// them everybody has every place once, and where n is even follows everybody else once, since
// what one leaves behind, such as work for the disk under this machine, the next may pay for;
// where n is odd, that takes twice the rounds (E. J. Williams, Experimental designs balanced
// for the estimation of residual effects of treatments, 1949).
func order(round, n int) []int {
	out := make([]int, n)
	for i := range out {
		step := (i + 1) / 2 // 0, 1, n-1, 2, n-2, …
		if i%2 == 0 {
			step = n - step
		}
		out[i] = (step + round) % n
	}
	if n%2 == 1 && round/n%2 == 1 {
		slices.Reverse(out)
	}
	return out
}

// declare enters a case with its contestants, of whom nothing is known yet.
func (s *session) declare(name, title string, list ...contestant) {
	c := Case{Name: name, Title: title}
	for _, x := range list {
		c.Contestants = append(c.Contestants, Contestant{Name: x.name, Missing: s.missing(x)})
	}
	s.result.Cases = append(s.result.Cases, c)
}

// missing lists the programs that a contestant lacks.
func (s *session) missing(x contestant) []string {
	var out []string
	for _, name := range x.needs {
		if s.result.program(name) == "" {
			out = append(out, name)
		}
	}
	return out
}

// turn measures one contestant once, in a folder that is deleted afterwards.
func (s *session) turn(ctx context.Context, inCase string, round int, watched server, x contestant) error {
	dir := s.path("turn")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return s.timed(ctx, inCase, round, watched, x, dir)
}

// timed measures a contestant in a folder of the caller's and enters what it cost.
func (s *session) timed(ctx context.Context, inCase string, round int, watched server, x contestant, dir string) error {
	sample, stages, err := s.sample(ctx, round, watched, x, dir)
	if err != nil {
		return fmt.Errorf("benching %s, %s, %s: %w", s.name, inCase, x.name, err)
	}
	s.tell("%s, round %d of %d, %s: %.2f s", inCase, round+1, s.Runs, x.name, sample.Seconds)
	s.result.record(inCase, x.name, sample, stages.lines())
	return nil
}

// sample prepares, measures and checks.
func (s *session) sample(ctx context.Context, round int, watched server, x contestant, dir string) (Sample, script, error) {
	if x.ready != nil {
		if err := x.ready(ctx, dir); err != nil {
			return Sample{}, nil, err
		}
	}
	stages := x.script(dir)
	flush()
	if err := errors.Join(drop(x.drops...), warm(append(stages.programs(), x.reads...)...)); err != nil {
		return Sample{}, nil, err
	}
	watched.begin()
	out, err := measure(ctx, stages)
	sample := Sample{Usage: out.Usage}
	watched.end(&sample)
	if err == nil && x.check != nil {
		err = x.check(dir, out, round == 0)
	}
	return sample, stages, err
}

// record enters a sample of a declared contestant and brings its medians up to date.
func (r *Result) record(inCase, contestant string, sample Sample, commands []string) {
	for _, c := range r.Cases {
		for i := range c.Contestants {
			x := &c.Contestants[i]
			if c.Name == inCase && x.Name == contestant {
				x.Samples = append(x.Samples, sample)
				m := medians(x.Samples)
				x.Median, x.Commands = &m, commands
			}
		}
	}
}

// last is the latest sample of a contestant, which must have one.
func (r *Result) last(e entry) Sample {
	for _, c := range r.Cases {
		for _, x := range c.Contestants {
			if c.Name == e.inCase && x.Name == e.contestant {
				return x.Samples[len(x.Samples)-1]
			}
		}
	}
	panic("no sample of " + e.contestant)
}

// programs are the files of the programs.
func (s script) programs() []string {
	var out []string
	for _, stage := range s {
		for _, c := range stage {
			out = append(out, c.program)
		}
	}
	return out
}

// lines are the commands for people.
func (s script) lines() []string {
	var out []string
	for _, stage := range s {
		for _, c := range stage {
			out = append(out, c.String())
		}
	}
	return out
}
