package base

import (
	"archive/tar"
	"bytes"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

func keepAll(string) bool { return true }

func TestUnpackEveryCompression(t *testing.T) {
	for _, compression := range []string{"", ".gz", ".xz", ".zst"} {
		d := basetest.Libc(compression)
		c, err := unpack(debBytes(t, d), keepAll)
		require.NoError(t, err, compression)
		require.Equal(t, d.Control(), string(c.control), compression)
		require.Len(t, c.files, len(d.Entries)-2, "all but the two directories")
		for i, e := range d.Entries[2:] {
			f := c.files[i]
			require.Equal(t, strings.TrimPrefix(e.Name, "./"), f.Name)
			require.Equal(t, e.Content, string(f.Data))
			require.Equal(t, e.Target, f.Target)
		}
		require.EqualValues(t, 0o755, c.files[1].Mode)
	}
}

func TestUnpackMovesIntoUsr(t *testing.T) {
	d := basetest.Deb{Name: "old", Version: "1", Arch: "amd64", Entries: []basetest.Entry{
		{Name: "./lib/x86_64-linux-gnu/libc.so.6", Content: "x", Mode: 0o4755},
		{Name: "./lib64/ld.so", Target: "/lib/x86_64-linux-gnu/ld.so"},
	}}
	c, err := unpack(debBytes(t, d), keepAll)
	require.NoError(t, err)
	require.Equal(t, []archive.File{
		archive.Regular("usr/lib/x86_64-linux-gnu/libc.so.6", 0o755, []byte("x")),
		archive.Symlink("usr/lib64/ld.so", "../lib/x86_64-linux-gnu/ld.so"),
	}, c.files)
}

func TestUnpackKeepsWhatIsAskedFor(t *testing.T) {
	c, err := unpack(debBytes(t, basetest.Libc(".gz")), func(name string) bool { return path.Base(name) == "libm.so.6" })
	require.NoError(t, err)
	require.Len(t, c.files, 1)
	require.Equal(t, "usr/lib/x86_64-linux-gnu/libm.so.6", c.files[0].Name)
}

func TestUnpackRefusesEntries(t *testing.T) {
	keep := func(name string) bool { return strings.HasPrefix(name, "keep") }
	cases := []struct {
		name, want string
		e          basetest.Entry
	}{
		{"name out of the root, though not kept", "not a clean path", basetest.Entry{Name: "../../etc/cron.d/x", Content: "y"}},
		{"absolute name", "not a clean path", basetest.Entry{Name: "/etc/x", Content: "y"}},
		{"link out of the root", "leaves the root", basetest.Entry{Name: "./keep", Target: "../../etc/passwd"}},
		{"hard link", `type is '1'`, basetest.Entry{Name: "./keep", Target: "x", Type: tar.TypeLink}},
		{"device", `type is '3'`, basetest.Entry{Name: "./keep", Type: tar.TypeChar}},
		{"pipe", `type is '6'`, basetest.Entry{Name: "./keep", Type: tar.TypeFifo}},
		{"huge file", "at most", basetest.Entry{Name: "./keep", Content: strings.Repeat("\x00", maxFile+1)}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := basetest.Deb{Name: "x", Version: "1", Arch: "amd64", Entries: []basetest.Entry{c.e}}
			_, err := unpack(debBytes(t, d), keep)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestUnpackRefusesContainers(t *testing.T) {
	version := arMember{"debian-binary", []byte("2.0\n")}
	tarball := writeTar(t, []basetest.Entry{{Name: "./control", Content: "Package: x\n"}})
	control, data := arMember{"control.tar", tarball}, arMember{"data.tar", writeTar(t, nil)}
	cut := compress(t, tarball, ".xz")
	cases := []struct {
		name, want string
		members    []arMember
	}{
		{"nothing", "debian-binary", nil},
		{"no version", "debian-binary", []arMember{control, data}},
		{"format 3", "debian-binary", []arMember{{"debian-binary", []byte("3.0\n")}, control, data}},
		{"no control", "0 members are named control.tar", []arMember{version, data}},
		{"no data", "0 members are named data.tar", []arMember{version, control}},
		{"two data", "2 members are named data.tar", []arMember{version, control, data, {"data.tar.xz", nil}}},
		{"control without control", "0 files named control", []arMember{version, {"control.tar", writeTar(t, nil)}, data}},
		{"unknown compression", `compression "lzma"`, []arMember{version, {"control.tar.lzma", tarball}, data}},
		{"not what the name says", "unpacking control.tar.gz", []arMember{version, {"control.tar.gz", tarball}, data}},
		{"cut off", "unpacking control.tar.xz", []arMember{version, {"control.tar.xz", cut[:len(cut)-20]}, data}},
		{"flipped byte", "unpacking control.tar.xz", []arMember{version, {"control.tar.xz", flip(cut, len(cut)/2)}, data}},
		{"cut tar", "unpacking control.tar", []arMember{version, {"control.tar", tarball[:515]}, data}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := unpack(writeAr(c.members), keepAll)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func flip(data []byte, at int) []byte {
	out := bytes.Clone(data)
	out[at] ^= 0x10
	return out
}

func TestUnpackLimitsEntries(t *testing.T) {
	entries := make([]basetest.Entry, MaxEntries+1)
	for i := range entries {
		entries[i] = basetest.Entry{Name: "./x/", Type: tar.TypeDir}
	}
	d := basetest.Deb{Name: "x", Version: "1", Arch: "amd64", Compression: ".gz", Entries: entries}
	_, err := unpack(debBytes(t, d), keepAll)
	require.ErrorContains(t, err, "more than 50000 entries")
}

func TestLimitedReader(t *testing.T) {
	for _, c := range []struct {
		max int64
		ok  bool
	}{{5, true}, {4, false}} {
		var out bytes.Buffer
		_, err := out.ReadFrom(&limitedReader{r: strings.NewReader("12345"), max: c.max})
		require.Equal(t, c.ok, err == nil, c.max)
	}
}

func FuzzUnpack(f *testing.F) {
	for _, compression := range []string{"", ".gz", ".xz", ".zst"} {
		f.Add(debBytes(f, basetest.Libc(compression)))
	}
	f.Add(debBytes(f, basetest.BaseFiles()))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := unpack(data, keepAll)
		if err != nil {
			return
		}
		for _, file := range c.files {
			// Whatever got through fits into a layer alone, or is refused there by a rule
			// of the archive that a package cannot satisfy (such as mode 0), never panics.
			var a archive.Archive
			if a.Add(file) == nil {
				_, err := a.Bytes()
				require.NoError(t, err)
			}
			require.Contains(t, []pack.Type{pack.Regular, pack.Symlink}, file.Type)
			require.False(t, path.IsAbs(file.Name) || outside(path.Clean(file.Name)), file.Name)
		}
	})
}
