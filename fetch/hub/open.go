package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Body is a stretch of a file as it arrives. Read and Close are not safe for concurrent
// use with each other; several bodies are.
type Body struct {
	io.ReadCloser
	// Offset is the place of the first byte in the file. It is the requested offset, or 0
	// where the server ignored the Range: then the body is the file from its start.
	Offset int64
	// Length is how many bytes the body has, -1 if unknown. A body that ends before is a
	// StreamError around io.ErrUnexpectedEOF; it never has more. It can be shorter than
	// what was asked for.
	Length int64
	// Size is the size of the whole file, -1 if unknown.
	Size int64
	// ETag is the sha256 of an LFS file (64 hex digits) or the git blob id of a small file
	// (40), as the Hub says, "" if it does not. It is never the CDN's.
	ETag string
	// Commit is the commit that the Hub resolved, "" if it does not say.
	Commit string
}

// staleTries bounds how often Open resolves a file anew because a remembered URL was
// refused; more than one happens only when other calls refresh it at the same time.
const staleTries = 3

// Open asks for length bytes of a file from offset, or for all to its end when length is
// negative. A range that begins behind the end is a StatusError 416 with the file's size.
// The context covers the body too. Open does not retry; errors have Temporary and
// RetryAfter.
func (c *Client) Open(ctx context.Context, repo, commit, path string, offset, length int64) (*Body, error) {
	s := subject{"opening", repo, commit, path}
	if err := checkOpen(s, offset, length); err != nil {
		return nil, err
	}
	loc := c.location(s)
	for try := 1; ; try++ {
		from, err := loc.acquire(ctx)
		if err != nil {
			return nil, streamError(ctx, s, c.endpoint.Host, err)
		}
		a, err := c.openAt(ctx, s, from, offset, length)
		if err != nil {
			loc.forget(from)
			return nil, err
		}
		loc.settle(from, a)
		if from.remembered() && refused(a.resp.StatusCode) && try < staleTries {
			a.close()
			continue
		}
		return c.body(ctx, s, a, offset, length)
	}
}

// checkOpen refuses arguments that no server should see.
func checkOpen(s subject, offset, length int64) error {
	for _, err := range []error{checkRepo(s.repo), checkRevision(s.revision)} {
		if err != nil {
			return err
		}
	}
	if err := manifests.CheckPath(s.path); err != nil {
		return fault.Wrap(fault.Usage, "", fmt.Errorf("opening a file of %s: %w", s.repo, err))
	}
	if offset < 0 || length == 0 {
		return fmt.Errorf("%s: offset is %d and length %d, no server has such bytes", s, offset, length)
	}
	return nil
}

// openAt sends the request to a remembered URL, or to the Hub.
func (c *Client) openAt(ctx context.Context, s subject, from spot, offset, length int64) (*answer, error) {
	header := http.Header{}
	if offset > 0 || length > 0 {
		header.Set("Range", rangeHeader(offset, length))
	}
	if from.remembered() {
		return c.get(ctx, s, from.url, header, true)
	}
	segments := append(strings.Split(s.repo, "/"), "resolve", s.revision)
	return c.get(ctx, s, c.url("", append(segments, strings.Split(s.path, "/")...)...), header, false)
}

// rangeHeader is a Range of one stretch (RFC 9110, 14.2).
func rangeHeader(offset, length int64) string {
	text := "bytes=" + strconv.FormatInt(offset, 10) + "-"
	if length > 0 && offset+length > offset {
		text += strconv.FormatInt(offset+length-1, 10)
	}
	return text
}

// refused reports whether a signed URL is no longer honoured. Storage services say so by
// different codes; 416 and 429 are about the request.
func refused(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return true
	}
	return false
}

