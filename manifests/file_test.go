package manifests_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	require.NoError(t, os.WriteFile(path, []byte("1234"), 0o644))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("x", link))
	for _, p := range []string{path, link} {
		data, err := manifests.ReadFile(p, 4)
		require.NoError(t, err)
		require.Equal(t, "1234", string(data))
	}
	_, err := manifests.ReadFile(path, 3)
	require.ErrorContains(t, err, "larger than 3 bytes")
	_, err = manifests.ReadFile(filepath.Join(dir, "gone"), 3)
	require.ErrorIs(t, err, fs.ErrNotExist)

	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o644))
	for _, p := range []string{pipe, dir} {
		_, err = manifests.ReadFile(p, 3) // of a pipe that nobody writes to
		require.ErrorContains(t, err, "not a regular file")
	}
}
