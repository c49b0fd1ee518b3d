package picture

import (
	"fmt"
	"math"
	"slices"
)

// AppendVAE appends the picture as the VAE's encoder takes it, samples v/255·2−1 in -1 to 1,
// to dst: 3·W·H floats in the order row, column, channel (NHWC with N = 1), the order of the
// VAE's convolutions here; diffusers' tensors are [3, H, W]. Values are bit-equal to those of
// diffusers' VaeImageProcessor in float32.
func (p *RGB) AppendVAE(dst []float32) []float32 {
	var table [256]float32
	for v := range table {
		table[v] = float32(2*float32(float32(v)/255)) - 1
	}
	dst = slices.Grow(dst, len(p.Pix))
	for _, v := range p.Pix {
		dst = append(dst, table[v])
	}
	return dst
}

// FromVAE makes a picture of what the VAE's decoder gives, w·h·3 floats in the order row,
// column, channel: x/2+0.5 limited to 0 to 1, times 255, rounded with halves to the even
// number, in float32 as diffusers does. Values outside -1 to 1 are usual; one that is not a
// number or infinite means that the model failed, and is an error.
func FromVAE(x []float32, w, h int) (*RGB, error) {
	if w < 1 || h < 1 || w > maxSide || h > maxSide || len(x) != 3*w*h {
		return nil, fmt.Errorf("making a picture of the VAE's output: %d values are no picture of %d×%d pixels", len(x), w, h)
	}
	p := newRGB(w, h)
	for i, v := range x {
		if d := float64(v); math.IsNaN(d) || math.IsInf(d, 0) {
			return nil, fmt.Errorf("making a picture of the VAE's output: row %d, column %d, channel %d is %v, not a finite number", i/3/w, i/3%w, i%3, v)
		}
		v = min(max(float32(v*0.5)+0.5, 0), 1)
		p.Pix[i] = uint8(math.RoundToEven(float64(v * 255)))
	}
	return p, nil
}
