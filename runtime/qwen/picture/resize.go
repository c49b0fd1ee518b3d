package picture

import (
	"fmt"
	"math"
)

// Filter is a resampling filter: a function of the distance, in source pixels when
// enlarging and in target pixels when reducing.
type Filter int

const (
	// Lanczos is the windowed sinc of three lobes, Pillow's LANCZOS.
	Lanczos Filter = iota + 1
	// Bicubic is Keys' cubic with a = -0.5, Pillow's BICUBIC.
	Bicubic
)

// String returns the filter's usual name.
func (f Filter) String() string {
	switch f {
	case Lanczos:
		return "lanczos"
	case Bicubic:
		return "bicubic"
	}
	return fmt.Sprintf("filter %d", int(f))
}

// support is the distance beyond which the filter is zero.
func (f Filter) support() float64 {
	if f == Lanczos {
		return 3
	}
	return 2
}

// at is the filter's value. Every product is converted, which keeps a compiler from fusing it
// with the sum that follows: results are the same on every processor.
func (f Filter) at(x float64) float64 {
	if f == Lanczos {
		if x < -3 || x >= 3 {
			return 0
		}
		return sinc(x) * sinc(x/3)
	}
	const a = -0.5
	switch x = math.Abs(x); {
	case x < 1:
		return float64(float64((float64((a+2)*x)-(a+3))*x)*x) + 1
	case x < 2:
		return (float64((float64((x-5)*x)+8)*x) - 4) * a
	}
	return 0
}

// sinc is sin(πx)/πx.
func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// precision is the number of fraction bits of a coefficient: of an int32, eight are the
// sample's and two are left for sums that leave its range.
const precision = 32 - 8 - 2

// taps are the coefficients of one direction: target sample i is the sum over k of
// weights[i*size+k] times source sample first[i]+k, for k < count[i].
type taps struct {
	first, count []int
	size         int
	weights      []int32
}

// newTaps computes the coefficients that turn in samples into out: in double precision,
// normalised to sum 1, then rounded half away from zero to precision bits.
func newTaps(in, out int, f Filter) taps {
	scale := float64(in) / float64(out)
	stretch := max(scale, 1)
	support := f.support() * stretch
	t := taps{first: make([]int, out), count: make([]int, out), size: int(math.Ceil(support))*2 + 1}
	t.weights = make([]int32, out*t.size)
	row := make([]float64, t.size)
	for i := range out {
		center := float64((float64(i) + 0.5) * scale)
		first := max(int(center-support+0.5), 0)
		count := min(int(center+support+0.5), in) - first
		t.first[i], t.count[i] = first, count
		sum := 0.0
		for k := range count {
			row[k] = f.at(float64((float64(k+first) - center + 0.5) * (1 / stretch)))
			sum += row[k]
		}
		for k := range count {
			t.weights[i*t.size+k] = fixed(row[k], sum)
		}
	}
	return t
}

// fixed is w/sum as a fixed-point number.
func fixed(w, sum float64) int32 {
	if sum != 0 {
		w /= sum
	}
	if w < 0 {
		return int32(float64(w*(1<<precision)) - 0.5)
	}
	return int32(float64(w*(1<<precision)) + 0.5)
}

// of returns the coefficients of target sample i and its first source sample.
func (t *taps) of(i int) (first int, weights []int32) {
	return t.first[i], t.weights[i*t.size:][:t.count[i]]
}

// clip takes the fraction bits off a sum and limits it to a sample's range.
func clip(sum int32) uint8 { return uint8(min(max(sum>>precision, 0), 255)) }

