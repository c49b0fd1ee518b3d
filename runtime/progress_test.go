package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The test's clock is synctest's: time passes as soon as everybody waits.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := startProgress(&out, 30_000_000_000)
		p.add(10_000_000_000)
		time.Sleep(6 * time.Second)
		p.add(10_000_000_000)
		time.Sleep(5 * time.Second)
		p.stop()
		require.Equal(t, "verifying models: 10.00 GB of 30.00 GB, 2.00 GB/s\n"+
			"verifying models: 20.00 GB of 30.00 GB, 2.00 GB/s\n", out.String())
		time.Sleep(time.Minute)
		require.Equal(t, 2, bytes.Count(out.Bytes(), []byte("\n")), "a line after stop")
	})
}

func TestProgressOfSomethingShortIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := startProgress(&out, 1)
		p.add(1)
		time.Sleep(4 * time.Second)
		p.stop()
		require.Empty(t, out.String())
	})
}
