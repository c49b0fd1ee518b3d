package hub_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

// BenchmarkOpen reads 256 MiB in 16 MiB ranges, 8 at once, from a file and from noise. It
// shows what client and loopback Hub cost together.
func BenchmarkOpen(b *testing.B) {
	const size, step = 256 << 20, 16 << 20
	path := filepath.Join(b.TempDir(), "file")
	require.NoError(b, os.WriteFile(path, nil, 0o600))
	require.NoError(b, os.Truncate(path, size))
	file, err := hubtest.FileContent(path)
	require.NoError(b, err)
	for name, content := range map[string]hubtest.Content{"file": file, "noise": hubtest.Noise(1, size)} {
		b.Run(name, func(b *testing.B) {
			h := hubtest.New()
			commit, err := h.Add(hubtest.Repo{Name: repoName, Files: map[string]hubtest.File{
				large: {Content: content, LFS: true, SHA256: sha256Hex([]byte(name))},
			}})
			require.NoError(b, err)
			url, err := h.Start()
			require.NoError(b, err)
			c, err := hub.New(hub.Config{Endpoint: url})
			require.NoError(b, err)
			b.SetBytes(size)
			for b.Loop() {
				require.NoError(b, readRanges(c, commit, size, step))
			}
			c.Close()
			require.NoError(b, h.Close())
		})
	}
}

// readRanges reads a file in parallel ranges and drops the bytes.
func readRanges(c *hub.Client, commit string, size, step int64) error {
	var g errgroup.Group
	g.SetLimit(8)
	for offset := int64(0); offset < size; offset += step {
		g.Go(func() error {
			body, err := c.Open(context.Background(), repoName, commit, large, offset, step)
			if err != nil {
				return err
			}
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, body, make([]byte, 1<<20))
			return errors.Join(err, body.Close())
		})
	}
	return g.Wait()
}
