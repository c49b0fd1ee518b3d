package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

const (
	// defaultJobs is the number of connections over all files, as aria2c -x16 has them.
	defaultJobs = 16
	// filesAtOnce bounds the files that are fetched at a time: small ones spend their time
	// waiting for an answer, large ones share the connections.
	filesAtOnce = 4
)

// engine is one call of Files: what all transfers share.
type engine struct {
	Options
	slots *semaphore.Weighted // connections
	jobs  int

	// mu guards what follows, and the state of every transfer; changed is of all that. One
	// lock serves: it is taken a few times for every quarter of a megabyte.
	mu         sync.Mutex
	changed    *sync.Cond
	unrecorded int64 // bytes that are being received, or written and not recorded
	blocked    int   // streams that wait for a record
	active     int64 // transfers that run
}

// Files brings all files into the cache and returns one Result for each, in order. What the
// cache has and the memo knows is not read, and costs no request. The first error ends all;
// what was downloaded until then is kept and gone on with by the next call.
//
// Kinds of errors: fault.Invalid (a name or sum that cannot be; bytes that have the wrong
// sums from every source), fault.Upstream (no source could deliver), fault.Resource (disk
// full, cache not writable), the context's.
func Files(ctx context.Context, files []File, opts Options) ([]Result, error) {
	list, err := wants(files, opts.Cache)
	if err != nil {
		return nil, err
	}
	need, err := plan(ctx, list, len(files), opts)
	if err != nil {
		return nil, err
	}
	e := newEngine(opts)
	if err := e.allowed(list, need); err != nil {
		return nil, err
	}
	e.Progress.Start(need)
	defer e.Progress.Done()
	results := make([]Result, len(files))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(filesAtOnce)
	for _, w := range list {
		group.Go(func() error { return e.bring(gctx, w, files, results) })
	}
	if err := group.Wait(); err != nil {
		return nil, caused(ctx, err)
	}
	return results, e.setRefs(files)
}

// caused makes sure that the error of a fetch whose context ended says so, and why: callers
// tell an interruption from a failure by it.
func caused(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	for _, reason := range []error{context.Cause(ctx), ctx.Err()} {
		if !errors.Is(err, reason) {
			err = fmt.Errorf("%w: %w", err, reason)
		}
	}
	return err
}

func newEngine(opts Options) *engine {
	opts.Limits = opts.Limits.withDefaults(len(opts.Sources))
	if opts.Progress == nil {
		opts.Progress = silent{}
	}
	jobs := either(opts.Jobs, defaultJobs)
	e := &engine{Options: opts, slots: semaphore.NewWeighted(int64(jobs)), jobs: jobs}
	e.changed = sync.NewCond(&e.mu)
	return e
}

// silent is the Progress of those who want none.
type silent struct{}

func (silent) Start(Need) {}
func (silent) File(Event) {}
func (silent) Done()      {}

// allowed refuses, before anything is done, what can only fail.
func (e *engine) allowed(list []*want, need Need) error {
	if need.Download == 0 {
		return nil
	}
	if e.Offline {
		return missing(list)
	}
	if len(e.Sources) == 0 {
		return fault.Wrap(fault.Usage, "", errors.New("fetching: there is no source to download from"))
	}
	return nil
}

// missing is the error of Offline; it names the first blob that is not there.
func missing(list []*want) error {
	var first *want
	n := 0
	for _, w := range list {
		if info, err := w.slot.Stat(); err == nil && info.Size() == w.first.Size {
			continue
		}
		if n++; first == nil {
			first = w
		}
	}
	if first == nil { // came meanwhile
		return nil
	}
	if n > 1 {
		return fmt.Errorf("%d files are missing, the first is: %w", n, offline(first.first))
	}
	return offline(first.first)
}

func offline(f File) error {
	return fault.Wrap(fault.Upstream, "unset HF_HUB_OFFLINE, or copy a cache that has it", fmt.Errorf("fetching %s: %w", f, errMissing))
}

// bring makes one blob and the entries of all files that share it.
func (e *engine) bring(ctx context.Context, w *want, files []File, results []Result) error {
	got, err := e.blob(ctx, w)
	if err != nil {
		return err
	}
	for i, index := range w.files {
		f := files[index]
		if err := e.Cache.Link(f.Repo, f.Commit, f.Path, w.slot.Etag); err != nil {
			return err
		}
		results[index] = Result{File: f, Blob: w.slot.Path(), SHA256: got.sha256, Digests: got.digests(f), Cached: got.cached}
		if i == 0 {
			results[index].Downloaded = got.downloaded
		}
	}
	e.Progress.File(Event{File: w.first, Kind: Finished, Bytes: w.first.Size})
	return nil
}

// blobResult is a blob that is in the cache and proven.
type blobResult struct {
	sha256     string
	sums       *sums // nil if the memo knew the blob
	downloaded int64
	cached     bool
}

func (r blobResult) digests(f File) []string {
	if r.sums == nil {
		return nil
	}
	return r.sums.digests(f)
}

// blob proves the blob that is in the cache, or downloads it.
func (e *engine) blob(ctx context.Context, w *want) (blobResult, error) {
	got, bad, err := e.cached(ctx, w, nil)
	if got != nil {
		e.clear(ctx, w)
	}
	if got != nil || err != nil {
		return *orZero(got), err
	}
	if e.Offline {
		return blobResult{}, offline(w.first)
	}
	claim, err := w.slot.Claim(ctx, func(o cache.Owner) {
		e.Progress.File(Event{File: w.first, Kind: Waiting, Owner: o})
	})
	if err != nil {
		return blobResult{}, err
	}
	// Another process may have made it since.
	got, _, err = e.cached(ctx, w, bad)
	switch {
	case got != nil:
		err = w.slot.Discard() // what this process left before
	case err == nil:
		got, err = e.owned(ctx, w, claim)
	}
	return *orZero(got), errors.Join(err, claim.Release())
}

