package kernels_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// halves is what a window does with groups of one size, of which it has two: groups of even
// numbers lie in one half, those of odd numbers in the other.
type halves struct {
	in   [2]int      // which group has a half; -1 is none
	next map[int]int // which group follows one
	last int         // -1 is none
}

// use says which groups must be put on their way when one is used.
func (h *halves) use(g int) (asked []int) {
	if g == h.last {
		return nil
	}
	if h.last >= 0 {
		h.next[h.last] = g
	}
	h.last = g
	for _, n := range []int{g, h.next[g]} {
		if (n == g || n%2 != g%2) && h.in[n%2] != n {
			h.in[n%2] = n
			asked = append(asked, n)
		}
	}
	return asked
}

// openHalves is a backend with groups of one size, every third of which is followed by one that
// stays on the device. What is told of each copy of a group that streams is called by whoever
// copies it.
func openHalves(t *testing.T, n int, copies func(group int)) (b *kernels.Backend, linears, resident []compute.Linear) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	var weights []compute.Weight
	numbers := map[string]int{}
	for i := range n {
		w := randomTable(rng, fmt.Sprintf("w%d", i), safetensors.BF16, 64, 64)
		weights, numbers[string(w.Data)] = append(weights, w), i
	}
	l := cudatest.TwoDevices()
	l.Machine.Copies = func(_ uint64, data []byte) {
		if i, ok := numbers[string(data)]; ok {
			copies(i)
		}
	}
	b, err := fakeBackend(t, l, ada, kernels.Options{ArenaBytes: 1 << 20, Streamed: streamed("streamed")})
	require.NoError(t, err)
	load := func(group string, w compute.Weight) compute.Linear {
		b.Group(group)
		linear, err := b.LoadLinear(compute.Dense{Weights: []compute.Weight{w}})
		require.NoError(t, err)
		return linear
	}
	for i, w := range weights {
		linears = append(linears, load("streamed", w))
		if i%3 == 2 {
			resident = append(resident, load("resident", randomTable(rng, "r", safetensors.BF16, 64, 64)))
		}
	}
	b.Group("")
	return b, linears, resident
}

// product is a product with a linear's weights, whose result nobody needs.
func product(b *kernels.Backend, linear compute.Linear, rows int) {
	mark := b.Mark()
	b.Linear(b.Alloc(compute.Act, rows, linear.Out()), linear, b.Alloc(compute.Act, rows, linear.In()), compute.Pre{}, compute.Post{})
	b.Reset(mark)
}

// received are so many copies.
func received(t *testing.T, copied chan int, n int) (groups []int) {
	t.Helper()
	for range n {
		select {
		case i := <-copied:
			groups = append(groups, i)
		case <-time.After(10 * time.Second):
			require.Len(t, groups, n, "nothing more was copied than %v", groups)
		}
	}
	return groups
}

// Groups come one ahead of what is used, in the order of last time, and nothing is copied but what
// has to be. Once a cycle was seen, which is at the first turn of its second time, no operation
// finds its group not yet asked for.
func TestGroupsComeAhead(t *testing.T) {
	const n = 6
	random := rand.New(rand.NewPCG(3, 4))
	var wild []int
	for range 25 {
		wild = append(wild, random.IntN(n))
	}
	for name, c := range map[string]struct {
		order []int
		late  int // operations after that, in four cycles, that ask for their group; -1 is any number
	}{
		"as loaded":        {[]int{0, 1, 2, 3, 4, 5}, 0},
		"backwards":        {[]int{5, 4, 3, 2, 1, 0}, 0},
		"in another order": {[]int{3, 0, 5, 2, 1, 4}, 0},
		"not all":          {[]int{0, 3}, 0},
		"twice each":       {[]int{0, 0, 1, 1, 4, 4, 5, 5}, 0},
		"one half twice":   {[]int{0, 1, 2}, 2}, // of 2 and 0 only one is there at a time
		"one half only":    {[]int{0, 2, 4}, 8},
		"wildly":           {wild, -1},
	} {
		t.Run(name, func(t *testing.T) {
			copied := make(chan int, 10_000)
			b, linears, resident := openHalves(t, n, func(group int) { copied <- group })
			h := &halves{in: [2]int{-1, -1}, next: map[int]int{}, last: -1}
			for i := range n { // the order of loading, whose last has none
				h.next[i] = min(i+1, n-1)
			}
			late := 0
			for turn := range 4 * len(c.order) {
				i := c.order[turn%len(c.order)]
				want := h.use(i)
				product(b, linears[i], 3)
				product(b, resident[turn%len(resident)], 3)
				require.ElementsMatch(t, want, received(t, copied, len(want)), "turn %d, group %d", turn, i)
				if turn > len(c.order) && slices.Contains(want, i) {
					late++
				}
			}
			if c.late >= 0 {
				require.Equal(t, c.late, late)
			}
			require.NoError(t, b.Close())
			require.Empty(t, copied, "copied though nobody needs it")
		})
	}
}

// A group whose place another takes while it is on its way is waited for first: its copy would
// overwrite the other's weights.
func TestGroupsOnTheirWayAreWaitedFor(t *testing.T) {
	// Threads that copy, so that one can overtake the other.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 2)))
	copied, over := make(chan int, 10), make(chan struct{})
	var takesLong, overtaken atomic.Bool
	b, linears, _ := openHalves(t, 4, func(group int) {
		switch {
		case group == 2:
			takesLong.Store(true)
			copied <- group
			select {
			case <-over:
			case <-time.After(200 * time.Millisecond): // long enough to be overtaken
			}
			takesLong.Store(false)
			return
		case takesLong.Load():
			overtaken.Store(true)
			close(over)
		}
		copied <- group
	})
	product(b, linears[0], 3) // 1 comes ahead
	require.ElementsMatch(t, []int{0, 1}, received(t, copied, 2))
	product(b, linears[1], 3) // 2 comes ahead
	require.Equal(t, []int{2}, received(t, copied, 1))
	product(b, linears[0], 3) // and goes, since 0 has its place
	require.Equal(t, []int{0}, received(t, copied, 1))
	require.False(t, overtaken.Load())
	require.NoError(t, b.Close())
}
