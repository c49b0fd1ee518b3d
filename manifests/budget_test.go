package manifests_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

func TestGrowthAllowed(t *testing.T) {
	cases := []struct {
		growth    manifests.Growth
		published int64
		want      int64
	}{
		{"2%", 42_187_025_923, 843_740_518},
		{"0.5 %", 1000, 5},
		{"0%", 1 << 50, 0},
		{"1000%", 3, 30},
		{"33.3333%", 3, 0},
		{"500 MB", 7, 500_000_000},
		{"4096", 7, 4096},
		{"1 MiB", 0, 1 << 20},
	}
	for _, c := range cases {
		got, err := c.growth.Allowed(c.published)
		require.NoError(t, err, c.growth)
		require.Equal(t, c.want, got, c.growth)
	}
	for _, bad := range []manifests.Growth{"", "%", "-1%", "+1%", "1e3%", "1,5%", "2 percent", "5 MB%", "much", "1001%", "0.5 B"} {
		_, err := bad.Allowed(1)
		require.Error(t, err, bad)
	}
}

// FuzzGrowth: a growth that is taken is never below zero, and 0% of anything is nothing.
func FuzzGrowth(f *testing.F) {
	for _, s := range []string{"2%", "0.5 %", "500 MB", "-1%", "%"} {
		f.Add(s, int64(1000))
	}
	f.Fuzz(func(t *testing.T, text string, published int64) {
		if published < 0 {
			return
		}
		n, err := manifests.Growth(text).Allowed(published)
		require.True(t, err != nil || n >= 0)
	})
}
