package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"time"
)

// GarbageKind says why something may go.
type GarbageKind string

// The kinds of garbage, in the order in which they are removed: a name goes before the
// bytes behind it, so that no name ever leads nowhere.
const (
	// GarbagePartial is an unfinished download that nobody writes.
	GarbagePartial GarbageKind = "partial"
	// GarbageSnapshot is the entries of a commit that is not to be kept, and its refs.
	GarbageSnapshot GarbageKind = "snapshot"
	// GarbageBlob is a blob to which no entry leads, or only those of GarbageSnapshots.
	GarbageBlob GarbageKind = "blob"
	// GarbageLeftover is a temporary name whose writer died.
	GarbageLeftover GarbageKind = "leftover"
)

// Garbage is something in the cache that nothing needs.
type Garbage struct {
	Kind GarbageKind `json:"kind"`
	Repo string      `json:"repo"`
	// Name is an etag, a commit, or the name of a leftover inside the cache.
	Name string `json:"name"`
	// Disk is how many bytes on disk it takes.
	Disk int64 `json:"disk"`
	// Changed is when it was last changed.
	Changed time.Time `json:"changed"`
	// Refs are the branches and tags that are forgotten with a snapshot: huggingface_hub
	// calls a cache corrupt in which one leads nowhere.
	Refs []string `json:"refs,omitempty"`
}

// Keep says what is not garbage.
type Keep struct {
	// Since protects everything that was changed at or after it. It should lie some minutes
	// back at least: a blob is there a moment before the entry that leads to it, and other
	// tools do not say that they are between the two.
	Since time.Time
	// Commits names, for some repositories, the only commits to be kept. Of repositories
	// that it does not name all snapshots are kept.
	Commits map[string][]string
	// Blobs names blobs that are kept whether entries lead to them or not, and even where
	// they are not finished.
	Blobs map[string][]string
}

// Garbage lists what may go, by repository, and in each in the order of removal. Never
// listed are files of other tools, anything that keep protects, blobs with a second hard
// link, and, while anybody writes into a repository (Contents.Busy), its snapshots and
// blobs. Nothing is removed by it.
func (c *Cache) Garbage(keep Keep) ([]Garbage, error) {
	all, err := c.Contents()
	if err != nil {
		return nil, err
	}
	var list []Garbage
	for _, one := range all {
		list = append(list, one.garbage(keep)...)
	}
	return list, nil
}

// garbage lists what may go of one repository.
func (c *Contents) garbage(keep Keep) []Garbage {
	var list []Garbage
	add := func(kind GarbageKind, name string, disk int64, changed time.Time, refs []string) {
		if changed.Before(keep.Since) {
			list = append(list, Garbage{kind, c.Repo, name, disk, changed, refs})
		}
	}
	for _, p := range c.Partials {
		if p.Owner == nil && !(slices.Contains(keep.Blobs[c.Repo], p.Etag) && !c.has(p.Etag)) {
			add(GarbagePartial, p.Etag, p.Disk, p.Modified, nil)
		}
	}
	if c.Busy != "" {
		return list
	}
	commits, some := keep.Commits[c.Repo]
	for _, s := range c.Snapshots {
		if some && CheckCommit(s.Commit) == nil && !slices.Contains(commits, s.Commit) {
			add(GarbageSnapshot, s.Commit, s.own, s.Changed, s.Refs)
		}
	}
	linked := c.linked(list)
	for _, b := range c.Blobs {
		if !linked[b.Name] && !b.hard && CheckEtag(b.Name) == nil && !slices.Contains(keep.Blobs[c.Repo], b.Name) {
			add(GarbageBlob, b.Name, b.Disk, b.Changed, nil)
		}
	}
	for _, l := range c.leftovers {
		add(GarbageLeftover, l.name, DiskSize(l.info), l.info.ModTime(), nil)
	}
	return list
}

// has reports whether a blob is finished.
func (c *Contents) has(name string) bool {
	return slices.ContainsFunc(c.Blobs, func(b Blob) bool { return b.Name == name })
}

// linked names the blobs to which snapshots lead that stay.
func (c *Contents) linked(list []Garbage) map[string]bool {
	out := map[string]bool{}
	for _, s := range c.Snapshots {
		if slices.ContainsFunc(list, func(g Garbage) bool { return g.Kind == GarbageSnapshot && g.Name == s.Commit }) {
			continue
		}
		for name := range s.blobs {
			out[name] = true
		}
	}
	return out
}

// Remove removes one piece of garbage, if it still is garbage under the same keep: false if
// it is not, or if somebody began to write it.
func (c *Cache) Remove(ctx context.Context, g Garbage, keep Keep) (bool, error) {
	root, err := c.reading()
	if err != nil {
		return false, err
	}
	now, err := c.contentsOf(root, g.Repo)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(now.garbage(keep), func(o Garbage) bool { return o.Kind == g.Kind && o.Name == g.Name }) {
		return false, nil
	}
	switch g.Kind {
	case GarbagePartial:
		s, err := c.Slot(g.Repo, g.Name)
		if err != nil {
			return false, err
		}
		return s.Clear(ctx)
	case GarbageBlob:
		return c.removeBlob(ctx, root, g)
	case GarbageSnapshot:
		err = now.removeSnapshot(root, g.Name)
	default:
		err = removed(root, g.Name)
	}
	if err != nil {
		return false, local(fmt.Errorf("removing %s %s of %s: %w", g.Kind, g.Name, g.Repo, err))
	}
	return true, nil
}

// removeBlob removes a blob under a claim, so that no fetch of ours takes it for present
// meanwhile, and looks once more for entries that lead to it.
func (c *Cache) removeBlob(ctx context.Context, root *os.Root, g Garbage) (ok bool, err error) {
	s, err := c.Slot(g.Repo, g.Name)
	if err != nil {
		return false, err
	}
	claim, err := s.claimNow(ctx)
	if claim == nil || err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, claim.Release()) }()
	now, err := c.contentsOf(root, g.Repo)
	if err != nil || now.linked(nil)[g.Name] {
		return false, err
	}
	if err := removed(root, s.name("")); err != nil {
		return false, local(fmt.Errorf("removing blob %s of %s: %w", g.Name, g.Repo, err))
	}
	return true, nil
}

// removeSnapshot forgets the names of a commit, then removes its entries.
func (c *Contents) removeSnapshot(root *os.Root, commit string) error {
	for _, ref := range c.snapshot(commit).Refs {
		if err := removed(root, path.Join(c.folder, "refs", ref)); err != nil {
			return err
		}
	}
	return root.RemoveAll(path.Join(c.folder, "snapshots", commit))
}
