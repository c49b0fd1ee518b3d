package models

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

// codeUnreadable marks a file that the disk or a permission kept from being read.
const codeUnreadable = "unreadable"

// changedHint is the way out where bytes are not the ones that were built in.
const changedHint = "the file changed after the image was built: pull the image again, or fetch the file again"

var hints = map[string]string{
	"missing":      "set -models or MODEL_CACHE_DIR if the models are elsewhere, else pull the image again",
	"not-regular":  changedHint,
	"size":         changedHint,
	"sha256":       changedHint,
	codeUnreadable: "the process needs read permission; if it has, the disk is failing",
}

// Options tunes Verify. The zero value is fine.
type Options struct {
	// Jobs is the number of files checked at a time; below 1 it is the number of usable
	// cores.
	Jobs int
	// Progress, if not nil, is told of bytes as they are done with, Total in all. It is
	// called from several goroutines at a time.
	Progress func(n int64)
}

// Total is the size of all files of model.json: what Verify reads if all is right.
func (f *Folder) Total() int64 {
	var sum int64
	for _, file := range f.config.Files {
		sum += file.Size
	}
	return sum
}

// Verify checks every file, several at a time, the largest first. What is wrong with the
// files is in the report, whose Err makes one error of it. An error here means only that
// ctx ended first; there is no report then.
func (f *Folder) Verify(ctx context.Context, o Options) (*Report, error) {
	if o.Jobs < 1 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	r := &Report{Dir: f.dir, Files: make([]FileReport, len(f.config.Files))}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(o.Jobs)
	for _, i := range largestFirst(f.config.Files) {
		group.Go(func() error {
			var err error
			r.Files[i], err = f.check(ctx, f.config.Files[i], o.Progress)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("verifying models in %s: %w", f.dir, err)
	}
	r.Warnings = f.strangers(r.Files)
	return r, nil
}

// largestFirst orders indices so that the longest work does not begin last.
func largestFirst(files []manifests.ModelFile) []int {
	order := make([]int, len(files))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(files[b].Size, files[a].Size) })
	return order
}

// check looks at one file. The error is ctx's.
func (f *Folder) check(ctx context.Context, file manifests.ModelFile, progress func(int64)) (FileReport, error) {
	r := FileReport{Path: file.Path, Source: file.Source, Size: file.Size, paths: f.paths(file)}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	c, found, err := f.Open(file)
	r.Findings = found
	if err != nil {
		r.unreadable(err)
	}
	if c != nil {
		defer c.Close()
		r.Parts = len(c.Paths)
		f.checkContent(ctx, &r, c, file, progress)
	} else {
		progress(file.Size)
	}
	r.giveHints()
	return r, ctx.Err()
}

// checkContent reads the file's structure, then its bytes.
func (f *Folder) checkContent(ctx context.Context, r *FileReport, c *Content, file manifests.ModelFile, progress func(int64)) {
	if path.Ext(file.Path) == ".safetensors" {
		f.checkContainer(r, c)
	} else if claim, ok := f.claims[file.Path]; ok {
		r.wrong(svdq.CodeUnknown, "checkpoint %s is no .safetensors file", claim.Name)
	}
	want := verify.Want{Size: file.Size, SHA256: file.SHA256}
	_, found, err := verify.Reader(ctx, file.Path, io.NewSectionReader(c, 0, c.Size()), want, progress)
	r.Findings = append(r.Findings, found...)
	if err != nil {
		r.unreadable(err)
	}
}

// checkContainer reads the header, and what it says about a checkpoint.
func (f *Folder) checkContainer(r *FileReport, c *Content) {
	h, err := safetensors.Read(c, c.Size())
	if err != nil {
		r.wrong("container", "%v", err)
		return
	}
	claim, ok := f.claims[r.Path]
	if !ok {
		return
	}
	r.addTensorFindings(svdq.Check(h))
	is, err := svdq.Identify(h)
	if err != nil {
		return // Check has said so
	}
	r.Checkpoint = &CheckpointReport{Name: claim.Name, Family: is.Family, Precision: is.Precision, Rank: is.Rank, Blocks: is.Blocks}
	if is.Precision != claim.Precision {
		r.wrong("precision", "tensors are %s, model.json says %s", is.Precision, claim.Precision)
	}
	if is.Rank != claim.Rank {
		r.wrong("rank", "tensors have rank %d, model.json says %d", is.Rank, claim.Rank)
	}
}

// addTensorFindings takes over what package svdq found, under codes that cannot be taken
// for those of files: a missing tensor is no missing file.
func (r *FileReport) addTensorFindings(found verify.Findings) {
	for _, f := range found {
		f.Object = r.Path
		if f.Code != svdq.CodeUnknown {
			f.Code = svdq.CodeUnknown + "-" + f.Code
		}
		r.Findings = append(r.Findings, f)
	}
}

func (r *FileReport) wrong(code, format string, args ...any) {
	r.Findings.Add(verify.Error, code, r.Path, format, args...)
}

func (r *FileReport) unreadable(err error) { r.wrong(codeUnreadable, "%v", err) }

// giveHints says what the holder of an image can do; package verify's own hints about files
// are for the machine that fetches.
func (r *FileReport) giveHints() {
	for i := range r.Findings {
		if hint, ok := hints[r.Findings[i].Code]; ok {
			r.Findings[i].Hint = hint
		}
	}
}
