package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

func TestCheckpointsHaveTheSize(t *testing.T) {
	for _, c := range []struct {
		n     int
		size  int64
		heads int // 24 is the published width
	}{
		{1, 12_654_443_144, 24}, {1, 4e9, 24}, {2, 6e9, 24}, {4, 4e9, 24}, {2, 1e9, 12}, {2, 300e6, 12}, {1, 4e6, 1}, {3, 1000, 1},
	} {
		list, err := checkpointsOf(c.n, c.size)
		require.NoError(t, err)
		require.Len(t, list, c.n)
		seeds := map[uint64]bool{}
		var sum int64
		for _, x := range list {
			require.Equal(t, c.heads, x.Params.Heads)
			seeds[x.Params.Seed] = true
			sum += x.Size()
			found, err := svdq.Identify(x.Header())
			require.NoError(t, err)
			require.Equal(t, "int4", found.Precision)
			require.NoError(t, svdq.Check(x.Header()).Err())
		}
		require.Len(t, seeds, c.n, "files differ, or the cache keeps one")
		if c.heads > 1 {
			require.LessOrEqual(t, sum, c.size+200, "but for the text of the header")
			require.InEpsilon(t, c.size, sum, 0.11)
		}
	}
}

// TestTheRealOne: at the real size the generated checkpoint is the published shape.
func TestTheRealOne(t *testing.T) {
	list, err := checkpointsOf(1, 12_654_443_144)
	require.NoError(t, err)
	require.Equal(t, 60, list[0].Params.Blocks)
	require.InDelta(t, 12_654_443_144, list[0].Size(), 200, "but for the text of its metadata")
}

func TestManifestsAreValid(t *testing.T) {
	list, err := checkpointsOf(2, 1000)
	require.NoError(t, err)
	for _, runtime := range []manifests.Runtime{manifests.RuntimeNone, manifests.RuntimePlimsoll} {
		m, err := manifests.Parse([]byte(modelManifest(runtime, list)))
		require.NoError(t, err)
		require.Equal(t, runtime, m.Runtime)
		require.Len(t, m.Checkpoints, 2)
		require.Equal(t, modelRepo, m.Sources[0].Repo)
	}
	m, err := manifests.Parse([]byte(fetchManifest))
	require.NoError(t, err)
	require.Zero(t, m.PartSize, "one file, one layer: two sums at most")
}
