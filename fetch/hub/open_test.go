package hub_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

func TestOpenRanges(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	c := connect(t, hub.Config{Endpoint: h.URL()})
	cases := []struct {
		name           string
		path           string
		offset, length int64
		want           []byte
	}{
		{"large whole", large, 0, -1, largeData},
		{"large from", large, 1000, -1, largeData[1000:]},
		{"large range", large, 1000, 5000, largeData[1000:6000]},
		{"large first byte", large, 0, 1, largeData[:1]},
		{"large last byte", large, largeSize - 1, 1, largeData[largeSize-1:]},
		{"large over the end", large, largeSize - 5, 100, largeData[largeSize-5:]},
		{"small whole", small, 0, -1, smallData},
		{"small range", small, 2, 5, smallData[2:7]},
		{"empty", "empty", 0, -1, nil},
		{"escaped name", "a b/ü#?%.json", 0, -1, []byte("{}")},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			data, body, err := fetch(c, commit, tc.path, tc.offset, tc.length)
			require.NoError(t, err)
			require.True(t, bytes.Equal(tc.want, data))
			require.Equal(t, tc.offset, body.Offset)
			require.Equal(t, int64(len(tc.want)), body.Length)
			require.Equal(t, commit, body.Commit)
		})
	}
}

func TestOpenTellsWhatTheHubKnows(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	c := connect(t, hub.Config{Endpoint: h.URL()})
	for _, offset := range []int64{0, 10} { // the second time the signed URL is remembered
		_, body, err := fetch(c, commit, large, offset, 10)
		require.NoError(t, err)
		require.Equal(t, largeSize, body.Size)
		require.Equal(t, sha256Hex(largeData), body.ETag, "never the CDN's, which is another 64 hex digits")
	}
	_, body, err := fetch(c, commit, small, 0, -1)
	require.NoError(t, err)
	require.Equal(t, int64(len(smallData)), body.Size)
	require.Len(t, body.ETag, 40)
}

func TestTokenStaysAtTheHub(t *testing.T) {
	repo := sampleRepo()
	repo.Gated, repo.RenamedFrom = true, []string{"old/model"}
	h, commit := startHub(t, repo, hubtest.Token(secret))
	c := connect(t, hub.Config{Endpoint: h.URL(), Token: secret})
	for _, path := range []string{large, small} {
		body, err := c.Open(context.Background(), "old/model", commit, path, 0, -1)
		require.NoError(t, err)
		require.NoError(t, body.Close())
	}
	require.Equal(t, []hubtest.Kind{hubtest.Resolve, hubtest.Resolve, hubtest.CDN, hubtest.Resolve, hubtest.Resolve, hubtest.Cache}, kinds(h))
	for _, r := range h.Requests() {
		require.Equal(t, r.Kind != hubtest.CDN, r.Authorized, "%s %s", r.Kind, r.Path)
		require.Equal(t, "identity", r.AcceptEncoding)
	}
}

func TestTokenDoesNotComeBackAfterAnotherHost(t *testing.T) {
	var home, other string
	var authorized []string
	note := func(r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			authorized = append(authorized, r.URL.Path)
		}
	}
	other = serve(t, func(w http.ResponseWriter, r *http.Request) {
		note(r)
		http.Redirect(w, r, home+"/back", http.StatusFound)
	})
	home = serve(t, func(w http.ResponseWriter, r *http.Request) {
		note(r)
		if r.URL.Path == "/back" {
			_, _ = io.WriteString(w, "bytes")
			return
		}
		http.Redirect(w, r, other+"/away", http.StatusFound)
	})
	c := connect(t, hub.Config{Endpoint: home, Token: secret})
	data, _, err := fetch(c, "main", small, 0, -1)
	require.NoError(t, err)
	require.Equal(t, "bytes", string(data))
	require.Equal(t, []string{"/owner/model/resolve/main/config.json"}, authorized)
}

func TestRangesOfAFileAskTheHubOnce(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	c := connect(t, hub.Config{Endpoint: h.URL()})
	var wg sync.WaitGroup
	got := make([]byte, largeSize)
	const step = 20_000
	for offset := int64(0); offset < largeSize; offset += step {
		wg.Go(func() {
			data, _, err := fetch(c, commit, large, offset, step)
			if err != nil {
				t.Errorf("range at %d: %v", offset, err)
			}
			copy(got[offset:], data)
		})
	}
	wg.Wait()
	require.True(t, bytes.Equal(largeData, got))
	asked := 0
	for _, k := range kinds(h) {
		if k == hubtest.Resolve {
			asked++
		}
	}
	require.Equal(t, 1, asked, "every range but the first uses the signed URL")
	require.Equal(t, largeSize, h.Sent(large))
}

