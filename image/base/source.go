package base

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// source is one place that a file may come from.
type source struct {
	root string
	get  func(ctx context.Context) error
}

// errCache marks a failure of the cache folder: no other mirror would help.
var errCache = errors.New("writing to the package cache")

// firstOf asks the sources in order until one succeeds. Its error names each of them and
// wraps ErrNoMirror where none answered as a Debian archive does; hint is for the case
// that one did.
func firstOf(ctx context.Context, what, hint string, sources []source) error {
	var failed []error
	answered := false
	for _, s := range sources {
		err := s.get(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
		if errors.Is(err, errCache) {
			return err
		}
		answered = answered || errors.Is(err, errAbsent) || errors.Is(err, errDiffers)
		failed = append(failed, fmt.Errorf("%s: %w", shown(s.root), err))
	}
	err := &mirrorsError{what: what, failed: failed}
	if answered {
		return fault.Wrap(fault.Upstream, hint, err)
	}
	err.failed = append([]error{ErrNoMirror}, failed...)
	return fault.Wrap(fault.Upstream, "set "+MirrorEnv+" to the URL of a Debian mirror that this machine can reach", err)
}

// mirrorsError lists what each mirror did, on one line.
type mirrorsError struct {
	what   string
	failed []error
}

func (e *mirrorsError) Error() string {
	parts := make([]string, len(e.failed))
	for i, f := range e.failed {
		parts[i] = f.Error()
	}
	return e.what + ": " + strings.Join(parts, "; ")
}

func (e *mirrorsError) Unwrap() []error { return e.failed }

// cached returns the cache file of the given name where it is what w says, or else what
// download returns, stored under that name. A cache file with other bytes is replaced.
func (o Options) cached(name string, w want, download func() ([]byte, error)) ([]byte, error) {
	if o.Cache == "" {
		return nil, fault.Wrap(fault.Usage, "", fmt.Errorf("%w: no folder is set", errCache))
	}
	file := filepath.Join(o.Cache, name)
	if data, err := readFile(file, w.size); err == nil && w.check(data) == nil {
		return data, nil
	}
	data, err := download()
	if err != nil {
		return nil, err
	}
	return data, store(file, data)
}

// store writes a file under a temporary name and then gives it its own, so that no one
// ever sees a part of it.
func store(file string, data []byte) error {
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = replace(file, data)
	}
	if err != nil {
		return fault.Wrap(fault.Resource, "set HF_HOME or HF_HUB_CACHE to a folder that can be written", fmt.Errorf("%w: %w", errCache, err))
	}
	return nil
}

func replace(file string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
