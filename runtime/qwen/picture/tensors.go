package picture

import (
	"fmt"
	"math"
	"slices"
	"sync"
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
	start := len(dst)
	dst = extend(dst, len(p.Pix))
	share(len(p.Pix), leastSamples, func(from, below int) {
		to := dst[start+from : start+below]
		for i, v := range p.Pix[from:below] {
			to[i] = table[v]
		}
	})
	return dst
}

// extend makes dst n values longer; what these are is not defined. New memory is left for those
// who fill it to touch first, at the same time: they are tens of megabytes.
func extend(dst []float32, n int) []float32 {
	if len(dst) == 0 && cap(dst) < n {
		return make([]float32, n)
	}
	return slices.Grow(dst, n)[:len(dst)+n]
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
	i, mutex := len(x), sync.Mutex{} // the first value that is not finite
	share(len(x), leastSamples, func(from, below int) {
		if n := levels(p.Pix[from:below], x[from:below]); n < below-from {
			mutex.Lock()
			defer mutex.Unlock()
			i = min(i, from+n)
		}
	})
	if i < len(x) {
		return nil, fmt.Errorf("making a picture of the VAE's output: row %d, column %d, channel %d is %v, not a finite number", i/3/w, i/3%w, i%3, x[i])
	}
	return p, nil
}

// levels makes samples of values up to the first that is not finite, and counts them.
func levels(to []uint8, x []float32) int {
	const (
		exponent = 0x7f800000 // all ones: infinite or not a number
		ones     = 1 << 23    // whose unit in the last place is 1: adding it rounds, halves to even
	)
	for i, v := range x[:len(to)] {
		if math.Float32bits(v)&exponent == exponent {
			return i
		}
		v = float32(v*0.5) + 0.5
		if v < 0 {
			v = 0
		} else if v > 1 {
			v = 1
		}
		to[i] = uint8(math.Float32bits(float32(v*255) + ones))
	}
	return len(to)
}
