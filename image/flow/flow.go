// Package flow has one function for each verb of the toolchain: Plan, Lock, Fetch, Verify,
// Build, Export, Publish, Report, Init, Diff; and for the cache alone CacheList, CachePrune
// and CacheVerify. A verb takes a *Job, which says what is worked on and where, and returns a
// result that prints itself as text and marshals as JSON; Init and Diff need no job.
//
//	manifest -> Plan -> Lock -> Fetch -> Verify -> Build -> Publish -> Report
//
// Publish with PublishOptions.Stream goes from the lock to the registry in one step, for
// machines that cannot hold the model: see stream.go.
//
// This is the one floor that sees both the download and the image: it joins them and adds
// no mechanism of its own. Each verb can be run alone, again, and in another process: what
// it needs from an earlier one lies in the lock, in the cache or in the thin layout, never
// in memory.
//
// With CI=true the committed lock is law: a missing or stale one is an error, and the file
// beside the manifest is never written. What a CI run derives all the same (layer digests,
// unused parts) goes into a completed copy of the lock in the output folder.
package flow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/progress"
	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/base"
	"github.com/plimsoll-oci/plimsoll/image/gobinary"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// DefaultModel is the model that every verb works on when none is named.
const DefaultModel = "qwen-image-edit"

// SchemaVersion is the version of every verb's JSON result.
const SchemaVersion = 1

// Options say what to work on and where. The zero value is the default model in the
// current folder.
type Options struct {
	// Model is a name out of the folder manifests, or the path of a manifest.
	Model string
	// Variant is one of the manifest's variants; "" is the default.
	Variant string
	// Root is the folder of plimsoll's module: it holds manifests/ and the runtime's source.
	Root string
	// Out is the folder of results; default: out below Root.
	Out string
	// Lock is the path of the lock; default: beside the manifest.
	Lock string
	// OwnLock makes the lock writable in CI too: for a lock that is nobody's to commit.
	OwnLock bool
	// BaseOptional lets an image be built without a base layer where no Debian mirror can
	// be reached; the result says so.
	BaseOptional bool
	// Mirrors are the Debian mirrors to use; nil: PLIMSOLL_DEBIAN_MIRROR, the machine's apt
	// sources, the manifest's list, then Debian's snapshot archive.
	Mirrors []string
	// Jobs is how many files are worked on at once; 0 chooses.
	Jobs int
	// Getenv reads the environment; default: os.Getenv.
	Getenv func(string) string
	// Stderr takes progress and notes; TTY says that it is a terminal. Stdin, if it is a
	// terminal, is asked for confirmation; nil is never asked.
	Stderr io.Writer
	TTY    bool
	Stdin  io.Reader
	// Events makes everything on Stderr JSON Lines, for programs: see progress.Events. Then
	// nothing is asked on Stdin.
	Events bool
	// Yes answers every question with yes.
	Yes bool
	// Open opens model files for building, export and publication; default: os.Open.
	Open func(path string) (image.File, error)
	// Program builds the image's program and collects its licences; default: BuildProgram.
	Program func(ctx context.Context, o gobinary.Options) (*Program, error)
}

// Job is one model being worked on. It is safe for use by one verb at a time.
type Job struct {
	Options
	Manifest *manifests.Manifest
	// Path is the manifest's own path.
	Path string
	// CI says that the lock must not be written.
	CI    bool
	cache *cache.Cache
	memo  *verify.Memo
	hubs  map[clientKey]*hub.Client
}

// New reads the manifest and prepares a job. It touches neither network nor cache.
func New(o Options) (*Job, error) {
	j, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if j.Manifest, j.Path, err = manifests.Open(j.Root, j.Model); err != nil {
		return nil, err
	}
	if j.Lock == "" {
		j.Lock = manifests.LockPath(j.Path)
	}
	return j, nil
}

// prepare makes a job without a manifest.
func prepare(o Options) (*Job, error) {
	o = o.withDefaults()
	ci, _ := strconv.ParseBool(o.Getenv("CI"))
	root, err := cache.FromEnv(o.Getenv)
	if err != nil {
		return nil, err
	}
	c, err := cache.Open(root)
	if err != nil {
		return nil, err
	}
	return &Job{Options: o, CI: ci && !o.OwnLock, cache: c, hubs: map[clientKey]*hub.Client{}}, nil
}

