package hubtest_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

func TestNoiseIsTheSameFromAnyPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, 5000).Draw(t, "size")
		n := hubtest.Noise(rapid.Uint64().Draw(t, "seed"), size)
		whole := make([]byte, size)
		got, err := n.ReadAt(whole, 0)
		require.Equal(t, int(size), got)
		require.True(t, err == nil || size == 0 && err == io.EOF)
		offset := rapid.Int64Range(0, size+10).Draw(t, "offset")
		part := make([]byte, rapid.IntRange(1, 100).Draw(t, "length"))
		got, err = n.ReadAt(part, offset)
		want := whole[min(offset, size):min(offset+int64(len(part)), size)]
		require.True(t, bytes.Equal(want, part[:got]))
		require.Equal(t, got < len(part), err == io.EOF)
	})
}

func TestNoiseDependsOnTheSeedAlone(t *testing.T) {
	head := func(seed uint64) string {
		p := make([]byte, 16)
		_, err := hubtest.Noise(seed, 1<<40).ReadAt(p, 1<<39)
		require.NoError(t, err)
		return string(p)
	}
	require.Equal(t, head(1), head(1))
	require.NotEqual(t, head(1), head(2))
	require.NoError(t, iotest.TestReader(io.NewSectionReader(hubtest.Noise(3, 1000), 0, 1000), contentOf(hubtest.Noise(3, 1000))))
}

func TestFileContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte("hello"), 0o600))
	c, err := hubtest.FileContent(path)
	require.NoError(t, err)
	require.Equal(t, int64(5), c.Size())
	require.Equal(t, "hello", string(contentOf(c)))
	require.NoError(t, c.(io.Closer).Close())
	_, err = hubtest.FileContent(path + ".gone")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func contentOf(c hubtest.Content) []byte {
	data, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if err != nil {
		panic(err)
	}
	return data
}
