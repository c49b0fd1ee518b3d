package flow

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/plimsoll-oci/plimsoll/fetch/progress"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// CacheVerifyResult says whether the files in the cache are what their names say.
type CacheVerifyResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Cache         string `json:"cache"`
	// Files and Bytes count what was read.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Wrong lists the files that are not what their names say.
	Wrong []WrongBlob `json:"wrong"`
	// Unnamed lists files whose names are no sums, so that nothing can be said about them.
	Unnamed []string `json:"unnamed"`
}

// WrongBlob is a file whose bytes are not those of its name.
type WrongBlob struct {
	Repo string `json:"repo"`
	Name string `json:"name"`
	// Path is where it lies.
	Path string `json:"path"`
	// Files are the files that it stands for, as COMMIT/PATH.
	Files []string `json:"files"`
	// Findings say what it is instead.
	Findings verify.Findings `json:"findings"`
}

// CacheVerify reads every finished file in the cache and holds it against its name: 64 hex
// digits are the sha256 of the bytes, 40 the git blob id. The memo learns what every file
// is, so that no later fetch or build believes a wrong one. Nothing is removed. Where a
// file is wrong, result and an error of kind fault.Invalid are returned.
func CacheVerify(ctx context.Context, j *Job) (*CacheVerifyResult, error) {
	all, err := j.cache.Contents()
	if err != nil {
		return nil, err
	}
	r := &CacheVerifyResult{SchemaVersion: SchemaVersion, Cache: j.cache.Dir(), Wrong: []WrongBlob{}, Unnamed: []string{}}
	var list []WrongBlob
	for _, c := range all {
		for _, b := range c.Blobs {
			blob := WrongBlob{Repo: c.Repo, Name: b.Name, Files: b.Files}
			if blob.Path, err = j.cache.Blob(c.Repo, b.Name); err != nil {
				r.Unnamed = append(r.Unnamed, c.Repo+" "+b.Name)
				continue
			}
			list = append(list, blob)
			r.Bytes += b.Size
		}
	}
	r.Files = len(list)
	if err := j.readBlobs(ctx, list, r.Bytes); err != nil {
		return nil, err
	}
	for _, b := range list {
		if len(b.Findings) > 0 {
			r.Wrong = append(r.Wrong, b)
		}
	}
	return r, r.err()
}

// readBlobs fills in the findings.
func (j *Job) readBlobs(ctx context.Context, list []WrongBlob, total int64) error {
	if len(list) == 0 {
		return nil
	}
	memo, err := j.openMemo()
	if err != nil {
		j.note("note: %v: what is found is not remembered", err)
	}
	bar := progress.New(j.Stderr, j.TTY, "verifying the cache", total)
	defer bar.Finish()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(j.Jobs, runtime.GOMAXPROCS(0)))
	for i := range list {
		group.Go(func() error { return list[i].read(ctx, memo, bar.Add) })
	}
	return group.Wait()
}

// read hashes the file and tells the memo. One that was removed meanwhile is not wrong.
func (b *WrongBlob) read(ctx context.Context, memo *verify.Memo, progress func(int64)) error {
	watch := memo.Watch(b.Path)
	info, err := os.Stat(b.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Wrap(fault.Resource, "", fmt.Errorf("verifying %s: %w", b.Path, err))
	}
	want := verify.Want{Size: info.Size(), SHA256: b.Name}
	if len(b.Name) == 2*sha1.Size {
		want.SHA256, want.SHA1 = "", b.Name
	}
	sums, findings, err := verify.File(ctx, b.Path, want, progress)
	if err != nil {
		return err
	}
	if sums.SHA256 != "" {
		watch.Keep(sums.SHA256)
	}
	for i := range findings {
		findings[i].Hint = "run the fetch target of the model: it fetches a wrong file once more; or remove the file"
	}
	b.Findings = findings
	return nil
}

// err is nil if no file is wrong.
func (r *CacheVerifyResult) err() error {
	var all verify.Findings
	for _, b := range r.Wrong {
		all = append(all, b.Findings...)
	}
	if err := all.Err(); err != nil {
		return fmt.Errorf("verifying the cache: %w", err)
	}
	return nil
}

// Text lists what is wrong, then the totals.
func (r *CacheVerifyResult) Text() string {
	var out strings.Builder
	for _, b := range r.Wrong {
		fmt.Fprintf(&out, "✗ %s\n", b.Path)
		for _, f := range b.Files {
			fmt.Fprintf(&out, "    is %s %s\n", b.Repo, f)
		}
	}
	for _, name := range r.Unnamed {
		fmt.Fprintf(&out, "? %s: its name is no sum, nothing can be said\n", name)
	}
	fmt.Fprintf(&out, "%d of %s right, %s read in %s\n", r.Files-len(r.Wrong), plural(r.Files, "file", "files"), size(r.Bytes), r.Cache)
	return out.String()
}
