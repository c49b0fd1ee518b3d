package picture

import (
	"runtime"
	"sync"
)

// share cuts n pieces of work into shares that lie side by side, one for each processor as
// long as each has least pieces, and works at all of them at the same time: each call gets
// those from its first argument to before its second. What is computed must not depend on
// the cuts.
func share(n, least int, do func(from, below int)) {
	shares := min(runtime.GOMAXPROCS(0), (n+least-1)/least)
	if shares < 2 {
		do(0, n)
		return
	}
	var group sync.WaitGroup
	for i := range shares {
		group.Go(func() { do(n*i/shares, n*(i+1)/shares) })
	}
	group.Wait()
}

// What is worth a goroutine.
const (
	leastRows    = 16      // of a picture
	leastSamples = 1 << 15 // that are looked up
)

// eachRows shares a picture's rows.
func eachRows(rows int, do func(from, below int)) { share(rows, leastRows, do) }

// eachRow calls do for every row once, at the same time for some.
func eachRow(rows int, do func(y int)) {
	eachRows(rows, func(from, below int) {
		for y := from; y < below; y++ {
			do(y)
		}
	})
}
