package flow

import (
	"context"
	"errors"
	"io/fs"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// PlanResult is every upstream file with its verdict, and what it adds up to.
type PlanResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Model         string `json:"model"`
	Title         string `json:"title"`
	Variant       string `json:"variant"`
	// Locked says that the files come from the lock; else the Hub was asked just now, and
	// nothing of its answer was kept.
	Locked bool `json:"locked"`
	// Sources lists repository and commit of every source.
	Sources []LockedSource `json:"sources"`
	// Files holds every upstream file in the order of layers.
	Files []manifests.Decision `json:"files"`
	Total PlanTotal            `json:"total"`
	// Targets says for each target what publishing to it means, where that was asked.
	Targets []push.TargetPlan `json:"targets,omitempty"`
}

// PlanTotal adds up a plan. All figures are bytes unless their name says otherwise.
type PlanTotal struct {
	Files        int   `json:"files"`
	KeptFiles    int   `json:"keptFiles"`
	Kept         int64 `json:"kept"`
	DroppedFiles int   `json:"droppedFiles"`
	Dropped      int64 `json:"dropped"`
	// Cached bytes are on this machine, Download bytes are not. Files with equal bytes in
	// one repository count once, so the two may add up to less than Kept.
	Cached   int64 `json:"cached"`
	Download int64 `json:"download"`
	// Layers counts the model layers, Image adds up their sizes, tar headers included. The
	// base, the runtime and the configuration come on top when the image is built.
	Layers int   `json:"modelLayers"`
	Image  int64 `json:"image"`
	// Registry is what a registry stores: the layers once.
	Registry int64 `json:"registry"`
	// Node is what a node needs: containerd keeps the blobs and their unpacked snapshot.
	Node int64 `json:"node"`
}

// Plan decides about every upstream file and adds up what that means, before a byte is
// fetched. The files come from the lock; where there is none yet, or a stale one, from the
// Hub, except in CI, where that is an error.
func Plan(ctx context.Context, j *Job) (*PlanResult, error) {
	listings, locked, err := j.planned(ctx)
	if err != nil {
		return nil, err
	}
	s, err := j.Manifest.Select(j.Variant, listings)
	if err != nil {
		return nil, err
	}
	r := &PlanResult{SchemaVersion: SchemaVersion, Model: j.Manifest.Name, Title: j.Manifest.Title, Variant: s.Variant, Locked: locked, Sources: j.sources(listings), Files: s.Decisions}
	if err := r.add(ctx, j, s, listings); err != nil {
		return nil, err
	}
	return r, nil
}

// planned returns the listings to plan with.
func (j *Job) planned(ctx context.Context) (map[string]manifests.Listing, bool, error) {
	l, err := j.lock()
	if err == nil {
		return l.Listings(), true, nil
	}
	if j.CI || fault.KindOf(err) != fault.Lock {
		return nil, false, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		j.note("note: %v", err)
	}
	listings, err := j.listings(ctx, nil)
	return listings, false, err
}

// add computes the totals.
func (r *PlanResult) add(ctx context.Context, j *Job, s manifests.Selection, listings map[string]manifests.Listing) error {
	t := &r.Total
	t.Files, t.KeptFiles = len(s.Decisions), len(s.Kept())
	t.DroppedFiles = t.Files - t.KeptFiles
	t.Kept, t.Dropped = s.Bytes()
	var files []fetch.File
	for _, d := range s.Kept() {
		parts, err := pack.Parts(d.ImagePath, d.Size, int64(j.Manifest.PartSize))
		if err != nil {
			return err
		}
		for _, p := range parts {
			t.Layers, t.Image = t.Layers+1, t.Image+p.LayerSize()
		}
		files = append(files, fetchFile(d, listings[d.Source]))
	}
	t.Registry, t.Node = t.Image, 2*t.Image
	need, err := fetch.Plan(ctx, files, fetch.Options{Cache: j.cache})
	if fault.KindOf(err) == fault.Resource {
		j.note("note: %v", err) // a plan may be made on another machine than the build
		err = nil
	}
	t.Download, t.Cached = need.Download, need.Cached+need.Unchecked+need.Partial
	return err
}

// fetchFiles turns kept decisions into what fetch wants, keyed by source. Layer digests
// are asked for where the lock does not know them.
func (j *Job) fetchFiles(s manifests.Selection, l *manifests.Lock) (map[string][]fetch.File, error) {
	listings := l.Listings()
	out := map[string][]fetch.File{}
	for _, d := range s.Kept() {
		parts, err := pack.Parts(d.ImagePath, d.Size, int64(j.Manifest.PartSize))
		if err != nil {
			return nil, err
		}
		f := fetchFile(d, listings[d.Source])
		for _, p := range parts {
			if _, ok := l.Layer(d.Source, d.Path, p); !ok {
				f.Layers = parts
			}
		}
		out[d.Source] = append(out[d.Source], f)
	}
	return out, nil
}

// fetchFile is a decision's file as fetch wants it.
func fetchFile(d manifests.Decision, l manifests.Listing) fetch.File {
	return fetch.File{Repo: l.Repo, Commit: l.Commit, Path: d.Path, Size: d.Size, SHA256: d.SHA256, SHA1: d.SHA1}
}

// blob returns where a file's bytes lie in the cache, whether they are there or not.
func (j *Job) blob(repo string, f manifests.File) (string, error) {
	return j.cache.Blob(repo, etag(f))
}

// etag names a file's blob in the cache, as the Hub does.
func etag(f manifests.File) string {
	if f.SHA1 != "" {
		return f.SHA1
	}
	return f.SHA256
}
