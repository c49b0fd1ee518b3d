package fetch

import (
	"context"
	"errors"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// want is one blob that is wanted, by one file or by several with the same bytes.
type want struct {
	files []int // indices into the caller's list
	first File
	slot  cache.Slot
	lanes []laneSpec
}

// etag names the blob as the Hub does: small files by git blob id, large ones by sha256.
func etag(f File) string {
	if f.SHA1 != "" {
		return f.SHA1
	}
	return f.SHA256
}

// wants checks every file and groups those that share a blob. Nothing is looked up yet.
func wants(files []File, c *cache.Cache) ([]*want, error) {
	var list []*want
	at := map[string]*want{}
	for i, f := range files {
		if err := checkFile(f, c); err != nil {
			return nil, err
		}
		key := f.Repo + "\x00" + etag(f)
		w := at[key]
		if w == nil {
			slot, err := c.Slot(f.Repo, etag(f))
			if err != nil {
				return nil, err
			}
			w = &want{first: f, slot: slot}
			at[key], list = w, append(list, w)
		}
		if err := w.add(i, f); err != nil {
			return nil, err
		}
	}
	for _, w := range list {
		w.lanes = append(fileLanes(w.first), w.lanes...)
	}
	return list, nil
}

// checkFile refuses what cannot be fetched or must not name a file.
func checkFile(f File, c *cache.Cache) error {
	if _, err := c.Snapshot(f.Repo, f.Commit, f.Path); err != nil {
		return err
	}
	why := ""
	switch {
	case f.Size < 0:
		why = fmt.Sprintf("its size is %d", f.Size)
	case f.SHA1 == "" && f.SHA256 == "":
		why = "no sum of it is known"
	case f.SHA256 != "" && (len(f.SHA256) != 64 || cache.CheckEtag(f.SHA256) != nil):
		why = fmt.Sprintf("its sha256 is %q", f.SHA256)
	case f.SHA1 != "" && (len(f.SHA1) != 40 || cache.CheckEtag(f.SHA1) != nil):
		why = fmt.Sprintf("its git blob id is %q", f.SHA1)
	default:
		return nil
	}
	return fault.Wrap(fault.Invalid, "", fmt.Errorf("fetching %s: %s", f, why))
}

// add lets one more file share the blob.
func (w *want) add(index int, f File) error {
	if f.Size != w.first.Size {
		return w.contradiction(f, fmt.Errorf("sizes are %d and %d", w.first.Size, f.Size))
	}
	if f.SHA256 != "" && w.first.SHA256 != "" && f.SHA256 != w.first.SHA256 {
		return w.contradiction(f, fmt.Errorf("sha256 are %s and %s", w.first.SHA256, f.SHA256))
	}
	if w.first.SHA256 == "" {
		w.first.SHA256 = f.SHA256
	}
	lanes, err := layerLanes(f)
	if err != nil {
		return err
	}
	w.files = append(w.files, index)
	w.lanes = append(w.lanes, lanes...)
	return nil
}

func (w *want) contradiction(f File, err error) error {
	return fault.Wrap(fault.Invalid, "", fmt.Errorf("fetching %s and %s, which both name blob %s: %w", w.first, f, etag(f), err))
}

// check compares the sums with what is wanted. The error names both values.
func (w *want) check(s *sums) error {
	for _, c := range []struct{ name, key, want string }{
		{"sha256", sha256Key, w.first.SHA256},
		{"git blob id", sha1Key, w.first.SHA1},
	} {
		if got := s.hex(c.key); c.want != "" && got != c.want {
			return fmt.Errorf("verifying %s: %s is %s, lock says %s", w.first, c.name, got, c.want)
		}
	}
	return nil
}

// proven reports whether a remembered sha256 makes reading the blob needless: it is the one
// that is wanted, and no layer's digest is.
func (w *want) proven(sha256 string) bool {
	layers := false
	for _, l := range w.lanes {
		layers = layers || l.layer
	}
	return w.first.SHA256 != "" && sha256 == w.first.SHA256 && !layers
}

// errMissing is the error of Offline.
var errMissing = errors.New("not in the cache, and requests are forbidden (offline)")

// errLost says that another process took the blob over.
var errLost = errors.New("another process took the blob over, because this one was silent for too long")

// lostContext is a context that ends, with errLost, when the claim is lost.
func lostContext(ctx context.Context, claim *cache.Claim) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-claim.Lost():
			cancel(errLost)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
