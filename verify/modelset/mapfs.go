package modelset

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/plimsoll-oci/plimsoll/verify"
)

// Map is a file system of named sections. Names are slash-separated paths as fs.ValidPath
// wants them, and no name is a folder of another. Its files implement io.ReaderAt. A Map
// must not change while it is used, and then is safe for concurrent use if its sections
// are.
type Map map[string]verify.Section

// Held is a section that is in memory. Its bytes are looked at where they are; nobody changes
// them.
type Held interface {
	verify.Section
	// Bytes are all bytes of the section, nil if not all of them are there.
	Bytes() []byte
}

var _ fs.FS = Map(nil)

// Open implements fs.FS.
func (m Map) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if s, ok := m[name]; ok {
		return &mapFile{SectionReader: io.NewSectionReader(s, 0, s.Size()), name: path.Base(name), section: s}, nil
	}
	entries := m.entries(name)
	if len(entries) == 0 && name != "." {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &mapFolder{name: path.Base(name), entries: entries}, nil
}

// entries lists a folder, sorted by name.
func (m Map) entries(folder string) []fs.DirEntry {
	found := map[string]fs.DirEntry{}
	for name, s := range m {
		rest := name
		if folder != "." {
			var ok bool
			if rest, ok = strings.CutPrefix(name, folder+"/"); !ok {
				continue
			}
		}
		first, _, deeper := strings.Cut(rest, "/")
		info := mapInfo{name: first, folder: deeper}
		if !deeper {
			info.size = s.Size()
		}
		found[first] = fs.FileInfoToDirEntry(info)
	}
	list := make([]fs.DirEntry, 0, len(found))
	for _, e := range found {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list
}

// mapFile is an open file.
type mapFile struct {
	*io.SectionReader
	name    string
	section verify.Section
}

// held are the bytes of a file that is in memory, nil for any other.
func held(f fs.File) []byte {
	if m, ok := f.(*mapFile); ok {
		if h, ok := m.section.(Held); ok {
			return h.Bytes()
		}
	}
	return nil
}

func (f *mapFile) Stat() (fs.FileInfo, error) { return mapInfo{name: f.name, size: f.Size()}, nil }
func (f *mapFile) Close() error               { return nil }

// mapFolder is an open folder.
type mapFolder struct {
	name    string
	entries []fs.DirEntry
}

func (f *mapFolder) Stat() (fs.FileInfo, error) { return mapInfo{name: f.name, folder: true}, nil }
func (f *mapFolder) Close() error               { return nil }

func (f *mapFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.name, Err: errors.New("is a folder")}
}

// ReadDir implements fs.ReadDirFile.
func (f *mapFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > len(f.entries) {
		if n > 0 && len(f.entries) == 0 {
			return nil, io.EOF
		}
		n = len(f.entries)
	}
	list := f.entries[:n]
	f.entries = f.entries[n:]
	return list, nil
}

// mapInfo describes a file or a folder.
type mapInfo struct {
	name   string
	size   int64
	folder bool
}

func (i mapInfo) Name() string       { return i.name }
func (i mapInfo) Size() int64        { return i.size }
func (i mapInfo) ModTime() time.Time { return time.Time{} }
func (i mapInfo) IsDir() bool        { return i.folder }
func (i mapInfo) Sys() any           { return nil }

func (i mapInfo) Mode() fs.FileMode {
	if i.folder {
		return fs.ModeDir | 0o555
	}
	return 0o444
}
