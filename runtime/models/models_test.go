package models_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/models/modelstest"
)

func folder(t *testing.T, c *manifests.ModelConfig) *models.Folder {
	t.Helper()
	return models.New(c.ModelsDir, c)
}

func TestOpenReadsPartsAsOneFile(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	file := *modelstest.File(t, c, modelstest.Fast)
	want := modelstest.Checkpoint(t, modelstest.Precision, modelstest.Rank, 0)
	require.Len(t, file.Parts, 3)

	read := func() *models.Content {
		content, found, err := folder(t, c).Open(file)
		require.NoError(t, err)
		require.Empty(t, found)
		data, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
		require.NoError(t, err)
		require.Equal(t, want, data)
		return content
	}
	content := read()
	require.Equal(t, file.PartPaths(), content.Names)
	require.NoError(t, content.Close())
	_, err := content.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, os.ErrClosed)

	modelstest.Join(t, c, modelstest.Fast)
	content = read()
	require.Equal(t, []string{modelstest.Fast}, content.Names)
	require.NoError(t, content.Close())
}

// Whatever is wrong on disk, Open says it about the piece, and leaves nothing open.
func TestOpenFindsWhatIsWrong(t *testing.T) {
	part := func(i int) string {
		return modelstest.Fast + []string{".part-00-of-03", ".part-01-of-03", ".part-02-of-03"}[i]
	}
	cases := map[string]struct {
		path   string
		change func(t *testing.T, c *manifests.ModelConfig)
		want   []string
	}{
		"missing": {modelstest.Plain, remove(modelstest.Plain), []string{"missing " + modelstest.Plain + ": file is missing"}},
		"two parts missing": {modelstest.Fast, remove(part(0), part(2)), []string{
			"missing " + part(0) + ": file is missing", "missing " + part(2) + ": file is missing",
		}},
		"one part long": {modelstest.Fast, resize(part(1), 3), []string{"size " + part(1) + ": 2 bytes too long: 3 instead of 1"}},
		"part short, part missing": {modelstest.Fast, func(t *testing.T, c *manifests.ModelConfig) {
			resize(part(0), 99_990)(t, c)
			remove(part(1))(t, c)
		}, []string{"size " + part(0) + ": 10 bytes short: 99990 of 100000", "missing " + part(1) + ": file is missing"}},
		"folder": {modelstest.Index, func(t *testing.T, c *manifests.ModelConfig) {
			remove(modelstest.Index)(t, c)
			require.NoError(t, os.Mkdir(modelstest.Name(c, modelstest.Index), 0o755))
		}, []string{"not-regular " + modelstest.Index + ": not a regular file but d---------"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := modelstest.Write(t, t.TempDir())
			tc.change(t, c)
			content, found, err := folder(t, c).Open(*modelstest.File(t, c, tc.path))
			require.NoError(t, err)
			require.Nil(t, content)
			var got []string
			for _, f := range found {
				got = append(got, f.Code+" "+f.String())
			}
			require.Equal(t, tc.want, got)
			require.Empty(t, openHandles(t, c.ModelsDir))
		})
	}
}

func remove(paths ...string) func(*testing.T, *manifests.ModelConfig) {
	return func(t *testing.T, c *manifests.ModelConfig) {
		t.Helper()
		for _, p := range paths {
			require.NoError(t, os.Remove(modelstest.Name(c, p)))
		}
	}
}

func resize(path string, size int64) func(*testing.T, *manifests.ModelConfig) {
	return func(t *testing.T, c *manifests.ModelConfig) {
		t.Helper()
		require.NoError(t, os.Truncate(modelstest.Name(c, path), size))
	}
}

// openHandles lists the files below dir that this process holds open.
func openHandles(t *testing.T, dir string) []string {
	t.Helper()
	const handles = "/proc/self/fd"
	entries, err := os.ReadDir(handles)
	if err != nil {
		t.Skipf("needs Linux's %s", handles)
	}
	var out []string
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(handles, e.Name())); err == nil && strings.HasPrefix(target, dir) {
			out = append(out, target)
		}
	}
	return slices.Clip(out)
}
