package contents_test

import (
	"archive/tar"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/contents"
)

func regular(name string) contents.Entry { return contents.Entry{Name: name, Type: tar.TypeReg} }

func folder(name string) contents.Entry { return contents.Entry{Name: name, Type: tar.TypeDir} }

func symlink(name, to string) contents.Entry {
	return contents.Entry{Name: name, Type: tar.TypeSymlink, Link: to}
}

func TestRoot(t *testing.T) {
	type layer = []contents.Entry
	cases := map[string]struct {
		layers []layer
		want   []string
	}{
		"names":             {[]layer{{regular("./a"), regular("/b"), regular("c/../d"), regular("../e"), folder("f"), regular("./")}}, []string{"a", "b", "d", "e"}},
		"replaced":          {[]layer{{regular("a")}, {regular("a"), regular("b")}}, []string{"a", "b"}},
		"whiteout":          {[]layer{{regular("a/b"), regular("a/c")}, {regular("a/.wh.b")}}, []string{"a/c"}},
		"whiteout of a dir": {[]layer{{regular("a/b"), regular("a/c/d"), regular("ab")}, {regular(".wh.a")}}, []string{"ab"}},
		"opaque":            {[]layer{{regular("a/b"), regular("a/c/d")}, {regular("a/new"), regular("a/.wh..wh..opq"), regular("a/newer")}}, []string{"a/new", "a/newer"}},
		"own layer stays":   {[]layer{{regular("a"), regular(".wh.a")}}, []string{"a"}},
		"file over folder":  {[]layer{{regular("a/b")}, {regular("a")}}, []string{"a"}},
		"folder over file":  {[]layer{{regular("a")}, {folder("a"), regular("a/b")}}, []string{"a/b"}},
		"merged usr":        {[]layer{{symlink("lib", "usr/lib"), regular("usr/lib/x")}, {regular("lib/.wh.x"), regular("lib/y")}}, []string{"lib", "usr/lib/y"}},
		"relative link":     {[]layer{{symlink("a/lib", "../usr"), regular("a/lib/x")}}, []string{"a/lib", "usr/x"}},
		"link out":          {[]layer{{symlink("a", "../../../etc"), regular("a/x")}}, []string{"a", "etc/x"}},
		"link to itself":    {[]layer{{symlink("a", "a"), regular("a/x")}}, []string{"a", "a/x"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var root contents.Root
			for _, l := range c.layers {
				root.Next()
				for _, e := range l {
					root.Add(e)
				}
			}
			require.Equal(t, c.want, slices.Sorted(maps.Keys(root.Files())))
		})
	}
}

// FuzzRoot: whatever names come, adding them ends, and every path is clean and inside.
func FuzzRoot(f *testing.F) {
	f.Add("a", "a/b", "../c", byte(tar.TypeSymlink))
	f.Add("a/.wh..wh..opq", ".wh.", "a", byte(tar.TypeDir))
	f.Fuzz(func(t *testing.T, a, b, link string, kind byte) {
		var root contents.Root
		for range 2 {
			root.Next()
			root.Add(contents.Entry{Name: a, Type: kind, Link: link})
			root.Add(regular(b))
			root.Add(contents.Entry{Name: a + "/" + b, Type: tar.TypeSymlink, Link: a})
		}
		for name := range root.Files() {
			require.NotContains(t, "/"+name+"/", "/../")
			require.False(t, strings.HasPrefix(name, "/"))
		}
	})
}
