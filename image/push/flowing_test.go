package push_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
)

// uploadID is what Docker's registry says in answers about an upload.
const uploadID = "Docker-Upload-Uuid"

// newDocker is a front that answers like Docker's registry, and is asked in chunks of a MiB.
func newDocker(t *testing.T) *front {
	t.Helper()
	f := newFront(t, push.Registry{Chunk: chunk})
	f.docker = map[string]string{uploadID: "u"}
	return f
}

// TestFlowing: to Docker's registry a large layer goes with one PATCH of an open end, hashed
// or sent by the kernel, with or without a connection that it can be sent by. Small layers,
// registries of others and what may collect requests get lengths and ranges.
func TestFlowing(t *testing.T) {
	for name, c := range map[string]struct {
		set    func(*front)
		flows  int
		others int
	}{
		"Docker's registry":        {func(*front) {}, 1, 2},
		"behind nginx":             {func(f *front) { f.docker["Server"] = "nginx/1.26.3" }, 0, 13},
		"behind something":         {func(f *front) { f.docker["Via"] = "1.1 cache" }, 0, 13},
		"another registry":         {func(f *front) { delete(f.docker, uploadID) }, 0, 13},
		"one that is in the table": {func(*front) { push.Registries[0].Source = "somebody wrote of it" }, 0, 13},
		"one that wants chunks":    {func(*front) { push.Registries[0].Strategy = push.Streamed }, 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			for _, img := range []*image.Image{newNoise(blobSize).image(t), newProven(t).image(t)} {
				f := newDocker(t)
				c.set(f)
				r, err := push.Publish(t.Context(), img, target(t, f.host+"/m:1"), quick())
				require.NoError(t, err, "%v", f.log)
				require.Equal(t, r.Bytes, r.SentBytes)
				require.Equal(t, c.flows, f.requests("PATCH chunked 202"), "%v", f.log)
				require.Equal(t, c.flows+c.others, accepted(f), "%v", f.log)
			}
		})
	}
}

// TestFlowingByTheKernel: what flows of a proven file does not come into this process.
func TestFlowingByTheKernel(t *testing.T) {
	f, p := newDocker(t), newProven(t)
	_, err := push.Publish(t.Context(), p.image(t), target(t, f.host+"/m:1"), quick())
	require.NoError(t, err, "%v", f.log)
	require.Equal(t, 1, f.requests("PATCH chunked 202"), "%v", f.log)
	require.LessOrEqual(t, p.read.Load(), int64(heldBack))
}

// TestFlowingInterrupted: an interrupt ends a PATCH well, whoever sends it. No byte of what
// has left by then is sent again.
func TestFlowingInterrupted(t *testing.T) {
	for name, img := range map[string]func(*testing.T) *image.Image{
		"hashed": newNoise(blobSize).image, "proven": func(t *testing.T) *image.Image { return newProven(t).image(t) },
	} {
		t.Run(name, func(t *testing.T) {
			f, path := newDocker(t), filepath.Join(t.TempDir(), "uploads")
			publish := func(ctx context.Context, progress func(int64)) (push.Result, error) {
				o := quick()
				o.Journal, o.Progress = openJournal(t, path), progress
				defer o.Journal.Close()
				return push.Publish(ctx, img(t), target(t, f.host+"/m:1"), o)
			}
			ctx, cancel := context.WithCancel(t.Context())
			_, err := publish(ctx, func(n int64) {
				if n >= heldBack { // not the small layer
					cancel()
				}
			})
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, 1, f.requests("PATCH chunked 202"), "%v", f.log)
			r, err := publish(t.Context(), nil)
			require.NoError(t, err, "%v", f.log)
			require.Positive(t, r.Resumed)
			require.Less(t, r.SentBytes, int64(blobSize))
			require.Equal(t, 2, f.requests("PATCH chunked 202"), "%v", f.log)
			require.LessOrEqual(t, f.got, r.Bytes+2*configSize(t, img(t)), "%v", f.log)
		})
	}
}

// TestFlowingSourceEnds: a source that an interrupt ends too, such as a download, ends the
// PATCH well; one that fails by itself is the error.
func TestFlowingSourceEnds(t *testing.T) {
	for name, interrupted := range map[string]bool{"interrupted": true, "failed": false} {
		t.Run(name, func(t *testing.T) {
			f, n := newDocker(t), newNoise(blobSize)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b := n.late(digestOf(n.data), nil)
			b.Open = func() (push.Bytes, error) {
				return &ending{n, func() {
					if interrupted {
						cancel()
					}
				}}, nil
			}
			err := sender(t, f.host+"/m:1", quick()).Send(ctx, b)
			if interrupted {
				require.ErrorIs(t, err, context.Canceled)
				require.Equal(t, 1, f.requests("PATCH chunked 202"), "%v", f.log)
				return
			}
			require.ErrorIs(t, err, errEnded)
			require.Zero(t, f.requests("PATCH chunked 202"), "%v", f.log)
		})
	}
}

var errEnded = errors.New("the source has ended")

// ending is noise that ends in its middle, and says so before.
type ending struct {
	*noise
	end func()
}

func (e *ending) ReadAt(p []byte, off int64) (int, error) {
	if off > blobSize/2 {
		e.end()
		return 0, errEnded
	}
	return e.noise.ReadAt(p, off)
}

// TestFlowingBreaks: after a break the upload goes on where the registry stands, in chunks.
func TestFlowingBreaks(t *testing.T) {
	f, p := newDocker(t), newProven(t)
	f.cut = []int64{3*chunk + 5}
	r, err := push.Publish(t.Context(), p.image(t), target(t, f.host+"/m:1"), quick())
	require.NoError(t, err, "%v", f.log)
	require.Zero(t, f.requests("PATCH chunked 202"), "%v", f.log)
	require.Equal(t, 8+2, accepted(f), "%v", f.log)
	require.LessOrEqual(t, f.got, r.Bytes+configSize(t, p.image(t)), "%v", f.log)
}
