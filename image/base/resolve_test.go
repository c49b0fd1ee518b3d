package base

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

func TestResolve(t *testing.T) {
	for _, compression := range []string{".xz", ".gz"} {
		m := newMirror(t)
		other := basetest.Deb{Name: "other", Version: "1", Arch: "amd64"}
		want := m.publish(t, []basetest.Deb{basetest.Libc(""), other, basetest.BaseFiles()}, compression)
		o := options(t, m.URL())
		got, err := Resolve(context.Background(), o, "trixie", "amd64", []string{"libc6", "base-files"})
		require.NoError(t, err)
		require.Equal(t, want[:2], got, "sorted by name, the third is not asked for")
		require.Equal(t, "libc6", got[1].Name)
		require.Equal(t, "2.41-12+deb13u4", got[1].Version)
		require.Equal(t, "trixie", got[1].Suite)
		require.Equal(t, 1, m.count("/by-hash/SHA256/"))

		_, err = Resolve(context.Background(), o, "trixie", "amd64", []string{"libc6"})
		require.NoError(t, err)
		require.Zero(t, m.count("/by-hash/SHA256/"), "the index is cached")
	}
}

func TestResolveWithoutHashes(t *testing.T) {
	m := newMirror(t)
	m.publish(t, []basetest.Deb{basetest.Libc("")}, ".xz")
	m.Answer("/by-hash/", http.StatusNotFound)
	_, err := Resolve(context.Background(), options(t, m.URL()), "trixie", "amd64", []string{"libc6"})
	require.NoError(t, err)
	require.Equal(t, 1, m.count("/Packages.xz"))

	m.Intercept(nil)
	text, ok := m.File("debian/dists/trixie/InRelease")
	require.True(t, ok)
	m.Put("debian/dists/trixie/InRelease", []byte(strings.Replace(string(text), "By-Hash: yes", "By-Hash: no", 1)))
	_, err = Resolve(context.Background(), options(t, m.URL()), "trixie", "amd64", []string{"libc6"})
	require.NoError(t, err)
	require.Zero(t, m.count("/by-hash/"))
}

func TestResolveGoesToTheNextMirror(t *testing.T) {
	good := newMirror(t)
	want := good.publish(t, []basetest.Deb{basetest.Libc("")}, ".xz")
	login := newMirror(t)
	login.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		_, err := w.Write([]byte("<html>please log in</html>"))
		return err == nil
	})
	stale := newMirror(t) // its index is not the one that its release file names
	stale.publish(t, []basetest.Deb{basetest.Libc("")}, ".xz")
	require.True(t, stale.Remove("debian/dists/trixie/main/binary-amd64/Packages.xz"))
	stale.Put("debian/dists/trixie/main/binary-amd64/Packages.xz", []byte("old"))
	stale.Answer("/by-hash/", http.StatusNotFound)
	empty := newMirror(t)

	o := options(t, dead(t), login.URL(), stale.URL(), empty.URL(), good.URL())
	got, err := Resolve(context.Background(), o, "trixie", "amd64", []string{"libc6"})
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestResolveWithoutMirror(t *testing.T) {
	login := newMirror(t)
	login.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		_, err := w.Write([]byte("<html>please log in</html>"))
		return err == nil
	})
	blocked := newMirror(t)
	blocked.Answer("", http.StatusForbidden)
	for name, mirrors := range map[string][]string{
		"none configured": nil, "nobody listens": {dead(t)}, "login page": {login.URL()}, "blocked": {blocked.URL()},
		"malformed": {"http://a b/", ":"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Resolve(context.Background(), options(t, mirrors...), "trixie", "amd64", []string{"libc6"})
			require.ErrorIs(t, err, ErrNoMirror)
			require.Equal(t, fault.Upstream, fault.KindOf(err))
			require.Contains(t, fault.HintOf(err), MirrorEnv)
		})
	}
}

func TestResolveUnknownSuite(t *testing.T) {
	m := newMirror(t)
	m.publish(t, nil, ".xz")
	_, err := Resolve(context.Background(), options(t, m.URL()), "trixy", "amd64", []string{"libc6"})
	require.ErrorContains(t, err, "HTTP 404")
	require.False(t, errors.Is(err, ErrNoMirror), "a mirror did answer")
	require.Contains(t, fault.HintOf(err), "check the suite")
}

func TestResolveUsage(t *testing.T) {
	m := newMirror(t)
	m.publish(t, []basetest.Deb{basetest.Libc("")}, ".gz")
	cases := []struct {
		name, suite, want string
		names             []string
	}{
		{"missing packages are all named", "trixie", "has no libc7, libx", []string{"libx", "libc6", "libc7"}},
		{"malformed name", "trixie", `"../x"`, []string{"../x"}},
		{"twice", "trixie", "there twice", []string{"libc6", "libc6"}},
		{"malformed suite", "../x", "malformed", []string{"libc6"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Resolve(context.Background(), options(t, m.URL()), c.suite, "amd64", c.names)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, fault.Usage, fault.KindOf(err))
		})
	}
}

func TestResolveRefusesIndex(t *testing.T) {
	const good = "Package: libc6\nVersion: 1\nArchitecture: amd64\nFilename: pool/main/g/glibc/libc6_1_amd64.deb\nSize: 1\nSHA256: " + someSum + "\n"
	cases := []struct{ name, index, want string }{
		{"twice", good + "\n" + good, "there twice"},
		{"path out of the pool", strings.Replace(good, "pool/main", "pool/../..", 1), "path"},
		{"path elsewhere", strings.Replace(good, "pool/main", "/etc", 1), "path"},
		{"no size", strings.Replace(good, "Size: 1", "Size: many", 1), "size of libc6"},
		{"huge", strings.Replace(good, "Size: 1", "Size: 1000000000000", 1), "size is 1000000000000 bytes"},
		{"no sum", strings.Replace(good, someSum, "0", 1), "sha256"},
		{"broken", "nonsense\n", "no field"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := newMirror(t)
			require.NoError(t, m.PublishIndex(c.index, ".gz"))
			_, err := Resolve(context.Background(), options(t, m.URL()), "trixie", "amd64", []string{"libc6"})
			require.ErrorContains(t, err, c.want)
			require.Equal(t, fault.Upstream, fault.KindOf(err))
			require.False(t, errors.Is(err, ErrNoMirror))
		})
	}
}

func TestResolveSkipsOtherArchitectures(t *testing.T) {
	m := newMirror(t)
	arm, all := basetest.Libc(""), basetest.Deb{Name: "netbase", Version: "6.5", Arch: "all"}
	arm.Arch = "arm64"
	m.publish(t, []basetest.Deb{arm, basetest.Libc(""), all}, ".gz")
	got, err := Resolve(context.Background(), options(t, m.URL()), "trixie", "amd64", []string{"libc6", "netbase"})
	require.NoError(t, err)
	require.Equal(t, "amd64", got[0].Arch)
	require.Equal(t, "all", got[1].Arch)
}
