package fetch

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// preallocate gives an empty file its length and its place on disk. Where the file system
// cannot reserve space the file is sparse, and a full disk shows later.
func preallocate(f *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS):
			return f.Truncate(size)
		default:
			return os.NewSyscallError("fallocate", err)
		}
	}
}

// datasync makes the bytes of a file durable, and of its metadata what is needed to read
// them.
func datasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// startWriting asks the kernel to begin writing a stretch to disk, so that datasync finds
// little left to wait for. It promises nothing, and so its failure means nothing.
func startWriting(f *os.File, at, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), at, n, unix.SYNC_FILE_RANGE_WRITE)
}
