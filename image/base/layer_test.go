package base

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// list reads a layer back: each entry as "name", "name -> target" or "name/", and contents.
func list(t *testing.T, layer []byte) (names []string, contents map[string]string) {
	t.Helper()
	contents = map[string]string{}
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names, contents
		}
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		contents[h.Name] = string(data)
		if h.Typeflag == tar.TypeSymlink {
			h.Name += " -> " + h.Linkname
		}
		names = append(names, h.Name)
	}
}

func save(t *testing.T, debs ...basetest.Deb) []Deb {
	dir := t.TempDir()
	var out []Deb
	for _, d := range debs {
		out = append(out, saveDeb(t, d, dir))
	}
	return out
}

func TestLayer(t *testing.T) {
	layer, err := Layer(save(t, basetest.Libc(".xz"), basetest.BaseFiles()), []archive.File{archive.Regular("usr/share/licenses/model", 0o644, []byte("Apache"))})
	require.NoError(t, err)
	names, contents := list(t, layer)
	require.Equal(t, []string{
		"dev/",
		"etc/", "etc/debian_version", "etc/group", "etc/ld.so.conf", "etc/ld.so.conf.d/", "etc/ld.so.conf.d/x86_64-linux-gnu.conf",
		"etc/nsswitch.conf", "etc/os-release -> ../usr/lib/os-release", "etc/passwd",
		"lib -> usr/lib", "lib64 -> usr/lib64",
		"proc/", "run/", "sys/", "tmp/",
		"usr/", "usr/lib/", "usr/lib/os-release", "usr/lib/x86_64-linux-gnu/", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
		"usr/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libm.so.6", "usr/lib/x86_64-linux-gnu/libpcprofile.so",
		"usr/lib64/", "usr/lib64/ld-linux-x86-64.so.2 -> ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
		"usr/share/", "usr/share/common-licenses/", "usr/share/common-licenses/GPL -> GPL-3", "usr/share/common-licenses/GPL-3",
		"usr/share/common-licenses/LGPL-2.1",
		"usr/share/doc/", "usr/share/doc/base-files/", "usr/share/doc/base-files/copyright", "usr/share/doc/libc6/", "usr/share/doc/libc6/copyright",
		"usr/share/licenses/", "usr/share/licenses/model",
		"var/", "var/lib/", "var/lib/dpkg/", "var/lib/dpkg/status.d/", "var/lib/dpkg/status.d/base-files", "var/lib/dpkg/status.d/libc6",
	}, names)
	require.Equal(t, basetest.Libc("").Control(), contents["var/lib/dpkg/status.d/libc6"])
	require.Contains(t, contents["etc/passwd"], "nonroot:x:65532:65532:")
	require.Contains(t, contents["etc/group"], "nonroot:x:65532:")
	require.Equal(t, "Apache", contents["usr/share/licenses/model"])
}

func TestLayerIsDeterministic(t *testing.T) {
	more := []archive.File{archive.Regular("a", 0o644, nil), archive.Regular("b", 0o644, nil)}
	first, err := Layer(save(t, basetest.Libc(".xz"), basetest.BaseFiles()), more)
	require.NoError(t, err)
	slices.Reverse(more)
	second, err := Layer(save(t, basetest.BaseFiles(), basetest.Libc(".xz")), more)
	require.NoError(t, err)
	require.Equal(t, first, second)
}

func TestLayerFollowsLicenceLinks(t *testing.T) {
	gcc := basetest.Deb{Name: "libgcc-s1", Version: "14.2.0-19", Arch: "amd64", Entries: []basetest.Entry{
		{Name: "./usr/lib/x86_64-linux-gnu/libgcc_s.so.1", Content: basetest.Library("libc.so.6")},
		{Name: "./usr/share/doc/libgcc-s1", Target: "gcc-14-base"},
	}}
	_, err := Layer(save(t, basetest.Libc(""), basetest.BaseFiles(), gcc), nil)
	require.ErrorContains(t, err, "the licence of libgcc-s1")
	require.Contains(t, fault.HintOf(err), "add gcc-14-base")

	text := basetest.Deb{Name: "gcc-14-base", Version: "14.2.0-19", Arch: "amd64", Entries: []basetest.Entry{
		{Name: "./usr/share/doc/gcc-14-base/copyright", Content: "see /usr/share/common-licenses/GPL-3"}}}
	_, err = Layer(save(t, basetest.Libc(""), basetest.BaseFiles(), gcc, text), nil)
	require.NoError(t, err)
}

