package hubtest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client follows no redirect and keeps no connection.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
	err  error // of reading the body
}

// ask sends a request; headers are name, value, name, value.
func ask(t *testing.T, method, url string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp, string(body), err}
}

// start serves o/n with a large file big.bin ("0123456789") and a small one, and an old name.
func start(t *testing.T, opts ...hubtest.Option) (h *hubtest.Hub, commit string) {
	t.Helper()
	h = hubtest.New(opts...)
	commit, err := h.Add(sample())
	require.NoError(t, err)
	url, err := h.Start()
	require.NoError(t, err)
	require.Equal(t, url, h.URL())
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h, commit
}

func sample() hubtest.Repo {
	return hubtest.Repo{Name: "o/n", RenamedFrom: []string{"old/n"}, License: "mit", Files: map[string]hubtest.File{
		"big.bin":     {Content: hubtest.Bytes([]byte("0123456789")), LFS: true},
		"dir/small":   {Content: hubtest.Bytes([]byte("hello\n"))},
		"dir/in/deep": {Content: hubtest.Bytes([]byte("x"))},
	}}
}

const bigSum = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"

func TestLargeFileGoesByTheCDN(t *testing.T) {
	h, commit := start(t)
	for _, method := range []string{"GET", "HEAD"} {
		r := ask(t, method, h.URL()+"/o/n/resolve/main/big.bin")
		require.Equal(t, 302, r.StatusCode)
		require.Equal(t, `"`+bigSum+`"`, r.Header.Get("X-Linked-Etag"))
		require.Equal(t, "10", r.Header.Get("X-Linked-Size"))
		require.Equal(t, commit, r.Header.Get("X-Repo-Commit"))
		require.Equal(t, "bytes", r.Header.Get("Accept-Ranges"))
		require.Empty(t, r.Header.Get("X-Xet-Hash"))
		to := r.Header.Get("Location")
		require.True(t, strings.HasPrefix(to, h.CDN()+"/xet-bridge-us/"), to)

		r = ask(t, method, to, "Range", "bytes=2-4")
		require.Equal(t, 206, r.StatusCode)
		require.Equal(t, "bytes 2-4/10", r.Header.Get("Content-Range"))
		require.NotContains(t, r.Header.Get("ETag"), bigSum)
		require.Len(t, r.Header.Get("ETag"), 66)
		require.Empty(t, r.Header.Get("X-Repo-Commit"))
		if method == "GET" {
			require.Equal(t, "234", r.body)
		}
	}
}

func TestCDNRefusals(t *testing.T) {
	h, _ := start(t)
	to := ask(t, "GET", h.URL()+"/o/n/resolve/main/big.bin").Header.Get("Location")
	require.Equal(t, 400, ask(t, "GET", to, "Authorization", "Bearer x").StatusCode, "storage allows one way to authenticate")
	require.Equal(t, 403, ask(t, "GET", strings.Replace(to, "X-Amz-Expires=1", "X-Amz-Expires=2", 1)).StatusCode)
	bare, _, _ := strings.Cut(to, "?")
	require.Equal(t, 403, ask(t, "GET", bare).StatusCode)
	r := ask(t, "GET", to, "Range", "bytes=10-")
	require.Equal(t, 416, r.StatusCode)
	require.Equal(t, "bytes */10", r.Header.Get("Content-Range"))
	require.Equal(t, 200, ask(t, "GET", to).StatusCode)
	h.ExpireSignatures()
	require.Equal(t, 403, ask(t, "GET", to).StatusCode)
}

func TestSignaturesExpire(t *testing.T) {
	h, _ := start(t, hubtest.SignatureTTL(-time.Second))
	to := ask(t, "GET", h.URL()+"/o/n/resolve/main/big.bin").Header.Get("Location")
	require.Equal(t, 403, ask(t, "GET", to).StatusCode)
}

func TestSmallFileGoesByTheCache(t *testing.T) {
	h, commit := start(t)
	r := ask(t, "GET", h.URL()+"/o/n/resolve/main/dir/small")
	require.Equal(t, 307, r.StatusCode)
	require.Empty(t, r.Header.Get("ETag"))
	to := r.Header.Get("Location")
	require.True(t, strings.HasPrefix(to, "/api/resolve-cache/models/o/n/"+commit+"/dir/small?"), to)
	r = ask(t, "GET", h.URL()+to)
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, "hello\n", r.body)
	require.Equal(t, `"ce013625030ba8dba906f756967f9e9ca394464a"`, r.Header.Get("ETag"))
	require.Equal(t, commit, r.Header.Get("X-Repo-Commit"))
	bare, _, _ := strings.Cut(to, "?")
	require.Equal(t, "hello\n", ask(t, "GET", h.URL()+bare).body, "some clients drop the query")
}

