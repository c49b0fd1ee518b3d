package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// noRevision makes a Hub that knows the tree only, as some proxies do.
func noRevision() hubtest.Fault {
	return hubtest.Fault{Kind: hubtest.Revision, Effect: hubtest.Status(http.StatusNotFound)}
}

func list(c *hub.Client, revision string) (manifests.Listing, error) {
	return c.List(context.Background(), repoName, revision)
}

func TestList(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	got, err := list(connect(t, hub.Config{Endpoint: h.URL()}), "main")
	require.NoError(t, err)
	require.Equal(t, repoName, got.Repo)
	require.Equal(t, commit, got.Commit)
	require.Equal(t, "apache-2.0", got.License)
	require.Equal(t, []manifests.File{
		{Path: "README.md", Size: 8, SHA1: "e339422d0f5def57816b7df65a4fd8979edc765d"},
		{Path: "a b/ü#?%.json", Size: 2, SHA1: "9e26dfeeb6e641a33dae4961196235bdb965b21b"},
		{Path: small, Size: 22, SHA1: "d0908ea089e161eed9eb7cf10dada5d08d7cfb09"},
		{Path: "empty", Size: 0, SHA1: "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"},
		{Path: "tokenizer/vocab.txt", Size: 4, SHA1: "b77b4eb1d946f923f61785536da9ca5af6909f06"},
		{Path: large, Size: largeSize, SHA256: sha256Hex(largeData)},
	}, got.Files)
	require.Equal(t, []hubtest.Kind{hubtest.Revision}, kinds(h), "one request where one will do")
}

func TestListingsAgree(t *testing.T) {
	h, commit := startHub(t, sampleRepo(), hubtest.PageSize(2))
	c := connect(t, hub.Config{Endpoint: h.URL()})
	whole, err := list(c, commit)
	require.NoError(t, err)
	h.Inject(noRevision())
	h.Reset()
	pages, err := list(c, commit)
	require.NoError(t, err)
	require.Empty(t, pages.License, "the tree does not know it")
	pages.License = whole.License
	require.Equal(t, whole, pages)
	require.Equal(t, "[revision tree tree tree tree tree]", fmt.Sprint(kinds(h)), "6 files and 3 directories, 2 to a page")
}

func TestListFollowsARename(t *testing.T) {
	repo := sampleRepo()
	repo.RenamedFrom, repo.Private = []string{"old-owner/model"}, true
	h, commit := startHub(t, repo, hubtest.Token(secret), hubtest.PageSize(4))
	c := connect(t, hub.Config{Endpoint: h.URL(), Token: secret})
	for range 2 {
		got, err := c.List(context.Background(), "old-owner/model", commit)
		require.NoError(t, err)
		require.Equal(t, repoName, got.Repo)
		require.Len(t, got.Files, 6)
		h.Inject(noRevision())
	}
}

func TestListTurnsToTheTree(t *testing.T) {
	many := sampleRepo()
	for i := range 1000 {
		many.Files[fmt.Sprintf("many/%04d", i)] = hubtest.File{Content: hubtest.Bytes(nil)}
	}
	cases := []struct {
		name  string
		repo  hubtest.Repo
		fault hubtest.Fault
		files int
		want  string
	}{
		{"many files", many, hubtest.Fault{}, 1006, "[revision tree tree]"},
		{"no sizes", sampleRepo(), hubtest.Fault{Kind: hubtest.Revision, Effect: dropQuery}, 6, "[revision tree]"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			h, commit := startHub(t, tc.repo)
			if tc.fault.Effect != nil {
				h.Inject(tc.fault)
			}
			got, err := list(connect(t, hub.Config{Endpoint: h.URL()}), "main")
			require.NoError(t, err)
			require.Len(t, got.Files, tc.files)
			require.Equal(t, commit, got.Commit)
			require.Equal(t, "apache-2.0", got.License)
			require.Equal(t, tc.want, fmt.Sprint(kinds(h)))
		})
	}
}

// dropQuery is a proxy that forgets blobs=true.
func dropQuery(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.URL.RawQuery = ""
		next.ServeHTTP(w, r)
	})
}

func TestTreeAloneNeedsACommit(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	h.Inject(noRevision())
	c := connect(t, hub.Config{Endpoint: h.URL()})
	_, err := list(c, "main")
	require.ErrorContains(t, err, "does not say which commit")
	require.Contains(t, fault.HintOf(err), "full commit id")
	h.Inject(hubtest.Fault{Kind: hubtest.Tree, Effect: hubtest.SetHeader("X-Repo-Commit", commit)})
	got, err := list(c, "main")
	require.NoError(t, err)
	require.Equal(t, commit, got.Commit)
}

