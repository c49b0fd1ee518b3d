package cache

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Contents is what the cache holds of one repository.
type Contents struct {
	Repo string `json:"repo"`
	// Snapshots are the commits of which there are files, sorted by commit.
	Snapshots []Snapshot `json:"snapshots"`
	// Blobs are the finished ones, sorted by name.
	Blobs []Blob `json:"blobs"`
	// Partials are what plimsoll has not finished.
	Partials []Partial `json:"partials"`
	// Foreign are the files between the blobs that belong to other tools, such as the
	// *.incomplete of huggingface_hub. They are named, and never read, used or removed.
	Foreign []Foreign `json:"foreign"`
	// Busy says who writes into the repository now, "" if nobody does.
	Busy string `json:"busy,omitempty"`

	folder    string
	leftovers []leftover
}

// Snapshot is the files of one commit.
type Snapshot struct {
	Commit string `json:"commit"`
	// Refs are the branches and tags that were recorded to be this commit.
	Refs []string `json:"refs,omitempty"`
	// Files counts the entries, Missing those whose bytes are not there, Bytes adds up the
	// sizes of the others.
	Files   int   `json:"files"`
	Missing int   `json:"missing,omitempty"`
	Bytes   int64 `json:"bytes"`
	// Changed is when an entry was last made or removed.
	Changed time.Time `json:"changed"`

	own   int64           // bytes on disk of entries that are no links
	blobs map[string]bool // names that the entries link to
}

// Blob is a finished blob.
type Blob struct {
	// Name is the file's name. That of the Hub's tools and ours is an etag (see CheckEtag).
	Name string `json:"name"`
	Size int64  `json:"size"`
	Disk int64  `json:"disk"`
	// Changed is when its bytes or its name were last changed.
	Changed time.Time `json:"changed"`
	// Files are the entries of all snapshots that lead to it, as COMMIT/PATH.
	Files []string `json:"files"`

	hard bool // there is another hard link to it
}

// Foreign is a file of another tool.
type Foreign struct {
	Name     string    `json:"name"`
	Disk     int64     `json:"disk"`
	Modified time.Time `json:"modified"`
}

// leftover is a temporary name of ours whose writer died before it could be renamed.
type leftover struct {
	name string // inside the cache
	info fs.FileInfo
}

// Contents lists everything that the cache holds of models, sorted by repository. Folders
// that are links to elsewhere, and those of datasets and spaces, are not looked into. No
// blob is opened, and nothing is changed, but that owner files of dead processes go.
func (c *Cache) Contents() ([]Contents, error) {
	root, err := c.reading()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	folders, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, local(fmt.Errorf("listing cache %s: %w", c.dir, err))
	}
	var all []Contents
	for _, folder := range folders {
		repo, ok := folderRepo(folder.Name())
		if !ok || !folder.IsDir() {
			continue
		}
		one, err := c.contentsOf(root, repo)
		if err != nil {
			return nil, err
		}
		all = append(all, *one)
	}
	slices.SortFunc(all, func(a, b Contents) int { return cmp.Compare(a.Repo, b.Repo) })
	return all, nil
}

// contentsOf lists one repository.
func (c *Cache) contentsOf(root *os.Root, repo string) (*Contents, error) {
	folder, err := repoFolder(repo)
	if err != nil {
		return nil, err
	}
	partials, err := c.partialsOf(root, repo, folder+"/blobs")
	if err != nil {
		return nil, err
	}
	// JSON has empty lists as lists.
	out := &Contents{Repo: repo, folder: folder, Snapshots: []Snapshot{}, Blobs: []Blob{}, Foreign: []Foreign{}, Partials: append([]Partial{}, partials...)}
	for _, step := range []func(*os.Root) error{out.readBlobs, out.readRefs, func(r *os.Root) error { return out.readSnapshots(r, c.dir) }} {
		if err := step(root); err != nil {
			return nil, local(fmt.Errorf("listing %s in the cache: %w", repo, err))
		}
	}
	out.Busy = out.writer(root)
	return out, nil
}

// readBlobs lists the blobs folder.
func (c *Contents) readBlobs(root *os.Root) error {
	return eachFile(root, c.folder+"/blobs", func(name string, info fs.FileInfo) error {
		base := path.Base(name)
		_, _, ours := splitName(base)
		switch {
		case ours:
		case CheckEtag(base) == nil || !strings.Contains(base, "."):
			c.Blobs = append(c.Blobs, newBlob(base, info))
		default:
			c.Foreign = append(c.Foreign, Foreign{base, DiskSize(info), info.ModTime()})
		}
		return nil
	})
}

func newBlob(name string, info fs.FileInfo) Blob {
	links, changed := inode(info)
	return Blob{Name: name, Size: info.Size(), Disk: DiskSize(info), Changed: changed, Files: []string{}, hard: links > 1}
}

