//go:build !linux

package fetch

import "os"

// preallocate gives an empty file its length; the space is not reserved.
func preallocate(f *os.File, size int64) error { return f.Truncate(size) }

// datasync makes a file durable.
func datasync(f *os.File) error { return f.Sync() }

// startWriting does nothing: only Linux can be asked to begin early.
func startWriting(*os.File, int64, int64) {}