func TestRenamed(t *testing.T) {
	h, _ := start(t)
	for from, to := range map[string]string{
		"/old/n/resolve/main/big.bin":                "/o/n/resolve/main/big.bin",
		"/api/models/old/n":                          "/api/models/o/n",
		"/api/models/old/n/tree/main?recursive=true": "/api/models/o/n/tree/main?recursive=true",
	} {
		r := ask(t, "HEAD", h.URL()+from)
		require.Equal(t, 307, r.StatusCode)
		require.Equal(t, to, r.Header.Get("Location"))
		require.Empty(t, r.Header.Get("ETag"))
		require.Empty(t, r.Header.Get("X-Repo-Commit"))
	}
}

func TestRevision(t *testing.T) {
	h, commit := start(t)
	for _, path := range []string{"", "/revision/main", "/revision/" + commit} {
		r := ask(t, "GET", h.URL()+"/api/models/o/n"+path+"?blobs=True")
		require.JSONEq(t, `{"id":"o/n","modelId":"o/n","author":"o","sha":"`+commit+`","private":false,"gated":false,
			"disabled":false,"downloads":0,"likes":0,"tags":["license:mit"],"cardData":{"license":"mit"},"siblings":[
			{"rfilename":"big.bin","size":10,"blobId":"`+bigPointer+`","lfs":{"sha256":"`+bigSum+`","size":10,"pointerSize":127}},
			{"rfilename":"dir/in/deep","size":1,"blobId":"c1b0730e0133447badcfd47fd144e254807b06e1"},
			{"rfilename":"dir/small","size":6,"blobId":"ce013625030ba8dba906f756967f9e9ca394464a"}]}`, r.body)
	}
	require.NotContains(t, ask(t, "GET", h.URL()+"/api/models/o/n").body, "size")
}

func TestTree(t *testing.T) {
	h, _ := start(t, hubtest.PageSize(2))
	names := func(url string) (out []string, next string) {
		r := ask(t, "GET", url)
		require.Equal(t, 200, r.StatusCode)
		var list []struct{ Type, Path, OID string }
		require.NoError(t, json.Unmarshal([]byte(r.body), &list))
		for _, e := range list {
			require.Len(t, e.OID, 40)
			out = append(out, e.Type+" "+e.Path)
		}
		next, _, _ = strings.Cut(strings.TrimPrefix(r.Header.Get("Link"), "<"), `>; rel="next"`)
		return out, next
	}
	got, next := names(h.URL() + "/api/models/o/n/tree/main?recursive=True&expand=False")
	require.Equal(t, []string{"file big.bin", "directory dir"}, got)
	require.Contains(t, next, "recursive=True")
	got, next = names(next)
	require.Equal(t, []string{"directory dir/in", "file dir/in/deep"}, got)
	got, next = names(next)
	require.Equal(t, []string{"file dir/small"}, got)
	require.Empty(t, next)

	got, next = names(h.URL() + "/api/models/o/n/tree/main")
	require.Equal(t, []string{"file big.bin", "directory dir"}, got)
	require.Empty(t, next)
	got, next = names(h.URL() + "/api/models/o/n/tree/main/dir?limit=1")
	require.Equal(t, []string{"directory dir/in"}, got)
	require.NotEmpty(t, next)

	require.Equal(t, "EntryNotFound", ask(t, "GET", h.URL()+"/api/models/o/n/tree/main/gone").Header.Get("X-Error-Code"))
	require.Equal(t, 400, ask(t, "GET", h.URL()+"/api/models/o/n/tree/main?cursor=!").StatusCode)
	require.Equal(t, 400, ask(t, "GET", h.URL()+"/api/models/o/n/tree/main?cursor=OTk=").StatusCode)
}

const bigPointer = "936e1b4672d9b9eae2dbee72f68e5f344411832b"

func TestCommitsAreKept(t *testing.T) {
	h, first := start(t)
	again, err := hubtest.New().Add(sample())
	require.NoError(t, err)
	require.Equal(t, first, again, "the same content is the same commit anywhere")
	changed := sample()
	changed.Files["dir/small"] = hubtest.File{Content: hubtest.Bytes([]byte("bye\n"))}
	second, err := h.Add(changed)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	for revision, want := range map[string]string{first: "hello\n", second: "bye\n", "main": "bye\n"} {
		to := ask(t, "GET", h.URL()+"/o/n/resolve/"+revision+"/dir/small").Header.Get("Location")
		require.Equal(t, want, ask(t, "GET", h.URL()+to).body)
	}
}

