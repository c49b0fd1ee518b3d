package archive_test

import (
	"archive/tar"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// sample are entries of every kind, parents missing.
func sample() []archive.File {
	return []archive.File{
		archive.Regular("etc/plimsoll/model.json", 0o644, []byte("{}\n")),
		archive.Regular("bin/run", 0o755, bytes.Repeat([]byte{7}, 513)),
		archive.Directory("tmp", 0o1777),
		archive.Symlink("lib64", "usr/lib64"),
		archive.Symlink("usr/lib64/ld.so", "../lib/ld.so"),
		archive.Regular("usr/lib/ld.so", 0o755, nil),
		archive.Regular(strings.Repeat("long/", 30)+"name", 0o600, []byte("x")),
	}
}

func build(t require.TestingT, files ...archive.File) []byte {
	var a archive.Archive
	require.NoError(t, a.Add(files...))
	out, err := a.Bytes()
	require.NoError(t, err)
	return out
}

// readBack is the archive as archive/tar sees it: names in order, and entries by name.
func readBack(t *testing.T, data []byte) (names []string, headers map[string]*tar.Header, contents map[string]string) {
	t.Helper()
	headers, contents = map[string]*tar.Header{}, map[string]string{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return names, headers, contents
		}
		require.NoError(t, err)
		body, err := io.ReadAll(r)
		require.NoError(t, err)
		name := strings.TrimSuffix(h.Name, "/")
		names, headers[name], contents[name] = append(names, name), h, string(body)
	}
}

func TestBytesReadBack(t *testing.T) {
	names, headers, contents := readBack(t, build(t, sample()...))
	require.True(t, slices.IsSorted(names))
	for _, f := range sample() {
		h := headers[f.Name]
		require.NotNil(t, h, f.Name)
		require.Equal(t, byte(f.Type), h.Typeflag, f.Name)
		require.Equal(t, f.Mode, h.Mode, f.Name)
		require.Equal(t, f.Target, h.Linkname, f.Name)
		require.Equal(t, string(f.Data), contents[f.Name], f.Name)
		require.Zero(t, h.Uid+h.Gid, f.Name)
		require.Zero(t, h.ModTime.Unix(), f.Name)
	}
	require.Len(t, names, len(sample())+len([]string{"bin", "etc", "etc/plimsoll", "usr", "usr/lib", "usr/lib64"})+30)
}

func TestParentsComeFirst(t *testing.T) {
	names, headers, _ := readBack(t, build(t,
		archive.Regular("a/b/c", 0o644, nil), archive.Regular("a-b", 0o644, nil), archive.Directory("a", 0o700)))
	require.Equal(t, []string{"a", "a-b", "a/b", "a/b/c"}, names)
	require.EqualValues(t, 0o700, headers["a"].Mode, "a directory that was added keeps its mode")
	require.EqualValues(t, 0o755, headers["a/b"].Mode)
}

func TestOrderDoesNotMatter(t *testing.T) {
	want := build(t, sample()...)
	rapid.Check(t, func(r *rapid.T) {
		require.Equal(r, want, build(r, rapid.Permutation(sample()).Draw(r, "order")...))
	})
}

func TestEmpty(t *testing.T) {
	var a archive.Archive
	out, err := a.Bytes()
	require.NoError(t, err)
	require.Equal(t, make([]byte, 1024), out)
}

func TestAddRefuses(t *testing.T) {
	long := strings.Repeat("x", archive.MaxTarget+1)
	cases := []struct {
		name, want string
		f          archive.File
	}{
		{"absolute", "absolute", archive.Regular("/etc/passwd", 0o644, nil)},
		{"escaping", "not clean", archive.Regular("../x", 0o644, nil)},
		{"trailing slash", "not clean", archive.Directory("tmp/", 0o755)},
		{"no mode", "mode", archive.Regular("x", 0, nil)},
		{"set-user-id", "mode", archive.Regular("x", 0o4755, nil)},
		{"absolute target", "absolute", archive.Symlink("x", "/y")},
		{"target out of the root", "leaves the root", archive.Symlink("a/x", "../../y")},
		{"target not clean", "not clean", archive.Symlink("a/x", "b/../c")},
		{"no target", "empty", archive.Symlink("x", "")},
		{"long target", "over 4095", archive.Symlink("x", long)},
		{"NUL in target", "NUL", archive.Symlink("x", "a\x00b")},
		{"target of a file", "is no link", archive.File{Name: "x", Mode: 0o644, Target: "y"}},
		{"content of a directory", "no regular file", archive.File{Name: "x", Type: pack.Directory, Mode: 0o755, Data: []byte("y")}},
		{"device", "type", archive.File{Name: "x", Type: '3', Mode: 0o644}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var a archive.Archive
			err := a.Add(c.f)
			require.ErrorContains(t, err, c.want)
			require.Zero(t, a.Len())
		})
	}
}

func TestDuplicate(t *testing.T) {
	var a archive.Archive
	require.NoError(t, a.Add(archive.Directory("tmp", 0o755)))
	require.ErrorIs(t, a.Add(archive.Directory("tmp", 0o755)), archive.ErrDuplicate)
	require.Equal(t, 1, a.Len())
}

func TestParentMustBeDirectory(t *testing.T) {
	for _, parent := range []archive.File{archive.Regular("lib", 0o644, nil), archive.Symlink("lib", "usr/lib")} {
		var a archive.Archive
		require.NoError(t, a.Add(parent, archive.Regular("lib/x/y", 0o644, nil)))
		_, err := a.Bytes()
		require.ErrorContains(t, err, `"lib" is not a directory`)
	}
}

func TestTooLarge(t *testing.T) {
	half := make([]byte, archive.MaxSize/2)
	var a archive.Archive
	require.NoError(t, a.Add(archive.Regular("a", 0o644, half), archive.Regular("b", 0o644, half)))
	_, err := a.Bytes()
	require.ErrorContains(t, err, "at most")
}

func TestLookup(t *testing.T) {
	var a archive.Archive
	require.NoError(t, a.Add(sample()...))
	require.NoError(t, a.Add(
		archive.Symlink("loop", "loop"), archive.Symlink("ping", "pong"), archive.Symlink("pong", "ping"),
		archive.Symlink("dangling", "nowhere"), archive.Symlink("up", "etc/plimsoll"),
		archive.Symlink("etc/root", "../tmp")))
	cases := []struct{ name, leadsTo string }{
		{"usr/lib/ld.so", "usr/lib/ld.so"},
		{"lib64/ld.so", "usr/lib/ld.so"},
		{"up/model.json", "etc/plimsoll/model.json"},
		{"etc/root", "tmp"},
		{"loop", ""}, {"ping", ""}, {"dangling", ""}, {"nowhere", ""}, {"lib64", ""}, {"bin/run/x", ""},
	}
	for _, c := range cases {
		f, ok := a.Lookup(c.name)
		require.Equal(t, c.leadsTo != "", ok, c.name)
		if ok {
			require.Equal(t, c.leadsTo, f.Name, c.name)
		}
	}
}

func TestFilesAreSorted(t *testing.T) {
	var a archive.Archive
	require.NoError(t, a.Add(sample()...))
	files := a.Files()
	require.Len(t, files, len(sample()))
	require.True(t, slices.IsSortedFunc(files, func(x, y archive.File) int { return strings.Compare(x.Name, y.Name) }))
}
