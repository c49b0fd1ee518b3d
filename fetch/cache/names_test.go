package cache

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

func TestCheckRepo(t *testing.T) {
	for _, good := range []string{"gpt2", "Qwen/Qwen-Image-Edit", "a/b", "nunchaku-ai/nunchaku-qwen-image-edit", "A.b_c-1/2"} {
		require.NoError(t, CheckRepo(good), good)
	}
	for _, bad := range []string{
		"", "/", "a/", "/a", "a/b/c", "..", "../x", "x/..", "a/.", "a/.hidden", "-a/b", "a-/b", "a--b/c", "a/b--c", "a..b/c",
		"a/b c", `a\b`, "a\x00b", "ä/b", strings.Repeat("x", 97),
	} {
		err := CheckRepo(bad)
		require.Error(t, err, bad)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}

func TestFolderRepo(t *testing.T) {
	for _, repo := range []string{"gpt2", "Qwen/Qwen-Image-Edit", "a/b"} {
		folder, err := repoFolder(repo)
		require.NoError(t, err)
		got, ok := folderRepo(folder)
		require.True(t, ok)
		require.Equal(t, repo, got)
	}
	for _, folder := range []string{"datasets--a--b", ".locks", "models--", "models--a--b--c", "models--..--x"} {
		_, ok := folderRepo(folder)
		require.False(t, ok, folder)
	}
}

func TestCheckHex(t *testing.T) {
	require.NoError(t, CheckCommit(commit))
	require.NoError(t, CheckEtag(sha))
	require.NoError(t, CheckEtag(oid))
	for _, bad := range []string{"", "main", commit[1:], strings.ToUpper(commit), "../" + commit[3:], sha + "0", sha[:63] + "/"} {
		require.Error(t, CheckCommit(bad), bad)
		require.Error(t, CheckEtag(bad), bad)
	}
}

func TestCheckPath(t *testing.T) {
	for _, good := range []string{"config.json", "a/b/c.bin", ".gitattributes", "a..b/c", "ünïcode", "with space"} {
		require.NoError(t, CheckPath(good), good)
	}
	for _, bad := range []string{
		"", ".", "..", "/etc/passwd", "../x", "a/../x", "a/..", "a/./b", "a//b", "a/", `a\..\b`, "a\x00b", "a\nb", "\xff",
		strings.Repeat("x", 256), strings.Repeat("x/", 600) + "x",
	} {
		err := CheckPath(bad)
		require.Error(t, err, bad)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}

// FuzzNames: whatever is accepted stays inside of the cache.
func FuzzNames(f *testing.F) {
	f.Add("org/name", commit, "a/b.bin", "main")
	f.Add("../..", "..", "../../x", "../x")
	f.Add("a/b", commit, "a/\x00", "/")
	c, err := Open("/cache")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, repo, commit, name, revision string) {
		if p, err := c.Snapshot(repo, commit, name); err == nil {
			require.Equal(t, filepath.Clean(p), p)
			require.True(t, strings.HasPrefix(p, "/cache/models--"), p)
			require.True(t, strings.HasSuffix(p, "/snapshots/"+commit+"/"+name), p)
		}
		if p, err := c.Blob(repo, commit); err == nil {
			require.True(t, strings.HasPrefix(p, "/cache/models--") && strings.HasSuffix(p, "/blobs/"+commit), p)
		}
		if p, err := refName(repo, revision); err == nil {
			require.Equal(t, filepath.Clean(p), p)
			require.True(t, strings.HasPrefix(p, "models--"), p)
		}
	})
}

func TestFromEnv(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"default":    {map[string]string{"HOME": "/h"}, "/h/.cache/huggingface/hub"},
		"xdg":        {map[string]string{"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"},
		"hf home":    {map[string]string{"HOME": "/h", "HF_HOME": "~/hf"}, "/h/hf/hub"},
		"hub cache":  {map[string]string{"HF_HOME": "/hf", "HF_HUB_CACHE": "/c"}, "/c"},
		"old name":   {map[string]string{"HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/old"}, "/old"},
		"variables":  {map[string]string{"HF_HUB_CACHE": "$SCRATCH/${U}/$NONE", "SCRATCH": "/s", "U": "me"}, "/s/me/$NONE"},
		"only tilde": {map[string]string{"HOME": "/h", "HF_HUB_CACHE": "~"}, "/h"},
		"empty":      {map[string]string{"HOME": "/h", "HF_HUB_CACHE": ""}, "/h/.cache/huggingface/hub"},
	} {
		got, err := FromEnv(func(k string) string { return c.env[k] })
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
	_, err := FromEnv(func(string) string { return "" })
	require.Equal(t, fault.Usage, fault.KindOf(err))
}
