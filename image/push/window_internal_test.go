package push

import (
	"bytes"
	"io"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// endless is a source that counts its reads; every block of it is different.
type endless struct{ read atomic.Int64 }

func (e *endless) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = byte((off + int64(i)) / 1000)
	}
	e.read.Add(int64(len(p)))
	return len(p), nil
}

func (e *endless) Close() error { return nil }

// TestWindow: readers that are close together cost one read, memory is used again, and one
// that is far behind gets the same bytes by itself.
func TestWindow(t *testing.T) {
	const size = 3*windowSize + 12345
	e := &endless{}
	layers := share([]layer{{size: size, open: func() (source, error) { return e, nil }}})
	ahead, err := layers[0].open()
	require.NoError(t, err)
	behind, err := layers[0].open()
	require.NoError(t, err)
	a, b := make([]byte, 3<<20), make([]byte, 1<<20)
	r := io.NewSectionReader(behind, 0, size)
	for off := int64(0); off < size; off += int64(len(a)) {
		n, err := ahead.ReadAt(a, off)
		if off+int64(n) == size {
			require.ErrorIs(t, err, io.EOF)
		} else {
			require.NoError(t, err)
		}
		for done := 0; done < n; {
			m, err := r.Read(b[:min(len(b), n-done)])
			require.NoError(t, err)
			require.True(t, bytes.Equal(a[done:done+m], b[:m]))
			done += m
		}
	}
	require.EqualValues(t, size, e.read.Load())
	w := ahead.(*shared).window
	require.LessOrEqual(t, len(w.blocks)+len(w.free), windowSize/blockSize+1)

	_, err = behind.ReadAt(b, 5)
	require.NoError(t, err)
	want := make([]byte, len(b))
	_, _ = e.ReadAt(want, 5)
	require.Equal(t, want, b)
	require.EqualValues(t, size+2*len(b), e.read.Load())
}
