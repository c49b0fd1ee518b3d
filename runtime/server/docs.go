package server

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
)

// docsPage renders openapi.json with what it holds itself.
//
//go:embed docs.html
var docsPage []byte

// docsPolicy lets the page run its own script and ask this service, and nothing else.
var docsPolicy = "default-src 'none'; connect-src 'self'; style-src '" + inlineSum("style") + "'; script-src '" + inlineSum("script") + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// inlineSum is the source expression of the page's one inline element of a kind.
func inlineSum(kind string) string {
	_, rest, _ := strings.Cut(string(docsPage), "<"+kind+">")
	text, _, _ := strings.Cut(rest, "</"+kind+">")
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (s *Server) docs(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Security-Policy", docsPolicy)
	s.send(w, http.StatusOK, "text/html; charset=utf-8", docsPage)
}
