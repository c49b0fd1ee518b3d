package fetch

import (
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

// TestKillAnywhere: files of several sizes, fetched by processes in groups of their own
// that are killed a random number of times at random bytes. The last one always ends with
// the right file, and all of them together received no more than the size and one window
// for each kill.
func TestKillAnywhere(t *testing.T) {
	const window, rounds = 64 << 10, 3
	for _, size := range []int{1 << 10, 200_001, 1<<20 + 7, 5 << 20} {
		for round := range rounds {
			seed := uint64(time.Now().UnixNano())
			t.Logf("%d bytes, round %d: seed %d", size, round, seed)
			killAnywhere(t, rand.New(rand.NewPCG(seed, seed)), size, window)
		}
	}
}

func killAnywhere(t *testing.T, rng *rand.Rand, size int, window int64) {
	t.Helper()
	s := newSite(t, map[string]hubtest.File{"m.bin": large(9, int64(size))})
	s.Inject(hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Throttle(4 << 20)})
	o := order{Endpoint: s.URL(), Cache: filepath.Join(t.TempDir(), "hub"), File: s.file(t, "m.bin"), Jobs: 1 + rng.IntN(4)}
	o.Limits = Limits{Window: window, Range: 256 << 10, MinRange: 128 << 10}
	kills := int64(1 + rng.IntN(5))
	for range kills {
		p := start(t, o)
		from, more := s.Sent("m.bin"), rng.Int64N(int64(size)/2)
		for deadline := time.Now().Add(time.Duration(rng.IntN(600)) * time.Millisecond); s.Sent("m.bin") <= from+more && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) // a small file may be there already
		_ = p.Wait()
	}
	last := start(t, o).finish(t)
	received, err := readTally(filepath.Join(filepath.Dir(o.Cache), "tally"))
	require.NoError(t, err)
	require.LessOrEqual(t, received, int64(size)+kills*window)
	require.FileExists(t, filepath.Join(o.Cache, "models--org--model", "blobs", o.File.SHA256))
	if last.Cached {
		return // killed behind the last byte: the dead owner's claim is cache:prune's to sweep
	}
	store, err := cache.Open(o.Cache)
	require.NoError(t, err)
	defer store.Close()
	requireClean(t, store)
}