func TestPagesOfAnotherHostAreAskedHere(t *testing.T) {
	h, commit := startHub(t, sampleRepo(), hubtest.PageSize(5), hubtest.Token(secret))
	h.Inject(noRevision())
	mirror := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.Host = "huggingface.co" // what the Hub behind the mirror writes into its links
		h.Handler().ServeHTTP(w, r)
	})
	got, err := list(connect(t, hub.Config{Endpoint: mirror, Token: secret}), commit)
	require.NoError(t, err)
	require.Len(t, got.Files, 6)
}

func TestPagesThatDoNotEnd(t *testing.T) {
	const commit = "0123456789012345678901234567890123456789"
	var asked int
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/tree/") {
			http.NotFound(w, r)
			return
		}
		asked++
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Link", fmt.Sprintf(`<%s?cursor=%d>; rel="next"`, r.URL.Path, asked%2))
		_, _ = io.WriteString(w, "[]")
	})
	_, err := list(connect(t, hub.Config{Endpoint: url}), commit)
	require.ErrorContains(t, err, "circle")
	require.Equal(t, 3, asked)
}

func TestListRetries(t *testing.T) {
	cases := []struct {
		name   string
		effect hubtest.Effect
	}{
		{"503", hubtest.Status(503)},
		{"500", hubtest.Status(500)},
		{"408", hubtest.Status(408)},
		{"Retry-After now", hubtest.RetryAfter(429, 0)},
		{"cut", hubtest.Cut(10)},
		{"reset", hubtest.Reset(10)},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			h, _ := startHub(t, sampleRepo())
			h.Inject(hubtest.Fault{Times: 3, Effect: tc.effect})
			var waits int
			c := connect(t, hub.Config{Endpoint: h.URL(), OnWait: func(err error, _ time.Duration) {
				waits++
				require.True(t, hub.Temporary(err))
			}})
			got, err := list(c, "main")
			require.NoError(t, err)
			require.Len(t, got.Files, 6)
			require.Equal(t, []int{3}, h.Hits())
			require.Equal(t, 3, waits)
		})
	}
}

func TestListGivesUp(t *testing.T) {
	cases := []struct {
		name   string
		effect hubtest.Effect
		tries  int
		want   string
	}{
		{"always 503", hubtest.Status(503), 3, "503"},
		{"asks for too much time", hubtest.RetryAfter(429, 3600), 1, "429"},
		{"permanent", hubtest.Status(403), 1, "403"},
		{"not implemented", hubtest.Status(505), 1, "505"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			h, _ := startHub(t, sampleRepo())
			h.Inject(hubtest.Fault{Effect: tc.effect})
			_, err := list(connect(t, hub.Config{Endpoint: h.URL(), RetryTries: 3}), "main")
			require.ErrorContains(t, err, tc.want)
			require.ErrorContains(t, err, "listing owner/model@main")
			require.Equal(t, fault.Upstream, fault.KindOf(err))
			require.Len(t, h.Requests(), tc.tries)
			var status *hub.StatusError
			require.ErrorAs(t, err, &status)
		})
	}
}

func TestListWaitsForTheRateLimit(t *testing.T) {
	h, _ := startHub(t, sampleRepo())
	h.Inject(hubtest.Fault{Times: 1, Effect: hubtest.RateLimited(0)})
	var waited time.Duration
	c := connect(t, hub.Config{Endpoint: h.URL(), OnWait: func(_ error, d time.Duration) { waited = d }})
	_, err := list(c, "main")
	require.NoError(t, err)
	require.Equal(t, time.Second, waited, "t=0 is rounded down")
}

func TestListRefusals(t *testing.T) {
	private := sampleRepo()
	private.Private = true
	h, _ := startHub(t, private, hubtest.Token(secret))
	anonymous := connect(t, hub.Config{Endpoint: h.URL()})
	_, err := list(anonymous, "main")
	require.Contains(t, fault.HintOf(err), "private, gated or does not exist")
	friend := connect(t, hub.Config{Endpoint: h.URL(), Token: secret})
	_, err = list(friend, "gone")
	require.Contains(t, fault.HintOf(err), "has no revision gone")
	require.Len(t, h.Requests(), 2, "no second listing and no retry where the Hub gives the reason")
	for _, bad := range [][2]string{{"a/b/c", "main"}, {"", "main"}, {"a--b", "main"}, {repoName, ""}, {repoName, ".."}, {repoName, "a b"}} {
		_, err = friend.List(context.Background(), bad[0], bad[1])
		require.Equal(t, fault.Usage, fault.KindOf(err), "%q", bad)
	}
	require.Len(t, h.Requests(), 2)
}

