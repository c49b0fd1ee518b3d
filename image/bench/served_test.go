package bench

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

func TestGenerate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	const size = 2*piece + 12345
	sum, err := generate(t.Context(), path, 5, size)
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	want := make([]byte, size)
	_, err = hubtest.Noise(5, size).ReadAt(want, 0)
	require.NoError(t, err)
	require.Equal(t, want, got)
	again, err := sumOf(path)
	require.NoError(t, err)
	require.Equal(t, again, sum)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = generate(ctx, path, 5, size)
	require.ErrorIs(t, err, context.Canceled)
}

func TestAsked(t *testing.T) {
	for header, want := range map[string]int64{
		"":                      100,
		"bytes=0-9":             10,
		"bytes=90-":             10,
		"bytes=90-200":          10,
		"bytes=99-99":           1,
		"bytes=5-2":             0,
		"bytes=100-":            100,
		"bytes=-5":              100,
		"lines=1-2":             100,
		"bytes=0-9,20-29":       100,
		"bytes=10-999999999999": 90,
	} {
		require.Equal(t, want, asked(header, 100), header)
	}
}

func FuzzAsked(f *testing.F) {
	f.Add("bytes=0-9", int64(100))
	f.Add("bytes=9-", int64(10))
	f.Add("bytes=-1-4", int64(10))
	f.Add("bytes=0-9223372036854775807", int64(10))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		size = max(0, size)
		n := asked(header, size)
		require.True(t, n >= 0 && n <= size, "%q of %d: %d", header, size, n)
	})
}

func TestSums(t *testing.T) {
	require.Equal(t, []string{"aa", "bb"}, sums("aa */tmp/a b\nbb *c\n"))
	require.Empty(t, sums(""))
}

// hubOf serves one file and returns its address.
func hubOf(t *testing.T, size int64) (*loopbackHub, string) {
	t.Helper()
	h, err := serve("owner/name", map[string]hubtest.File{"f": {Content: hubtest.Noise(1, size), LFS: true}})
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	return h, h.URL() + "/owner/name/resolve/main/f"
}

// get downloads a range and says how much came and whether it was all.
func get(t *testing.T, url, byteRange string) (int64, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if byteRange != "" {
		r.Header.Set("Range", byteRange)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	return io.Copy(io.Discard, answer.Body)
}

// TestOneConnectionInTwentyIsCut, halfway through what it was asked for.
func TestOneConnectionInTwentyIsCut(t *testing.T) {
	const size = 1 << 20
	h, url := hubOf(t, size)
	h.faults = cuts(size)
	for range 2 { // every turn begins anew
		h.begin()
		for i := 1; i <= 2*cutEvery; i++ {
			n, err := get(t, url, "bytes=0-99999")
			if i%cutEvery == cutFirst {
				require.Error(t, err)
				require.LessOrEqual(t, n, int64(50_000))
				continue
			}
			require.NoError(t, err)
			require.Equal(t, int64(100_000), n)
		}
		var s Sample
		h.end(&s)
		require.Equal(t, 2*cutEvery, s.Requests)
		require.Equal(t, int64((2*cutEvery-2)*100_000+2*50_000), s.Transferred)
	}
	n, err := get(t, url, "")
	require.NoError(t, err, "between turns there are no faults")
	require.Equal(t, int64(size), n)
}

func TestThrottledIsAFaultOfTheCDN(t *testing.T) {
	h, url := hubOf(t, 200_000)
	h.faults = throttled(1_000_000)
	h.begin()
	n, err := get(t, url, "")
	require.NoError(t, err)
	require.Equal(t, int64(200_000), n)
	require.Equal(t, []int{1}, h.Hits())
}

func TestDiskFloor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	seconds, err := diskFloor(path, 3*piece+1)
	require.NoError(t, err)
	require.Positive(t, seconds)
	require.NoFileExists(t, path)
	_, err = diskFloor(filepath.Join(path, "in no folder"), 1)
	require.ErrorContains(t, err, "measuring the disk")
}

func TestFloors(t *testing.T) {
	s := newSession(t, 3*piece, 2)
	require.NoError(t, s.floors(true))
	require.Len(t, s.result.Floors, 2)
	for _, f := range s.result.Floors {
		require.Positive(t, f.BytesPerSecond)
		require.InEpsilon(t, 3*piece, f.Seconds*f.BytesPerSecond, 1e-6)
	}
	one := newSession(t, 1000, 1)
	require.NoError(t, one.floors(false))
	require.Equal(t, floorHash, one.result.Floors[0].Name)
	require.Len(t, one.result.Floors, 1)
}

func TestWarm(t *testing.T) {
	require.NoError(t, warm("served_test.go"))
	require.True(t, errors.Is(warm("no such file"), os.ErrNotExist))
}
