package verify

import (
	"os"
	"syscall"
)

// stampOf reads the state of the file at path, links followed.
func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}, syscall.ENOTSUP
	}
	return stamp{
		fileID: fileID{Device: uint64(st.Dev), Inode: st.Ino},
		Size:   st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(),
	}, nil
}
