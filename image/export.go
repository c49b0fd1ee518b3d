package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// copyBuffer is the size of reads and writes of an export.
const copyBuffer = 1 << 20

// exportLayer writes one blob, unless it is there with its size.
func exportLayer(ctx context.Context, dir string, d v1.Descriptor, layer v1.Layer, progress func(int64)) error {
	path := blobPath(dir, d.Digest)
	if info, err := os.Stat(path); err == nil && info.Size() == d.Size {
		report(progress, d.Size)
		return nil
	}
	r, err := layer.Compressed()
	if errors.Is(err, ErrAbsent) {
		return fault.Wrap(fault.Usage, "run the fetch target first", err)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	return writeBlob(path, d, &countingReader{ctx: ctx, r: r, sum: sha256.New(), progress: progress})
}

// writeBlob copies r to path through a temporary name.
func writeBlob(path string, d v1.Descriptor, r *countingReader) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".export-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, r, make([]byte, copyBuffer))
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(r.sum.Sum(nil)); got != d.Digest.String() {
		return fault.Wrap(fault.Invalid, "the cached file has changed since it was fetched: run the fetch target again",
			fmt.Errorf("writing layer %s: its digest is %s, the image says %s", d.Annotations["org.opencontainers.image.title"], got, d.Digest))
	}
	return os.Rename(f.Name(), path)
}

// countingReader hashes and counts what passes, and stops when the context does.
type countingReader struct {
	ctx      context.Context
	r        io.Reader
	sum      hash.Hash
	progress func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	report(c.progress, int64(n))
	return n, err
}

func report(progress func(int64), n int64) {
	if progress != nil {
		progress(n)
	}
}