func TestRefusals(t *testing.T) {
	h, _ := start(t, hubtest.Token("good"), hubtest.StrangerToken("stranger"))
	for name, gated := range map[string]bool{"o/gated": true, "o/private": false} {
		repo := sample()
		repo.Name, repo.RenamedFrom, repo.Gated, repo.Private = name, nil, gated, !gated
		_, err := h.Add(repo)
		require.NoError(t, err)
	}
	cases := []struct {
		path, token string
		status      int
		code        string
	}{
		{"/o/n/resolve/main/gone", "", 404, "EntryNotFound"},
		{"/o/n/resolve/main/dir", "", 404, "EntryNotFound"},
		{"/o/n/resolve/gone/big.bin", "", 404, "RevisionNotFound"},
		{"/o/none/resolve/main/x", "", 401, ""},
		{"/o/none/resolve/main/x", "good", 404, "RepoNotFound"},
		{"/o/n/resolve/main/big.bin", "bad", 401, ""},
		{"/o/n/resolve/main/big.bin", "stranger", 302, ""},
		{"/o/gated/resolve/main/big.bin", "", 401, "GatedRepo"},
		{"/o/gated/resolve/main/big.bin", "stranger", 403, "GatedRepo"},
		{"/o/gated/resolve/main/big.bin", "good", 302, ""},
		{"/api/models/o/gated", "", 200, ""},
		{"/o/private/resolve/main/big.bin", "", 401, ""},
		{"/api/models/o/private", "stranger", 404, "RepoNotFound"},
		{"/api/models/o/private", "good", 200, ""},
		{"/api/models/o/n/xet-read-token/main", "", 404, ""},
	}
	for _, tc := range cases {
		headers := []string{}
		if tc.token != "" {
			headers = append(headers, "Authorization", "Bearer "+tc.token)
		}
		r := ask(t, "GET", h.URL()+tc.path, headers...)
		require.Equal(t, tc.status, r.StatusCode, "%s as %q", tc.path, tc.token)
		require.Equal(t, tc.code, r.Header.Get("X-Error-Code"), "%s as %q", tc.path, tc.token)
	}
	require.Equal(t, 405, ask(t, "PUT", h.URL()+"/o/n/resolve/main/x").StatusCode)
}

func TestRequestsAndBytesAreCounted(t *testing.T) {
	h, _ := start(t, hubtest.Token("good"))
	to := ask(t, "GET", h.URL()+"/o/n/resolve/main/big.bin", "Authorization", "Bearer good", "User-Agent", "me").Header.Get("Location")
	ask(t, "GET", to, "Range", "bytes=3-")
	got := h.Requests()
	require.Len(t, got, 2)
	require.Equal(t, hubtest.Resolve, got[0].Kind)
	require.True(t, got[0].Authorized)
	require.Equal(t, "me", got[0].UserAgent)
	require.Equal(t, 302, got[0].Status)
	require.Equal(t, hubtest.CDN, got[1].Kind)
	require.Equal(t, "o/n", got[1].Repo)
	require.Equal(t, "big.bin", got[1].File)
	require.Equal(t, "bytes=3-", got[1].Range)
	require.Equal(t, int64(7), got[1].Sent)
	require.Equal(t, int64(7), h.Sent("big.bin"))
	require.Equal(t, int64(7), h.Sent(""))
	require.Zero(t, h.Sent("dir/small"))
	h.Reset()
	require.Empty(t, h.Requests())
}

func TestFilesOnDiskAreServedAndCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big")
	data := contentOf(hubtest.Noise(1, 9<<20)) // over two of the counter's steps
	require.NoError(t, os.WriteFile(path, data, 0o600))
	content, err := hubtest.FileContent(path)
	require.NoError(t, err)
	h := hubtest.New(hubtest.Direct())
	_, err = h.Add(hubtest.Repo{Name: "o/n", Files: map[string]hubtest.File{"f": {Content: content, LFS: true}}})
	require.NoError(t, err)
	url, err := h.Start()
	require.NoError(t, err)
	r := ask(t, "GET", url+"/o/n/resolve/main/f", "Range", "bytes=5-")
	require.True(t, r.body == string(data[5:]))
	require.Equal(t, int64(len(data)-5), h.Sent("f"))
	require.NoError(t, os.Remove(path))
	require.Equal(t, 500, ask(t, "GET", url+"/o/n/resolve/main/f").StatusCode)
	require.NoError(t, h.Close())
	_, err = content.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestStartAndClose(t *testing.T) {
	h := hubtest.New()
	require.NoError(t, h.Close(), "a Hub that never started")
	h = hubtest.New()
	_, err := h.Start()
	require.NoError(t, err)
	_, err = h.Start()
	require.Error(t, err)
	require.NoError(t, h.Close())
	require.NoError(t, h.Close())
}