// Resize returns p at w × h pixels, each byte equal to what Pillow's Image.resize makes of
// an RGB image (facts from Pillow's Resample.c): one pass along rows, one along columns, in
// fixed point, with 8-bit samples between the two; the filter is stretched when a side
// shrinks, and a side that keeps its length is not filtered. A picture that keeps both is
// returned itself.
//
// Beside p and the result it holds one picture of w columns and p's rows. Rows are shared
// out to the processors; the result does not depend on how many there are.
func Resize(p *RGB, w, h int, f Filter) (*RGB, error) {
	if f != Lanczos && f != Bicubic {
		return nil, fmt.Errorf("resizing picture: %v is neither %v nor %v", f, Lanczos, Bicubic)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("resizing picture: %w", err)
	}
	if w < 1 || h < 1 || w > maxSide || h > maxSide {
		return nil, fmt.Errorf("resizing picture of %d×%d pixels: %d×%d is no size, a side is 1 to %d", p.W, p.H, w, h, maxSide)
	}
	if w != p.W {
		p = resizeRows(p, w, f)
	}
	if h != p.H {
		p = resizeColumns(p, h, f)
	}
	return p, nil
}

// half is a half of a sample, with which sums begin so that they are rounded.
const half = 1 << (precision - 1)

// resizeRows gives every row w pixels.
func resizeRows(p *RGB, w int, f Filter) *RGB {
	t, out := newTaps(p.W, w, f), newRGB(w, p.H)
	eachRow(p.H, func(y int) {
		from, to := p.row(y), out.row(y)
		for x := range w {
			first, weights := t.of(x)
			r, g, b := pixel(from[3*first:], weights)
			to[3*x], to[3*x+1], to[3*x+2] = clip(r), clip(g), clip(b)
		}
	})
	return out
}

// pixel is the weighted sum of the first pixels of src, four of them at a time. What the loops
// ask of the lengths of both always holds: it frees them of bounds checks.
func pixel(src []uint8, weights []int32) (r, g, b int32) {
	r, g, b = half, half, half
	for len(weights) >= 4 && len(src) >= 12 {
		k, l, m, n := weights[0], weights[1], weights[2], weights[3]
		r += int32(src[0])*k + int32(src[3])*l + int32(src[6])*m + int32(src[9])*n
		g += int32(src[1])*k + int32(src[4])*l + int32(src[7])*m + int32(src[10])*n
		b += int32(src[2])*k + int32(src[5])*l + int32(src[8])*m + int32(src[11])*n
		weights, src = weights[4:], src[12:]
	}
	for len(weights) > 0 && len(src) >= 3 {
		k := weights[0]
		r += int32(src[0]) * k
		g += int32(src[1]) * k
		b += int32(src[2]) * k
		weights, src = weights[1:], src[3:]
	}
	return r, g, b
}

// resizeColumns gives every column h pixels. It goes through rows: a target row is a
// weighted sum of source rows, taken over a stretch that stays in the first cache.
func resizeColumns(p *RGB, h int, f Filter) *RGB {
	t, out := newTaps(p.H, h, f), newRGB(p.W, h)
	eachRow(h, func(y int) {
		var sums [1024]int32
		first, weights := t.of(y)
		to := out.row(y)
		for start := 0; start < len(to); start += len(sums) {
			part := to[start:min(start+len(sums), len(to))]
			sum := sums[:len(part)]
			for i := range sum {
				sum[i] = half
			}
			p.addRows(sum, first, start, weights)
			for i, v := range sum {
				part[i] = clip(v)
			}
		}
	})
	return out
}

// addRows adds to sum the weighted samples of rows from first on, in columns of samples from
// start on, four rows at a time.
func (p *RGB) addRows(sum []int32, first, start int, weights []int32) {
	stretch := func(k int) []uint8 { return p.row(first + k)[start:][:len(sum)] }
	k := 0
	for ; k+4 <= len(weights); k += 4 {
		w0, w1, w2, w3 := weights[k], weights[k+1], weights[k+2], weights[k+3]
		row0, row1, row2, row3 := stretch(k), stretch(k+1), stretch(k+2), stretch(k+3)
		for i := range sum {
			sum[i] += int32(row0[i])*w0 + int32(row1[i])*w1 + int32(row2[i])*w2 + int32(row3[i])*w3
		}
	}
	for ; k < len(weights); k++ {
		weight := weights[k]
		for i, v := range stretch(k) {
			sum[i] += int32(v) * weight
		}
	}
}
