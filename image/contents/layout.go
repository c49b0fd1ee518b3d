package contents

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// layout is the blobs of a layout's folder.
type layout string

// path is where a blob lies. The digest's form was checked when the manifest was parsed:
// it is hexadecimal.
func (l layout) path(d v1.Descriptor) string {
	return filepath.Join(string(l), "blobs", d.Digest.Algorithm, d.Digest.Hex)
}

func (l layout) has(d v1.Descriptor) bool {
	_, err := os.Stat(l.path(d))
	return !errors.Is(err, fs.ErrNotExist)
}

func (l layout) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	info, err := os.Stat(l.path(d))
	if err == nil && !info.Mode().IsRegular() {
		err = fault.Wrap(fault.Invalid, "", fmt.Errorf("opening blob %s: not a regular file but %s", d.Digest, info.Mode().Type()))
	}
	if err != nil {
		return nil, err
	}
	return os.Open(l.path(d))
}
