package verify

import (
	"errors"
	"fmt"
	"os"
)

// Proven is an open file whose sum a Memo knows: its bytes are those whose sum was taken,
// for as long as Unchanged returns nil, and whoever uses them need not take it again. What
// Unchanged cannot see is what a Memo cannot see either: bytes that the disk itself spoilt,
// and a write through a mapping that the file system does not date. It is used as the file is.
type Proven struct {
	*os.File
	known stamp
}

// Prove looks at the open file f. ok is true if the memo knows that it has the wanted sha256
// and size, by the same rules as Lookup; bytes that are read of it afterwards are proven by
// an Unchanged after the read. The proven file is f itself: closing one closes the other.
func (m *Memo) Prove(f *os.File, want Want) (p *Proven, ok bool) {
	if m == nil || want.SHA256 == "" {
		return nil, false
	}
	now, err := stampOfOpen(f)
	if err != nil || want.Size >= 0 && want.Size != now.Size {
		return nil, false
	}
	known := now
	known.SHA256 = want.SHA256
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Proven{File: f, known: now}, m.known[now.fileID] == known
}

// Unchanged returns nil if size, times, inode and device of the open file are those that its
// sum belongs to. A file whose name now leads to another has changed too where the file
// system dates the loss of a name, as Linux's do.
func (p *Proven) Unchanged() error {
	now, err := stampOfOpen(p.File)
	if err != nil {
		return fmt.Errorf("looking at %s: %w", p.Name(), err)
	}
	if now != p.known {
		return fmt.Errorf("looking at %s: the file has changed: %s, %s when its sum was taken", p.Name(), now, p.known)
	}
	return nil
}

// String is the state in words.
func (s stamp) String() string {
	return fmt.Sprintf("%d bytes, modified at %d ns, changed at %d ns, inode %d", s.Size, s.Mtime, s.Ctime, s.Inode)
}

// stampOf reads the state of the file at path, links followed.
func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stampIn(info)
}

// stampOfOpen reads the state of an open file.
func stampOfOpen(f *os.File) (stamp, error) {
	info, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	return stampIn(info)
}

// errNoStamp says that this system tells no change time that can be trusted.
var errNoStamp = fmt.Errorf("reading a file's change time: %w", errors.ErrUnsupported)
