package values_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
)

// BenchmarkDeep checks one block of the published dimensions with the tensors around the
// blocks, from a file that lies in the page cache.
func BenchmarkDeep(b *testing.B) {
	for _, precision := range []string{svdqtest.Int4, svdqtest.NVFP4} {
		p := svdqtest.Real(precision, 128)
		p.Blocks = 1
		f := stored(b, p)
		h, err := safetensors.Read(f, size(b, f))
		require.NoError(b, err)
		b.Run(precision, func(b *testing.B) {
			b.SetBytes(h.DataBytes())
			for b.Loop() {
				_, findings, err := values.Check(context.Background(), h, f)
				require.NoError(b, err)
				require.Empty(b, findings)
			}
		})
	}
}

// stored writes a generated checkpoint to a file.
func stored(t testing.TB, p svdqtest.Params) *os.File {
	c, err := svdqtest.New(p)
	require.NoError(t, err)
	f, err := os.Create(filepath.Join(t.TempDir(), "checkpoint.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, io.NewSectionReader(c, 0, c.Size()), make([]byte, 1<<20))
	require.NoError(t, err)
	return f
}

func size(t testing.TB, f *os.File) int64 {
	info, err := f.Stat()
	require.NoError(t, err)
	return info.Size()
}
