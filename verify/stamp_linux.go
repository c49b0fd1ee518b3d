package verify

import (
	"io/fs"
	"syscall"
)

// stampIn takes a file's state out of what the system says about it.
func stampIn(info fs.FileInfo) (stamp, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}, errNoStamp
	}
	return stamp{
		fileID: fileID{Device: uint64(st.Dev), Inode: st.Ino},
		Size:   st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(),
	}, nil
}