func TestListingsThatCannotBeTrusted(t *testing.T) {
	const commit = "0123456789012345678901234567890123456789"
	sum := strings.Repeat("a", 64)
	type m = map[string]any
	file := func(name string) m { return m{"rfilename": name, "size": 1, "blobId": commit} }
	model := func(siblings ...m) m { return m{"id": repoName, "sha": commit, "siblings": siblings} }
	cases := []struct {
		name   string
		answer any
		want   string
	}{
		{"path out", model(file("../x")), "not clean"},
		{"absolute path", model(file("/etc/passwd")), "absolute"},
		{"backslash", model(file(`a\b`)), "backslash"},
		{"control character", model(file("a\x1b[31m")), "control character"},
		{"empty name", model(file("")), "not a file name"},
		{"twice", model(file("x"), file("x")), "x occurs twice"},
		{"file and directory", model(file("x"), file("x/y")), "x is a file and a directory of x/y"},
		{"negative size", model(m{"rfilename": "x", "size": -1, "blobId": commit}), "its size is -1"},
		{"two sizes", model(m{"rfilename": "x", "size": 1, "lfs": m{"sha256": sum, "size": 2}}), "its size is 1, its LFS size 2"},
		{"short sha256", model(m{"rfilename": "x", "size": 1, "lfs": m{"sha256": "abc"}}), "not 64 hex digits"},
		{"upper-case sha256", model(m{"rfilename": "x", "size": 1, "lfs": m{"sha256": strings.ToUpper(sum)}}), "not 64 hex digits"},
		{"odd blob id", model(m{"rfilename": "x", "size": 1, "blobId": "zz"}), "not 40 hex digits"},
		{"no commit", m{"id": repoName, "siblings": []m{file("x")}}, "not a commit id"},
		{"another commit", m{"id": repoName, "sha": strings.Repeat("f", 40), "siblings": []m{file("x")}}, "about commit ffff"},
		{"odd repository", m{"id": "../../x", "sha": commit}, "is not a name"},
		{"not an object", []int{1}, "reading the revision's JSON"},
		{"size is a fraction", model(m{"rfilename": "x", "size": 1.5, "blobId": commit}), "reading the revision's JSON"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json; charset=utf-8")
				_ = json.NewEncoder(w).Encode(tc.answer)
			})
			_, err := list(connect(t, hub.Config{Endpoint: url}), commit)
			require.ErrorContains(t, err, tc.want)
			require.Equal(t, fault.Upstream, fault.KindOf(err))
			require.False(t, hub.Temporary(err))
		})
	}
}

func TestTreeWithoutSums(t *testing.T) {
	const commit = "0123456789012345678901234567890123456789"
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.URL.Path, "/tree/") {
			_, _ = io.WriteString(w, `[{"type":"file","path":"x","size":1}]`)
			return
		}
		_, _ = io.WriteString(w, `{"id":"owner/model","sha":"`+commit+`","siblings":[{"rfilename":"x"}]}`)
	})
	_, err := list(connect(t, hub.Config{Endpoint: url}), commit)
	require.ErrorContains(t, err, "x: the listing has no size or no sum")
}

func TestLoginPage(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>Please log in") })
	_, err := list(connect(t, hub.Config{Endpoint: url}), "main")
	require.ErrorContains(t, err, `"text/html" instead of JSON`)
	require.Contains(t, fault.HintOf(err), "login page")
}

func TestAnswerWithoutEnd(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for range 40 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	_, err := list(connect(t, hub.Config{Endpoint: url}), "main")
	require.ErrorContains(t, err, "over 33554432 bytes")
}

func TestHubDown(t *testing.T) {
	h, _ := startHub(t, sampleRepo())
	require.NoError(t, h.Close())
	var waits int
	_, err := list(connect(t, hub.Config{Endpoint: h.URL(), RetryTries: 4, OnWait: func(error, time.Duration) { waits++ }}), "main")
	require.Equal(t, 3, waits)
	require.Equal(t, fault.Upstream, fault.KindOf(err))
	var stream *hub.StreamError
	require.True(t, errors.As(err, &stream))
	require.Contains(t, h.URL(), stream.Host)
}
