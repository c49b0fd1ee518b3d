package bench

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOrder: everybody has every place, and follows everybody else, equally often.
func TestOrder(t *testing.T) {
	for n, rounds := range map[int]int{1: 1, 2: 2, 3: 6, 4: 4, 5: 10, 6: 6} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			places, after := map[[2]int]int{}, map[[2]int]int{}
			for round := range rounds {
				last := -1
				for place, x := range order(round, n) {
					places[[2]int{place, x}]++
					if last >= 0 {
						after[[2]int{last, x}]++
					}
					last = x
				}
			}
			require.Len(t, places, n*n)
			require.Len(t, after, n*(n-1), "each after each other one, nobody after himself")
			for _, times := range places {
				require.Equal(t, rounds/n, times)
			}
			for pair, times := range after {
				require.Equal(t, rounds/n, times, pair)
			}
		})
	}
}
