package demo

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"testing"

	"github.com/stretchr/testify/require"
)

// grey is a JPEG of one level.
func grey(t *testing.T, level uint8, w, h int) []byte {
	t.Helper()
	p := image.NewGray(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			p.SetGray(x, y, color.Gray{Y: level})
		}
	}
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, p, &jpeg.Options{Quality: 100}))
	return b.Bytes()
}

// TestAlike: rounding is let pass, and nothing else.
func TestAlike(t *testing.T) {
	want := grey(t, 100, 8, 8)
	require.NoError(t, alike(want, want))
	require.NoError(t, alike(grey(t, 101, 8, 8), want))
	require.ErrorContains(t, alike(grey(t, 103, 8, 8), want), "off by 3 levels")
	require.ErrorContains(t, alike(grey(t, 97, 8, 8), want), "off by 3 levels")
	require.ErrorContains(t, alike(grey(t, 100, 8, 16), want), "comparing with the golden picture")
	require.ErrorContains(t, alike([]byte("no picture"), want), "reading the edited picture")
	require.NoError(t, alike(golden, golden))
	require.Error(t, alike(want, golden))
}
