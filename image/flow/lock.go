package flow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/base"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// LockResult says what a lock pins and what changed in it.
type LockResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Model         string `json:"model"`
	Path          string `json:"path"`
	// Written is false when the lock was right already.
	Written bool `json:"written"`
	// Sources lists repository and commit of every source.
	Sources []LockedSource `json:"sources"`
	// Kept and Dropped count files and their bytes.
	Kept         int   `json:"keptFiles"`
	KeptBytes    int64 `json:"keptBytes"`
	Dropped      int   `json:"droppedFiles"`
	DroppedBytes int64 `json:"droppedBytes"`
	// Packages lists the base layer's packages.
	Packages []manifests.Package `json:"packages,omitempty"`
	// Changes says what differs from the lock that was there before.
	Changes []string `json:"changes,omitempty"`
	// Hints says where the Hub differs from the manifest's hints.
	Hints []string `json:"hints,omitempty"`
}

// LockedSource is one source at its commit.
type LockedSource struct {
	Name   string `json:"name"`
	Repo   string `json:"repo"`
	Commit string `json:"commit"`
}

// Lock writes the lock: it asks the Hub for every source's files and the Debian mirror for
// the base's packages. Pinned commits and packages stay as they are unless update is set;
// layer lines stay for files that did not change. In CI it is an error of kind fault.Lock.
//
// Small files that the image keeps are fetched here, since the Hub knows the sha256 of LFS
// files only. Nothing is written when the lock is right already.
func Lock(ctx context.Context, j *Job, update bool) (*LockResult, error) {
	if j.CI {
		return nil, fault.Wrap(fault.Lock, "a CI job that refreshes the lock unsets CI for this one step", fmt.Errorf(
			"writing lock %s: with CI=true the lock is never written", j.Lock))
	}
	old, err := j.oldLock()
	if err != nil {
		return nil, err
	}
	pins := old
	if update {
		pins = nil
	}
	listings, err := j.listings(ctx, pins)
	if err != nil {
		return nil, err
	}
	if err := j.completeSums(ctx, listings); err != nil {
		return nil, err
	}
	packages, err := j.packages(ctx, pins)
	if err != nil {
		return nil, err
	}
	l, err := manifests.NewLock(j.Manifest, listings, packages)
	if err != nil {
		return nil, err
	}
	if old != nil {
		l.Adopt(old)
	}
	return j.replaceLock(old, l)
}

// oldLock reads the lock that is there, nil if there is none. One that cannot be read is
// an error: overwriting it could lose pinned commits.
func (j *Job) oldLock() (*manifests.Lock, error) {
	old, err := manifests.LoadLock(j.Lock)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(fault.Lock, "repair the lock from version control, or remove it to start anew", err)
	}
	return old, nil
}

// replaceLock writes the new lock if it differs and describes it.
func (j *Job) replaceLock(old, l *manifests.Lock) (*LockResult, error) {
	r := &LockResult{SchemaVersion: SchemaVersion, Model: j.Manifest.Name, Path: j.Lock, Packages: l.Packages, Hints: j.hintDifferences(l)}
	r.Sources = j.sources(l.Listings())
	for _, f := range l.Files {
		if f.Keep {
			r.Kept, r.KeptBytes = r.Kept+1, r.KeptBytes+f.Size
		} else {
			r.Dropped, r.DroppedBytes = r.Dropped+1, r.DroppedBytes+f.Size
		}
	}
	if old != nil {
		r.Changes = l.Changes(old)
		if bytes.Equal(old.Encode(), l.Encode()) {
			return r, nil
		}
	}
	r.Written = true
	return r, j.saveLock(l)
}

// sources lists the manifest's sources at the commits of their listings.
func (j *Job) sources(listings map[string]manifests.Listing) []LockedSource {
	var out []LockedSource
	for _, s := range j.Manifest.Sources {
		out = append(out, LockedSource{Name: s.Name, Repo: s.Repo, Commit: listings[s.Name].Commit})
	}
	return out
}

// completeSums fetches the small kept files, of which the Hub knows the git sum only, and
// fills in their sha256.
func (j *Job) completeSums(ctx context.Context, listings map[string]manifests.Listing) error {
	selection, err := j.Manifest.Select(manifests.DefaultVariant, listings)
	if err != nil {
		return err
	}
	wanted := map[string][]fetch.File{}
	for _, d := range selection.Decisions {
		if (d.Keep || d.Because == manifests.BecauseVariant) && d.SHA256 == "" {
			s, _ := j.Manifest.Source(d.Source)
			wanted[d.Source] = append(wanted[d.Source], fetch.File{
				Repo: s.Repo, Commit: listings[d.Source].Commit, Path: d.Path, Size: d.Size, SHA1: d.SHA1,
			})
		}
	}
	results, err := j.download(ctx, wanted)
	if err != nil {
		return err
	}
	for source, files := range results {
		for _, r := range files {
			fill(listings[source].Files, r)
		}
	}
	return nil
}

// fill writes a sum into the listing's file.
func fill(files []manifests.File, r fetch.Result) {
	i := slices.IndexFunc(files, func(f manifests.File) bool { return f.Path == r.File.Path })
	if i >= 0 {
		files[i].SHA256 = r.SHA256
	}
}

// packages returns the base's packages: those of the old lock where it names the same
// ones, else the mirror's current ones.
func (j *Job) packages(ctx context.Context, old *manifests.Lock) ([]manifests.Package, error) {
	b := j.Manifest.Image.Base
	if b == nil || j.Manifest.Runtime == manifests.RuntimeNone {
		return nil, nil
	}
	if old != nil {
		if have := old.Packages; samePackages(b, have) {
			return have, nil
		}
	}
	packages, err := base.Resolve(ctx, j.baseOptions(), b.Suite, image.Architecture, b.Packages)
	if j.BaseOptional && errors.Is(err, base.ErrNoMirror) {
		j.note("note: %v: the image will have no base layer", err)
		j.Manifest.Image.Base = nil
		return nil, nil
	}
	return packages, err
}

func samePackages(b *manifests.Base, have []manifests.Package) bool {
	if len(have) != len(b.Packages) {
		return false
	}
	for _, p := range have {
		if p.Suite != b.Suite || !slices.Contains(b.Packages, p.Name) {
			return false
		}
	}
	return true
}

// hintDifferences compares the lock with the sizes and sums that the manifest knows from
// elsewhere. A difference is worth a look and nothing more.
func (j *Job) hintDifferences(l *manifests.Lock) []string {
	var out []string
	for _, f := range l.Files {
		s, _ := j.Manifest.Source(f.Source)
		for _, h := range s.Hints {
			if h.Path != f.Path {
				continue
			}
			if h.Size != 0 && h.Size != f.Size {
				out = append(out, fmt.Sprintf("%s: size is %d, %s says %d", f.Path, f.Size, h.Source, h.Size))
			}
			if h.SHA256 != "" && h.SHA256 != f.SHA256 {
				out = append(out, fmt.Sprintf("%s: sha256 is %s, %s says %s", f.Path, f.SHA256, h.Source, h.SHA256))
			}
		}
	}
	return out
}
