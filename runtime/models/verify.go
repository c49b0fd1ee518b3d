package models

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// changedHint is the way out where bytes are not the ones that were built in.
const changedHint = "the file changed after the image was built: pull the image again, or fetch the file again"

// hints are the ways out that the holder of an image has.
var hints = map[string]string{
	"missing":                 "set -models or MODEL_CACHE_DIR if the models are elsewhere, else pull the image again",
	"not-regular":             changedHint,
	"size":                    changedHint,
	"sha256":                  changedHint,
	"container":               changedHint,
	modelfiles.CodeUnreadable: "the process needs read permission; if it has, the disk is failing",
}

// incompleteHint is the way out where a folder that no model.json describes is no whole model.
const incompleteHint = "the folder is incomplete or was changed: download the repository again"

// waysOut are the hints for this folder.
func (f *Folder) waysOut() map[string]string {
	out := maps.Clone(hints)
	if f.foreign {
		for _, code := range []string{"missing", "not-regular", "size", "sha256", "container", "component", "shards", "tokens"} {
			out[code] = incompleteHint
		}
		return out
	}
	for _, s := range f.cachedSources() {
		if !isFolder(filepath.Join(repoFolder(f.dir, s.Repo), "snapshots", s.Commit)) {
			out["missing"] = fmt.Sprintf("the cache has %s, but not the commit %s that model.json names: download that revision", s.Repo, s.Commit)
		}
	}
	return out
}

// Options tunes Verify. The zero value is fine.
type Options struct {
	// Jobs is the number of files checked at a time; below 1 it is the number of usable
	// cores.
	Jobs int
	// Deep judges the values of weights too, in the same read.
	Deep bool
	// Structure leaves the sums out, so that a model is checked in under a second: sizes,
	// headers and how the files fit together. Sums that were taken before, and that the memo
	// remembers, are not taken again in any case.
	Structure bool
	// Progress, if not nil, is told of bytes as they are done with, Total in all. It is
	// called from several goroutines at a time.
	Progress func(n int64)
}

// Total is the size of all files of model.json: what Verify reads if all is right.
func (f *Folder) Total() int64 { return modelfiles.Total(f.config) }

// Report is what Verify saw.
type Report struct {
	// Dir is the folder.
	Dir string `json:"modelsDir"`
	modelfiles.Report
	// Warnings are about what lies in the folder beside the files of model.json.
	Warnings verify.Findings `json:"warnings"`
}

// Err is nil if every file is right and all of them fit together, as modelfiles.Report's
// is.
func (r *Report) Err() error {
	if err := r.Report.Err(); err != nil {
		return fmt.Errorf("verifying models in %s: %w", r.Dir, err)
	}
	return nil
}

// Verify checks every file, several at a time, and how they fit together. What is wrong is
// in the report, whose Err makes one error of it. An error here means only that ctx ended
// first; there is no report then.
func (f *Folder) Verify(ctx context.Context, o Options) (*Report, error) {
	r, err := modelfiles.Verify(ctx, f.config, f.disk, modelfiles.Options{Jobs: o.Jobs, Deep: o.Deep, Structure: o.Structure, Progress: o.Progress, Hints: f.waysOut()})
	if err != nil {
		return nil, fmt.Errorf("verifying models in %s: %w", f.dir, err)
	}
	return &Report{Dir: f.dir, Report: *r, Warnings: f.strangers()}, nil
}
