package hubtest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

// resolve returns the signed URL of o/n/big.bin.
func resolve(t *testing.T, h *hubtest.Hub) string {
	t.Helper()
	return ask(t, "GET", h.URL()+"/o/n/resolve/main/big.bin").Header.Get("Location")
}

func TestAnyRangeIsThatPartOfTheContent(t *testing.T) {
	const size = 1000
	data := contentOf(hubtest.Noise(5, size))
	h, _ := start(t, hubtest.Direct())
	_, err := h.Add(hubtest.Repo{Name: "o/n", Files: map[string]hubtest.File{"f": {Content: hubtest.Noise(5, size), LFS: true}}})
	require.NoError(t, err)
	url := h.URL() + "/o/n/resolve/main/f"
	rapid.Check(t, func(rt *rapid.T) {
		first := rapid.IntRange(0, size+10).Draw(rt, "first")
		last := rapid.IntRange(first, size+20).Draw(rt, "last")
		r := ask(t, "GET", url, "Range", fmt.Sprintf("bytes=%d-%d", first, last))
		if first >= size {
			require.Equal(rt, 416, r.StatusCode)
			return
		}
		last = min(last, size-1)
		require.Equal(rt, 206, r.StatusCode)
		require.Equal(rt, fmt.Sprintf("bytes %d-%d/%d", first, last, size), r.Header.Get("Content-Range"))
		require.Equal(rt, string(data[first:last+1]), r.body)
	})
}

func TestPrefix(t *testing.T) {
	h, commit := start(t, hubtest.Prefix("/proxy/hf"), hubtest.PageSize(1))
	require.True(t, strings.HasSuffix(h.URL(), "/proxy/hf"))
	root := strings.TrimSuffix(h.URL(), "/proxy/hf")
	require.Equal(t, 404, ask(t, "GET", root+"/api/models/o/n").StatusCode)
	require.Equal(t, 200, ask(t, "GET", h.URL()+"/api/models/o/n").StatusCode)
	require.Equal(t, "/proxy/hf/o/n/resolve/main/x", ask(t, "GET", h.URL()+"/old/n/resolve/main/x").Header.Get("Location"))
	to := ask(t, "GET", h.URL()+"/o/n/resolve/main/dir/small").Header.Get("Location")
	require.True(t, strings.HasPrefix(to, "/proxy/hf/api/resolve-cache/models/o/n/"+commit), to)
	require.Equal(t, "hello\n", ask(t, "GET", root+to).body)
	require.Contains(t, ask(t, "GET", h.URL()+"/api/models/o/n/tree/main").Header.Get("Link"), h.URL()+"/api/models/o/n/tree/main?")
}

func TestDirect(t *testing.T) {
	h, commit := start(t, hubtest.Direct())
	for path, want := range map[string][2]string{"big.bin": {"0123456789", bigSum}, "dir/small": {"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"}} {
		r := ask(t, "GET", h.URL()+"/o/n/resolve/main/"+path)
		require.Equal(t, 200, r.StatusCode)
		require.Equal(t, want[0], r.body)
		require.Equal(t, `"`+want[1]+`"`, r.Header.Get("ETag"))
		require.Equal(t, commit, r.Header.Get("X-Repo-Commit"))
	}
}

func TestWithoutKnownTokensAnyTokenIsAStrangers(t *testing.T) {
	h, _ := start(t)
	require.Equal(t, 200, ask(t, "GET", h.URL()+"/api/models/o/n", "Authorization", "Bearer whatever").StatusCode)
	require.Equal(t, 401, ask(t, "GET", h.URL()+"/api/models/o/n", "Authorization", "Basic eDp5").StatusCode)
}

