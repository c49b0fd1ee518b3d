package hubtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// admit finds the repository and decides whether the request may see it; else it answers.
func (h *Hub) admit(w http.ResponseWriter, r *http.Request, to route) (*repo, bool) {
	granted, known, sent := h.grant(r)
	if sent && !known {
		refuse(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
		return nil, false
	}
	h.mu.RLock()
	repo, ok := h.repos[to.repo]
	h.mu.RUnlock()
	switch {
	case !ok || repo.private && granted != everything:
		h.missing(w, sent)
	case repo.gated && granted != everything && to.kind != Revision && to.kind != Tree:
		h.gated(w, to.repo, sent)
	default:
		return repo, true
	}
	return nil, false
}

// grant reads the request's token.
func (h *Hub) grant(r *http.Request) (g grant, known, sent bool) {
	token, sent := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !sent {
		return nothing, false, r.Header.Get("Authorization") != ""
	}
	if len(h.opts.tokens) == 0 {
		return nothing, true, true
	}
	g, known = h.opts.tokens[token]
	return g, known, true
}

// missing answers for a repository that is not there, or looks so: without a token as for
// private and gated ones, by a 401 without a code.
func (h *Hub) missing(w http.ResponseWriter, sent bool) {
	if sent {
		refuse(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="Authentication required", charset="UTF-8"`)
	refuse(w, http.StatusUnauthorized, "", "Invalid username or password.")
}

// gated answers for the files of a gated repository.
func (h *Hub) gated(w http.ResponseWriter, name string, sent bool) {
	if sent {
		refuse(w, http.StatusForbidden, "GatedRepo", fmt.Sprintf(
			"Access to model %s is restricted and you are not in the authorized list. Visit %s/%s to ask for access.", name, h.URL(), name))
		return
	}
	refuse(w, http.StatusUnauthorized, "GatedRepo", fmt.Sprintf(
		"Access to model %s is restricted. You must have access to it and be authenticated to access it. Please log in.", name))
}

// refuse answers with an error as the real Hub does: code and message as headers, and the
// message as JSON.
func refuse(w http.ResponseWriter, status int, code, message string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	writeJSON(w, status, map[string]string{"error": message})
}

// plain answers with a line of text.
func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // an error is the client's going away
}

// writeJSON answers with JSON. The values are this package's own and always marshal.
func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic("hubtest: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data)
}
