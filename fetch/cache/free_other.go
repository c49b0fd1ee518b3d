//go:build !linux

package cache

import (
	"errors"
	"fmt"
)

// freeAt does not know.
func freeAt(dir string) (int64, error) {
	return 0, fmt.Errorf("asking for free space at %s: %w", dir, errors.ErrUnsupported)
}