func TestDirectBytesAreNotSerialised(t *testing.T) {
	h, commit := startHub(t, sampleRepo(), hubtest.Direct())
	c := connect(t, hub.Config{Endpoint: h.URL()})
	first, err := c.Open(context.Background(), repoName, commit, large, 0, 10)
	require.NoError(t, err)
	second, err := c.Open(context.Background(), repoName, commit, large, 10, 10)
	require.NoError(t, err, "an open body keeps nobody waiting")
	require.NoError(t, errors.Join(first.Close(), second.Close()))
}

func TestSignedURLIsResolvedAgainWhenItExpires(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	c := connect(t, hub.Config{Endpoint: h.URL()})
	_, _, err := fetch(c, commit, large, 0, 10)
	require.NoError(t, err)
	h.ExpireSignatures()
	h.Reset()
	data, body, err := fetch(c, commit, large, 10, 10)
	require.NoError(t, err)
	require.Equal(t, largeData[10:20], data)
	require.Equal(t, sha256Hex(largeData), body.ETag)
	require.Equal(t, []hubtest.Kind{hubtest.CDN, hubtest.Resolve, hubtest.CDN}, kinds(h))
}

func TestFreshURLThatIsRefusedIsAnError(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	h.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Status(http.StatusForbidden)})
	c := connect(t, hub.Config{Endpoint: h.URL(), Token: secret})
	_, _, err := fetch(c, commit, large, 0, 10)
	var status *hub.StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, http.StatusForbidden, status.Status)
	require.False(t, hub.Temporary(err))
	require.Contains(t, fault.HintOf(err), "never gets the token")
	discreet(t, err)
	require.Equal(t, []hubtest.Kind{hubtest.Resolve, hubtest.CDN}, kinds(h), "no resolving in circles")
}

func TestBranchIsNotRemembered(t *testing.T) {
	h, first := startHub(t, sampleRepo())
	c := connect(t, hub.Config{Endpoint: h.URL()})
	_, body, err := fetch(c, "main", large, 0, 10)
	require.NoError(t, err)
	require.Equal(t, first, body.Commit)
	changed := sampleRepo()
	changed.Files[large] = hubtest.File{Content: hubtest.Noise(8, largeSize), LFS: true}
	second, err := h.Add(changed)
	require.NoError(t, err)
	data, body, err := fetch(c, "main", large, 0, 10)
	require.NoError(t, err)
	require.Equal(t, second, body.Commit)
	require.NotEqual(t, largeData[:10], data)
}

func TestRangeIgnoredStartsOver(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	h.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.IgnoreRange()})
	data, body, err := fetch(connect(t, hub.Config{Endpoint: h.URL()}), commit, large, 5000, 10)
	require.NoError(t, err)
	require.Zero(t, body.Offset)
	require.Equal(t, largeSize, body.Length)
	require.True(t, bytes.Equal(largeData, data))
}

func TestRangeBehindTheEnd(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	_, _, err := fetch(connect(t, hub.Config{Endpoint: h.URL()}), commit, large, largeSize, 10)
	var status *hub.StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, http.StatusRequestedRangeNotSatisfiable, status.Status)
	require.Equal(t, largeSize, status.Size)
	require.False(t, status.Temporary())
}

func TestArtifactory(t *testing.T) {
	h, commit := startHub(t, sampleRepo(), hubtest.Direct(), hubtest.Prefix("/artifactory/api/huggingfaceml/remote"))
	h.Inject(hubtest.Artifactory())
	c := connect(t, hub.Config{Endpoint: h.URL() + "/"})
	data, body, err := fetch(c, commit, large, 1000, 500)
	require.NoError(t, err)
	require.Equal(t, largeData[1000:1500], data)
	require.Equal(t, int64(1000), body.Offset)
	require.Equal(t, int64(500), body.Length)
	require.Equal(t, int64(-1), body.Size)
	require.Empty(t, body.ETag, "its ETag is not a git id")
	require.Empty(t, body.Commit)
	listing, err := c.List(context.Background(), repoName, commit)
	require.NoError(t, err)
	require.Len(t, listing.Files, 6)
}

func TestMirrorThatRedirectsBack(t *testing.T) {
	h, commit := startHub(t, sampleRepo(), hubtest.Token(secret))
	mirror := hubtest.New()
	url, err := mirror.Start()
	require.NoError(t, err)
	defer mirror.Close()
	mirror.Inject(hubtest.Fault{Effect: hubtest.RedirectTo(h.URL())})
	c := connect(t, hub.Config{Endpoint: url, Token: secret})
	for _, path := range []string{large, small} {
		_, body, err := fetch(c, commit, path, 0, 10)
		require.NoError(t, err)
		require.NotEmpty(t, body.ETag)
	}
	listing, err := c.List(context.Background(), repoName, "main")
	require.NoError(t, err)
	require.Equal(t, commit, listing.Commit)
	for _, r := range h.Requests() {
		require.False(t, r.Authorized, "the Hub behind the mirror is another host")
	}
	_, _, err = fetch(c, commit, "missing", 0, -1)
	var status *hub.StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, hub.CodeEntryNotFound, status.Code)
	require.Empty(t, status.Message)
}

