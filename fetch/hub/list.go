package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

const (
	// maxAnswer bounds one page of a listing in bytes. A page of the tree has up to 1,000
	// entries of about 300 bytes.
	maxAnswer = 32 << 20
	// maxFiles bounds a listing, and by it the memory for one.
	maxFiles = 200_000
	// wholeSiblings is how many files the revision answer is trusted to list completely;
	// huggingface_hub turns to the paginated tree above it (_snapshot_download.py).
	wholeSiblings = 1000
)

// List returns what a repository holds at a branch, tag or commit. It follows a rename:
// the listing has the new name. The answer is sorted, its names are safe to join to a
// directory, no name occurs twice or is a directory of another, and every file has a size
// and a sum.
//
// The Hub has two listings. The revision answer has all in one, with the licence; the tree
// has pages. The tree is asked where the first is refused without a reason of the Hub's own
// (proxies often know one only), is not complete, or is long. Without the first, the
// licence is "" and a commit must be given or come as X-Repo-Commit.
//
// Temporary failures are tried again, Config.RetryTries times in all for each request; a
// rate limit is waited for up to Config.RetryWait.
func (c *Client) List(ctx context.Context, repo, revision string) (manifests.Listing, error) {
	s := subject{op: "listing", repo: repo, revision: revision}
	for _, err := range []error{checkRepo(repo), checkRevision(revision)} {
		if err != nil {
			return manifests.Listing{}, err
		}
	}
	listing, complete, err := c.revision(ctx, s)
	switch {
	case err == nil && !complete:
		s.repo, s.revision = listing.Repo, listing.Commit
		err = c.tree(ctx, s, &listing)
	case unknownRoute(err):
		listing = manifests.Listing{Repo: repo}
		err = c.tree(ctx, s, &listing)
	}
	if err == nil {
		err = checkListing(&listing)
	}
	if err != nil {
		return manifests.Listing{}, fault.Wrap(listKind(err), "", err)
	}
	return listing, nil
}

// listKind keeps the kind of an error that has one; what is left is the server's doing.
func listKind(err error) fault.Kind {
	if k := fault.KindOf(err); k != fault.Internal {
		return k
	}
	return fault.Upstream
}

