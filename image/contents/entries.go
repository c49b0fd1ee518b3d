package contents

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Limits of an archive that somebody else made.
const (
	maxEntries  = 1 << 20
	maxUnpacked = 1 << 40 // bytes of one layer, and of the files in it, holes included
	maxWindow   = 128 << 20
	maxName     = 4096      // PATH_MAX of Linux
	maxNames    = 128 << 20 // bytes of all names of one layer: they are kept in memory
)

// Entry is one entry of a layer's archive, as its header names it.
type Entry struct {
	Name string
	// Type is one of archive/tar's type flags.
	Type byte
	Size int64
	// Link is the target of a link.
	Link string
	// Sum is the sha256 of a regular file, in hex.
	Sum string
}

// Entries reads layer n, whatever its compression, and calls each for every entry of its
// archive, in order. It returns the size of the archive. The digest of the blob and, where
// the config has one, the diff id are checked: a layer that differs is an error of kind
// fault.Invalid, and so is one that is no archive. A blob that is not there is an error that
// wraps fs.ErrNotExist.
func (i *Image) Entries(ctx context.Context, n int, each func(Entry) error) (unpacked int64, err error) {
	d := i.Manifest.Layers[n]
	blob, err := i.blobs.open(ctx, d)
	if err != nil {
		return 0, fmt.Errorf("reading layer %s: %w", d.Digest, err)
	}
	defer blob.Close()
	wire := &summed{ctx: ctx, r: io.LimitReader(blob, d.Size+1), sum: sha256.New()}
	plain, err := decompressed(wire)
	if err != nil {
		return 0, invalid(wire, fmt.Errorf("reading layer %s: %w", d.Digest, err))
	}
	defer plain.Close()
	archive := &summed{ctx: ctx, r: io.LimitReader(plain, maxUnpacked+1), sum: sha256.New()}
	if err := walk(archive, each); err != nil {
		return 0, invalid(wire, fmt.Errorf("reading layer %s: %w", d.Digest, err))
	}
	_, err = io.Copy(io.Discard, wire) // what lies behind the compressed archive
	if err == nil {
		err = i.checkSums(n, wire, archive)
	}
	if err != nil {
		return 0, invalid(wire, fmt.Errorf("reading layer %s: %w", d.Digest, err))
	}
	return archive.n, nil
}

// invalid marks an error about bytes, unless reading them failed or was cancelled.
func invalid(wire *summed, err error) error {
	if wire.err != nil || wire.ctx.Err() != nil || fault.KindOf(err) != fault.Internal {
		return errors.Join(err, wire.err)
	}
	return fault.Wrap(fault.Invalid, "", err)
}

// checkSums holds a layer that was read against manifest and config.
func (i *Image) checkSums(n int, wire, archive *summed) error {
	d := i.Manifest.Layers[n]
	if got := "sha256:" + hex.EncodeToString(wire.sum.Sum(nil)); got != d.Digest.String() || wire.n != d.Size {
		return fmt.Errorf("it has %d bytes of digest %s, the manifest says %d", wire.n, got, d.Size)
	}
	if n >= len(i.Config.RootFS.DiffIDs) {
		return nil
	}
	want := i.Config.RootFS.DiffIDs[n].String()
	if got := "sha256:" + hex.EncodeToString(archive.sum.Sum(nil)); got != want {
		return fmt.Errorf("its diff id is %s, the config says %s", got, want)
	}
	return nil
}

// decompressed yields the archive of a layer. Its first bytes say how it is compressed:
// media types are not always right.
func decompressed(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReader(r)
	head, err := buffered.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	}
	return io.NopCloser(buffered), nil
}

// walk reads an archive to its end, padding included.
func walk(archive *summed, each func(Entry) error) error {
	r := tar.NewReader(archive)
	names, files := 0, int64(0)
	for n := 0; ; n++ {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if n == maxEntries {
			return fmt.Errorf("its archive has more than %d entries", maxEntries)
		}
		if len(head.Name) > maxName || len(head.Linkname) > maxName {
			return fmt.Errorf("a name in its archive is longer than %d bytes", maxName)
		}
		if names += len(head.Name) + len(head.Linkname); names > maxNames {
			return fmt.Errorf("the names in its archive have more than %d bytes", maxNames)
		}
		// A header of some bytes can claim a file of any size that is one hole.
		if head.Size < 0 || head.Size > maxUnpacked-files {
			return fmt.Errorf("the files in its archive have more than %d bytes", int64(maxUnpacked))
		}
		files += head.Size
		e := Entry{Name: head.Name, Type: head.Typeflag, Link: head.Linkname, Size: head.Size}
		if e.Type == tar.TypeReg {
			file := &summed{ctx: archive.ctx, r: r, sum: sha256.New()} // a hole is not read from the archive
			if _, err := io.Copy(io.Discard, file); err != nil {
				return err
			}
			e.Size, e.Sum = file.n, hex.EncodeToString(file.sum.Sum(nil))
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, archive); err != nil {
		return err
	}
	if archive.n > maxUnpacked {
		return fmt.Errorf("its archive has more than %d bytes", int64(maxUnpacked))
	}
	return nil
}
