package cache

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

const (
	repo   = "org/name"
	commit = "0123456789abcdef0123456789abcdef01234567"
	sha    = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	oid    = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
)

func open(t *testing.T) *Cache {
	t.Helper()
	c, err := Open(filepath.Join(t.TempDir(), "hub"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func slot(t *testing.T, c *Cache) Slot {
	t.Helper()
	s, err := c.Slot(repo, sha)
	require.NoError(t, err)
	return s
}

// fill makes a finished blob.
func fill(t *testing.T, c *Cache, text string) {
	t.Helper()
	s := slot(t, c)
	f, err := s.Part()
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, s.Commit())
}

// TestLayout pins the layout that huggingface_hub reads and writes.
func TestLayout(t *testing.T) {
	c := open(t)
	fill(t, c, "bytes")
	require.NoError(t, c.Link(repo, commit, "config.json", sha))
	require.NoError(t, c.Link(repo, commit, "a/b/model.bin", sha))
	require.NoError(t, c.SetRef(repo, "main", commit))
	require.NoError(t, c.SetRef(repo, "refs/pr/1", commit))

	folder := filepath.Join(c.Dir(), "models--org--name")
	for link, want := range map[string]string{
		"config.json":   "../../blobs/" + sha,
		"a/b/model.bin": "../../../../blobs/" + sha,
	} {
		target, err := os.Readlink(filepath.Join(folder, "snapshots", commit, link))
		require.NoError(t, err)
		require.Equal(t, want, target)
		text, err := os.ReadFile(filepath.Join(folder, "snapshots", commit, link))
		require.NoError(t, err)
		require.Equal(t, "bytes", string(text))
	}
	for _, ref := range []string{"main", "refs/pr/1"} {
		text, err := os.ReadFile(filepath.Join(folder, "refs", ref))
		require.NoError(t, err)
		require.Equal(t, commit, string(text), "no newline: huggingface_hub takes the text as it is")
	}
	text, err := os.ReadFile(filepath.Join(c.Dir(), "CACHEDIR.TAG"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(text), "Signature: 8a477f597d28d172789f06886806bc55\n"))
	require.Equal(t, []string{sha}, names(t, filepath.Join(folder, "blobs")), "nothing is left beside the blob")
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestLookup(t *testing.T) {
	c := open(t)
	_, err := c.Lookup(repo, commit, "config.json")
	require.ErrorIs(t, err, fs.ErrNotExist, "a cache that is not there is empty")
	require.NoDirExists(t, c.Dir(), "and looking does not make it")

	fill(t, c, "bytes")
	require.NoError(t, c.Link(repo, commit, "config.json", sha))
	got, err := c.Lookup(repo, commit, "config.json")
	require.NoError(t, err)
	want, err := c.Blob(repo, sha)
	require.NoError(t, err)
	require.Equal(t, want, got)

	copied := filepath.Join(c.Dir(), "models--org--name", "snapshots", commit, "copied.json")
	require.NoError(t, os.WriteFile(copied, []byte("x"), 0o644))
	got, err = c.Lookup(repo, commit, "copied.json")
	require.NoError(t, err)
	require.Equal(t, copied, got)

	require.NoError(t, c.Link(repo, commit, "dangling.json", oid))
	_, err = c.Lookup(repo, commit, "dangling.json")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestLookupRefusesWhatLeadsOut: a cache may have been filled by anybody.
func TestLookupRefusesWhatLeadsOut(t *testing.T) {
	c := open(t)
	fill(t, c, "bytes")
	outside := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o644))
	require.NoError(t, c.Link(repo, commit, "ok", sha))
	folder := filepath.Join(c.Dir(), "models--org--name", "snapshots", commit)
	require.NoError(t, os.Symlink(outside, filepath.Join(folder, "absolute")))
	require.NoError(t, os.Symlink("../../../../../../../../../etc/hostname", filepath.Join(folder, "upwards")))
	require.NoError(t, os.Mkdir(filepath.Join(folder, "folder"), 0o755))
	for _, name := range []string{"absolute", "upwards", "folder"} {
		_, err := c.Lookup(repo, commit, name)
		require.Error(t, err, name)
	}
}

func TestLinkReplaces(t *testing.T) {
	c := open(t)
	fill(t, c, "bytes")
	require.NoError(t, c.Link(repo, commit, "f", oid))
	require.NoError(t, c.Link(repo, commit, "f", sha))
	require.NoError(t, c.Link(repo, commit, "f", sha))
	folder := filepath.Join(c.Dir(), "models--org--name", "snapshots", commit)
	target, err := os.Readlink(filepath.Join(folder, "f"))
	require.NoError(t, err)
	require.Equal(t, "../../blobs/"+sha, target)
	require.Equal(t, []string{"f"}, names(t, folder))
}

// TestSymlinkInTheWay: a link among the folders would let one name write through another.
func TestSymlinkInTheWay(t *testing.T) {
	c := open(t)
	fill(t, c, "bytes")
	require.NoError(t, c.Link(repo, commit, "f", sha))
	outside := t.TempDir()
	folder := filepath.Join(c.Dir(), "models--org--name", "snapshots", commit)
	require.NoError(t, os.Symlink(outside, filepath.Join(folder, "out")))
	require.NoError(t, os.Symlink("../../blobs", filepath.Join(folder, "in")))
	for _, name := range []string{"out/x", "in/x", "f/x"} {
		err := c.Link(repo, commit, name, sha)
		require.Error(t, err, name)
		require.Equal(t, fault.Resource, fault.KindOf(err), name)
	}
	require.Empty(t, names(t, outside))

	other, err := c.Slot("other/name", sha)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(outside, filepath.Join(c.Dir(), "models--other--name")))
	_, err = other.Part()
	require.Error(t, err)
	_, err = other.Claim(t.Context(), nil)
	require.Error(t, err)
	require.Empty(t, names(t, outside))

	s := slot(t, c)
	require.NoError(t, os.Symlink(filepath.Join(outside, "new"), s.Path()+partSuffix))
	_, err = s.Part()
	require.ErrorContains(t, err, "a symlink, not a regular file")
	require.Empty(t, names(t, outside))
}

func TestRefs(t *testing.T) {
	c := open(t)
	_, err := c.Ref(repo, "main")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, c.SetRef(repo, "main", commit))
	got, err := c.Ref(repo, "main")
	require.NoError(t, err)
	require.Equal(t, commit, got)

	require.Error(t, c.SetRef(repo, "../main", commit))
	require.Error(t, c.SetRef(repo, "main", "HEAD"))
	other := strings.Repeat("a", 40)
	require.NoError(t, c.SetRef(repo, "main", other))
	got, err = c.Ref(repo, "main")
	require.NoError(t, err)
	require.Equal(t, other, got)
	require.Equal(t, []string{"main"}, names(t, filepath.Join(c.Dir(), "models--org--name", "refs")))
}

