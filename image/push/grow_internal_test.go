package push

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestChunkSize: chunks double while they are quick, up to the limit; after a failure they
// are what went through before, and stay so.
func TestChunkSize(t *testing.T) {
	r := Registry{Chunk: 32, LargestChunk: 512}
	require.EqualValues(t, 32, r.mostChunk(100), "a share of a small layer is below the first chunk")
	require.EqualValues(t, 125, r.mostChunk(1000))
	require.EqualValues(t, 512, r.mostChunk(1<<20))
	u := &upload{strategy: Chunked, chunk: 32, least: 32, most: 200}
	require.False(t, u.shy(), "the first size has nothing below it")
	sizes := []int64{}
	for _, took := range []time.Duration{0, quick - 1, quick, 0, time.Hour, 0} {
		u.grow(took)
		sizes = append(sizes, u.chunk)
	}
	require.Equal(t, []int64{64, 128, 128, 200, 200, 200}, sizes)
	require.True(t, u.shy())
	u.grow(0)
	require.EqualValues(t, 100, u.chunk)
	for u.shy() {
		u.grow(0)
	}
	require.EqualValues(t, 32, u.chunk)
}
