package base

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

// This file lets the tests use package basetest without a check of every error.

// mirror is a loopback mirror that ends with its test.
type mirror struct{ *basetest.Mirror }

// newMirror starts a mirror that serves nothing yet.
func newMirror(t *testing.T) mirror {
	t.Helper()
	m, err := basetest.StartEmpty()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return mirror{m}
}

// publish makes the mirror a complete archive of trixie with the packages.
func (m mirror) publish(t *testing.T, debs []basetest.Deb, compressions ...string) []manifests.Package {
	t.Helper()
	out, err := m.Publish(debs, compressions...)
	require.NoError(t, err)
	return out
}

// deb is the file of a package in the mirror's pool.
func (m mirror) deb(t *testing.T, p manifests.Package) []byte {
	t.Helper()
	data, ok := m.File("debian/" + p.Path)
	require.True(t, ok, p.Path)
	return data
}

// count returns how many requests had a path with this text, and forgets them all.
func (m mirror) count(text string) int {
	n := 0
	for _, a := range m.Asked() {
		if strings.Contains(a, text) {
			n++
		}
	}
	return n
}

// dead is the URL of a mirror that nobody listens at.
func dead(t *testing.T) string {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	return s.URL + "/debian"
}

// options has a cache of its own and the given mirrors.
func options(t *testing.T, mirrors ...string) Options {
	return Options{Cache: filepath.Join(t.TempDir(), "plimsoll", "debian"), Mirrors: mirrors}
}

// debBytes writes a .deb.
func debBytes(t testing.TB, d basetest.Deb) []byte {
	t.Helper()
	data, err := d.Bytes()
	require.NoError(t, err)
	return data
}

// saveDeb writes a .deb into a folder and returns it with its lock line.
func saveDeb(t testing.TB, d basetest.Deb, dir string) Deb {
	t.Helper()
	data := debBytes(t, d)
	file := filepath.Join(dir, d.Name+".deb")
	require.NoError(t, os.WriteFile(file, data, 0o644))
	return Deb{File: file, Package: d.Package(data)}
}

func writeAr(members []arMember) []byte {
	var out []basetest.Member
	for _, m := range members {
		out = append(out, basetest.Member{Name: m.name, Data: m.data})
	}
	return basetest.Ar(out)
}

func writeTar(t testing.TB, entries []basetest.Entry) []byte {
	t.Helper()
	data, err := basetest.Tar(entries)
	require.NoError(t, err)
	return data
}

func compress(t testing.TB, data []byte, suffix string) []byte {
	t.Helper()
	out, err := basetest.Compress(data, suffix)
	require.NoError(t, err)
	return out
}
