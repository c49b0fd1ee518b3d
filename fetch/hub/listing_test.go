package hub

import (
	"encoding/json"
	"net/http/httptest"
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

func TestLicense(t *testing.T) {
	cases := []struct {
		card string
		tags []string
		want string
	}{
		{`{"license": "apache-2.0"}`, nil, "apache-2.0"},
		{`{"license": "mit"}`, []string{"license:gpl"}, "mit"},
		{`{"license": "other", "license_name": "flux-1-dev"}`, nil, "flux-1-dev"},
		{`{"license": "other"}`, nil, "other"},
		{`{"license": ["mit", "apache-2.0"]}`, nil, "mit, apache-2.0"},
		{`{"license": []}`, []string{"license:bsd"}, "bsd"},
		{`{"license": 7}`, []string{"x", "license:bsd"}, "bsd"},
		{`{"license": " a\n b "}`, nil, "a b"},
		{`"text"`, nil, ""},
		{``, []string{"license:"}, ""},
	}
	for _, tc := range cases {
		require.Equal(t, tc.want, license(json.RawMessage(tc.card), tc.tags), tc.card)
	}
}

func TestTreeRepo(t *testing.T) {
	for path, want := range map[string]string{
		"/api/models/o/n/tree/main":            "o/n",
		"/art/hf/api/models/n/tree/refs/pr/1/": "n",
		"/api/models/o/n":                      "",
		"/o/n/tree/main":                       "",
	} {
		require.Equal(t, want, treeRepo(path), path)
	}
}

// answers returns what a loopback Hub says to both listings.
func answers(tb testing.TB) (revision, tree []byte) {
	tb.Helper()
	h := hubtest.New()
	_, err := h.Add(hubtest.Repo{Name: "o/n", License: "mit", Files: map[string]hubtest.File{
		"big":       {Content: hubtest.Noise(1, 100), LFS: true},
		"dir/small": {Content: hubtest.Bytes([]byte("x"))},
	}})
	require.NoError(tb, err)
	get := func(path string) []byte {
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		require.Equal(tb, 200, w.Code)
		return w.Body.Bytes()
	}
	return get("/api/models/o/n?blobs=true"), get("/api/models/o/n/tree/main?recursive=true")
}

func TestBothListingsMeanTheSame(t *testing.T) {
	revision, tree := answers(t)
	listing, complete, err := parseRevision(revision)
	require.NoError(t, err)
	require.True(t, complete)
	files, err := parseTree(tree)
	require.NoError(t, err)
	require.Equal(t, listing.Files, files)
	require.Len(t, files, 2)
}

// checkFiles fails if an accepted listing could do harm.
func checkFiles(t *testing.T, files []manifests.File, known bool) {
	for _, f := range files {
		switch {
		case manifests.CheckPath(f.Path) != nil || path.IsAbs(f.Path):
			t.Fatalf("path %q was accepted", f.Path)
		case f.Size < 0:
			t.Fatalf("size %d was accepted", f.Size)
		case f.SHA1 != "" && !isHex(f.SHA1, 40) || f.SHA256 != "" && !isHex(f.SHA256, 64):
			t.Fatalf("sums %q and %q were accepted", f.SHA1, f.SHA256)
		case known && f.SHA1 == "" && f.SHA256 == "":
			t.Fatalf("%q has no sum", f.Path)
		}
	}
}

func FuzzParseRevision(f *testing.F) {
	revision, _ := answers(f)
	f.Add(revision)
	f.Add([]byte(`{"id":"o/n","sha":"0123456789012345678901234567890123456789","siblings":[{"rfilename":"../x"}]}`))
	f.Add([]byte(`{"siblings":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		listing, complete, err := parseRevision(data)
		if err != nil {
			return
		}
		checkFiles(t, listing.Files, complete)
		if checkListing(&listing) == nil && (!isCommit(listing.Commit) || !isRepo(listing.Repo)) {
			t.Fatalf("%s@%s was accepted", listing.Repo, listing.Commit)
		}
	})
}

func FuzzParseTree(f *testing.F) {
	_, tree := answers(f)
	f.Add(tree)
	f.Add([]byte(`[{"type":"file","path":"x","size":1,"oid":"0123456789012345678901234567890123456789"}]`))
	f.Add([]byte(`[{"type":"file","path":"x","size":-1,"lfs":{}}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := parseTree(data)
		if err == nil {
			checkFiles(t, files, true)
		}
	})
}
