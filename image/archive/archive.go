// Package archive builds a small layer in memory: a few files, directories and symbolic
// links as one uncompressed tar.
//
// The bytes are a function of the entries alone. The order in which they were added, the
// clock, the user and the file system do not matter: entries are sorted by name, so that
// a parent stands before its children, and pack.Header writes every header in the one
// dialect that plimsoll has. Directories that nobody added are written as 0755.
//
// It refuses what two unpackers could understand differently: a name twice, an entry
// below a file or below a link, a link out of the root, set-user-id bits. Model files
// never come here: they are layers of their own and are never held in memory.
package archive

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// MaxSize bounds the bytes of one archive, content and headers. Small layers are a few
// megabytes; whoever gets near this has put a model into one.
const MaxSize = 256 << 20

// MaxTarget bounds a link's target in bytes: Linux's PATH_MAX without its NUL.
const MaxTarget = 4095

// maxHops bounds how many links Lookup follows; Linux itself gives up after 40.
const maxHops = 40

// ErrDuplicate is what Add wraps when a name is already taken.
var ErrDuplicate = errors.New("the name is already in the archive")

// File is one entry. Owner 0:0 and time 0 are fixed by the dialect.
type File struct {
	// Name is a clean, slash-separated path relative to the root; a directory's has no
	// trailing slash.
	Name string
	// Type is Regular, Symlink or Directory; 0 means Regular.
	Type pack.Type
	// Mode holds the permission bits and the sticky bit, such as 0o644, and is never 0. A
	// link's is ignored: it is always written as 0777.
	Mode int64
	// Data is a regular file's content; the archive keeps the slice and never writes to it.
	Data []byte
	// Target is where a link points to: relative to the link's own folder, and inside the
	// root.
	Target string
}

// Regular returns a regular file.
func Regular(name string, mode int64, data []byte) File {
	return File{Name: name, Type: pack.Regular, Mode: mode, Data: data}
}

// Directory returns a directory.
func Directory(name string, mode int64) File {
	return File{Name: name, Type: pack.Directory, Mode: mode}
}

// Symlink returns a symbolic link from name to target.
func Symlink(name, target string) File {
	return File{Name: name, Type: pack.Symlink, Mode: 0o777, Target: target}
}

// Archive collects entries. The zero value is empty and ready. It is not safe for
// concurrent use.
type Archive struct {
	files map[string]File
}

// Add adds entries. Errors: a name that pack refuses, a name that is already there
// (ErrDuplicate), a mode, type, target or content that does not fit. Entries before the
// one that failed stay added.
func (a *Archive) Add(files ...File) error {
	for _, f := range files {
		if err := a.add(f); err != nil {
			return fmt.Errorf("archiving %q: %w", f.Name, err)
		}
	}
	return nil
}

func (a *Archive) add(f File) error {
	f, err := normal(f)
	if err != nil {
		return err
	}
	if _, err := pack.Header(entry(f)); err != nil {
		return err
	}
	if _, taken := a.files[f.Name]; taken {
		return ErrDuplicate
	}
	if a.files == nil {
		a.files = map[string]File{}
	}
	a.files[f.Name] = f
	return nil
}

// Len returns the number of entries added, without the directories that Bytes completes.
func (a *Archive) Len() int { return len(a.files) }

// Files returns the entries added, sorted by name. Their Data is shared with the archive.
func (a *Archive) Files() []File {
	out := make([]File, 0, len(a.files))
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		out = append(out, a.files[name])
	}
	return out
}

// Lookup returns the entry that name leads to in the unpacked archive, links followed in
// every component, as a loader in the image would. ok is false if it leads nowhere here,
// or to a directory that nobody added.
func (a *Archive) Lookup(name string) (f File, ok bool) {
	rest, at := strings.Split(name, "/"), ""
	for hops := 0; len(rest) > 0 && hops <= maxHops; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		f, ok = a.files[next]
		if !ok || f.Type != pack.Symlink {
			at = next
			continue
		}
		hops++
		target := path.Join(path.Dir(next), f.Target)
		rest, at = append(strings.Split(target, "/"), rest...), ""
	}
	f, ok = a.files[at]
	return f, ok && len(rest) == 0 && f.Type != pack.Symlink
}

// Bytes returns the archive. Equal entries give equal bytes. Errors: an entry below one
// that is not a directory, an archive over MaxSize.
func (a *Archive) Bytes() ([]byte, error) {
	files, err := a.complete()
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		header, err := pack.Header(entry(f))
		if err != nil {
			return nil, fmt.Errorf("archiving %q: %w", name, err)
		}
		if size := len(out) + len(header) + len(f.Data); size > MaxSize {
			return nil, fmt.Errorf("archiving %q: the archive grows to %d bytes, at most %d are allowed", name, size, MaxSize)
		}
		out = append(append(out, header...), f.Data...)
		out = append(out, make([]byte, pack.PadLen(int64(len(f.Data))))...)
	}
	return append(out, pack.Trailer()...), nil
}

// complete returns the entries with the parents that nobody added.
func (a *Archive) complete() (map[string]File, error) {
	out := maps.Clone(a.files)
	for name := range a.files {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			parent, there := out[dir]
			if there && parent.Type != pack.Directory {
				return nil, fmt.Errorf("archiving %q: its parent %q is not a directory but of type %q", name, dir, parent.Type)
			}
			if !there {
				out[dir] = Directory(dir, 0o755)
			}
		}
	}
	return out, nil
}

// normal fills in the defaults of f and checks what pack does not.
func normal(f File) (File, error) {
	if f.Type == 0 {
		f.Type = pack.Regular
	}
	switch f.Type {
	case pack.Symlink:
		f.Mode = 0o777
		if err := checkTarget(f); err != nil {
			return f, err
		}
	case pack.Regular, pack.Directory:
		if f.Target != "" {
			return f, fmt.Errorf("it has the link target %q but is no link", f.Target)
		}
	default:
		return f, fmt.Errorf("its type is %q, not a file, link or directory", f.Type)
	}
	if len(f.Data) > 0 && f.Type != pack.Regular {
		return f, fmt.Errorf("it has %d content bytes but is no regular file", len(f.Data))
	}
	if f.Mode <= 0 || f.Mode&^0o1777 != 0 {
		return f, fmt.Errorf("its mode is %#o, outside of 01777 or none", f.Mode)
	}
	return f, nil
}

// checkTarget refuses targets that are absolute or leave the root: what they mean depends
// on where the image is unpacked.
func checkTarget(f File) error {
	switch {
	case f.Target == "" || len(f.Target) > MaxTarget || strings.ContainsAny(f.Target, "\x00\\"):
		return fmt.Errorf("its link target %q is empty, over %d bytes, or holds a NUL or a backslash", f.Target, MaxTarget)
	case path.IsAbs(f.Target) || path.Clean(f.Target) != f.Target:
		return fmt.Errorf("its link target %q is absolute or not clean, %q is", f.Target, path.Clean("./"+f.Target))
	}
	if to := path.Join(path.Dir(f.Name), f.Target); to == ".." || strings.HasPrefix(to, "../") {
		return fmt.Errorf("its link target %q leaves the root", f.Target)
	}
	return nil
}

// entry is f as pack sees it.
func entry(f File) pack.Entry {
	return pack.Entry{Name: f.Name, Type: f.Type, Mode: f.Mode, Size: int64(len(f.Data)), Target: f.Target}
}
