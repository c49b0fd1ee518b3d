package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Commits of the tests' repository.
var (
	kept  = strings.Repeat("a", 40)
	other = strings.Repeat("b", 40)
)

// put writes a file below the repository's folder.
func put(t *testing.T, c *Cache, name, text string) string {
	t.Helper()
	path := filepath.Join(c.Dir(), "models--org--name", name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// putBlob makes a finished blob, linked under a name by each commit, and returns its etag.
func putBlob(t *testing.T, c *Cache, text string, commits ...string) (etag string) {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	etag = hex.EncodeToString(sum[:])
	put(t, c, "blobs/"+etag, text)
	for _, commit := range commits {
		require.NoError(t, c.Link(repo, commit, "dir/"+text, etag))
	}
	return etag
}

// lived is a cache with one of everything.
type lived struct {
	*Cache
	both, ofKept, ofOther, orphan, hard string // etags
}

func live(t *testing.T) *lived {
	t.Helper()
	c := open(t)
	l := &lived{Cache: c,
		both:   putBlob(t, c, "both", kept, other),
		ofKept: putBlob(t, c, "kept", kept), ofOther: putBlob(t, c, "other", other),
		orphan: putBlob(t, c, "orphan"), hard: putBlob(t, c, "hard"),
	}
	require.NoError(t, os.Link(filepath.Join(c.Dir(), "models--org--name", "blobs", l.hard), filepath.Join(t.TempDir(), "elsewhere")))
	require.NoError(t, c.SetRef(repo, "main", other))
	require.NoError(t, c.SetRef(repo, "refs/pr/1", kept))
	put(t, c, "snapshots/"+other+"/copied.json", "copied")
	put(t, c, "snapshots/"+other+"/"+tmpPrefix+"0123456789abcdef", "half")
	require.NoError(t, os.Symlink("../../blobs/"+strings.Repeat("d", 64), filepath.Join(c.Dir(), "models--org--name", "snapshots", kept, "dangling")))
	put(t, c, "blobs/"+sha+partSuffix, "part")
	put(t, c, "blobs/"+sha+journalSuffix, "journal")
	put(t, c, "blobs/"+sha+ownerInfix+"1"+tmpSuffix, "")
	put(t, c, "blobs/"+l.orphan+".incomplete", "theirs")
	put(t, c, "blobs/"+l.both+".01234567.incomplete", "theirs too")
	put(t, c, "blobs/W-strange", "an etag of another server")
	return l
}

// everything lists all files and links below the cache, but for locks of others.
func everything(t *testing.T, c *Cache) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(c.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, c.Dir()+"/"))
		}
		return err
	}))
	return names
}

// TestContents counts what is there, and says what it is.
func TestContents(t *testing.T) {
	c := open(t)
	list, err := c.Contents()
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoDirExists(t, c.Dir())

	l := live(t)
	require.NoError(t, os.MkdirAll(filepath.Join(l.Dir(), "datasets--a--b", "blobs"), 0o755))
	require.NoError(t, os.Symlink(l.Dir(), filepath.Join(l.Dir(), "models--linked--away")))
	list, err = l.Contents()
	require.NoError(t, err)
	require.Len(t, list, 1)
	got := list[0]
	require.Equal(t, repo, got.Repo)
	require.Empty(t, got.Busy)
	require.Len(t, got.Snapshots, 2)
	require.Equal(t, kept, got.Snapshots[0].Commit)
	require.Equal(t, []string{"refs/pr/1"}, got.Snapshots[0].Refs)
	require.Equal(t, []int64{3, 1, 8}, []int64{int64(got.Snapshots[0].Files), int64(got.Snapshots[0].Missing), got.Snapshots[0].Bytes})
	require.Equal(t, []string{"main"}, got.Snapshots[1].Refs)
	require.Equal(t, []int64{3, 0, 4 + 5 + 6}, []int64{int64(got.Snapshots[1].Files), int64(got.Snapshots[1].Missing), got.Snapshots[1].Bytes})
	links := map[string]int{}
	for _, b := range got.Blobs {
		links[b.Name] = len(b.Files)
		require.WithinDuration(t, time.Now(), b.Changed, time.Minute)
	}
	require.Equal(t, map[string]int{l.both: 2, l.ofKept: 1, l.ofOther: 1, l.orphan: 0, l.hard: 0, "W-strange": 0}, links)
	require.Len(t, got.Foreign, 2)
	require.Len(t, got.Partials, 1)
	text, err := json.Marshal(Contents{Snapshots: []Snapshot{}})
	require.NoError(t, err)
	require.NotContains(t, string(text), "folder")
}

