package ref

import (
	"sync"
	"sync/atomic"
)

// worker is the scratch of one goroutine of an operation.
type worker struct {
	weights []float32 // a tile of decoded weights
	result  []float32 // a tile of results, or scores
	low     []float32 // a tile of a factor of low rank
	branch  []float32 // a tile of results of the branch of low rank
	codes   []int8
	scales  []float32 // of a tile of weights
	units   []uint8   // codes of an AWQ linear
	bits    []uint16
}

// each calls f for 0 to n − 1, in any order and several at a time, and waits for all.
func (b *Backend) each(n int, f func(w *worker, i int)) {
	if n == 1 || len(b.workers) == 1 {
		for i := range n {
			f(b.workers[0], i)
		}
		return
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	for _, w := range b.workers[:min(n, len(b.workers))] {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(w, i)
			}
		})
	}
	wait.Wait()
}

// grow returns n values of scratch that hold anything, and keeps them for the next time.
func grow[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	*s = (*s)[:n]
	return *s
}
