package flow

import (
	"context"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
)

// CacheListResult is what lies in the Hugging Face cache.
type CacheListResult struct {
	SchemaVersion int `json:"schemaVersion"`
	// Cache is the folder.
	Cache string `json:"cache"`
	// Repositories are those of models, by name.
	Repositories []cache.Contents `json:"repositories"`
	// Bytes is what all of it takes on disk, Free what is left there; -1 if the system does
	// not tell.
	Bytes int64 `json:"bytes"`
	Free  int64 `json:"free"`
}

// CacheList lists the repositories in the cache, with their commits, files and bytes, and
// what is unfinished: ours with its owner, that of other tools by name. No file is opened.
func CacheList(_ context.Context, j *Job) (*CacheListResult, error) {
	list, err := j.cache.Contents()
	if err != nil {
		return nil, err
	}
	r := &CacheListResult{SchemaVersion: SchemaVersion, Cache: j.cache.Dir(), Repositories: append([]cache.Contents{}, list...), Free: -1}
	for _, c := range list {
		r.Bytes += onDisk(c)
	}
	if free, err := j.cache.Free(); err == nil {
		r.Free = free
	}
	return r, nil
}

// onDisk adds up everything of a repository.
func onDisk(c cache.Contents) (n int64) {
	for _, b := range c.Blobs {
		n += b.Disk
	}
	for _, p := range c.Partials {
		n += p.Disk
	}
	for _, f := range c.Foreign {
		n += f.Disk
	}
	return n
}

// Text lists each repository over what is in it.
func (r *CacheListResult) Text() string {
	var out strings.Builder
	free := ""
	if r.Free >= 0 {
		free = ", " + size(r.Free) + " free"
	}
	fmt.Fprintf(&out, "%s: %s, %s on disk%s\n", r.Cache, plural(len(r.Repositories), "repository", "repositories"), size(r.Bytes), free)
	for _, c := range r.Repositories {
		fmt.Fprintf(&out, "\n%s: %s, %s on disk%s\n", c.Repo, plural(len(c.Blobs), "blob", "blobs"), size(onDisk(c)), busy(c.Busy))
		out.WriteString(table(contentRows(c)...))
	}
	return out.String()
}

func contentRows(c cache.Contents) (rows []string) {
	for _, s := range c.Snapshots {
		names, missing := "", ""
		if len(s.Refs) > 0 {
			names = " (" + strings.Join(s.Refs, ", ") + ")"
		}
		if s.Missing > 0 {
			missing = fmt.Sprintf(", %d without bytes", s.Missing)
		}
		rows = append(rows, fmt.Sprintf("  commit\t%s%s\t%s\t%s%s", s.Commit, names, size(s.Bytes), plural(s.Files, "file", "files"), missing))
	}
	loose, bytes := 0, int64(0)
	for _, b := range c.Blobs {
		if len(b.Files) == 0 {
			loose, bytes = loose+1, bytes+b.Disk
		}
	}
	if loose > 0 {
		rows = append(rows, fmt.Sprintf("  loose\t%s\t%s\tno commit has them", plural(loose, "blob", "blobs"), size(bytes)))
	}
	for _, p := range c.Partials {
		state := "waits to be gone on with"
		if p.Owner != nil {
			state = "is written by " + p.Owner.String()
		}
		rows = append(rows, fmt.Sprintf("  unfinished\t%s\t%s\tof %s, %s", short(p.Etag), size(p.Disk), humanize.Time(p.Modified), state))
	}
	return append(rows, foreignRows(c)...)
}

// foreignRows name the files of other tools.
func foreignRows(c cache.Contents) (rows []string) {
	for _, f := range c.Foreign {
		rows = append(rows, fmt.Sprintf("  foreign\t%s\t%s\tof %s, belongs to another tool: never touched", f.Name, size(f.Disk), humanize.Time(f.Modified)))
	}
	return rows
}

// busy is a remark about who writes, nothing for nobody.
func busy(by string) string {
	if by == "" {
		return ""
	}
	return ", in use by " + by
}

// plural is "1 file" or "2 files".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
