package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// revisionJSON is the answer of /api/models/{repo}/revision/{revision}?blobs=true, as far
// as it is used (huggingface_hub, hf_api.py, ModelInfo and RepoSibling).
type revisionJSON struct {
	ID       string `json:"id"`
	SHA      string `json:"sha"`
	Siblings []struct {
		Name   string  `json:"rfilename"`
		Size   *int64  `json:"size"`
		BlobID string  `json:"blobId"`
		LFS    *lfsSum `json:"lfs"`
	} `json:"siblings"`
	CardData json.RawMessage `json:"cardData"`
	Tags     []string        `json:"tags"`
}

// lfsSum is the LFS part of a file. The same sum is called sha256 in the one listing and
// oid in the other.
type lfsSum struct {
	SHA256 string `json:"sha256"`
	OID    string `json:"oid"`
	Size   *int64 `json:"size"`
}

// treeJSON is an entry of /api/models/{repo}/tree/{revision} (hf_api.py, RepoFile).
type treeJSON struct {
	Type string  `json:"type"`
	Path string  `json:"path"`
	Size *int64  `json:"size"`
	OID  string  `json:"oid"`
	LFS  *lfsSum `json:"lfs"`
}

// parseRevision reads the revision listing. complete is false where files are missing
// their size or sum, as without blobs=true, or may be missing altogether.
func parseRevision(data []byte) (listing manifests.Listing, complete bool, err error) {
	var answer revisionJSON
	if err := json.Unmarshal(data, &answer); err != nil {
		return manifests.Listing{}, false, fmt.Errorf("reading the revision's JSON: %w", err)
	}
	if !isRepo(answer.ID) {
		return manifests.Listing{}, false, fmt.Errorf("reading the revision's repository: %q is not a name", clip(answer.ID))
	}
	if !isCommit(answer.SHA) {
		return manifests.Listing{}, false, fmt.Errorf("reading the revision's commit: %q is not a commit id", clip(answer.SHA))
	}
	listing = manifests.Listing{Repo: answer.ID, Commit: answer.SHA, License: license(answer.CardData, answer.Tags)}
	complete = len(answer.Siblings) > 0 && len(answer.Siblings) < wholeSiblings
	for _, f := range answer.Siblings {
		file, known, err := newFile(f.Name, f.Size, f.BlobID, f.LFS, lfsSum.sha256OfRevision)
		if err != nil {
			return manifests.Listing{}, false, err
		}
		complete = complete && known
		listing.Files = append(listing.Files, file)
	}
	return listing, complete, nil
}

// parseTree reads one page of the tree. Directories are left out: their files are listed.
func parseTree(data []byte) ([]manifests.File, error) {
	var entries []treeJSON
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("reading the tree's JSON: %w", err)
	}
	var files []manifests.File
	for _, e := range entries {
		if e.Type != "file" {
			continue
		}
		file, known, err := newFile(e.Path, e.Size, e.OID, e.LFS, lfsSum.sha256OfTree)
		if err == nil && !known {
			err = fmt.Errorf("reading %s: the listing has no size or no sum", e.Path)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

func (l lfsSum) sha256OfRevision() string { return l.SHA256 }
func (l lfsSum) sha256OfTree() string     { return l.OID }

// newFile checks one entry. known is false where its size or sum is missing; an error is
// what is there but wrong.
func newFile(name string, size *int64, oid string, lfs *lfsSum, sum func(lfsSum) string) (f manifests.File, known bool, err error) {
	if err := manifests.CheckPath(name); err != nil {
		return f, false, fmt.Errorf("reading a file name: %w", err)
	}
	f.Path = name
	if size == nil {
		return f, false, nil
	}
	f.Size = *size
	if lfs == nil {
		f.SHA1 = oid
	} else {
		f.SHA256 = sum(*lfs)
	}
	switch {
	case f.Size < 0:
		return f, false, fmt.Errorf("reading %s: its size is %d", name, f.Size)
	case lfs != nil && lfs.Size != nil && *lfs.Size != f.Size:
		return f, false, fmt.Errorf("reading %s: its size is %d, its LFS size %d", name, f.Size, *lfs.Size)
	case f.SHA1 != "" && !isHex(f.SHA1, 40):
		return f, false, fmt.Errorf("reading %s: its blob id %q is not 40 hex digits", name, clip(f.SHA1))
	case f.SHA256 != "" && !isHex(f.SHA256, 64):
		return f, false, fmt.Errorf("reading %s: its sha256 %q is not 64 hex digits", name, clip(f.SHA256))
	}
	return f, f.SHA1 != "" || f.SHA256 != "", nil
}

// license returns what the model card declares, else what the Hub derived as a tag. A card
// may declare one licence, a list, or "other" with a name of its own.
func license(card json.RawMessage, tags []string) string {
	var declared struct {
		License any    `json:"license"`
		Name    string `json:"license_name"`
	}
	// A card is free text of the repository's owner: one that does not parse declares
	// nothing, and the tag is asked.
	if json.Unmarshal(card, &declared) == nil {
		switch l := declared.License.(type) {
		case string:
			if l == "other" && declared.Name != "" {
				return oneLine(declared.Name)
			}
			if l != "" {
				return oneLine(l)
			}
		case []any:
			if text := joinStrings(l); text != "" {
				return oneLine(text)
			}
		}
	}
	for _, tag := range tags {
		if l, ok := strings.CutPrefix(tag, "license:"); ok && l != "" {
			return oneLine(l)
		}
	}
	return ""
}

// joinStrings joins the strings of a JSON list.
func joinStrings(list []any) string {
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return strings.Join(out, ", ")
}

// oneLine makes foreign text fit for a label or a table.
func oneLine(text string) string {
	return clip(strings.Join(strings.Fields(text), " "))
}

// checkListing sorts the files and refuses two of one name, and a file that another one
// needs as a directory.
func checkListing(l *manifests.Listing) error {
	slices.SortFunc(l.Files, func(a, b manifests.File) int { return strings.Compare(a.Path, b.Path) })
	names := make(map[string]bool, len(l.Files))
	for _, f := range l.Files {
		if names[f.Path] {
			return fmt.Errorf("listing %s@%s: %s occurs twice", l.Repo, l.Commit, f.Path)
		}
		names[f.Path] = true
	}
	for _, f := range l.Files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if names[dir] {
				return fmt.Errorf("listing %s@%s: %s is a file and a directory of %s", l.Repo, l.Commit, dir, f.Path)
			}
		}
	}
	if !isCommit(l.Commit) {
		return errors.New("listing " + l.Repo + ": there is no commit")
	}
	return nil
}
