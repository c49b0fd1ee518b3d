package hubtest

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// modelJSON is the answer about a revision, with the fields of huggingface_hub's ModelInfo
// that clients read.
type modelJSON struct {
	ID        string        `json:"id"`
	ModelID   string        `json:"modelId"`
	Author    string        `json:"author,omitempty"`
	SHA       string        `json:"sha"`
	Private   bool          `json:"private"`
	Gated     any           `json:"gated"` // false or "auto"
	Disabled  bool          `json:"disabled"`
	Downloads int           `json:"downloads"`
	Likes     int           `json:"likes"`
	Tags      []string      `json:"tags"`
	CardData  cardJSON      `json:"cardData"`
	Siblings  []siblingJSON `json:"siblings"`
}

type cardJSON struct {
	License string `json:"license,omitempty"`
}

// siblingJSON is a file of a revision. Only blobs=true adds more than the name.
type siblingJSON struct {
	Name   string          `json:"rfilename"`
	Size   *int64          `json:"size,omitempty"`
	BlobID string          `json:"blobId,omitempty"`
	LFS    *revisionLFSSum `json:"lfs,omitempty"`
}

// revisionLFSSum and treeLFSSum are the same thing: the Hub calls the sum sha256 in one
// listing and oid in the other.
type revisionLFSSum struct {
	SHA256      string `json:"sha256"`
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

type treeLFSSum struct {
	OID         string `json:"oid"`
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

// treeJSON is an entry of the tree.
type treeJSON struct {
	Type string      `json:"type"`
	OID  string      `json:"oid"`
	Size int64       `json:"size"`
	LFS  *treeLFSSum `json:"lfs,omitempty"`
	Path string      `json:"path"`
}

// serveRevision answers with the repository's card and the names of its files.
func (h *Hub) serveRevision(w http.ResponseWriter, r *http.Request, repo *repo, s *snapshot) {
	model := modelJSON{
		ID: repo.name, ModelID: repo.name, SHA: s.commit, Private: repo.private, Gated: false,
		Tags: []string{}, CardData: cardJSON{License: s.license}, Siblings: []siblingJSON{},
	}
	if owner, _, ok := strings.Cut(repo.name, "/"); ok {
		model.Author = owner
	}
	if repo.gated {
		model.Gated = "auto"
	}
	if s.license != "" {
		model.Tags = append(model.Tags, "license:"+s.license)
	}
	blobs := isTrue(r.URL.Query().Get("blobs"))
	for _, e := range s.entries {
		if !e.dir {
			model.Siblings = append(model.Siblings, sibling(e, blobs))
		}
	}
	writeJSON(w, http.StatusOK, model)
}

func sibling(e entry, blobs bool) siblingJSON {
	out := siblingJSON{Name: e.path}
	if !blobs {
		return out
	}
	size := e.content.Size()
	out.Size, out.BlobID = &size, e.oid
	if e.lfs() {
		out.LFS = &revisionLFSSum{SHA256: e.sha256, Size: size, PointerSize: e.pointer}
	}
	return out
}

// serveTree answers with one page of the entries below a directory.
func (h *Hub) serveTree(w http.ResponseWriter, r *http.Request, repo *repo, s *snapshot, dir string) {
	query := r.URL.Query()
	found, ok := below(s.entries, dir, isTrue(query.Get("recursive")))
	if !ok {
		w.Header().Set("X-Repo-Commit", s.commit)
		refuse(w, http.StatusNotFound, "EntryNotFound", dir+" does not exist on \""+s.commit+"\"")
		return
	}
	start, ok := readCursor(query.Get("cursor"), len(found))
	if !ok {
		refuse(w, http.StatusBadRequest, "", "Invalid cursor")
		return
	}
	end := min(start+h.limit(query), len(found))
	page := []treeJSON{}
	for _, e := range found[start:end] {
		page = append(page, treeEntry(e))
	}
	if end < len(found) {
		w.Header().Set("Link", "<"+nextURL(r, end)+`>; rel="next"`)
	}
	writeJSON(w, http.StatusOK, page)
}

// limit is the page's size: the Hub's, or less where the client asks for less.
func (h *Hub) limit(query url.Values) int {
	if n, err := strconv.Atoi(query.Get("limit")); err == nil && n > 0 {
		return min(n, h.opts.pageSize)
	}
	return h.opts.pageSize
}

// below returns the entries inside a directory, "" for the root.
func below(entries []entry, dir string, recursive bool) (found []entry, ok bool) {
	ok = dir == ""
	for _, e := range entries {
		if e.path == dir {
			ok = e.dir
			continue
		}
		rest := e.path
		if dir != "" {
			var inside bool
			if rest, inside = strings.CutPrefix(e.path, dir+"/"); !inside {
				continue
			}
		}
		if recursive || !strings.Contains(rest, "/") {
			found = append(found, e)
		}
	}
	return found, ok
}

func treeEntry(e entry) treeJSON {
	if e.dir {
		return treeJSON{Type: "directory", OID: e.oid, Path: e.path}
	}
	out := treeJSON{Type: "file", OID: e.oid, Size: e.content.Size(), Path: e.path}
	if e.lfs() {
		out.LFS = &treeLFSSum{OID: e.sha256, Size: out.Size, PointerSize: e.pointer}
	}
	return out
}

// nextURL is the absolute address of the next page, as the real Hub gives it.
func nextURL(r *http.Request, start int) string {
	query := r.URL.Query()
	query.Set("cursor", base64.URLEncoding.EncodeToString([]byte(strconv.Itoa(start))))
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host + r.URL.EscapedPath() + "?" + query.Encode()
}

// readCursor is the opposite of nextURL's cursor.
func readCursor(text string, most int) (int, bool) {
	if text == "" {
		return 0, true
	}
	data, err := base64.URLEncoding.DecodeString(text)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(data))
	return n, err == nil && n >= 0 && n <= most
}

// isTrue reads a query's flag: Python clients send True.
func isTrue(text string) bool {
	yes, err := strconv.ParseBool(strings.ToLower(text))
	return err == nil && yes
}