func TestUnwritable(t *testing.T) {
	if os.Getuid() == 0 {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
		c, err := Open(filepath.Join(dir, "file", "hub"))
		require.NoError(t, err)
		_, err = slot(t, c).Part()
		require.Error(t, err)
		require.Equal(t, fault.Resource, fault.KindOf(err))
		return
	}
	dir := filepath.Join(t.TempDir(), "locked")
	require.NoError(t, os.Mkdir(dir, 0o500))
	c, err := Open(filepath.Join(dir, "hub"))
	require.NoError(t, err)
	_, err = slot(t, c).Part()
	require.ErrorIs(t, err, fs.ErrPermission)
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.NotEmpty(t, fault.HintOf(err))
}

func TestDiscard(t *testing.T) {
	c := open(t)
	s := slot(t, c)
	require.NoError(t, s.Discard(), "there is nothing")
	for _, make := range []func() (*os.File, error){s.Part, s.Journal} {
		f, err := make()
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	foreign := s.Path() + ".incomplete"
	require.NoError(t, os.WriteFile(foreign, []byte("x"), 0o644))
	require.NoError(t, s.Discard())
	require.Equal(t, []string{filepath.Base(foreign)}, names(t, filepath.Dir(s.Path())), "huggingface_hub's file is not ours")
	_, err := s.StatPart()
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = s.Stat()
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestPartials(t *testing.T) {
	c := open(t)
	list, err := c.Partials()
	require.NoError(t, err)
	require.Empty(t, list)

	s := slot(t, c)
	f, err := s.Part()
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 1<<16))
	require.NoError(t, errors.Join(err, f.Sync(), f.Close()))
	require.NoError(t, os.WriteFile(s.Path()+".incomplete", make([]byte, 1<<16), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(s.Path()), oid), nil, 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(c.Dir(), "datasets--a--b", "blobs"), 0o755))

	list, err = c.Partials()
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, repo, list[0].Repo)
	require.Equal(t, sha, list[0].Etag)
	require.Positive(t, list[0].Disk)
	require.Nil(t, list[0].Owner)

	claim, err := s.Claim(t.Context(), nil)
	require.NoError(t, err)
	list, err = c.Partials()
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NotNil(t, list[0].Owner)
	require.Equal(t, os.Getpid(), list[0].Owner.PID)
	require.NoError(t, claim.Release())
}

