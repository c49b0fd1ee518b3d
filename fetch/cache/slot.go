package cache

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// Endings of the names beside a blob that is on the way.
const (
	partSuffix    = ".plimsoll.part"
	journalSuffix = ".plimsoll.journal"
	ownerInfix    = ".plimsoll.owner-"
	tmpSuffix     = ".tmp"       // behind an owner file's name: not yet one, or a probe
	tmpPrefix     = ".plimsoll-" // before the name of an entry or ref that is to be renamed
)

// Slot is the place of one blob: its final name and the names beside it that are used while
// it is on the way. Nothing exists on disk because a Slot does.
type Slot struct {
	cache      *Cache
	Repo, Etag string
	folder     string // the blobs folder, inside the cache
}

// Slot returns the place of a blob. A bad repo or etag is an error of kind fault.Invalid.
func (c *Cache) Slot(repo, etag string) (Slot, error) {
	folder, err := repoFolder(repo)
	if err == nil {
		err = CheckEtag(etag)
	}
	return Slot{cache: c, Repo: repo, Etag: etag, folder: folder + "/blobs"}, err
}

// name is the blob's name inside the cache, with a suffix.
func (s Slot) name(suffix string) string { return path.Join(s.folder, s.Etag+suffix) }

// Path is the absolute path of the finished blob.
func (s Slot) Path() string { return s.cache.abs(s.name("")) }

// Stat describes the finished blob: fs.ErrNotExist if there is none, and an error too if
// something other than a regular file has its name.
func (s Slot) Stat() (fs.FileInfo, error) { return s.stat("") }

// StatPart describes the blob that is on the way, as Stat does the finished one.
func (s Slot) StatPart() (fs.FileInfo, error) { return s.stat(partSuffix) }

func (s Slot) stat(suffix string) (fs.FileInfo, error) {
	root, err := s.cache.reading()
	if err != nil {
		return nil, err
	}
	info, err := root.Lstat(s.name(suffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, local(fmt.Errorf("looking at %s: %w", s.cache.abs(s.name(suffix)), err))
	}
	if !info.Mode().IsRegular() {
		return nil, notRegular(s.cache.abs(s.name(suffix)), info)
	}
	return info, nil
}

// Part opens the blob that is on the way for reading and writing, or makes it, empty. Only
// the owner (Claim) may do so.
func (s Slot) Part() (*os.File, error) { return s.openBeside(partSuffix) }

// Journal opens the journal of the blob that is on the way for reading and writing, or
// makes it, empty. Only the owner (Claim) may write to it.
func (s Slot) Journal() (*os.File, error) { return s.openBeside(journalSuffix) }

// ReadJournal opens the journal for reading; fs.ErrNotExist if there is none.
func (s Slot) ReadJournal() (*os.File, error) {
	root, err := s.cache.reading()
	if err != nil {
		return nil, err
	}
	return root.Open(s.name(journalSuffix))
}

func (s Slot) openBeside(suffix string) (*os.File, error) {
	if _, err := s.stat(suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	root, err := s.makeFolder()
	if err != nil {
		return nil, err
	}
	f, err := root.OpenFile(s.name(suffix), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, local(fmt.Errorf("writing into the cache: %w", err))
	}
	return f, nil
}

// makeFolder makes the blobs folder.
func (s Slot) makeFolder() (*os.Root, error) {
	root, err := s.cache.writing()
	if err != nil {
		return nil, err
	}
	if err := makeFolders(root, s.folder); err != nil {
		return nil, local(fmt.Errorf("writing into the cache: %w", err))
	}
	return root, nil
}

// Sync makes the names in the blobs folder durable: those that were made, renamed or
// removed before it stand after a loss of power. Where the file system cannot sync a folder
// that is not an error: it promises no order of names to anybody.
func (s Slot) Sync() error {
	root, err := s.cache.reading()
	if err != nil {
		return err
	}
	folder, err := root.Open(s.folder)
	if err != nil {
		return local(fmt.Errorf("syncing %s: %w", s.cache.abs(s.folder), err))
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return local(fmt.Errorf("syncing %s: %w", s.cache.abs(s.folder), err))
	}
	return nil
}

// Commit gives the blob that is on the way its final name, durably, and removes the
// journal. A file that had the name is replaced in the same step. The caller has verified
// the bytes and synced them.
func (s Slot) Commit() error {
	root, err := s.cache.writing()
	if err != nil {
		return err
	}
	if err := root.Rename(s.name(partSuffix), s.name("")); err != nil {
		return local(fmt.Errorf("giving blob %s its name: %w", s.Etag, err))
	}
	if err := s.Sync(); err != nil {
		return err
	}
	return removed(root, s.name(journalSuffix))
}

// Discard removes the journal and then the blob that is on the way, so that no journal ever
// describes bytes that are gone. Only the owner may do so.
func (s Slot) Discard() error {
	root, err := s.cache.reading()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, suffix := range []string{journalSuffix, partSuffix} {
		if err := removed(root, s.name(suffix)); err != nil {
			return local(fmt.Errorf("removing what came of blob %s: %w", s.Etag, err))
		}
	}
	return nil
}

// nonce is a word that no other process has.
func nonce() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// splitName takes a name in a blobs folder apart; ok is false if it is not one of ours.
func splitName(name string) (etag, suffix string, ok bool) {
	at := strings.IndexByte(name, '.')
	if at < 0 || CheckEtag(name[:at]) != nil {
		return "", "", false
	}
	etag, suffix = name[:at], name[at:]
	ours := suffix == partSuffix || suffix == journalSuffix || strings.HasPrefix(suffix, ownerInfix)
	return etag, suffix, ours
}
