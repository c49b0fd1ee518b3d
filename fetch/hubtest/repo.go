package hubtest

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
)

// Repo describes a model repository at one commit.
type Repo struct {
	// Name is "owner/name".
	Name string
	// RenamedFrom are old names, which redirect.
	RenamedFrom []string
	// License is declared in the model card, such as "apache-2.0"; "" for none.
	License string
	// Branch is moved to the new commit. Default: main.
	Branch string
	// Commit is the id that the Hub claims for these files, 40 hex digits, so that a pinned
	// manifest can be served by stand-ins. Default: the id that git would compute.
	Commit string
	// Files maps paths to files. Names are not checked: a hostile Hub can be built.
	Files map[string]File
	// Gated repositories can be listed by anybody and read with a token that is let in.
	Gated bool
	// Private repositories do not exist for those who are not let in.
	Private bool
}

// File is one file of a repository.
type File struct {
	Content Content
	// LFS files are served by the CDN and identified by sha256; others by the Hub itself,
	// identified by their git blob id.
	LFS bool
	// SHA256 is what the Hub claims for an LFS file, 64 hex digits. Where it is empty, Add
	// reads the content once to compute it. It is not checked.
	SHA256 string
}

// repo is a repository with all commits that were added.
type repo struct {
	name           string
	gated, private bool
	branches       map[string]string // branch → commit
	commits        map[string]*snapshot
}

// snapshot is a repository at one commit.
type snapshot struct {
	commit, license string
	entries         []entry // files and directories, sorted by path
}

// entry is one file or directory of a snapshot.
type entry struct {
	path    string
	dir     bool
	oid     string // git id: of the blob, of the LFS pointer, or of the tree
	sha256  string // LFS files only
	pointer int    // size of the LFS pointer
	content Content
}

func (e entry) lfs() bool { return e.sha256 != "" }

// object is a file as the CDN knows it.
type object struct {
	repo string
	file entry
}

// Add adds a repository, or a new commit to one that is there, and returns the commit's
// id: r.Commit, or 40 hex digits that depend on name, paths and contents alone.
func (h *Hub) Add(r Repo) (commit string, err error) {
	snap, err := newSnapshot(r)
	if err != nil {
		return "", err
	}
	if r.Commit != "" {
		snap.commit = r.Commit
	}
	if r.Branch == "" {
		r.Branch = "main"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	known, ok := h.repos[r.Name]
	if !ok {
		known = &repo{name: r.Name, branches: map[string]string{}, commits: map[string]*snapshot{}}
		h.repos[r.Name] = known
	}
	known.gated, known.private = r.Gated, r.Private
	known.branches[r.Branch] = snap.commit
	known.commits[snap.commit] = snap
	for _, old := range r.RenamedFrom {
		h.aliases[old] = r.Name
	}
	for _, e := range snap.entries {
		if e.lfs() {
			h.objects[cdnPath(r.Name, e)] = object{repo: r.Name, file: e}
		}
	}
	return snap.commit, nil
}

// close closes the contents of all commits.
func (r *repo) close() error {
	var errs []error
	for _, s := range r.commits {
		for _, e := range s.entries {
			if !e.dir {
				errs = append(errs, closeContent(e.content))
			}
		}
	}
	return errors.Join(errs...)
}

// find returns the commit that a branch or a full commit id means.
func (r *repo) find(revision string) (*snapshot, bool) {
	if commit, ok := r.branches[revision]; ok {
		revision = commit
	}
	s, ok := r.commits[revision]
	return s, ok
}

// file returns a file by its path.
func (s *snapshot) file(path string) (entry, bool) {
	i, ok := slices.BinarySearchFunc(s.entries, path, func(e entry, p string) int { return strings.Compare(e.path, p) })
	if !ok || s.entries[i].dir {
		return entry{}, false
	}
	return s.entries[i], true
}

// newSnapshot computes all ids of a repository.
func newSnapshot(r Repo) (*snapshot, error) {
	s := &snapshot{license: r.License}
	root := &tree{}
	for path, f := range r.Files {
		e, err := newEntry(path, f)
		if err != nil {
			return nil, fmt.Errorf("adding %s to the loopback Hub: %w", r.Name, err)
		}
		s.entries = append(s.entries, e)
		root.put(strings.Split(path, "/"), e.oid)
	}
	id := root.id("", func(path, oid string) {
		s.entries = append(s.entries, entry{path: path, dir: true, oid: oid})
	})
	slices.SortFunc(s.entries, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	s.commit = commitID(id, r.Name)
	return s, nil
}

// newEntry computes a file's ids.
func newEntry(path string, f File) (entry, error) {
	e := entry{path: path, content: f.Content}
	if !f.LFS {
		oid, err := blobID(f.Content)
		e.oid = oid
		return e, err
	}
	e.sha256 = f.SHA256
	if e.sha256 == "" {
		sum, err := sumOf(sha256.New(), f.Content)
		if err != nil {
			return e, fmt.Errorf("reading %s: %w", path, err)
		}
		e.sha256 = sum
	}
	// The git-lfs pointer file, version 1 (git-lfs, docs/spec.md).
	pointer := fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", e.sha256, f.Content.Size())
	e.pointer = len(pointer)
	e.oid = objectID("blob", []byte(pointer))
	return e, nil
}

// blobID is git's id of a file's content.
func blobID(c Content) (string, error) {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", c.Size())
	return sumOf(h, c)
}

// sumOf adds a content to a hash and returns the hex digest.
func sumOf(h hash.Hash, c Content) (string, error) {
	n, err := io.Copy(h, io.NewSectionReader(c, 0, c.Size()))
	if err == nil && n != c.Size() {
		err = fmt.Errorf("content has %d bytes, its Size says %d", n, c.Size())
	}
	return hex.EncodeToString(h.Sum(nil)), err
}
