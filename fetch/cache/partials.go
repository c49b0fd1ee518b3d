package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Partial is what an unfinished fetch left of one blob.
type Partial struct {
	Repo string `json:"repo"`
	Etag string `json:"etag"`
	// Disk is how many bytes all its files take on disk.
	Disk int64 `json:"disk"`
	// Modified is when any of its files was last written.
	Modified time.Time `json:"modified"`
	// Owner is the process that is writing it now; nil if nobody is, so that it waits to be
	// gone on with, or to be removed.
	Owner *Owner `json:"owner,omitempty"`
}

// Partials lists the unfinished blobs that plimsoll left in the cache, sorted by repository
// and etag. Those of other tools are not listed.
func (c *Cache) Partials() ([]Partial, error) {
	root, err := c.reading()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	folders, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, local(fmt.Errorf("listing cache %s: %w", c.dir, err))
	}
	var all []Partial
	for _, folder := range folders {
		repo, ok := folderRepo(folder.Name())
		if !ok || !folder.IsDir() {
			continue
		}
		found, err := c.partialsOf(root, repo, folder.Name()+"/blobs")
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (c *Cache) partialsOf(root *os.Root, repo, folder string) ([]Partial, error) {
	entries, err := fs.ReadDir(root.FS(), folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, local(fmt.Errorf("listing unfinished blobs of %s: %w", repo, err))
	}
	byEtag := map[string]*Partial{}
	for _, e := range entries {
		etag, _, ours := splitName(e.Name())
		info, err := e.Info()
		if !ours || err != nil { // an error: removed since
			continue
		}
		p := byEtag[etag]
		if p == nil {
			p = &Partial{Repo: repo, Etag: etag}
			byEtag[etag] = p
		}
		p.add(info)
	}
	return c.owned(byEtag)
}

// add counts one more file of the partial.
func (p *Partial) add(info fs.FileInfo) {
	p.Disk += DiskSize(info)
	if info.ModTime().After(p.Modified) {
		p.Modified = info.ModTime()
	}
}

// owned fills in the owners and sorts by etag.
func (c *Cache) owned(byEtag map[string]*Partial) ([]Partial, error) {
	var list []Partial
	for _, p := range byEtag {
		s, err := c.Slot(p.Repo, p.Etag)
		if err != nil {
			return nil, err
		}
		o, ok, err := s.Owned()
		if err != nil {
			return nil, err
		}
		if ok {
			p.Owner = &o
		}
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b Partial) int { return cmp.Compare(a.Etag, b.Etag) })
	return list, nil
}

// Clear removes what an unfinished fetch left of the blob. It is left alone, and false
// returned, if anybody writes it.
func (s Slot) Clear(ctx context.Context) (bool, error) {
	claim, err := s.claimNow(ctx)
	if claim == nil || err != nil {
		return false, err
	}
	return true, errors.Join(s.Discard(), s.sweep(claim), claim.Release())
}

// sweep removes owner files that were never completed.
func (s Slot) sweep(mine *Claim) error {
	root, err := s.cache.reading()
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(root.FS(), s.folder)
	if err != nil {
		return local(fmt.Errorf("sweeping %s: %w", s.cache.abs(s.folder), err))
	}
	for _, e := range entries {
		etag, suffix, ours := splitName(e.Name())
		name := s.folder + "/" + e.Name()
		if ours && etag == s.Etag && strings.HasSuffix(suffix, tmpSuffix) && name != mine.name {
			if err := removed(root, name); err != nil {
				return local(err)
			}
		}
	}
	return nil
}

// DiskSize is how many bytes a file takes on disk, which for a sparse file is less than its
// size. Where the system does not tell it is the size.
func DiskSize(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512 // st_blocks is in units of 512 bytes, whatever the file system
	}
	return info.Size()
}

// Free is how many bytes can still be written where the cache lies, or will lie.
func (c *Cache) Free() (int64, error) { return freeAt(c.dir) }