// unknownRoute reports whether a server refused in a way that says nothing about the
// repository.
func unknownRoute(err error) bool {
	var e *StatusError
	if !errors.As(err, &e) || e.Code != "" {
		return false
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return false
}

// revision asks for the listing that comes with the revision. complete is false where it
// cannot be relied on to have every file with size and sum.
func (c *Client) revision(ctx context.Context, s subject) (listing manifests.Listing, complete bool, err error) {
	segments := append([]string{"api", "models"}, strings.Split(s.repo, "/")...)
	page, err := c.page(ctx, s, c.url("blobs=true", append(segments, "revision", s.revision)...))
	if err != nil {
		return manifests.Listing{}, false, err
	}
	listing, complete, err = parseRevision(page.data)
	if err != nil {
		return manifests.Listing{}, false, fmt.Errorf("%s: %w", s, err)
	}
	if isCommit(s.revision) && listing.Commit != s.revision {
		return manifests.Listing{}, false, fmt.Errorf("%s: the answer is about commit %s", s, listing.Commit)
	}
	return listing, complete, nil
}

// tree fills in the files, page by page. Only the query of a next link is taken: a mirror
// may pass on links of the Hub behind it, and no request leaves the endpoint for one.
func (c *Client) tree(ctx context.Context, s subject, listing *manifests.Listing) error {
	segments := append([]string{"api", "models"}, strings.Split(s.repo, "/")...)
	u := c.url("recursive=true&expand=false", append(segments, "tree", s.revision)...)
	seen := map[string]bool{}
	listing.Files = nil
	for u != nil {
		if seen[u.RawQuery] {
			return fmt.Errorf("%s: the pages lead in a circle after %d files", s, len(listing.Files))
		}
		seen[u.RawQuery] = true
		page, err := c.page(ctx, s, u)
		if err != nil {
			return err
		}
		files, err := parseTree(page.data)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		listing.Files = append(listing.Files, files...)
		if len(listing.Files) > maxFiles {
			return fmt.Errorf("%s: more than %d files", s, maxFiles)
		}
		if err := identify(listing, s, page); err != nil {
			return err
		}
		if u, err = page.next(u); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// identify learns from a page of the tree which repository and commit it is about. A
// revision that moves between two pages would mix two commits.
func identify(listing *manifests.Listing, s subject, page page) error {
	if name := treeRepo(page.url.Path); isRepo(name) {
		listing.Repo = name
	}
	commit := page.header.Get("X-Repo-Commit")
	if isCommit(s.revision) {
		commit = s.revision
	}
	switch {
	case !isCommit(commit):
		return fault.Wrap(fault.Upstream, "give a full commit id instead of "+s.revision,
			fmt.Errorf("%s: %s does not say which commit this is", s, page.url.Host))
	case listing.Commit != "" && listing.Commit != commit:
		return fmt.Errorf("%s: the pages are of commits %s and %s", s, listing.Commit, commit)
	}
	listing.Commit = commit
	return nil
}

// treeRepo cuts the repository out of the path of a tree's URL, "" if it is not one.
func treeRepo(path string) string {
	_, rest, _ := strings.Cut(path, "/api/models/")
	repo, _, ok := strings.Cut(rest, "/tree/")
	if !ok {
		return ""
	}
	return repo
}

// page is one answer of the API.
type page struct {
	data   []byte
	header http.Header
	url    *url.URL // where it came from in the end
}

// next returns the address of the page behind this one, nil for the last.
func (p page) next(asked *url.URL) (*url.URL, error) {
	link, err := nextLink(p.header.Values("Link"))
	if err != nil || link == nil {
		return nil, err
	}
	u := *asked
	u.RawQuery = link.RawQuery
	return &u, nil
}

// page asks for one answer of the API, with retries.
func (c *Client) page(ctx context.Context, s subject, u *url.URL) (page, error) {
	waits := &pacing{curve: backoff.NewExponentialBackOff(), longest: c.cfg.RetryWait}
	waits.curve.InitialInterval = c.cfg.RetryBase
	waits.curve.Multiplier = 2
	waits.curve.MaxInterval = 8 * c.cfg.RetryBase
	var last error
	got, err := backoff.Retry(ctx, func() (page, error) {
		p, err := c.pageOnce(ctx, s, u)
		last, waits.asked = err, RetryAfter(err)
		if err != nil && !Temporary(err) {
			return page{}, backoff.Permanent(err)
		}
		return p, err
	}, backoff.WithBackOff(waits), backoff.WithMaxTries(uint(c.cfg.RetryTries)), backoff.WithMaxElapsedTime(0), backoff.WithNotify(c.onWait))
	if err != nil && ctx.Err() != nil {
		return page{}, fmt.Errorf("%s: %w", s, context.Cause(ctx))
	}
	if err != nil {
		return page{}, last
	}
	return got, nil
}

// onWait tells the caller about a wait, with the error as List would return it.
func (c *Client) onWait(err error, wait time.Duration) {
	if c.cfg.OnWait != nil {
		c.cfg.OnWait(err, wait)
	}
}

// pacing is the exponential curve, or what the server asked for where that is longer. It
// stops where the server asks for more than is accepted.
type pacing struct {
	curve   *backoff.ExponentialBackOff
	asked   time.Duration
	longest time.Duration
}

// NextBackOff implements backoff.BackOff.
func (p *pacing) NextBackOff() time.Duration {
	if p.asked > p.longest {
		return backoff.Stop
	}
	return max(p.curve.NextBackOff(), p.asked)
}

// Reset implements backoff.BackOff.
func (p *pacing) Reset() { p.curve.Reset() }

// pageOnce sends one request to the API and reads its answer.
func (c *Client) pageOnce(ctx context.Context, s subject, u *url.URL) (page, error) {
	a, err := c.get(ctx, s, u, http.Header{"Accept": {"application/json"}}, false)
	if err != nil {
		return page{}, err
	}
	defer a.discard()
	if a.resp.StatusCode != http.StatusOK {
		return page{}, c.statusError(s, a.resp, a.foreign)
	}
	if kind, _, _ := mime.ParseMediaType(a.resp.Header.Get("Content-Type")); kind != "application/json" {
		return page{}, fault.Wrap(fault.Upstream, "check HF_ENDPOINT; a proxy or a login page may stand in front of it",
			fmt.Errorf("%s: %s answers with %q instead of JSON", s, a.resp.Request.URL.Host, clip(kind)))
	}
	reader := &stream{ctx: ctx, s: s, a: a, left: a.resp.ContentLength}
	data, err := io.ReadAll(io.LimitReader(reader, maxAnswer+1))
	if err != nil {
		return page{}, err
	}
	if len(data) > maxAnswer {
		return page{}, fmt.Errorf("%s: the answer is over %d bytes", s, maxAnswer)
	}
	return page{data: data, header: a.resp.Header, url: a.resp.Request.URL}, nil
}
