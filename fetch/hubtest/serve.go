package hubtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// serveFile answers for a file at the Hub's origin: with a redirect to the CDN or to the
// cache, or with the bytes.
func (h *Hub) serveFile(w http.ResponseWriter, r *http.Request, repo *repo, s *snapshot, to route) {
	w.Header().Set("X-Repo-Commit", s.commit)
	e, ok := s.file(to.path)
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
	case h.opts.direct:
		h.serveBytes(w, r, e, etagOf(e))
	case e.lfs():
		h.redirectCDN(w, repo, e)
	case to.kind == Resolve:
		h.redirectCache(w, r, repo, s, e)
	default:
		w.Header().Set("Cache-Control", "public, max-age=3600")
		h.serveBytes(w, r, e, etagOf(e))
	}
}

// etagOf is the Hub's own etag of a file.
func etagOf(e entry) string {
	if e.lfs() {
		return e.sha256
	}
	return e.oid
}

// redirectCDN sends a client to the signed URL. What the Hub knows about the file is on
// this answer and on no later one.
func (h *Hub) redirectCDN(w http.ResponseWriter, repo *repo, e entry) {
	header := w.Header()
	header.Set("X-Linked-Size", strconv.FormatInt(e.content.Size(), 10))
	header.Set("X-Linked-ETag", strconv.Quote(e.sha256))
	header.Set("Accept-Ranges", "bytes")
	header.Set("Cache-Control", "no-store")
	to := h.cdn.url + h.sign(cdnPath(repo.name, e), time.Now())
	header.Set("Location", to)
	plain(w, http.StatusFound, "Found. Redirecting to "+to)
}

// redirectCache sends a client to the small file's own address on the same origin. As the
// real one, its query is odd: the old path as a key without value, and the etag.
func (h *Hub) redirectCache(w http.ResponseWriter, r *http.Request, repo *repo, s *snapshot, e entry) {
	to := fmt.Sprintf("%s/api/resolve-cache/models/%s/%s/%s?%s=&etag=%s", h.opts.prefix,
		escape(repo.name), s.commit, escape(e.path), url.QueryEscape(r.URL.Path), url.QueryEscape(strconv.Quote(e.oid)))
	w.Header().Set("Location", to)
	plain(w, http.StatusTemporaryRedirect, "Temporary Redirect. Redirecting to "+to)
}

// serveBytes answers with a file's bytes or a range of them.
func (h *Hub) serveBytes(w http.ResponseWriter, r *http.Request, e entry, etag string) {
	reader, done, err := open(e.content)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "", "Internal Error")
		return
	}
	defer done()
	name := path.Base(e.path)
	header := w.Header()
	header.Set("ETag", strconv.Quote(etag))
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Disposition", fmt.Sprintf("inline; filename*=UTF-8''%s; filename=%q;", url.PathEscape(name), name))
	http.ServeContent(w, r, "", time.Time{}, reader)
}

// cdnPath is where the CDN has a file. The last part is a hash of the file, but not its
// sha256: storage has hashes of its own.
func cdnPath(repo string, e entry) string {
	return "/xet-bridge-us/" + otherHash("repo", repo)[:24] + "/" + otherHash("file", e.sha256)
}

// otherHash is a 64 hex digit hash that is no sum of any file.
func otherHash(kind, text string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + text))
	return hex.EncodeToString(sum[:])
}

// sign adds an expiring signature to a CDN path.
func (h *Hub) sign(path string, now time.Time) string {
	expires := strconv.FormatInt(now.Add(h.opts.ttl).UnixNano(), 10)
	generation := strconv.FormatInt(h.generation.Load(), 10)
	query := url.Values{
		"X-Amz-Algorithm":     {"AWS4-HMAC-SHA256"},
		"X-Amz-Expires":       {expires},
		"X-Amz-SignedHeaders": {"host"},
		"X-Amz-Generation":    {generation},
		"X-Amz-Signature":     {h.signature(path, expires, generation)},
	}
	return path + "?" + query.Encode()
}

func (h *Hub) signature(parts ...string) string {
	mac := hmac.New(sha256.New, h.key)
	mac.Write([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(mac.Sum(nil))
}

// honoured checks a CDN request's signature and its time.
func (h *Hub) honoured(r *http.Request, now time.Time) bool {
	query := r.URL.Query()
	expires, generation := query.Get("X-Amz-Expires"), query.Get("X-Amz-Generation")
	want := h.signature(r.URL.Path, expires, generation)
	if !hmac.Equal([]byte(want), []byte(query.Get("X-Amz-Signature"))) {
		return false
	}
	at, err := strconv.ParseInt(expires, 10, 64)
	return err == nil && now.UnixNano() < at && generation == strconv.FormatInt(h.generation.Load(), 10)
}

// serveCDN answers at the CDN's origin, in the manner of a storage service.
func (h *Hub) serveCDN(w http.ResponseWriter, r *http.Request) {
	h.mu.RLock()
	o, ok := h.objects[r.URL.Path]
	h.mu.RUnlock()
	switch {
	case r.Header.Get("Authorization") != "":
		storageError(w, http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed")
	case !h.honoured(r, time.Now()):
		storageError(w, http.StatusForbidden, "AccessDenied", "Request has expired")
	case !ok:
		storageError(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	default:
		h.serveBytes(w, r, o.file, path.Base(r.URL.Path))
	}
}

// storageError is a refusal in the XML of storage services.
func storageError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}
