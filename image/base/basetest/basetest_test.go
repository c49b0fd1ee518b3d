package basetest_test

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/plimsoll-oci/plimsoll/image/base"
	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) *basetest.Mirror {
	t.Helper()
	m, err := basetest.Start()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// TestBaseLayer takes the way of an image's base layer, from two mirrors.
func TestBaseLayer(t *testing.T) {
	var layers [][]byte
	for range 2 {
		m := start(t)
		o := base.Options{Cache: t.TempDir(), Mirrors: []string{m.URL()}}
		packages, err := base.Resolve(t.Context(), o, basetest.Suite, "amd64", []string{"libc6", "base-files"})
		require.NoError(t, err)
		debs, err := base.Fetch(t.Context(), o, packages)
		require.NoError(t, err)
		layer, err := base.Layer(debs, nil)
		require.NoError(t, err)
		require.Less(t, len(layer), 64<<10)
		layers = append(layers, layer)
	}
	require.Equal(t, layers[0], layers[1], "two mirrors have the same bytes")
}

// get returns status and body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestMirror(t *testing.T) {
	m := start(t)
	m.Put("mr/x", []byte("text"))
	status, body := get(t, m.Origin()+"/mr/x")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "text", body)
	m.Answer("/x", http.StatusBadGateway)
	status, _ = get(t, m.Origin()+"/mr/x")
	require.Equal(t, http.StatusBadGateway, status)
	m.Intercept(nil)
	require.True(t, m.Remove("mr/x"))
	require.False(t, m.Remove("mr/x"))
	_, there := m.File("mr/x")
	require.False(t, there)
	status, _ = get(t, m.Origin()+"/mr/x")
	require.Equal(t, http.StatusNotFound, status)
	require.Equal(t, []string{"/mr/x", "/mr/x", "/mr/x"}, m.Asked())
	require.Empty(t, m.Asked())
	require.NoError(t, m.Close())
	_, err := http.Get(m.URL())
	require.Error(t, err)
}

func TestLibrary(t *testing.T) {
	lib, err := elf.NewFile(bytes.NewReader([]byte(basetest.Library("libc.so.6", "libm.so.6"))))
	require.NoError(t, err)
	needed, err := lib.ImportedLibraries()
	require.NoError(t, err)
	require.Equal(t, []string{"libc.so.6", "libm.so.6"}, needed)
}

func TestDebRefuses(t *testing.T) {
	d := basetest.Libc(".lzma")
	_, err := d.Bytes()
	require.ErrorContains(t, err, ".lzma")
	d = basetest.Deb{Name: "x", Entries: []basetest.Entry{{Name: "x/", Content: "y", Type: tar.TypeDir}}}
	_, err = d.Bytes()
	require.Error(t, err)
}

// TestInteropDpkg lets Debian's own tool read what this package writes.
func TestInteropDpkg(t *testing.T) {
	interoptest.Require(t, "dpkg-deb")
	for _, compression := range []string{"", ".gz", ".xz", ".zst"} {
		d := basetest.Libc(compression)
		data, err := d.Bytes()
		require.NoError(t, err)
		dir := t.TempDir()
		file, root := filepath.Join(dir, "x.deb"), filepath.Join(dir, "root")
		require.NoError(t, os.WriteFile(file, data, 0o644))
		require.Equal(t, d.Control(), interoptest.Run(t, "dpkg-deb", "--field", file))
		interoptest.Run(t, "dpkg-deb", "--extract", file, root)
		lib, err := os.ReadFile(filepath.Join(root, "usr/lib/x86_64-linux-gnu/libm.so.6"))
		require.NoError(t, err)
		require.Equal(t, basetest.Library("libc.so.6", "ld-linux-x86-64.so.2"), string(lib))
	}
}