func TestNamesThatNeedEscapes(t *testing.T) {
	h, _ := start(t)
	names := []string{"a b", "a%20b", "ü/é", "q?x=1", "h#a", "plus+and&", `quote"s`}
	files := map[string]hubtest.File{}
	for i, name := range names {
		files[name] = hubtest.File{Content: hubtest.Bytes([]byte(name)), LFS: i%2 == 0}
	}
	_, err := h.Add(hubtest.Repo{Name: "o/odd", Files: files})
	require.NoError(t, err)
	follow := &http.Client{Transport: client.Transport}
	for _, name := range names {
		path := strings.ReplaceAll(url.PathEscape(name), "%2F", "/")
		resp, err := follow.Get(h.URL() + "/o/odd/resolve/main/" + path)
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 200, resp.StatusCode, name)
		require.Equal(t, name, string(data))
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	h, _ := start(t)
	to := resolve(t, h)
	h.Reset()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if r := ask(t, "GET", to, "Range", fmt.Sprintf("bytes=%d-", i%10)); len(r.body) != 10-i%10 {
				t.Errorf("range from %d has %d bytes", i%10, len(r.body))
			}
		})
		wg.Go(func() {
			changed := sample()
			changed.Files["n"] = hubtest.File{Content: hubtest.Bytes([]byte{byte(i)})}
			if _, err := h.Add(changed); err != nil {
				t.Error(err)
			}
			h.Inject(hubtest.Fault{Kind: hubtest.Tree, Effect: hubtest.Status(500)})
			h.Requests()
			h.Hits()
		})
	}
	wg.Wait()
	require.Equal(t, int64(4*(10+9+8+7+6+5+4+3+2+1)), h.Sent("big.bin"))
}

func TestFaultsOfAFileOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte("0123456789"), 0o600))
	content, err := hubtest.FileContent(path)
	require.NoError(t, err)
	h, _ := start(t, hubtest.Direct())
	_, err = h.Add(hubtest.Repo{Name: "o/n", Files: map[string]hubtest.File{"f": {Content: content, LFS: true}}})
	require.NoError(t, err)
	url := h.URL() + "/o/n/resolve/main/f"
	h.Inject(hubtest.Fault{Times: 1, Effect: hubtest.Cut(3)}, hubtest.Fault{Skip: 1, Times: 1, Effect: hubtest.Garble(0)})
	require.Equal(t, "012", ask(t, "GET", url).body)
	require.Equal(t, "\xcf123456789", ask(t, "GET", url).body)
	require.Equal(t, "0123456789", ask(t, "GET", url).body)
	require.Equal(t, int64(23), h.Sent("f"))
}

func TestEffectsCompose(t *testing.T) {
	_, url := direct(t,
		hubtest.Fault{Effect: hubtest.Effects(hubtest.IgnoreRange(), hubtest.Garble(1))},
		hubtest.Fault{Effect: hubtest.Cut(5)})
	r := ask(t, "GET", url, "Range", "bytes=4-")
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, "0\xce234", r.body)
	require.ErrorIs(t, r.err, io.ErrUnexpectedEOF)
}

func TestStalledRequestEndsWithItsClient(t *testing.T) {
	h, url := direct(t)
	h.Inject(hubtest.Fault{Effect: h.Stall(0)})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, resp.Body.Close())
	}
	require.ErrorIs(t, err, context.DeadlineExceeded)
	h.Calm()
	require.Equal(t, "0123456789", ask(t, "GET", url).body)
}

func TestCutBehindTheEnd(t *testing.T) {
	_, url := direct(t, hubtest.Fault{Effect: hubtest.Cut(1000)})
	r := ask(t, "GET", url)
	require.NoError(t, r.err)
	require.Equal(t, "0123456789", r.body)
}

func TestRequestsHoldNoSecrets(t *testing.T) {
	h, _ := start(t, hubtest.Token("good"))
	to := ask(t, "GET", h.URL()+"/o/n/resolve/main/big.bin", "Authorization", "Bearer good").Header.Get("Location")
	ask(t, "GET", to)
	text := fmt.Sprintf("%+v", h.Requests())
	require.NotContains(t, text, "good")
	require.NotContains(t, text, "X-Amz")
}