func (o Options) withDefaults() Options {
	if o.Model == "" {
		o.Model = DefaultModel
	}
	if o.Root == "" {
		o.Root = "."
	}
	if o.Out == "" {
		o.Out = filepath.Join(o.Root, "out")
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Stderr == nil {
		o.Stderr = io.Discard
	}
	if o.Events {
		o.Stderr, o.TTY, o.Stdin = progress.NewEvents(o.Stderr), false, nil
	}
	if o.Program == nil {
		o.Program = BuildProgram
	}
	if o.Open == nil {
		o.Open = func(path string) (image.File, error) { return os.Open(path) }
	}
	return o
}

// Close releases what the job holds.
func (j *Job) Close() error {
	for _, c := range j.hubs {
		c.Close()
	}
	return j.cache.Close()
}

// Layout is the folder of the job's OCI layout: the model's name, with the variant behind
// it unless it is the default one.
func (j *Job) Layout() string { return filepath.Join(j.Out, j.label()) }

func (j *Job) label() string {
	if j.Variant == "" || j.Variant == manifests.DefaultVariant {
		return j.Manifest.Name
	}
	return j.Manifest.Name + "-" + j.Variant
}

// completed is the path of the copy of the lock that CI completes.
func (j *Job) completed() string { return filepath.Join(j.Out, j.Manifest.Name+".lock") }

// work is the folder for what a job keeps between runs beside the model files: .deb
// packages and the memo of checked files. It lies in the cache, so that a CI cache of one
// folder carries everything.
func (j *Job) work(name string) string { return filepath.Join(j.cache.Dir(), "plimsoll", name) }

// openMemo opens the memo of checked files, once.
func (j *Job) openMemo() (*verify.Memo, error) {
	if j.memo != nil {
		return j.memo, nil
	}
	path := j.work("checked.jsonl")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fault.Wrap(fault.Resource, "set HF_HOME or HF_HUB_CACHE to a folder that can be written", fmt.Errorf("opening cache: %w", err))
	}
	memo, err := verify.OpenMemo(path)
	if err != nil {
		return nil, err
	}
	j.memo = memo
	return memo, nil
}

// baseOptions says where Debian packages come from.
func (j *Job) baseOptions() base.Options {
	if j.Mirrors != nil {
		return base.Options{Cache: j.work("debian"), Mirrors: j.Mirrors}
	}
	o := base.Options{Cache: j.work("debian"), Snapshot: base.SnapshotArchive}
	if b := j.Manifest.Image.Base; b != nil {
		o.Mirrors = base.SystemMirrors(b.Mirrors)
	}
	return o
}

// lock reads the lock and refuses a stale one. Layer lines that only the completed copy
// knows are taken over, for files whose sums agree.
func (j *Job) lock() (*manifests.Lock, error) {
	l, err := manifests.LoadLock(j.Lock)
	if err != nil {
		return nil, err
	}
	if j.BaseOptional && len(l.Packages) == 0 {
		j.Manifest.Image.Base = nil // the lock was made where no mirror could be reached
	}
	if why := l.Stale(j.Manifest); len(why) > 0 {
		return nil, j.staleError(why)
	}
	if other, err := manifests.LoadLock(j.completed()); err == nil {
		l.Adopt(other)
	}
	return l, nil
}

func (j *Job) staleError(why []string) error {
	err := fmt.Errorf("reading lock %s: it does not follow from the manifest: %s", j.Lock, why[0])
	if n := len(why) - 1; n > 0 {
		err = fmt.Errorf("%w (and %d more)", err, n)
	}
	return fault.Wrap(fault.Lock, "run the lock target and commit the lock beside the manifest", err)
}

// ensureLock returns the lock; outside of CI a missing or stale one is made first.
func (j *Job) ensureLock(ctx context.Context) (*manifests.Lock, error) {
	l, err := j.lock()
	if err == nil || j.CI || fault.KindOf(err) != fault.Lock {
		return l, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		j.note("%v: making it anew", err)
	}
	if _, err := Lock(ctx, j, false); err != nil {
		return nil, err
	}
	return j.lock()
}

// selected returns the lock, made first where ensureLock makes one, and what the variant
// keeps of it.
func (j *Job) selected(ctx context.Context) (*manifests.Lock, manifests.Selection, error) {
	l, err := j.ensureLock(ctx)
	if err != nil {
		return nil, manifests.Selection{}, err
	}
	s, err := j.Manifest.Select(j.Variant, l.Listings())
	return l, s, err
}

// saveLock stores what was derived: in the lock itself, or in CI in the completed copy.
func (j *Job) saveLock(l *manifests.Lock) error {
	path := j.Lock
	if j.CI {
		path = j.completed()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("writing lock: %w", err)
	}
	return l.Save(path)
}

// noteMutex keeps notes of concurrent work apart.
var noteMutex sync.Mutex

// note writes one line for people.
func (j *Job) note(format string, args ...any) {
	noteMutex.Lock()
	defer noteMutex.Unlock()
	fmt.Fprintf(j.Stderr, format+"\n", args...)
}
