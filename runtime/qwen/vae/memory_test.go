package vae

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// TestRoom: every layer takes what it says of the buffer that the picture is not in, no more
// and, but for what the last tensor is rounded up by, no less.
func TestRoom(t *testing.T) {
	config, file := files(t, modelsettest.Golden())
	b := plan.New(plan.Options{})
	m, err := New(b, config, described(t, file, func(l []safetensors.Tensor) []safetensors.Tensor { return l }))
	require.NoError(t, err)
	for _, c := range []struct {
		network
		channels, h, w int
	}{
		{m.encoder, Channels, 24, 40},
		{m.decoder, modelsettest.Latents, 3, 5},
	} {
		f := frame{b.Alloc(compute.Act, c.h*c.w, c.channels), c.h, c.w}
		for i, l := range c.layers {
			name := fmt.Sprintf("layer %d, %T", i, l)
			room := l.room(f.h, f.w)
			rows, columns := l.size(f.h, f.w)
			buffer := func(n int) *memory { return &memory{here: f.x, there: b.Alloc(compute.Act, n, 1)} }
			require.Panics(t, func() { l.run(b, buffer(room-compute.Align), f) }, name)
			f = l.run(b, buffer(room), f)
			require.Equal(t, [2]int{rows, columns}, [2]int{f.h, f.w}, name)
		}
	}
}

// TestTake: tensors begin where a backend's own would, whatever size their values have.
func TestTake(t *testing.T) {
	for _, size := range []int{1, 2, 4} {
		b := plan.New(plan.Options{ActBytes: size})
		b.Alloc(compute.Act, 3, 5)
		m := newMemory(b, 4000)
		end := int64(0)
		for _, shape := range [][2]int{{3, 5}, {1, 1}, {16, 16}, {7, 300}} {
			x := m.take(shape[0], shape[1])
			require.Equal(t, shape, [2]int{x.Rows, x.Cols})
			require.Zero(t, x.Offset%compute.Align)
			require.GreaterOrEqual(t, x.Offset, end)
			end = x.Offset + x.Bytes()
		}
		here, there := m.here, m.there
		require.LessOrEqual(t, end, there.Offset+there.Bytes())
		m.stay()
		require.Equal(t, there.Offset, m.take(1, 1).Offset)
		m.move()
		require.Equal(t, here.Offset, m.take(1, 1).Offset)
	}
}
