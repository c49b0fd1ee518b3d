package cache

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// inode is how many names a file has, and when its bytes, its name or its mode was last
// changed.
func inode(info fs.FileInfo) (links int, changed time.Time) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1, info.ModTime()
	}
	changed = time.Unix(st.Ctim.Unix())
	if info.ModTime().After(changed) {
		changed = info.ModTime()
	}
	return int(st.Nlink), changed
}

// locked reports whether another process holds the file's lock, as flock has it. It may
// say no on network file systems.
func locked(root *os.Root, name string) bool {
	f, err := root.Open(name)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) // what cannot be opened may be held
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