// body turns an answer into a Body, or into the error that it means.
func (c *Client) body(ctx context.Context, s subject, a *answer, offset, length int64) (*Body, error) {
	b := &Body{Offset: offset, Length: -1, Size: a.facts.size, ETag: a.facts.etag, Commit: a.facts.commit}
	var err error
	switch a.resp.StatusCode {
	case http.StatusOK:
		err = b.whole(a.resp)
	case http.StatusPartialContent:
		err = b.part(a.resp, length)
	default:
		defer a.close()
		return nil, c.statusError(s, a.resp, a.foreign)
	}
	if err == nil && isCommit(s.revision) && b.Commit != "" && b.Commit != s.revision {
		err = fmt.Errorf("the answer is of commit %s", b.Commit)
	}
	if enc := a.resp.Header.Get("Content-Encoding"); err == nil && enc != "" && !strings.EqualFold(enc, "identity") {
		err = fmt.Errorf("the bytes are encoded as %q, asked for identity", clip(enc))
	}
	if err != nil {
		a.discard()
		return nil, fault.Wrap(fault.Upstream, "a proxy may change the answers", fmt.Errorf("%s: %s: %w", s, a.resp.Request.URL.Host, err))
	}
	b.ReadCloser = &stream{ctx: ctx, s: s, a: a, left: b.Length}
	return b, nil
}

// whole reads a 200: all of the file, whatever was asked for.
func (b *Body) whole(resp *http.Response) error {
	b.Offset, b.Length = 0, resp.ContentLength
	if b.Length < 0 {
		b.Length = b.Size
	}
	if b.Size >= 0 && b.Length != b.Size {
		return fmt.Errorf("the answer has %d bytes, the Hub says the file has %d", b.Length, b.Size)
	}
	b.Size = b.Length
	return nil
}

// part reads a 206. Without a Content-Range, as some proxies answer, it can only be what
// was asked for; its length must then fit.
func (b *Body) part(resp *http.Response, length int64) error {
	text := resp.Header.Get("Content-Range")
	if text == "" {
		return b.bare(resp, length)
	}
	got, err := parseContentRange(text)
	if err != nil {
		return err
	}
	have := got.last - got.first + 1
	switch {
	case got.first != b.Offset || length >= 0 && have > length:
		return fmt.Errorf("the answer is bytes %d-%d, asked for %d from %d", got.first, got.last, length, b.Offset)
	case resp.ContentLength >= 0 && resp.ContentLength != have:
		return fmt.Errorf("the answer has %d bytes, its Content-Range %d", resp.ContentLength, have)
	case b.Size >= 0 && got.total >= 0 && got.total != b.Size:
		return fmt.Errorf("the file has %d bytes, the Hub says %d", got.total, b.Size)
	}
	b.Length = have
	b.Size = max(b.Size, got.total)
	return nil
}

// bare reads a 206 without Content-Range.
func (b *Body) bare(resp *http.Response, length int64) error {
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "multipart/") {
		return errors.New("the answer is in several parts, asked for one")
	}
	b.Length = resp.ContentLength
	if length >= 0 && b.Length > length {
		return fmt.Errorf("the answer has %d bytes without a Content-Range, asked for %d", b.Length, length)
	}
	if b.Length < 0 {
		b.Length = length
	}
	return nil
}

// stream is the reader of a Body: it watches for silence and for an early end.
type stream struct {
	ctx  context.Context // the caller's
	s    subject
	a    *answer
	left int64 // -1 unknown
}

// Read implements io.Reader.
func (r *stream) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if r.left > 0 && int64(len(p)) > r.left {
		p = p[:r.left]
	}
	r.a.watch.start()
	n, err := r.a.resp.Body.Read(p)
	r.a.watch.stop()
	if r.left > 0 {
		r.left -= int64(n)
	}
	switch {
	case err == nil || r.left == 0:
		return n, nil
	case errors.Is(err, io.EOF) && r.left < 0:
		return n, io.EOF
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, streamError(r.ctx, r.s, r.a.resp.Request.URL.Host, r.a.watch.reason(err))
}

// Close implements io.Closer. It does not read on: the rest of a range can be large.
func (r *stream) Close() error {
	r.a.discard()
	return nil
}
