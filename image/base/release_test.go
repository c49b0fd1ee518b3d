package base

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
)

const someSum = "967aa62605721081c3eb2a17650611a792aa802d76a6511d1840242623d204c9"

func TestParseRelease(t *testing.T) {
	gz, xz := someSum+" 13332733 main/binary-amd64/Packages.gz", someSum+"  9678380 main/binary-amd64/Packages.xz"
	text := string(basetest.InRelease(gz, xz))
	for _, suite := range []string{"trixie", "stable"} {
		r, err := parseRelease([]byte(text), suite, "amd64")
		require.NoError(t, err)
		require.True(t, r.byHash)
		index, err := r.index("amd64")
		require.NoError(t, err)
		require.Equal(t, indexFile{path: "main/binary-amd64/Packages.xz", size: 9678380, sum: someSum}, index)
	}
	r, err := parseRelease([]byte(strings.ReplaceAll(text, "Packages.xz", "Packages.lz")), "trixie", "amd64")
	require.NoError(t, err)
	index, err := r.index("amd64")
	require.NoError(t, err)
	require.Equal(t, "main/binary-amd64/Packages.gz", index.path)
	_, err = r.index("arm64")
	require.ErrorContains(t, err, "neither main/binary-arm64/Packages.xz")
}

func TestParseReleaseRefuses(t *testing.T) {
	good := string(basetest.InRelease(someSum + " 1 x"))
	_, err := parseRelease([]byte(good), "trixie", "amd64")
	require.NoError(t, err)
	cases := []struct{ name, old, new, want string }{
		{"login page", "-----BEGIN PGP SIGNED MESSAGE-----", "<html>", "begins with"},
		{"cut off", "-----BEGIN PGP SIGNATURE-----", "", "cut off"},
		{"another vendor", "Origin: Debian", "Origin: Vendor", `origin is "Vendor"`},
		{"another suite", "Codename: trixie", "Codename: forky", `"forky" ("stable"), not "trixie"`},
		{"another architecture", "amd64 arm64", "amd64-x arm64", `without "amd64"`},
		{"short sum", someSum, someSum[1:], "not a line of sha256"},
		{"no size", someSum + " 1 x", someSum + " x", "not a line of sha256"},
		{"negative size", someSum + " 1 x", someSum + " -1 x", "size of"},
		{"two stanzas", "Suite: stable", "\nSuite: stable", "there is more"},
		{"dash that is not escaped", "Suite: stable", "-Suite", "no field"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, good, c.old)
			_, err := parseRelease([]byte(strings.Replace(good, c.old, c.new, 1)), "trixie", "amd64")
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestClearText(t *testing.T) {
	got, err := clearText([]byte("-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nA: b\r\n- -----dash\r\n-----BEGIN PGP SIGNATURE-----\r\n"))
	require.NoError(t, err)
	require.Equal(t, "A: b\n-----dash\n", string(got))
}

func FuzzParseRelease(f *testing.F) {
	f.Add(basetest.InRelease(someSum + " 1 main/binary-amd64/Packages.xz"))
	f.Add(basetest.ClearSigned("Origin: Debian\nSuite: trixie\nArchitectures: amd64\nSHA256:\n " + someSum + " 7 main/binary-amd64/Packages.gz\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRelease(data, "trixie", "amd64")
		if err != nil {
			return
		}
		for name, file := range r.files {
			require.Equal(t, name, file.path)
			require.Regexp(t, hexSHA256, file.sum)
			require.GreaterOrEqual(t, file.size, int64(0), fmt.Sprint(file))
		}
	})
}
