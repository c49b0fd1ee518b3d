package image_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// TestWriteRange: whatever the kind of file and writer, and wherever a range begins and ends,
// the bytes are those of ReadAt.
func TestWriteRange(t *testing.T) {
	part := pack.Part{Name: "app/w.part-01-of-02", Index: 1, Count: 2, Offset: 3, Length: 600}
	data := bytes.Repeat([]byte("0123456789"), 70)
	path := filepath.Join(t.TempDir(), "w")
	require.NoError(t, os.WriteFile(path, data, 0o644))
	disk, err := os.Open(path)
	require.NoError(t, err)
	defer disk.Close()
	for name, file := range map[string]image.File{
		"on disk": disk, "in memory": bytesFile{bytes.NewReader(data)}, "without an offset": struct{ image.File }{disk},
	} {
		v, err := image.NewView(part, file)
		require.NoError(t, err)
		whole := readView(t, v)
		ends := []int64{0, 1, 511, 512, 513, 1111, 1112, 1113, 1500, int64(len(whole))}
		for i, from := range ends {
			for _, to := range ends[i:] {
				got, n, err := written(t, v, from, to-from)
				require.NoError(t, err, name)
				require.Equal(t, to-from, n)
				require.Equal(t, whole[from:to], got, "%s: [%d, %d)", name, from, to)
			}
		}
	}
}

// written is a range of a view as it comes out of a TCP connection.
func written(t *testing.T, v *image.View, off, n int64) (got []byte, sent int64, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	in, err := l.Accept()
	require.NoError(t, err)
	defer in.Close()
	sent, err = v.WriteRange(out, off, n)
	require.NoError(t, out.Close())
	got, readErr := io.ReadAll(in)
	require.NoError(t, readErr)
	return got, sent, err
}

// TestWriteRangeFails: a short file is an error behind what it has, and so is a writer that
// fails.
func TestWriteRangeFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	require.NoError(t, os.WriteFile(path, []byte("short"), 0o644))
	file, err := os.Open(path)
	require.NoError(t, err)
	v, err := image.NewView(pack.Part{Name: "w", Count: 1, Length: 100}, file)
	require.NoError(t, err)
	got, n, err := written(t, v, 512, 100)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.EqualValues(t, 5, n)
	require.Equal(t, "short", string(got))
	_, err = v.WriteRange(io.Discard, v.Size()-1, 2)
	require.Error(t, err, "behind the end")

	r, w := io.Pipe()
	require.NoError(t, r.Close())
	_, err = v.WriteRange(w, 0, 10)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.NoError(t, v.Close())
	_, err = v.WriteRange(io.Discard, 512, 5)
	require.ErrorIs(t, err, os.ErrClosed)
}

// said is a file that answers for itself.
type said struct {
	bytesFile
	err error
}

func (s said) Unchanged() error { return s.err }

func TestViewUnchanged(t *testing.T) {
	changed := errors.New("it has changed")
	for name, c := range map[string]struct {
		file image.File
		want error
	}{
		"a file":  {bytesFile{bytes.NewReader(nil)}, image.ErrUnproven},
		"proven":  {said{}, nil},
		"no more": {said{err: changed}, changed},
		"hidden":  {struct{ image.File }{said{}}, image.ErrUnproven},
	} {
		v, err := image.NewView(pack.Part{Name: "w", Count: 1, Length: 0}, c.file)
		require.NoError(t, err)
		require.Equal(t, c.want, v.Unchanged(), name)
	}
}
