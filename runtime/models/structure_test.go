package models_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/models/modelstest"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// TestStructure: without sums a flipped bit of the data is not seen and none is claimed to
// be right; what sizes and headers show is.
func TestStructure(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	size := modelstest.File(t, c, modelstest.Plain).Size
	flip(modelstest.Plain, size-1)(t, c)
	structure := models.Options{Structure: true}

	r, err := models.New(c.ModelsDir, c).Verify(t.Context(), structure)
	require.NoError(t, err)
	require.NoError(t, r.Err())
	for _, f := range r.Files {
		require.True(t, f.OK)
		require.Empty(t, f.SHA256)
		require.False(t, f.Remembered)
	}

	r, err = models.New(c.ModelsDir, c).Verify(t.Context(), models.Options{})
	require.NoError(t, err)
	require.ErrorContains(t, r.Err(), "1 of 4 files is wrong")

	flip(modelstest.VAE, 8)(t, c)
	r, err = models.New(c.ModelsDir, c).Verify(t.Context(), structure)
	require.NoError(t, err)
	require.Error(t, r.Err())
}

// TestRemember: sums that were taken once are known at the next start, whatever it asks for.
func TestRemember(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	modelstest.Join(t, c, modelstest.Fast)
	memo, err := verify.OpenMemo(filepath.Join(t.TempDir(), "memo"))
	require.NoError(t, err)
	for i, o := range []models.Options{{Structure: true}, {}, {Structure: true}, {}} {
		f := models.New(c.ModelsDir, c)
		f.Remember(memo)
		r, err := f.Verify(t.Context(), o)
		require.NoError(t, err)
		require.NoError(t, r.Err())
		for _, f := range r.Files {
			require.Equal(t, i > 1, f.Remembered, "%d %s", i, f.Path)
			require.Equal(t, i > 0, f.SHA256 != "", "%d %s", i, f.Path)
		}
	}
}
