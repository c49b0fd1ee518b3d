package push

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLargestFirst: layers of one size stay in their order, and the caller's list as it is.
func TestLargestFirst(t *testing.T) {
	list := []layer{{title: "a", size: 2}, {title: "b", size: 1}, {title: "c", size: 3}, {title: "d", size: 2}}
	sent := ""
	for _, l := range largestFirst(list) {
		sent += l.title
	}
	require.Equal(t, "cadb", sent)
	require.Equal(t, "a", list[0].title)
}
