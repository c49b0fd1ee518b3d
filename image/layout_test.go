package image_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

func TestOpenBadLayouts(t *testing.T) {
	f := newFixture(t)
	img, err := image.Build(f.spec)
	require.NoError(t, err)
	cases := map[string]struct {
		spoil func(t *testing.T, dir string)
		kind  fault.Kind
		text  string
	}{
		"missing":       {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "index.json"))) }, fault.Usage, "index.json"},
		"two images":    {rewrite("index.json", `{"manifests":[{},{}]}`), fault.Invalid, "lists 2 images"},
		"not json":      {rewrite("index.json", `{`), fault.Invalid, "parsing index.json"},
		"path as a sum": {rewrite("index.json", `{"manifests":[{"digest":"sha256:../../x"}]}`), fault.Invalid, ""},
		"flipped config": {func(t *testing.T, dir string) {
			h, err := img.ConfigName()
			require.NoError(t, err)
			rewrite("blobs/sha256/"+h.Hex, "{}")(t, dir)
		}, fault.Invalid, "its digest is"},
		"a pipe as the index": {func(t *testing.T, dir string) { pipe(t, filepath.Join(dir, "index.json")) }, fault.Invalid, "not a regular file"},
		"a pipe as the config": {func(t *testing.T, dir string) {
			h, err := img.ConfigName()
			require.NoError(t, err)
			pipe(t, filepath.Join(dir, "blobs", "sha256", h.Hex))
		}, fault.Invalid, "not a regular file"},
		"short small layer": {func(t *testing.T, dir string) {
			m, err := img.Manifest()
			require.NoError(t, err)
			rewrite("blobs/sha256/"+m.Layers[3].Digest.Hex, "x")(t, dir)
		}, fault.Invalid, "base layer is missing"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, img.Save(dir))
			c.spoil(t, dir)
			_, err := image.Open(dir, nil)
			require.Equal(t, c.kind, fault.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.text)
		})
	}
}

// pipe puts a pipe that nobody writes to in the place of a file.
func pipe(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.Remove(path))
	require.NoError(t, syscall.Mkfifo(path, 0o644))
}

func rewrite(name, text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
}
