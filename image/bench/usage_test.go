package bench

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	self := func(v float64) float64 { return v }
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{100, 1, 2}, 2},
		{[]float64{4, 1, 3, 100}, 3.5},
	} {
		given := append([]float64{}, c.values...)
		require.Equal(t, c.want, median(c.values, self))
		require.Equal(t, given, c.values, "the order of the rounds stays")
	}
}

// TestMediansAreOfEachColumn: the sample in the middle by one column need not be so by
// another.
func TestMediansAreOfEachColumn(t *testing.T) {
	sample := func(n int64) Sample {
		f := float64(n)
		return Sample{
			Usage: Usage{
				Seconds: f, UserSeconds: 10 - f, SystemSeconds: f / 2, PeakMemory: n * 100, DiskRead: n, DiskWritten: n + 1,
				CallsRead: n + 2, CallsWritten: n + 3,
			},
			Transferred: n + 4, Requests: int(n + 5), ServerSeconds: f * 3,
		}
	}
	m := medians([]Sample{sample(1), sample(9), sample(2)})
	require.Equal(t, 8.0, m.UserSeconds)
	m.UserSeconds = sample(2).UserSeconds
	require.Equal(t, sample(2), m)
}

func TestUsageAddsUp(t *testing.T) {
	a := Usage{Seconds: 2, UserSeconds: 1, SystemSeconds: 0.5, PeakMemory: 10, DiskRead: 1, DiskWritten: 2, CallsRead: 3, CallsWritten: 4}
	b := Usage{Seconds: 3, UserSeconds: 2, SystemSeconds: 0.25, PeakMemory: 7, DiskRead: 10, DiskWritten: 20, CallsRead: 30, CallsWritten: 40}
	after := a.then(b)
	require.Equal(t, 5.0, after.Seconds)
	require.Equal(t, int64(10), after.PeakMemory, "one after the other, the higher peak counts")
	together := a.beside(b)
	require.Equal(t, 3.0, together.Seconds)
	require.Equal(t, int64(17), together.PeakMemory, "side by side, peaks add up")
	for _, u := range []Usage{after, together} {
		require.Equal(t, 3.75, u.CPU())
		require.Equal(t, []int64{11, 22, 33, 44}, []int64{u.DiskRead, u.DiskWritten, u.CallsRead, u.CallsWritten})
	}
}