// readRefs notes which commits have names, as snapshots without entries: readSnapshots adds those.
func (c *Contents) readRefs(root *os.Root) error {
	top := c.folder + "/refs"
	return eachFile(root, top, func(name string, info fs.FileInfo) error {
		if c.leftover(name, info) || !info.Mode().IsRegular() || info.Size() > maxPath {
			return nil
		}
		text, err := root.ReadFile(name)
		if err != nil {
			return gone(err)
		}
		s := c.snapshot(strings.TrimSpace(string(text)))
		s.Refs = append(s.Refs, strings.TrimPrefix(name, top+"/"))
		return nil
	})
}

// snapshot returns the snapshot of a commit, which is made if there is none.
func (c *Contents) snapshot(commit string) *Snapshot {
	at, ok := slices.BinarySearchFunc(c.Snapshots, commit, func(s Snapshot, commit string) int { return cmp.Compare(s.Commit, commit) })
	if !ok {
		c.Snapshots = slices.Insert(c.Snapshots, at, Snapshot{Commit: commit, blobs: map[string]bool{}})
	}
	return &c.Snapshots[at]
}

// leftover notes a temporary name of ours.
func (c *Contents) leftover(name string, info fs.FileInfo) bool {
	nonce, ok := strings.CutPrefix(path.Base(name), tmpPrefix)
	if !ok || len(nonce) != 16 || !isHex(nonce) {
		return false
	}
	c.leftovers = append(c.leftovers, leftover{name, info})
	return true
}

// readSnapshots counts the entries of all commits and the links to each blob.
func (c *Contents) readSnapshots(root *os.Root, dir string) error {
	top := c.folder + "/snapshots"
	byName := map[string]*Blob{}
	for i := range c.Blobs {
		byName[c.Blobs[i].Name] = &c.Blobs[i]
	}
	folders, err := fs.ReadDir(root.FS(), top)
	if err != nil {
		return gone(err)
	}
	for _, folder := range folders {
		if folder.IsDir() {
			c.snapshot(folder.Name())
		}
	}
	return walk(root, top, func(name string, info fs.FileInfo) error {
		file := strings.TrimPrefix(name, top+"/")
		commit, _, _ := strings.Cut(file, "/")
		s := c.snapshot(commit)
		if info.ModTime().After(s.Changed) {
			s.Changed = info.ModTime()
		}
		if info.IsDir() || c.leftover(name, info) {
			return nil
		}
		s.Files++
		if info.Mode()&fs.ModeSymlink == 0 {
			s.Bytes, s.own = s.Bytes+info.Size(), s.own+DiskSize(info)
			return nil
		}
		target, err := root.Readlink(name)
		if err != nil {
			return gone(err)
		}
		s.leadsTo(byName[strings.TrimPrefix(inside(dir, name, target), c.folder+"/blobs/")], file)
		return nil
	})
}

// leadsTo counts an entry that is a link to a blob, nil for a link to anything else.
func (s *Snapshot) leadsTo(b *Blob, file string) {
	if b == nil {
		s.Missing++
		return
	}
	b.Files = append(b.Files, file)
	s.Bytes, s.blobs[b.Name] = s.Bytes+b.Size, true
}

// inside is where the link name leads to inside of the cache folder dir, "" if it leads
// elsewhere.
func inside(dir, name, target string) string {
	if !filepath.IsAbs(target) {
		return path.Join(path.Dir(name), filepath.ToSlash(target))
	}
	rel, err := filepath.Rel(dir, target)
	if err != nil {
		return ""
	}
	return filepath.ToSlash(rel)
}

// walk calls visit for everything below top, which need not exist, folders included.
func walk(root *os.Root, top string, visit func(name string, info fs.FileInfo) error) error {
	return fs.WalkDir(root.FS(), top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return gone(err)
		}
		info, err := d.Info()
		if err != nil || name == top {
			return gone(err)
		}
		return visit(name, info)
	})
}

// eachFile is walk without folders.
func eachFile(root *os.Root, top string, visit func(name string, info fs.FileInfo) error) error {
	return walk(root, top, func(name string, info fs.FileInfo) error {
		if info.IsDir() {
			return nil
		}
		return visit(name, info)
	})
}

// gone forgives what was removed while it was looked at.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// writer says who writes into the repository: an owner of ours, or a holder of one of the
// locks that huggingface_hub takes.
func (c *Contents) writer(root *os.Root) string {
	for _, p := range c.Partials {
		if p.Owner != nil {
			return p.Owner.String()
		}
	}
	busy := ""
	err := eachFile(root, ".locks/"+c.folder, func(name string, _ fs.FileInfo) error {
		if locked(root, name) {
			busy = "whoever holds " + name
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		return "an unknown tool: " + err.Error() // who cannot be seen may be there
	}
	return busy
}
