package hubtest

import (
	"net/http"
	"net/url"
	"strings"
)

// Kind says what a request is about.
type Kind string

// The kinds of requests.
const (
	Revision Kind = "revision" // /api/models/{repo}[/revision/{revision}]
	Tree     Kind = "tree"     // /api/models/{repo}/tree/{revision}[/{path}]
	Resolve  Kind = "resolve"  // /{repo}/resolve/{revision}/{path}
	Cache    Kind = "cache"    // /api/resolve-cache/models/{repo}/{commit}/{path}
	CDN      Kind = "cdn"      // the bytes of an LFS file at the CDN
	Other    Kind = "other"
)

// route is a Hub request taken apart.
type route struct {
	kind           Kind
	repo, revision string
	path           string // in the repository
}

// parseRoute reads a Hub path without its prefix. A repository's name has one segment or
// two, so the keyword behind it decides.
func parseRoute(escaped string) route {
	segments, ok := unescape(strings.Split(strings.TrimPrefix(escaped, "/"), "/"))
	if !ok {
		return route{kind: Other}
	}
	switch {
	case hasPrefix(segments, "api", "resolve-cache", "models"):
		return parseCache(segments[3:])
	case hasPrefix(segments, "api", "models"):
		return parseAPI(segments[2:])
	}
	if at := keyword(segments, "resolve"); at > 0 && len(segments) > at+2 {
		return route{Resolve, join(segments[:at]), segments[at+1], join(segments[at+2:])}
	}
	return route{kind: Other}
}

// parseAPI reads what follows /api/models.
func parseAPI(segments []string) route {
	if at := keyword(segments, "revision"); at > 0 && len(segments) == at+2 {
		return route{Revision, join(segments[:at]), segments[at+1], ""}
	}
	if at := keyword(segments, "tree"); at > 0 && len(segments) > at+1 {
		return route{Tree, join(segments[:at]), segments[at+1], join(segments[at+2:])}
	}
	if len(segments) <= 2 && segments[0] != "" {
		return route{Revision, join(segments), "main", ""}
	}
	return route{kind: Other}
}

// parseCache reads what follows /api/resolve-cache/models: here the commit, 40 hex
// digits, takes the keyword's place.
func parseCache(segments []string) route {
	for at := 1; at <= 2 && at+1 < len(segments); at++ {
		if len(segments[at]) == 40 {
			return route{Cache, join(segments[:at]), segments[at], join(segments[at+1:])}
		}
	}
	return route{kind: Other}
}

// keyword returns where the word follows a repository's name, 0 if it does not.
func keyword(segments []string, word string) int {
	for at := 1; at <= 2 && at < len(segments); at++ {
		if segments[at] == word {
			return at
		}
	}
	return 0
}

func hasPrefix(segments []string, words ...string) bool {
	if len(segments) <= len(words) {
		return false
	}
	for i, w := range words {
		if segments[i] != w {
			return false
		}
	}
	return true
}

func join(segments []string) string { return strings.Join(segments, "/") }

// unescape decodes each segment, so that refs%2Fpr%2F1 stays one.
func unescape(segments []string) ([]string, bool) {
	out := make([]string, len(segments))
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		out[i] = plain
	}
	return out, true
}

// escape is the opposite of unescape for a path.
func escape(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return join(segments)
}

// route takes a Hub request apart.
func (h *Hub) route(r *http.Request) route {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), h.opts.prefix)
	if !ok {
		return route{kind: Other}
	}
	return parseRoute(rest)
}

// serveHub answers at the Hub's origin.
func (h *Hub) serveHub(w http.ResponseWriter, r *http.Request) {
	to := h.route(r)
	if to.kind == Other {
		refuse(w, http.StatusNotFound, "", "Sorry, we can't find the page you are looking for.")
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "", "Method not allowed")
		return
	}
	if name, ok := h.renamed(to.repo); ok {
		redirectRenamed(w, r, to.repo, name)
		return
	}
	repo, ok := h.admit(w, r, to)
	if !ok {
		return
	}
	h.mu.RLock()
	snap, ok := repo.find(to.revision)
	h.mu.RUnlock()
	if !ok {
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+to.revision)
		return
	}
	switch to.kind {
	case Revision:
		h.serveRevision(w, r, repo, snap)
	case Tree:
		h.serveTree(w, r, repo, snap, to.path)
	default:
		h.serveFile(w, r, repo, snap, to)
	}
}

// renamed returns the present name of a repository that had another one.
func (h *Hub) renamed(name string) (string, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	now, ok := h.aliases[name]
	return now, ok
}

// redirectRenamed answers as the real Hub does: 307 to the same origin, with neither ETag
// nor commit.
func redirectRenamed(w http.ResponseWriter, r *http.Request, old, now string) {
	to := strings.Replace(r.URL.EscapedPath(), "/"+escape(old)+"/", "/"+escape(now)+"/", 1)
	if to == r.URL.EscapedPath() { // the name ends the path
		to = strings.TrimSuffix(to, escape(old)) + escape(now)
	}
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	plain(w, http.StatusTemporaryRedirect, "Temporary Redirect. Redirecting to "+to)
}