// TestCommit: the new bytes replace a file of the same name, and the journal goes.
func TestCommit(t *testing.T) {
	c := open(t)
	fill(t, c, "old and longer")
	s := slot(t, c)
	_, err := s.ReadJournal()
	require.ErrorIs(t, err, fs.ErrNotExist)
	j, err := s.Journal()
	require.NoError(t, err)
	_, err = j.WriteString("line")
	require.NoError(t, errors.Join(err, j.Close()))
	j, err = s.ReadJournal()
	require.NoError(t, err)
	text, err := io.ReadAll(j)
	require.NoError(t, errors.Join(err, j.Close()))
	require.Equal(t, "line", string(text))

	fill(t, c, "new")
	got, err := os.ReadFile(s.Path())
	require.NoError(t, err)
	require.Equal(t, "new", string(got))
	info, err := s.Stat()
	require.NoError(t, err)
	require.EqualValues(t, 3, info.Size())
	require.Equal(t, []string{sha}, names(t, filepath.Dir(s.Path())))
	require.ErrorIs(t, s.Commit(), fs.ErrNotExist, "there is nothing to be named")
}

// TestSameAtOnce: many may link and name the same thing at the same time, as two processes
// on one cache do. At every moment there is a whole entry.
func TestSameAtOnce(t *testing.T) {
	c := open(t)
	fill(t, c, "bytes")
	other := strings.Repeat("a", 40)
	require.NoError(t, c.Link(repo, commit, "dir/f", sha))
	require.NoError(t, c.SetRef(repo, "main", commit))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			mine, err := Open(c.Dir())
			if err != nil {
				t.Error(err)
				return
			}
			defer mine.Close()
			for n := range 20 {
				to, etag := commit, sha
				if (n+i)%2 == 0 {
					to, etag = other, oid
				}
				_, err := mine.Ref(repo, "main")
				err = errors.Join(err, mine.Link(repo, commit, "dir/f", etag), mine.SetRef(repo, "main", to))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, []string{"f"}, names(t, filepath.Join(c.Dir(), "models--org--name", "snapshots", commit, "dir")))
	require.Equal(t, []string{"main"}, names(t, filepath.Join(c.Dir(), "models--org--name", "refs")))
}

// TestCloseAndGoOn: Close lets go of the folder, no more.
func TestCloseAndGoOn(t *testing.T) {
	c := open(t)
	require.NoError(t, c.Close())
	fill(t, c, "bytes")
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	_, err := slot(t, c).Stat()
	require.NoError(t, err)
}

// TestBadNames: every method checks what it is given before it touches anything.
func TestBadNames(t *testing.T) {
	c := open(t)
	second := func(_ string, err error) error { return err }
	for what, err := range map[string]error{
		"blob repo":       second(c.Blob("../x", sha)),
		"blob etag":       second(c.Blob(repo, "../"+sha[3:])),
		"snapshot commit": second(c.Snapshot(repo, "main", "x")),
		"lookup path":     second(c.Lookup(repo, commit, "../x")),
		"link path":       c.Link(repo, commit, "/x", sha),
		"link etag":       c.Link(repo, commit, "x", "x"),
		"ref revision":    c.SetRef(repo, "../../x", commit),
		"ref repo":        second(c.Ref("a/../b", "main")),
	} {
		require.Error(t, err, what)
		require.Equal(t, fault.Invalid, fault.KindOf(err), what)
	}
	require.NoDirExists(t, c.Dir())
}

func TestFree(t *testing.T) {
	c := open(t)
	n, err := c.Free()
	require.NoError(t, err)
	require.Positive(t, n)
	require.NoDirExists(t, c.Dir())
}
