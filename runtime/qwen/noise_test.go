package qwen

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/noise"
)

// TestStartNoise: it is the generator's, in the model's own format, in the order of tokens.
func TestStartNoise(t *testing.T) {
	s := latents.Shape{Channels: 16, Height: 4, Width: 6}
	want := make([]float32, s.Len())
	noise.Normal(want, 7, noise.H100)
	got := make([]float32, s.Len())
	s.Unpack(got, startNoise(s, 7))
	rounded := 0
	for i, v := range want {
		require.Equal(t, bf16.Round(v), got[i], "value %d", i)
		if got[i] != v {
			rounded++
		}
	}
	require.Greater(t, rounded, len(want)/2)
}
