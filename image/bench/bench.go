// Package bench measures plimsoll beside other programs that do the same work: curl and
// aria2c with openssl for a download, openssl for verification, crane, skopeo, oras and oci-modelcar for
// a publication; and the pull of an image whose files are cut in several ways. Fetch, Verify,
// Publish and Pull are the benches; each returns a Result.
//
// # Ratios, no limits
//
// Seconds say little about another machine, so what counts are ratios of things that were
// measured in one run, on the same bytes. A ratio has an aim, and the result says whether it
// was met; a missed aim is no error. Only work that went wrong is one: a contestant that
// failed, or that did not end with the right bytes.
//
// # Contestants
//
// A contestant is one way to do the work, as one or more processes. Ours is what a user
// runs: the compiled magefile with its target. So every cost is taken from outside and by
// the same means for all (see Usage). Programs that are not on this machine are named as
// missing, with the command that installs them, and so are the ratios that need them.
//
// # Rounds
//
// Contestants take turns, in another order every round, so that nobody always follows the
// same other, and the medians of each column are compared. Before each turn everything dirty
// is flushed to the disk, what is read is brought into the page cache, and what others read
// leaves it; what is written goes to new files, which are deleted afterwards. The first use of everything is not measured: memory that a virtual machine
// touches for the first time costs more than any download.
//
// # The server
//
// Downloads come from package hubtest in the process of the bench, which hands files to the
// kernel (sendfile): serving 2 GB took it 0.4 to 0.6 s of CPU time, and nginx with sendfile
// 0.6 s on the same machine. Its own CPU time is part of every sample.
package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Options say what to measure and where. The zero value is a bench's default in the current
// folder.
type Options struct {
	// Size is the number of bytes of model files, such as "4 GB"; "" is the bench's own.
	Size string
	// Runs is how many rounds there are; 0 is the bench's own number.
	Runs int
	// Root is the folder of plimsoll's module, Out the folder of results; default: out below
	// Root. The bench works in bench/NAME below Out, which it empties before and after.
	Root, Out string
	// Program is the compiled magefile; default: the running program.
	Program string
	// Stderr takes a line for each step; nil: none.
	Stderr io.Writer
	// registry starts the registry program in a folder; default: one that is installed.
	registry registryProgram
}

// session is one bench being run.
type session struct {
	Options
	name   string
	size   int64
	dir    string // where it works
	lock   *os.File
	began  time.Time
	result *Result
}

// standard is what a bench does without options.
type standard struct {
	size int64
	runs int
	room float64 // disk space needed, as a multiple of the size
}

// open checks the options and empties the folder. A disk with too little room is an error
// of kind fault.Resource, before anything is written.
func open(name string, o Options, d standard) (*session, error) {
	size := d.size
	if o.Size != "" {
		parsed, err := manifests.ParseSize(o.Size)
		if err != nil {
			return nil, fault.Wrap(fault.Usage, "write -size='4 GB'", err)
		}
		size = int64(parsed)
	}
	if size < 1 || o.Runs < 0 {
		return nil, fault.Wrap(fault.Usage, "", fmt.Errorf("benching %s: %d bytes in %d rounds cannot be measured", name, size, o.Runs))
	}
	o.Runs = cmp.Or(o.Runs, d.runs)
	if err := o.locate(); err != nil {
		return nil, fmt.Errorf("benching %s: %w", name, err)
	}
	lock, err := o.alone()
	if err != nil {
		return nil, fmt.Errorf("benching %s: %w", name, err)
	}
	s := &session{lock: lock, Options: o, name: name, size: size, dir: filepath.Join(o.Out, "bench", name), began: time.Now()}
	if err := s.empty(int64(d.room * float64(size))); err != nil {
		return nil, errors.Join(fmt.Errorf("benching %s: %w", name, err), lock.Close())
	}
	s.result = &Result{SchemaVersion: SchemaVersion, Bench: name, Size: size, Runs: o.Runs, Machine: machine()}
	return s, nil
}

// locate makes the paths absolute and finds the running program.
func (o *Options) locate() (err error) {
	if o.Program == "" {
		if o.Program, err = os.Executable(); err != nil {
			return err
		}
	}
	o.Out = cmp.Or(o.Out, filepath.Join(o.Root, "out"))
	for _, p := range []*string{&o.Root, &o.Out, &o.Program} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if o.Stderr == nil {
		o.Stderr = io.Discard
	}
	return nil
}

// alone makes sure that no other bench uses the folder of results: the two would spoil each
// other's figures, and one would remove what the other works on. The lock ends with the
// process.
func (o Options) alone() (*os.File, error) {
	dir := filepath.Join(o.Out, "bench")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, fault.Wrap(fault.Usage, "wait for it to end", errors.Join(fmt.Errorf("another bench is running in %s: %w", dir, err), f.Close()))
	}
	return f, nil
}

// empty makes an empty folder with room for so many bytes.
func (s *session) empty(room int64) error {
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	free, err := freeSpace(s.dir)
	if err != nil || free >= room {
		return err
	}
	return fault.Wrap(fault.Resource, "free some space, set PLIMSOLL_OUT to a folder on a larger disk, or pass a smaller -size", fmt.Errorf(
		"%s are needed in %s, %s are free (%d and %d bytes)", humanize.Bytes(uint64(room)), s.dir, humanize.Bytes(uint64(free)), room, free))
}

// close removes what was made for measuring.
func (s *session) close() {
	_ = os.RemoveAll(s.dir) // what stays is removed by the next run
	_ = s.lock.Close()
}

// finish stores the result beside the folder of the bench as NAME.json.
func (s *session) finish() (*Result, error) {
	data, err := json.MarshalIndent(s.result, "", "  ")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.Out, "bench", s.name+".json")
	if err := manifests.WriteFile(path, append(data, '\n')); err != nil {
		return nil, fmt.Errorf("writing the result of the bench: %w", err)
	}
	s.tell("the result lies in %s", path)
	return s.result, nil
}

// path is a path in the folder of the bench.
func (s *session) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

// tell writes one line for people, with the time since the beginning.
func (s *session) tell(format string, args ...any) {
	fmt.Fprintf(s.Stderr, "bench:%s %4.0f s: %s\n", s.name, time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// targets is plimsoll's own command: the compiled magefile with a target and its flags. Of
// the environment, only what concerns Hub, cache and output is its own: dir holds hf and out.
func (s *session) targets(dir, hub string, args ...string) command {
	return command{program: s.Program, label: "mage", args: args, dir: s.Root, env: []string{
		"HF_ENDPOINT=" + hub, "HF_HOME=" + filepath.Join(dir, "hf"), "PLIMSOLL_OUT=" + filepath.Join(dir, "out"),
		"HF_HUB_CACHE=", "HUGGINGFACE_HUB_CACHE=", "HF_HUB_OFFLINE=", "HF_TOKEN=", "HF_TOKEN_PATH=", "CI=",
	}}
}

// prepare runs commands that are not measured, one after the other.
func (s *session) prepare(ctx context.Context, list ...command) error {
	for _, c := range list {
		if _, err := measure(ctx, script{{c}}); err != nil {
			return fmt.Errorf("preparing: %w", err)
		}
	}
	return nil
}
