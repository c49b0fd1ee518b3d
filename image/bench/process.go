package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// soon and sampling are the first and the last interval between looks at a process: a
	// short one is seen all the same, a long one is left in peace.
	soon     = time.Millisecond
	sampling = 20 * time.Millisecond
	// patience bounds the wait for output that a grandchild keeps open.
	patience = 5 * time.Second
	// maxTail bounds the output of a failed process in an error, in bytes.
	maxTail = 2 << 10
)

// command is one process.
type command struct {
	program string
	// label stands for the program in what people read; default: its name.
	label string
	args  []string
	dir   string
	env   []string // set on top of the environment of the bench
	// until, if not nil, ends the process as soon as it returns true: by a kill, or as the
	// user's Ctrl-C does. It gets what is known while a process runs: the bytes.
	until     func(Usage) bool
	interrupt bool
}

// String is the command for people: the program without its folder.
func (c command) String() string {
	return strings.Join(append([]string{cmp.Or(c.label, filepath.Base(c.program))}, c.args...), " ")
}

// script is stages one after the other, each of commands side by side.
type script [][]command

// outcome is what the processes of a script cost and said.
type outcome struct {
	Usage
	stdout []string // of each command, in the order of the script
	ended  bool     // by command.until
}

// measure runs a script. The first command that fails ends it; an end by command.until is
// no failure.
func measure(ctx context.Context, stages script) (outcome, error) {
	var total outcome
	for _, stage := range stages {
		start := time.Now()
		got, err := sideBySide(ctx, stage)
		got.Seconds = time.Since(start).Seconds()
		total.Usage = total.then(got.Usage)
		total.stdout = append(total.stdout, got.stdout...)
		total.ended = total.ended || got.ended
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// sideBySide runs the commands of one stage.
func sideBySide(ctx context.Context, stage []command) (outcome, error) {
	out := outcome{stdout: make([]string, len(stage))}
	processes := make([]*process, len(stage))
	errs := make([]error, len(stage))
	usages := make([]Usage, len(stage))
	var wg sync.WaitGroup
	for i, c := range stage {
		wg.Go(func() {
			if processes[i], errs[i] = start(ctx, c); errs[i] == nil {
				usages[i], errs[i] = processes[i].wait()
			}
		})
	}
	wg.Wait()
	for i, p := range processes {
		if p == nil {
			continue
		}
		out.Usage = out.beside(usages[i])
		out.stdout[i] = p.stdout.String()
		out.ended = out.ended || p.ended
	}
	err := errors.Join(errs...)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", ctx.Err(), err) // a killed process does not know why
	}
	return out, err
}

// process is a running command.
type process struct {
	command
	cmd            *exec.Cmd
	began          time.Time
	stdout, stderr bytes.Buffer
	seen           Usage // by watch: memory and bytes
	ended          bool
}

// start starts a command in a process group of its own, which dies with ctx.
func start(ctx context.Context, c command) (*process, error) {
	p := &process{command: c, cmd: exec.CommandContext(ctx, c.program, c.args...)}
	p.cmd.Dir, p.cmd.Env = c.dir, append(append(os.Environ(), loopback...), c.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = patience
	isolate(p.cmd)
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("running %s: %w", c, err)
	}
	return p, nil
}

// loopback keeps every contestant from asking a proxy for this machine.
var loopback = []string{"NO_PROXY=127.0.0.1,127.0.0.2,localhost", "no_proxy=127.0.0.1,127.0.0.2,localhost"}

// wait waits for the end and says what the process cost.
func (p *process) wait() (Usage, error) {
	watched := p.watch()
	u := p.seen
	u.Seconds = time.Since(p.began).Seconds()
	err := p.cmd.Wait()
	if p.cmd.ProcessState != nil {
		u.UserSeconds = p.cmd.ProcessState.UserTime().Seconds()
		u.SystemSeconds = p.cmd.ProcessState.SystemTime().Seconds()
	}
	switch {
	case p.ended:
		return u, nil
	case err != nil:
		return u, p.failed(err)
	}
	return u, watched
}

// failed is the error of a process, with the end of what it said.
func (p *process) failed(err error) error {
	said := bytes.TrimSpace(append(p.stdout.Bytes(), p.stderr.Bytes()...))
	said = said[max(0, len(said)-maxTail):]
	return fmt.Errorf("running %s: %w\n%s", p.command, err, said)
}
