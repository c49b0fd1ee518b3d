package modelfiles_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// TestFolderPrefersParts: parts are read as one file; the whole file counts only where no
// part is there.
func TestFolderPrefersParts(t *testing.T) {
	m := newModel(t)
	file := m.file(fast)
	file.Parts = []int64{10, 1, file.Size - 11}
	dir := t.TempDir()
	m.write(t, dir)
	whole := filepath.Join(dir, fast)
	require.NoError(t, os.WriteFile(whole, []byte("stale"), 0o644))
	place := modelfiles.Folder(dir, nil)

	l, found, err := place.OpenLocal(*file)
	require.NoError(t, err)
	require.Empty(t, found)
	data, err := io.ReadAll(io.NewSectionReader(l, 0, l.Size()))
	require.NoError(t, err)
	require.Equal(t, m.bytes[fast], data)
	require.Equal(t, file.PartPaths(), l.Names)
	require.NoError(t, l.Close())

	require.NoError(t, os.Remove(filepath.Join(dir, file.PartPaths()[1])))
	l, found, err = place.OpenLocal(*file)
	require.NoError(t, err)
	require.Nil(t, l)
	require.Equal(t, verify.Findings{{Severity: verify.Error, Code: "missing", Object: fast + ".part-01-of-03", Message: "file is missing"}}, found)

	for _, p := range file.PartPaths() {
		os.Remove(filepath.Join(dir, p))
	}
	require.NoError(t, os.WriteFile(whole, m.bytes[fast], 0o644))
	l, found, err = place.OpenLocal(*file)
	require.NoError(t, err)
	require.Empty(t, found)
	require.Equal(t, []string{fast}, l.Names)
	require.NoError(t, l.Close())
	require.Len(t, place.Pieces(*file), 1)
}

// TestPartsAreNotRemembered: a memo knows whole files; the sum of a part says nothing.
func TestPartsAreNotRemembered(t *testing.T) {
	m := newModel(t)
	m.file(fast).Parts = []int64{10, m.file(fast).Size - 10}
	dir := t.TempDir()
	m.write(t, dir)
	memo, err := verify.OpenMemo(filepath.Join(t.TempDir(), "memo"))
	require.NoError(t, err)
	for range 2 {
		r := m.check(t, modelfiles.Folder(dir, memo), modelfiles.Options{})
		require.NoError(t, r.Err())
		for _, f := range r.Files {
			if f.Path == fast {
				require.False(t, f.Remembered)
				require.Equal(t, 2, f.Parts)
			}
		}
	}
}
