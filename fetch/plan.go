package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dustin/go-humanize"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Need is what a fetch will take, in bytes. Files with the same bytes in one repository
// count once.
type Need struct {
	// Files is the number of files, Blobs of those that differ.
	Files int `json:"files"`
	Blobs int `json:"blobs"`
	// Total = Cached + Unchecked + Partial + Download.
	Total int64 `json:"total"`
	// Cached is proven and in the cache.
	Cached int64 `json:"cached"`
	// Unchecked is in the cache, of right size, and has to be hashed first.
	Unchecked int64 `json:"unchecked"`
	// Partial was downloaded by an earlier fetch that was cut.
	Partial int64 `json:"partial"`
	// Download has to be downloaded.
	Download int64 `json:"download"`
	// Disk is how much more disk space that takes.
	Disk int64 `json:"disk"`
	// Free is the free space where the cache lies; -1 if the system does not tell.
	Free int64 `json:"free"`
}

// Work is how many bytes are received or hashed before all is done.
func (n Need) Work() int64 { return n.Download + n.Unchecked }

// Plan says what Files would have to do, without a request and without reading any blob. An
// error of kind fault.Resource says that the disk has too little room, one of kind
// fault.Invalid that a file has a name or sums that cannot be.
func Plan(ctx context.Context, files []File, opts Options) (Need, error) {
	list, err := wants(files, opts.Cache)
	if err != nil {
		return Need{}, err
	}
	return plan(ctx, list, len(files), opts)
}

func plan(ctx context.Context, list []*want, files int, opts Options) (Need, error) {
	need := Need{Files: files, Blobs: len(list)}
	for _, w := range list {
		if err := ctx.Err(); err != nil {
			return Need{}, err
		}
		if err := need.count(w, opts.Memo); err != nil {
			return Need{}, fmt.Errorf("planning the fetch of %s: %w", w.first, err)
		}
	}
	return need, need.fits(opts.Cache)
}

// count adds one blob.
func (n *Need) count(w *want, memo Memo) error {
	n.Total += w.first.Size
	info, err := w.slot.Stat()
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil || info.Size() != w.first.Size:
		return n.countMissing(w)
	case memo != nil && w.provenBy(memo):
		n.Cached += w.first.Size
	default:
		n.Unchecked += w.first.Size
	}
	return nil
}

// countMissing adds a blob that is not there, or not all of it.
func (n *Need) countMissing(w *want) error {
	have, err := w.recorded()
	if err != nil {
		return err
	}
	n.Partial += have
	n.Download += w.first.Size - have
	disk := w.first.Size
	if info, err := w.slot.StatPart(); err == nil {
		disk -= cache.DiskSize(info)
	}
	n.Disk += max(disk, 0)
	return nil
}

// recorded is how many bytes of the blob an earlier fetch left.
func (w *want) recorded() (int64, error) {
	info, err := w.slot.StatPart()
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() != w.first.Size {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	f, err := w.slot.ReadJournal()
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, disk(err)
	}
	defer f.Close()
	last, _, ok, err := readJournal(f, identityOf(w))
	if !ok || err != nil {
		return 0, err
	}
	have, _ := last.spans(w.first.Size)
	return have.total(), nil
}

// fits compares with the free space.
func (n *Need) fits(c *cache.Cache) error {
	free, err := c.Free()
	if errors.Is(err, errors.ErrUnsupported) {
		n.Free = -1
		return nil
	}
	n.Free = free
	if err != nil || n.Disk <= free {
		return err
	}
	return fault.Wrap(fault.Resource, "free some space, or set HF_HUB_CACHE to a folder on a larger disk", fmt.Errorf(
		"planning the fetch: %s more are needed on disk, %s has %s free (%d and %d bytes)",
		humanize.Bytes(uint64(n.Disk)), c.Dir(), humanize.Bytes(uint64(free)), n.Disk, free))
}
