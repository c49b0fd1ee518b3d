package flow

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// DefaultPruneAge is how long something must have been left alone before it is removed.
// A blob is there a moment before the entry that leads to it, and a download that was cut
// is likely gone on with.
const DefaultPruneAge = time.Hour

// PruneOptions say what may go.
type PruneOptions struct {
	// Age is how long ago something must have been changed last, as time.ParseDuration reads
	// it; "" is DefaultPruneAge.
	Age string
	// Remove removes; else it is only said what would be.
	Remove bool
}

// CachePruneResult says what was or would be removed.
type CachePruneResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Cache         string `json:"cache"`
	// Model is the model whose lock says which commits of its repositories stay; "" if all
	// commits stay.
	Model string `json:"model,omitempty"`
	// DryRun says that nothing was removed.
	DryRun bool `json:"dryRun"`
	// Garbage is what goes.
	Garbage []cache.Garbage `json:"garbage"`
	// Bytes is the disk space that it takes.
	Bytes int64 `json:"bytes"`
	// Kept is what was garbage when it was listed, and was needed when it was to be removed.
	Kept []cache.Garbage `json:"kept"`
	// Busy are the repositories that somebody writes into: of those only unfinished
	// downloads without an owner go.
	Busy []BusyRepository `json:"busy"`
	// Foreign are the files of other tools, which stay.
	Foreign []ForeignFile `json:"foreign"`
}

// BusyRepository is a repository in the cache that somebody writes into.
type BusyRepository struct {
	Repo string `json:"repo"`
	By   string `json:"by"`
}

// ForeignFile is an unfinished file of another tool.
type ForeignFile struct {
	Repo string `json:"repo"`
	cache.Foreign
}

// CachePrune removes from the cache what nothing needs: unfinished downloads of ours that
// no living process owns, and blobs that no commit's files lead to. With a model it also
// removes, from the model's repositories, the commits that its lock does not pin; nothing
// that the lock keeps ever goes. Files of other tools stay, and so do, in a repository that
// somebody writes into, all commits and blobs. Without PruneOptions.Remove nothing changes.
func CachePrune(ctx context.Context, j *Job, o PruneOptions) (*CachePruneResult, error) {
	keep, err := j.keep(o.Age)
	if err != nil {
		return nil, err
	}
	list, err := j.cache.Garbage(keep)
	if err != nil {
		return nil, err
	}
	r := &CachePruneResult{SchemaVersion: SchemaVersion, Cache: j.cache.Dir(), DryRun: !o.Remove, Garbage: []cache.Garbage{}, Kept: []cache.Garbage{}}
	if j.Manifest != nil {
		r.Model = j.Manifest.Name
	}
	if err := r.remark(j.cache); err != nil {
		return nil, err
	}
	for _, g := range list {
		gone := true
		if o.Remove {
			if gone, err = j.cache.Remove(ctx, g, keep); err != nil {
				return r, err
			}
		}
		r.add(g, gone)
	}
	return r, nil
}

func (r *CachePruneResult) add(g cache.Garbage, gone bool) {
	if !gone {
		r.Kept = append(r.Kept, g)
		return
	}
	r.Garbage = append(r.Garbage, g)
	r.Bytes += g.Disk
}

// remark notes what stays though it may look like garbage.
func (r *CachePruneResult) remark(c *cache.Cache) error {
	all, err := c.Contents()
	if err != nil {
		return err
	}
	r.Busy, r.Foreign = []BusyRepository{}, []ForeignFile{}
	for _, one := range all {
		if one.Busy != "" {
			r.Busy = append(r.Busy, BusyRepository{one.Repo, one.Busy})
		}
		for _, f := range one.Foreign {
			r.Foreign = append(r.Foreign, ForeignFile{one.Repo, f})
		}
	}
	return nil
}

// keep says what is no garbage: what is young, and what the model's lock needs.
func (j *Job) keep(age string) (cache.Keep, error) {
	old := DefaultPruneAge
	if age != "" {
		var err error
		if old, err = time.ParseDuration(age); err != nil || old < 0 {
			return cache.Keep{}, fault.Wrap(fault.Usage, "write a duration such as 24h, 90m or 0s", fmt.Errorf("reading -age=%s: it is not a duration", age))
		}
	}
	k := cache.Keep{Since: time.Now().Add(-old), Commits: map[string][]string{}, Blobs: map[string][]string{}}
	if j.Manifest == nil {
		return k, nil
	}
	l, err := j.lock()
	if err != nil {
		return cache.Keep{}, err
	}
	for _, f := range l.Files {
		if !slices.Contains(k.Commits[f.Repo], f.Commit) {
			k.Commits[f.Repo] = append(k.Commits[f.Repo], f.Commit)
		}
		if f.Keep {
			k.Blobs[f.Repo] = append(k.Blobs[f.Repo], etag(f.File))
		}
	}
	return k, nil
}

// Text lists what goes and what stays.
func (r *CachePruneResult) Text() string {
	var out strings.Builder
	verb := "removed from"
	if r.DryRun {
		verb = "would be removed from"
	}
	fmt.Fprintf(&out, "%s, %s, %s %s\n", plural(len(r.Garbage), "thing", "things"), size(r.Bytes), verb, r.Cache)
	out.WriteString(table(garbageRows(r.Garbage)...))
	if len(r.Kept) > 0 {
		out.WriteString("needed since it was listed, and left alone\n" + table(garbageRows(r.Kept)...))
	}
	for _, b := range r.Busy {
		fmt.Fprintf(&out, "left alone: blobs and commits of %s, which is in use by %s\n", b.Repo, b.By)
	}
	for _, f := range r.Foreign {
		fmt.Fprintf(&out, "left alone: %s of %s, %s, which belongs to another tool\n", f.Name, f.Repo, size(f.Disk))
	}
	if r.DryRun && len(r.Garbage) > 0 {
		out.WriteString("nothing was removed: pass -dryRun=false\n")
	}
	return out.String()
}

func garbageRows(list []cache.Garbage) (rows []string) {
	for _, g := range list {
		what := map[cache.GarbageKind]string{
			cache.GarbagePartial: "unfinished", cache.GarbageSnapshot: "commit", cache.GarbageBlob: "blob", cache.GarbageLeftover: "leftover",
		}[g.Kind]
		name, names := g.Name, ""
		if g.Kind != cache.GarbageLeftover {
			name = short(name)
		}
		if len(g.Refs) > 0 {
			names = ", called " + strings.Join(g.Refs, ", ")
		}
		rows = append(rows, fmt.Sprintf("  %s\t%s\t%s\t%s\tof %s%s", what, g.Repo, name, size(g.Disk), humanize.Time(g.Changed), names))
	}
	return rows
}
