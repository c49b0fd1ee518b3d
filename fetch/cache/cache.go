// Package cache is the folder in which fetched files lie. Its layout is the one that
// huggingface_hub made common, so that both read what the other wrote:
//
//	models--ORG--NAME/blobs/ETAG               the bytes
//	models--ORG--NAME/snapshots/COMMIT/PATH    a relative symlink to ../../blobs/ETAG
//	models--ORG--NAME/refs/REVISION            the text of a commit id
//	CACHEDIR.TAG                               tells backup tools to skip the folder
//
// An etag is the sha256 of a large file, or the git blob id of a small one: it names the
// bytes, so a blob is never changed once it bears its name. While a blob is on the way,
// three more names lie beside it, which no other tool takes for its own:
//
//	blobs/ETAG.plimsoll.part                   the bytes so far, of full length from the start
//	blobs/ETAG.plimsoll.journal                what of them is on disk (package fetch)
//	blobs/ETAG.plimsoll.owner-ID               who is writing them (Claim)
//
// The name ETAG.incomplete belongs to huggingface_hub, which takes a file of that name and
// full length for complete: it is neither made nor read nor removed here.
//
// # Names
//
// Repository, commit, path, revision and etag come from outside. Each is checked by its own
// rule before any call to the file system is made, and every call goes through os.Root, so
// that a symlink cannot lead out of the folder either. Folders on the way to a snapshot
// entry must be real folders: a link there would let one name write through another.
//
// # Owners
//
// Two processes that want the same blob must not both write it. flock is not used: it
// silently succeeds for everyone on several network file systems. Instead whoever wants to
// write makes a file with a name of its own (O_EXCL), then lists the names: it owns the
// blob if no other owner lives. Since every name is unique, a dead owner's file can be
// removed without the risk of removing a living one's, and of two that claim at once at
// least one sees the other. An owner on this machine lives if its process id still has the
// start time that it wrote down; one elsewhere lives if it touched its file within
// [Lease], by the file system's own clock.
//
// # Garbage
//
// What nothing needs is listed by Garbage and removed by Remove, piece by piece, each only
// if it is still garbage at that moment: unfinished downloads without a living owner, blobs
// to which no entry leads, and commits that the caller does not keep. While anybody writes
// into a repository, we or a tool that holds one of huggingface_hub's locks
// (.locks/models--ORG--NAME/ETAG.lock), its blobs and commits are left alone. Files of
// other tools are named and never touched.
package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// tag is the content of CACHEDIR.TAG; the first line is fixed by the Cache Directory
// Tagging Specification (bford.info/cachedir).
const tag = "Signature: 8a477f597d28d172789f06886806bc55\n" +
	"# This folder is a cache: models that can be downloaded again.\n"

// Cache is one cache folder. It is made on disk by the first write; until then it is empty.
// All methods are safe for concurrent use, by several processes too.
type Cache struct {
	dir  string
	beat time.Duration // how often owners touch their files

	mu   sync.Mutex
	root *os.Root // nil until the folder was seen to exist
}

// Open returns the cache in the folder dir. Nothing is read or written yet. The error says
// that dir cannot be made absolute.
func Open(dir string) (*Cache, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, local(fmt.Errorf("opening cache %s: %w", dir, err))
	}
	return &Cache{dir: abs, beat: beat}, nil
}

// Close releases the folder. The cache can be used on: it opens it again.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.root == nil {
		return nil
	}
	err := c.root.Close()
	c.root = nil
	return err
}

// Dir is the absolute path of the cache folder.
func (c *Cache) Dir() string { return c.dir }

// reading returns the folder, or fs.ErrNotExist while there is none.
func (c *Cache) reading() (*os.Root, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.root == nil {
		root, err := os.OpenRoot(c.dir)
		if err != nil {
			return nil, local(fmt.Errorf("opening cache: %w", err))
		}
		c.root = root
	}
	return c.root, nil
}