// clear removes what an earlier fetch left of a blob that came into the cache otherwise.
// Where that cannot be done it takes space and is no error: the caller has what it wants.
func (e *engine) clear(ctx context.Context, w *want) {
	if _, err := w.slot.StatPart(); err == nil && !e.Offline {
		_, _ = w.slot.Clear(ctx)
	}
}

func orZero(r *blobResult) *blobResult {
	if r == nil {
		return &blobResult{}
	}
	return r
}

// owned downloads a blob that this process owns.
func (e *engine) owned(ctx context.Context, w *want, claim *cache.Claim) (*blobResult, error) {
	ctx, stop := lostContext(ctx, claim)
	defer stop()
	got, err := e.download(ctx, w)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errLost) {
		err = fmt.Errorf("fetching %s: %w", w.first, cause)
	}
	return got, err
}

// cached looks for the blob in the cache, and hashes it if the memo does not know it. A nil
// result means that it has to be downloaded; bad is then the file that has the name and not
// the bytes, if there is one. A file that is known to be bad is not looked at again.
func (e *engine) cached(ctx context.Context, w *want, known fs.FileInfo) (_ *blobResult, bad fs.FileInfo, _ error) {
	info, err := w.slot.Stat()
	if errors.Is(err, fs.ErrNotExist) || err == nil && (info.Size() != w.first.Size || same(info, known)) {
		return nil, known, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if e.Memo != nil && w.provenBy(e.Memo) {
		return &blobResult{sha256: w.first.SHA256, cached: true}, nil, nil
	}
	s, err := e.readBlob(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	if err := w.check(s); err != nil {
		if e.Offline {
			return nil, nil, fault.Wrap(fault.Invalid, "remove "+w.slot.Path()+" and fetch it online", err)
		}
		e.Progress.File(Event{File: w.first, Kind: Discarded, Bytes: w.first.Size, Err: err})
		return nil, info, nil
	}
	e.remember(w, s)
	return &blobResult{sha256: s.hex(sha256Key), sums: s, cached: true}, nil, nil
}

// same reports whether two looks saw the same file, unchanged.
func same(a, b fs.FileInfo) bool {
	return b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime())
}

// provenBy asks the memo about the blob.
func (w *want) provenBy(memo Memo) bool {
	sha256, ok := memo.Lookup(w.slot.Path())
	return ok && w.proven(sha256)
}

// readBlob reads the blob once and takes all sums.
func (e *engine) readBlob(ctx context.Context, w *want) (*sums, error) {
	f, err := os.Open(w.slot.Path())
	if err != nil {
		return nil, disk(err)
	}
	defer f.Close()
	s := newSums(w.lanes)
	buf := make([]byte, hashPiece)
	for s.offset() < w.first.Size {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("checking %s in the cache: %w", w.first, err)
		}
		n, err := f.ReadAt(buf[:min(hashPiece, w.first.Size-s.offset())], s.offset())
		if n == 0 && err != nil {
			return nil, disk(fmt.Errorf("checking %s in the cache: %w", w.first, err))
		}
		s.write(buf[:n])
		e.Progress.File(Event{File: w.first, Kind: Checked, Bytes: int64(n)})
	}
	return s, nil
}

// remember tells the memo. What it cannot keep is hashed again next time.
func (e *engine) remember(w *want, s *sums) {
	if e.Memo != nil {
		_ = e.Memo.Remember(w.slot.Path(), s.hex(sha256Key))
	}
}

// setRefs records which commit each named branch or tag is.
func (e *engine) setRefs(files []File) error {
	done := map[string]bool{}
	for _, f := range files {
		revision, ok := e.Refs[f.Repo]
		if !ok || done[f.Repo] {
			continue
		}
		done[f.Repo] = true
		if err := e.Cache.SetRef(f.Repo, revision, f.Commit); err != nil {
			return err
		}
	}
	return nil
}

// download fetches the blob, proves it and gives it its name. Wrong bytes are fetched once
// more, from the next source if there is one.
func (e *engine) download(ctx context.Context, w *want) (*blobResult, error) {
	var downloaded atomic.Int64
	source := 0
	for attempt := 1; ; attempt++ {
		s, err := e.transfer(ctx, w, source, &downloaded)
		if err != nil {
			return nil, err
		}
		wrong := w.check(s)
		if wrong == nil {
			if err := w.slot.Commit(); err != nil {
				return nil, err
			}
			e.remember(w, s)
			return &blobResult{sha256: s.hex(sha256Key), sums: s, downloaded: downloaded.Load()}, nil
		}
		if err := w.slot.Discard(); err != nil {
			return nil, errors.Join(wrong, err)
		}
		if attempt >= max(2, len(e.Sources)) {
			return nil, fault.Wrap(fault.Invalid, "the source no longer has the bytes that were locked, or something on the way changes them: lock again with -update to see what the source has now", wrong)
		}
		e.Progress.File(Event{File: w.first, Kind: Discarded, Bytes: w.first.Size, Err: wrong})
		source = (source + 1) % len(e.Sources)
	}
}

// transfer brings all bytes of the blob, durably, and returns their sums.
func (e *engine) transfer(ctx context.Context, w *want, source int, downloaded *atomic.Int64) (*sums, error) {
	t, err := e.openTransfer(w, source, downloaded)
	if err != nil {
		return nil, err
	}
	defer t.close()
	return t.sums, t.run(ctx)
}
