package base

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/gobinary"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// TestInteropRealDebian makes the layer of today's trixie and runs a binary on it by the layer's
// own loader and libraries. It needs a Debian mirror, so it runs only where interop asks.
func TestInteropRealDebian(t *testing.T) {
	interoptest.Require(t)
	ctx, dir := context.Background(), t.TempDir()
	o := Options{Cache: filepath.Join(dir, "cache"), Mirrors: SystemMirrors(nil), Snapshot: SnapshotArchive}
	packages, err := Resolve(ctx, o, "trixie", "amd64", []string{"libc6", "base-files"})
	require.NoError(t, err)
	debs, err := Fetch(ctx, o, packages)
	require.NoError(t, err)
	layer, err := Layer(debs, nil)
	require.NoError(t, err)
	for _, d := range debs {
		t.Logf("%s %s: %d bytes packed", d.Name, d.Version, d.Size)
	}
	t.Logf("layer: %d bytes", len(layer))

	root := filepath.Join(dir, "root")
	extract(t, layer, root)
	program := filepath.Join(dir, "dynamic")
	_, err = gobinary.Build(ctx, gobinary.Options{Dir: "../..", Package: "./image/base/testdata/dynamic", Out: program})
	require.NoError(t, err)
	out, err := exec.Command(filepath.Join(root, "lib64/ld-linux-x86-64.so.2"), "--inhibit-cache",
		"--library-path", filepath.Join(root, "usr/lib/x86_64-linux-gnu"), program).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "glibc 2.41, cos(0) 1, resolver true\n", string(out))
}

// extract unpacks a layer without root: owners are not set.
func extract(t *testing.T, layer []byte, dir string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		switch h.Typeflag {
		case tar.TypeDir:
			require.NoError(t, root.Mkdir(filepath.Clean(h.Name), 0o755))
		case tar.TypeSymlink:
			require.NoError(t, root.Symlink(h.Linkname, h.Name))
		default:
			data, err := io.ReadAll(r)
			require.NoError(t, err)
			require.NoError(t, root.WriteFile(h.Name, data, os.FileMode(h.Mode)))
		}
	}
}