func TestLayerRefusesHalves(t *testing.T) {
	without := func(d basetest.Deb, name string) basetest.Deb {
		n := len(d.Entries)
		d.Entries = slices.DeleteFunc(d.Entries, func(e basetest.Entry) bool { return strings.HasSuffix(e.Name, name) })
		require.NotEqual(t, n, len(d.Entries), name)
		return d
	}
	plain := basetest.Deb{Name: "plain", Version: "1", Arch: "amd64", Entries: []basetest.Entry{
		{Name: "./usr/share/doc/plain/copyright", Content: "free"}, {Name: "./usr/lib/x86_64-linux-gnu/libplain.so.1", Content: "no library"}}}
	twice := plain
	twice.Entries = []basetest.Entry{{Name: "./usr/share/doc/plain/copyright", Content: "free"}, {Name: "./etc/debian_version", Content: "14"}}
	cases := []struct {
		name, want, hint string
		debs             []basetest.Deb
	}{
		{"no release name", "no package brings etc/debian_version", "add base-files", []basetest.Deb{basetest.Libc("")}},
		{"no os-release", "no package brings etc/os-release", "add base-files", []basetest.Deb{basetest.Libc(""), without(basetest.BaseFiles(), "usr/lib/os-release")}},
		{"no licence", "the licence of libc6", "", []basetest.Deb{without(basetest.Libc(""), "copyright"), basetest.BaseFiles()}},
		{"no licence text", "refers to /usr/share/common-licenses/LGPL-2.1", "add base-files", []basetest.Deb{basetest.Libc(""), without(basetest.BaseFiles(), "LGPL-2.1")}},
		{"half a licence link", "refers to /usr/share/common-licenses/GPL,", "add base-files", []basetest.Deb{basetest.Libc(""), without(basetest.BaseFiles(), "GPL-3")}},
		{"no loader", "libc.so.6 needs ld-linux-x86-64.so.2", "", []basetest.Deb{without(without(basetest.Libc(""), "gnu/ld-linux-x86-64.so.2"), "lib64/ld-linux-x86-64.so.2"), basetest.BaseFiles()}},
		{"dangling link", "leads to ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "", []basetest.Deb{without(without(without(without(basetest.Libc(""), "gnu/ld-linux-x86-64.so.2"), "libc.so.6"), "libm.so.6"), "libpcprofile.so"), basetest.BaseFiles()}},
		{"no library at all", "reading the library usr/lib/x86_64-linux-gnu/libplain.so.1", "", []basetest.Deb{basetest.Libc(""), basetest.BaseFiles(), plain}},
		{"one name from two packages", "already in the archive", "", []basetest.Deb{basetest.Libc(""), basetest.BaseFiles(), twice}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Layer(save(t, c.debs...), nil)
			require.ErrorContains(t, err, c.want)
			require.Contains(t, fault.HintOf(err), c.hint)
			require.Equal(t, fault.Usage, fault.KindOf(err))
		})
	}
}

func TestLayerVerifiesPackages(t *testing.T) {
	cases := []struct {
		name, want string
		spoil      func(t *testing.T, d *Deb)
	}{
		{"other bytes", "sha256 is", func(t *testing.T, d *Deb) {
			data, err := os.ReadFile(d.File)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(d.File, flip(data, len(data)-1), 0o644))
		}},
		{"longer", "its size is", func(t *testing.T, d *Deb) {
			data, err := os.ReadFile(d.File)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(d.File, append(data, 0), 0o644))
		}},
		{"another version", `the lock says ["libc6" "2.42-1" "amd64"]`, func(_ *testing.T, d *Deb) { d.Version = "2.42-1" }},
		{"another architecture", `the lock says`, func(_ *testing.T, d *Deb) { d.Arch = "arm64" }},
		{"a name that is a path", "its name is", func(_ *testing.T, d *Deb) { d.Name = "../../x" }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			debs := save(t, basetest.Libc(""), basetest.BaseFiles())
			c.spoil(t, &debs[0])
			_, err := Layer(debs, nil)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
		})
	}
	_, err := Layer([]Deb{{Package: saveDeb(t, basetest.Libc(""), t.TempDir()).Package, File: "missing"}}, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestLayerRefusesFilesThatCollide(t *testing.T) {
	for _, f := range []archive.File{archive.Regular("etc/passwd", 0o644, nil), archive.Regular("lib/x", 0o644, nil)} {
		_, err := Layer(save(t, basetest.Libc(""), basetest.BaseFiles()), []archive.File{f})
		require.Error(t, err, f.Name)
	}
}
