package verify_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// Published sums: FIPS 180's "abc", and git's ids of the blob "hello\n" and of no bytes.
const (
	abcSHA256   = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	helloSHA1   = "ce013625030ba8dba906f756967f9e9ca394464a"
	emptySHA1   = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

func TestFile(t *testing.T) {
	wrong := strings.Repeat("0", 64)
	cases := []struct {
		name, content string
		want          verify.Want
		code, message string
	}{
		{"sha256", "abc", verify.Want{Size: 3, SHA256: abcSHA256}, "", ""},
		{"size unknown", "abc", verify.Want{Size: -1, SHA256: abcSHA256}, "", ""},
		{"git blob", "hello\n", verify.Want{Size: 6, SHA1: helloSHA1}, "", ""},
		{"git blob, size unknown", "hello\n", verify.Want{Size: -1, SHA1: helloSHA1}, "", ""},
		{"empty", "", verify.Want{SHA1: emptySHA1}, "", ""},
		{"empty sha256", "", verify.Want{SHA256: emptySHA256}, "", ""},
		{"sha256 wins over sha1", "abc", verify.Want{Size: 3, SHA256: abcSHA256, SHA1: helloSHA1}, "", ""},
		{"short", "ab", verify.Want{Size: 3, SHA256: abcSHA256}, "size", "file is 1 byte short: 2 of 3"},
		{"long", "abcde", verify.Want{Size: 3, SHA256: abcSHA256}, "size", "file is 2 bytes too long: 5 instead of 3"},
		{"other bytes", "abd", verify.Want{Size: 3, SHA256: abcSHA256}, "sha256", "expected " + abcSHA256},
		{"other sum", "abc", verify.Want{Size: 3, SHA256: wrong}, "sha256", "sha256 is " + abcSHA256 + ", expected " + wrong},
		{"other blob", "hullo\n", verify.Want{Size: 6, SHA1: helloSHA1}, "sha1", "expected " + helloSHA1},
		{"nothing known", "abc", verify.Want{Size: 3}, "no-sum", "sha256 is " + abcSHA256},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, c.content)
			sums, found, err := verify.File(t.Context(), path, c.want, nil)
			require.NoError(t, err)
			require.Equal(t, int64(len(c.content)), sums.Size)
			if c.code == "" {
				require.Empty(t, found)
				want := sha256.Sum256([]byte(c.content))
				require.Equal(t, hex.EncodeToString(want[:]), sums.SHA256)
				return
			}
			require.Len(t, found, 1)
			require.Equal(t, c.code, found[0].Code)
			require.Equal(t, path, found[0].Object)
			require.Equal(t, verify.Error, found[0].Severity)
			require.Contains(t, found[0].Message, c.message)
			require.Equal(t, fault.Invalid, fault.KindOf(found.Err()))
		})
	}
}

func TestFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	_, found, err := verify.File(t.Context(), filepath.Join(dir, "absent"), verify.Want{}, nil)
	require.NoError(t, err)
	require.Equal(t, "missing", found[0].Code)
	_, found, err = verify.File(t.Context(), dir, verify.Want{Size: -1}, nil)
	require.NoError(t, err)
	require.Equal(t, "not-regular", found[0].Code)
	_, _, err = verify.File(t.Context(), filepath.Join(write(t, "x"), "below"), verify.Want{}, nil)
	require.Equal(t, fault.Resource, fault.KindOf(err))
}

func TestProgressAddsUpAndContextEnds(t *testing.T) {
	const size = 5<<20 + 7
	path := write(t, strings.Repeat("p", size))
	var seen int64
	_, _, err := verify.File(t.Context(), path, verify.Want{Size: size}, func(n int64) { seen += n })
	require.NoError(t, err)
	require.Equal(t, int64(size), seen)

	ctx, cancel := context.WithCancel(t.Context())
	seen = 0
	_, found, err := verify.File(ctx, path, verify.Want{Size: size}, func(n int64) { seen += n; cancel() })
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, found)
	require.Less(t, seen, int64(size), "reading must stop when the context ends")
}

func TestReader(t *testing.T) {
	want := verify.Want{Size: 3, SHA256: abcSHA256}
	_, found, err := verify.Reader(t.Context(), "s", iotest.OneByteReader(strings.NewReader("abc")), want, nil)
	require.NoError(t, err)
	require.Empty(t, found)

	endless := &counter{r: zeros{}}
	sums, found, err := verify.Reader(t.Context(), "s", endless, want, nil)
	require.NoError(t, err)
	require.Equal(t, "size", found[0].Code)
	require.Equal(t, int64(4), sums.Size)
	require.Equal(t, int64(4), endless.n, "a longer stream must not be drained")

	_, found, err = verify.Reader(t.Context(), "s", strings.NewReader("hello\n"), verify.Want{Size: -1, SHA1: helloSHA1}, nil)
	require.NoError(t, err)
	require.Equal(t, "no-sum", found[0].Code)

	boom := errors.New("boom")
	_, _, err = verify.Reader(t.Context(), "s", io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(boom)), want, nil)
	require.ErrorIs(t, err, boom)
	require.ErrorContains(t, err, "verifying s: reading at byte 2")
}

// TestMemoryStaysFlat reads half a gigabyte and bounds what was allocated.
func TestMemoryStaysFlat(t *testing.T) {
	const size = 512 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, found, err := verify.Reader(t.Context(), "s", io.LimitReader(zeros{}, size), verify.Want{Size: size, SHA256: abcSHA256}, nil)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.Equal(t, "sha256", found[0].Code)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
