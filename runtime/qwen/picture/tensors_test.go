package picture_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

// TestVAE: every sample survives the way to the VAE and back, in NHWC.
func TestVAE(t *testing.T) {
	p := &picture.RGB{W: 16, H: 16, Pix: make([]uint8, 768)}
	for i := range p.Pix {
		p.Pix[i] = uint8(i)
	}
	x := p.AppendVAE([]float32{7})
	require.Len(t, x, 769)
	require.Equal(t, []float32{7, -1, float32(2)/255 - 1}, x[:3])
	require.Equal(t, float32(1), x[256])
	back, err := picture.FromVAE(x[1:], 16, 16)
	require.NoError(t, err)
	require.Equal(t, p, back)
}

func TestFromVAE(t *testing.T) {
	got, err := picture.FromVAE([]float32{-3, -1, 0, 1, 1.5, 1.0 / 255}, 2, 1)
	require.NoError(t, err)
	require.Equal(t, []uint8{0, 0, 128, 255, 255, 128}, got.Pix) // 127.5 and 128 to the even
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		_, err = picture.FromVAE([]float32{0, 0, 0, 0, float32(bad), 0}, 1, 2)
		require.ErrorContains(t, err, "row 1, column 0, channel 1 is ")
		require.ErrorContains(t, err, "not a finite number")
	}
	_, err = picture.FromVAE(make([]float32, 5), 2, 1)
	require.EqualError(t, err, "making a picture of the VAE's output: 5 values are no picture of 2×1 pixels")
}
