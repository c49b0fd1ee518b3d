package base

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"./": ".", ".": ".", "./usr/lib/": "usr/lib", "usr/lib/x": "usr/lib/x", "./etc/..data": "etc/..data",
	} {
		got, err := cleanName(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"/etc/passwd", "..", "../x", "./../x", "a/../../x", "a//b", "a/./b", ".//x", `a\b`, "a\x00b", "/"} {
		_, err := cleanName(in)
		require.Error(t, err, in)
	}
}

func TestMerged(t *testing.T) {
	for in, want := range map[string]string{
		"lib/x86_64-linux-gnu/libc.so.6": "usr/lib/x86_64-linux-gnu/libc.so.6",
		"lib64/ld-linux-x86-64.so.2":     "usr/lib64/ld-linux-x86-64.so.2",
		"sbin/ldconfig":                  "usr/sbin/ldconfig",
		"lib":                            "lib",
		"library/x":                      "library/x",
		"usr/lib/x":                      "usr/lib/x",
		"etc/lib/x":                      "etc/lib/x",
	} {
		require.Equal(t, want, merged(in), in)
	}
}

func TestMergedTarget(t *testing.T) {
	cases := []struct{ plain, target, want string }{
		// bookworm's libc6: an absolute link between two folders that move.
		{"lib64/ld.so", "/lib/x86_64-linux-gnu/ld.so", "../lib/x86_64-linux-gnu/ld.so"},
		{"usr/lib64/ld.so", "../lib/x86_64-linux-gnu/ld.so", "../lib/x86_64-linux-gnu/ld.so"},
		{"lib/x86_64-linux-gnu/libz.so.1", "libz.so.1.3", "libz.so.1.3"},
		{"usr/lib/x86_64-linux-gnu/libz.so", "/lib/x86_64-linux-gnu/libz.so.1", "libz.so.1"},
		{"etc/os-release", "../usr/lib/os-release", "../usr/lib/os-release"},
		{"lib/x", "../etc/y", "../../etc/y"},
		{"usr/share/doc/libgcc-s1", "gcc-14-base", "gcc-14-base"},
		{"a/b", "/../../etc/x", "../etc/x"},
		{"top", "./x//y/", "x/y"},
	}
	for _, c := range cases {
		got, err := mergedTarget(c.plain, merged(c.plain), c.target)
		require.NoError(t, err, c.plain)
		require.Equal(t, c.want, got, c.plain)
	}
	for _, target := range []string{"", "../../x", "../..", "a\x00", `a\b`} {
		_, err := mergedTarget("usr/x", "usr/x", target)
		require.ErrorContains(t, err, "leaves the root", target)
	}
}

func TestSelected(t *testing.T) {
	yes := []string{
		"usr/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libpcprofile.so", "usr/lib/aarch64-linux-gnu/libm.so.6",
		"usr/lib64/ld-linux-x86-64.so.2", "usr/lib/ld-linux-aarch64.so.1", "usr/lib32/libc.so.6",
		"usr/share/doc/libc6/copyright", "usr/share/doc/libc6", "etc/ld.so.conf.d/x86_64-linux-gnu.conf",
		"etc/debian_version", "etc/os-release", "usr/lib/os-release", "usr/share/common-licenses/GPL-3",
	}
	no := []string{
		"usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", "usr/lib/x86_64-linux-gnu/audit/sotruss-lib.so", "usr/lib/x86_64-linux-gnu/libc.a",
		"usr/lib/locale/C.utf8/LC_CTYPE", "usr/libexec/x.so", "usr/bin/x.so", "usr/libfoo/x.so", "opt/lib/x.so", "libc.so.6",
		"usr/share/doc/libc6/changelog.gz", "usr/share/doc/other/copyright", "etc/ld.so.conf.d/readme", "etc/passwd",
		"usr/share/common-licenses/deep/er",
	}
	for _, name := range yes {
		require.True(t, selected("libc6", name), name)
	}
	for _, name := range no {
		require.False(t, selected("libc6", name), name)
	}
}