// TestAbsoluteLinks: an entry may lead to its blob by an absolute link, or out of the cache.
func TestAbsoluteLinks(t *testing.T) {
	c := open(t)
	etag := putBlob(t, c, "x")
	folder := filepath.Join(c.Dir(), "models--org--name", "snapshots", kept)
	require.NoError(t, os.MkdirAll(folder, 0o755))
	require.NoError(t, os.Symlink(filepath.Join(c.Dir(), "models--org--name", "blobs", etag), filepath.Join(folder, "x")))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(folder, "y")))
	list, err := c.Contents()
	require.NoError(t, err)
	require.Equal(t, []string{kept + "/x"}, list[0].Blobs[0].Files)
	require.Equal(t, 1, list[0].Snapshots[0].Missing)
	waste, err := c.Garbage(Keep{Since: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	require.Empty(t, waste)
}

// TestGarbage: what goes under which order, and that nothing else goes.
func TestGarbage(t *testing.T) {
	future := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		keep Keep
		goes func(*lived) []string // names below the repository's folder
	}{
		"nothing is old enough": {Keep{Since: time.Now().Add(-time.Hour)}, func(*lived) []string { return nil }},
		"what nothing needs": {Keep{Since: future}, func(l *lived) []string {
			return []string{"blobs/" + l.orphan, "blobs/" + sha + partSuffix, "blobs/" + sha + journalSuffix, "blobs/" + sha + ownerInfix + "1" + tmpSuffix,
				"snapshots/" + other + "/" + tmpPrefix + "0123456789abcdef"}
		}},
		"other commits too": {Keep{Since: future, Commits: map[string][]string{repo: {kept}, "some/other": {other}}}, func(l *lived) []string {
			return []string{"blobs/" + l.orphan, "blobs/" + sha + partSuffix, "blobs/" + sha + journalSuffix, "blobs/" + sha + ownerInfix + "1" + tmpSuffix,
				"refs/main", "blobs/" + l.ofOther, "snapshots/" + other + "/" + tmpPrefix + "0123456789abcdef",
				"snapshots/" + other + "/copied.json", "snapshots/" + other + "/dir/other", "snapshots/" + other + "/dir/both"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := live(t)
			c.keep.Blobs = map[string][]string{}
			before := everything(t, l.Cache)
			list, err := l.Garbage(c.keep)
			require.NoError(t, err)
			require.Equal(t, before, everything(t, l.Cache), "listing changes nothing")
			for _, g := range list {
				_, err := l.Remove(t.Context(), g, c.keep) // a leftover may have gone with its snapshot
				require.NoError(t, err)
			}
			var want []string
			goes := strings.Join(c.goes(l), "\n") + "\n"
			for _, name := range before {
				if !strings.Contains(goes, strings.TrimPrefix(name, "models--org--name/")+"\n") {
					want = append(want, name)
				}
			}
			require.Equal(t, want, everything(t, l.Cache))
			again, err := l.Garbage(c.keep)
			require.NoError(t, err)
			require.Empty(t, again)
		})
	}
}

// TestKeepBlobs: a blob that is protected stays without any entry.
func TestKeepBlobs(t *testing.T) {
	l := live(t)
	keep := Keep{Since: time.Now().Add(time.Hour), Blobs: map[string][]string{repo: {l.orphan}}}
	list, err := l.Garbage(keep)
	require.NoError(t, err)
	for _, g := range list {
		require.NotEqual(t, l.orphan, g.Name)
	}
	ok, err := l.Remove(t.Context(), Garbage{Kind: GarbageBlob, Repo: repo, Name: l.orphan}, keep)
	require.NoError(t, err)
	require.False(t, ok)

	partials := func() (n int) {
		list, err := l.Garbage(keep)
		require.NoError(t, err)
		for _, g := range list {
			if g.Kind == GarbagePartial {
				n++
			}
		}
		return n
	}
	require.Equal(t, 1, partials())
	keep.Blobs[repo] = []string{sha}
	require.Zero(t, partials(), "it waits to be gone on with")
	put(t, l.Cache, "blobs/"+sha, "finished")
	require.Equal(t, 1, partials(), "it waits for nothing")
}

// TestBusy: while anybody writes into a repository, its snapshots and blobs stay.
func TestBusy(t *testing.T) {
	keep := Keep{Since: time.Now().Add(time.Hour), Commits: map[string][]string{repo: {kept}}}
	kinds := func(l *lived) (out []GarbageKind) {
		list, err := l.Garbage(keep)
		require.NoError(t, err)
		for _, g := range list {
			out = append(out, g.Kind)
		}
		return out
	}
	t.Run("ours", func(t *testing.T) {
		l := live(t)
		before, err := l.Garbage(keep)
		require.NoError(t, err)
		s, err := l.Slot(repo, oid)
		require.NoError(t, err)
		claim, err := s.Claim(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, []GarbageKind{GarbagePartial}, kinds(l))
		for _, g := range before {
			ok, err := l.Remove(t.Context(), g, keep)
			require.NoError(t, err)
			require.Equal(t, g.Kind == GarbagePartial, ok, "%v", g)
		}
		require.NoError(t, claim.Release())
		require.NotContains(t, kinds(l), GarbagePartial)
		require.Contains(t, kinds(l), GarbageBlob)
	})
	t.Run("theirs", func(t *testing.T) {
		l := live(t)
		lock := filepath.Join(l.Dir(), ".locks", "models--org--name", sha+".lock")
		require.NoError(t, os.MkdirAll(filepath.Dir(lock), 0o755))
		f, err := os.Create(lock)
		require.NoError(t, err)
		defer f.Close()
		require.Contains(t, kinds(l), GarbageBlob, "nobody holds the lock")
		require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
		require.Equal(t, []GarbageKind{GarbagePartial}, kinds(l))
		list, err := l.Contents()
		require.NoError(t, err)
		require.Equal(t, "whoever holds .locks/models--org--name/"+sha+".lock", list[0].Busy)
	})
}

// TestRemoveLooksAgain: what was garbage when it was listed may be needed since.
func TestRemoveLooksAgain(t *testing.T) {
	l := live(t)
	keep := Keep{Since: time.Now().Add(time.Hour), Commits: map[string][]string{repo: {kept}}}
	list, err := l.Garbage(keep)
	require.NoError(t, err)
	require.NoError(t, l.Link(repo, kept, "again", l.orphan))
	partial, err := l.Slot(repo, sha)
	require.NoError(t, err)
	claim, err := partial.Claim(t.Context(), nil)
	require.NoError(t, err)
	keep.Commits[repo] = []string{kept, other}
	for _, g := range list {
		ok, err := l.Remove(t.Context(), g, keep)
		require.NoError(t, err)
		require.False(t, ok, "%v", g)
	}
	require.NoError(t, claim.Release())
	_, err = l.Remove(t.Context(), Garbage{Kind: GarbageBlob, Repo: "../x", Name: sha}, keep)
	require.Error(t, err)
}

// TestClear: what an unfinished fetch left goes, unless somebody goes on with it.
func TestClear(t *testing.T) {
	l := live(t)
	s, err := l.Slot(repo, sha)
	require.NoError(t, err)
	claim, err := s.Claim(t.Context(), nil)
	require.NoError(t, err)
	ok, err := s.Clear(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, claim.Release())
	ok, err = s.Clear(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	list, err := l.Partials()
	require.NoError(t, err)
	require.Empty(t, list)
}