// writing returns the folder and makes it, with its tag, if there is none.
func (c *Cache) writing() (*os.Root, error) {
	root, err := c.reading()
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(c.dir, 0o777); err == nil {
			root, err = c.reading()
		}
	}
	if err != nil {
		return nil, local(fmt.Errorf("making cache %s: %w", c.dir, err))
	}
	mark(root)
	return root, nil
}

// mark writes CACHEDIR.TAG unless there is one. It is advice to backup tools: where only
// the folders inside can be written, there is none.
func mark(root *os.Root) {
	f, err := root.OpenFile("CACHEDIR.TAG", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err == nil {
		_, _ = f.WriteString(tag)
		_ = f.Close()
	}
}

// abs is the absolute path of a checked name inside the cache.
func (c *Cache) abs(name string) string {
	return filepath.Join(c.dir, filepath.FromSlash(name))
}

// Blob returns the absolute path at which the blob lies or will lie.
// A bad repo or etag is an error of kind fault.Invalid.
func (c *Cache) Blob(repo, etag string) (string, error) {
	s, err := c.Slot(repo, etag)
	if err != nil {
		return "", err
	}
	return s.Path(), nil
}

// Snapshot returns the absolute path of the snapshot entry of a file.
// A bad name is an error of kind fault.Invalid.
func (c *Cache) Snapshot(repo, commit, name string) (string, error) {
	entry, err := snapshotEntry(repo, commit, name)
	if err != nil {
		return "", err
	}
	return c.abs(entry), nil
}

// snapshotEntry checks the three names and returns the entry's name inside the cache.
func snapshotEntry(repo, commit, name string) (string, error) {
	folder, err := repoFolder(repo)
	if err == nil {
		err = CheckCommit(commit)
	}
	if err == nil {
		err = CheckPath(name)
	}
	return path.Join(folder, "snapshots", commit, name), err
}

// Lookup returns the absolute path of the bytes behind a snapshot entry, whoever wrote it:
// the blob if the entry is a link, else the entry itself (huggingface_hub copies where
// symlinks do not work). The file is regular, and lies inside the cache. Its bytes are not
// looked at. An entry that is missing or dangling is fs.ErrNotExist.
func (c *Cache) Lookup(repo, commit, name string) (string, error) {
	entry, err := snapshotEntry(repo, commit, name)
	if err != nil {
		return "", err
	}
	root, err := c.reading()
	if err != nil {
		return "", err
	}
	info, err := root.Stat(entry) // os.Root refuses a link that leads out
	if err != nil {
		return "", fmt.Errorf("looking up %s of %s in the cache: %w", name, repo, err)
	}
	if !info.Mode().IsRegular() {
		return "", notRegular(c.abs(entry), info)
	}
	return filepath.EvalSymlinks(c.abs(entry))
}

// Link makes the snapshot entry of a file point to a blob of the same repository, with a
// relative link as huggingface_hub writes it. An entry that already does is left alone; any
// other file or link in its place is replaced in one step; a folder is an error.
func (c *Cache) Link(repo, commit, name, etag string) error {
	entry, err := snapshotEntry(repo, commit, name)
	if err == nil {
		err = CheckEtag(etag)
	}
	if err != nil {
		return err
	}
	// snapshots/COMMIT/NAME: two levels up, and one more for every slash in the name.
	target := strings.Repeat("../", 2+strings.Count(name, "/")) + "blobs/" + etag
	root, err := c.reading()
	if err == nil {
		if have, err := root.Readlink(entry); err == nil && have == target {
			return nil
		}
	}
	if root, err = c.writing(); err != nil {
		return err
	}
	if err := replaceLink(root, target, entry); err != nil {
		return local(fmt.Errorf("linking %s of %s into the cache: %w", name, repo, err))
	}
	return nil
}

// replaceLink puts a symlink in place without a moment in which there is none.
func replaceLink(root *os.Root, target, entry string) error {
	if err := makeFolders(root, path.Dir(entry)); err != nil {
		return err
	}
	err := root.Symlink(target, entry)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	tmp := path.Join(path.Dir(entry), tmpPrefix+nonce())
	if err := root.Symlink(target, tmp); err != nil {
		return err
	}
	if err := root.Rename(tmp, entry); err != nil {
		return errors.Join(err, root.Remove(tmp))
	}
	return nil
}

// makeFolders makes a folder and those above it, and refuses whatever is not a real folder
// on the way.
func makeFolders(root *os.Root, folder string) error {
	at := ""
	for part := range strings.SplitSeq(folder, "/") {
		at = path.Join(at, part)
		if err := root.Mkdir(at, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := root.Lstat(at)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fault.Wrap(fault.Resource, "", fmt.Errorf("%s is in the way: it is %s, not a folder", path.Join(root.Name(), at), kindOf(info)))
		}
	}
	return nil
}

// SetRef records that a branch or tag of the repository stands at a commit. The snapshot of
// that commit should exist: huggingface_hub calls a cache with a dangling ref corrupt. The
// file is replaced in one step, and left alone if it already says so.
func (c *Cache) SetRef(repo, revision, commit string) error {
	if have, err := c.Ref(repo, revision); err == nil && have == commit {
		return nil
	}
	name, err := refName(repo, revision)
	if err == nil {
		err = CheckCommit(commit)
	}
	if err != nil {
		return err
	}
	root, err := c.writing()
	if err != nil {
		return err
	}
	if err := replaceFile(root, name, commit); err != nil {
		return local(fmt.Errorf("recording that %s of %s is %s: %w", revision, repo, commit, err))
	}
	return nil
}

// Ref returns the commit that was recorded for a branch or tag; fs.ErrNotExist if none was.
func (c *Cache) Ref(repo, revision string) (string, error) {
	name, err := refName(repo, revision)
	if err != nil {
		return "", err
	}
	root, err := c.reading()
	if err != nil {
		return "", err
	}
	text, err := root.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("reading which commit %s of %s is: %w", revision, repo, err)
	}
	commit := strings.TrimSpace(string(text))
	return commit, CheckCommit(commit)
}