func TestOpenRefusals(t *testing.T) {
	gated, private := sampleRepo(), sampleRepo()
	gated.Name, gated.Gated = "owner/gated", true
	private.Name, private.Private = "owner/private", true
	h, commit := startHub(t, sampleRepo(), hubtest.Token(secret), hubtest.StrangerToken("hf_stranger"))
	for _, r := range []hubtest.Repo{gated, private} {
		_, err := h.Add(r)
		require.NoError(t, err)
	}
	cases := []struct {
		name, token, repo, revision, path string
		status                            int
		code, hint                        string
	}{
		{"missing repository", "", "owner/none", commit, small, 401, "", "private, gated or does not exist"},
		{"private, anonymous", "", "owner/private", "main", small, 401, "", "set HF_TOKEN"},
		{"private, stranger", "hf_stranger", "owner/private", "main", small, 404, hub.CodeRepoNotFound, "does not exist, or is private"},
		{"gated, anonymous", "", "owner/gated", "main", small, 401, hub.CodeGatedRepo, "accept the terms at"},
		{"gated, stranger", "hf_stranger", "owner/gated", "main", large, 403, hub.CodeGatedRepo, "accept the terms at"},
		{"bad token", "hf_unknown", repoName, "main", small, 401, "", "refuses the token"},
		{"missing revision", "", repoName, "gone", small, 404, hub.CodeRevisionNotFound, "no revision gone"},
		{"missing file", secret, repoName, commit, "gone", 404, hub.CodeEntryNotFound, "no such file"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := connect(t, hub.Config{Endpoint: h.URL(), Token: tc.token})
			_, err := c.Open(context.Background(), tc.repo, tc.revision, tc.path, 0, -1)
			var status *hub.StatusError
			require.ErrorAs(t, err, &status)
			require.Equal(t, tc.status, status.Status)
			require.Equal(t, tc.code, status.Code)
			require.NotEmpty(t, status.Message)
			require.Contains(t, fault.HintOf(err), tc.hint)
			require.Equal(t, fault.Upstream, fault.KindOf(err))
			require.False(t, hub.Temporary(err))
			require.Contains(t, err.Error(), tc.repo)
			discreet(t, err)
		})
	}
}

func TestOpenDoesNotRetry(t *testing.T) {
	for _, status := range []int{408, 429, 500, 502, 503, 504} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			h, commit := startHub(t, sampleRepo())
			h.Inject(hubtest.Fault{Effect: hubtest.RetryAfter(status, 7)})
			_, _, err := fetch(connect(t, hub.Config{Endpoint: h.URL()}), commit, large, 0, 1)
			require.True(t, hub.Temporary(err))
			require.Equal(t, 7*time.Second, hub.RetryAfter(err))
			require.Len(t, h.Requests(), 1)
		})
	}
}

func TestOpenSaysHowLongARateLimitLasts(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	h.Inject(hubtest.Fault{Kind: hubtest.Resolve, Effect: hubtest.RateLimited(55)})
	_, _, err := fetch(connect(t, hub.Config{Endpoint: h.URL()}), commit, large, 0, 1)
	require.True(t, hub.Temporary(err))
	require.Equal(t, 56*time.Second, hub.RetryAfter(err))
	require.Contains(t, fault.HintOf(err), "HF_TOKEN")
}

func TestOpenArguments(t *testing.T) {
	c := connect(t, hub.Config{Endpoint: "http://127.0.0.1:1"})
	cases := []struct {
		repo, revision, path string
		offset, length       int64
	}{
		{"a/b/c", "main", "x", 0, -1},
		{repoName, "", "x", 0, -1},
		{repoName, "main", "../x", 0, -1},
		{repoName, "main", "x", -1, -1},
		{repoName, "main", "x", 0, 0},
	}
	for _, tc := range cases {
		_, err := c.Open(context.Background(), tc.repo, tc.revision, tc.path, tc.offset, tc.length)
		require.Error(t, err)
		require.False(t, hub.Temporary(err))
	}
}

func TestOfflineSendsNothing(t *testing.T) {
	h, commit := startHub(t, sampleRepo())
	c := connect(t, hub.Config{Endpoint: h.URL(), Offline: true})
	_, _, err := fetch(c, commit, large, 0, 1)
	require.ErrorContains(t, err, "offline")
	require.Contains(t, fault.HintOf(err), "HF_HUB_OFFLINE")
	_, err = c.List(context.Background(), repoName, "main")
	require.ErrorContains(t, err, "offline")
	require.Empty(t, h.Requests())
}