// refName checks both names and returns the ref's name inside the cache.
func refName(repo, revision string) (string, error) {
	folder, err := repoFolder(repo)
	if err == nil {
		err = CheckPath(revision)
	}
	return path.Join(folder, "refs", revision), err
}

// replaceFile writes a small file under a temporary name and renames it.
func replaceFile(root *os.Root, name, text string) error {
	if err := makeFolders(root, path.Dir(name)); err != nil {
		return err
	}
	tmp := path.Join(path.Dir(name), tmpPrefix+nonce())
	if err := root.WriteFile(tmp, []byte(text), 0o666); err != nil {
		return errors.Join(err, removed(root, tmp))
	}
	if err := root.Rename(tmp, name); err != nil {
		return errors.Join(err, removed(root, tmp))
	}
	return nil
}

// removed removes a file; that there is none is no error.
func removed(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// local marks an error of this machine's file system, with the way out.
func local(err error) error {
	hint := ""
	if fault.Local(err) {
		hint = "set HF_HUB_CACHE to a folder that can be written and has room"
	}
	return fault.Wrap(fault.Resource, hint, err)
}

func notRegular(name string, info fs.FileInfo) error {
	return fault.Wrap(fault.Resource, "", fmt.Errorf("%s is in the way: it is %s, not a regular file", name, kindOf(info)))
}

// kindOf is "a folder", "a symlink" or the letters of the file mode.
func kindOf(info fs.FileInfo) string {
	switch {
	case info.IsDir():
		return "a folder"
	case info.Mode()&fs.ModeSymlink != 0:
		return "a symlink"
	case info.Mode().IsRegular():
		return "a file"
	}
	return "of mode " + info.Mode().String()
}
