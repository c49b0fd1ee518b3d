package ref

import (
	"fmt"
	"math"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// Numerics says in which numbers the product Q·(x/s) of an SVDQ linear is computed. The
// branch of low rank, the bias and every other operation are float32 in all of them, and so
// are the sums over groups.
//
// How far each is from the true product, as ‖difference‖/‖result‖ of a row of one linear of
// 1024 inputs and rank 32 (TestDistances prints and bounds it): inputs that smoothing has
// made even, inputs whose channels are lognormal after it (σ = 1.5), and GELUs of those for
// a Shifted linear.
//
//	              even  lognormal     GELU
//	Dense       4e-07      4e-07    3e-07
//	W4A4        0.085       0.13    0.065
//	Int8        0.011      0.024    0.026
//	Int8Blocks  0.010      0.018    0.019
type Numerics uint8

const (
	// Dense multiplies x/s with codes times scales: weights of 4 bits and activations of
	// float32 (W4A16). The shift of a Shifted linear is undone in the bias at load.
	Dense Numerics = iota

	// W4A4 is what the checkpoint was made for, as nunchaku's kernels compute it: x̂ =
	// bf16(x/s) is quantised row by row in groups of 64, to codes −8 to 7 with the scale
	// bf16(max|x̂|/7), or, Shifted, bf16((x + shift)/s) to codes 0 to 15 with bf16(max/15);
	// codes are rounded to nearest, ties to even, with the scale before its rounding. Sums
	// of products of codes are exact.
	//
	// Of nunchaku's other roundings none is taken: the sums over groups, their terms t_g and
	// s_a·s_w, D·x and the result stay float32 where nunchaku has bfloat16, and the
	// reciprocal of the scale is the nearest float32, not an approximation.
	W4A4

	// Int8 is W8A8 on the same checkpoint: each output's row of Q gets one scale, its largest
	// weight over 127, and its weights are rounded to −127 to 127; so is each token's x/s.
	// Sums of products of codes are exact up to 2²⁴, and then as float32. The shift is undone
	// as in Dense.
	Int8

	// Int8Blocks is Int8 with a scale for each token and 256 columns, for inputs where one
	// column is far larger than the others.
	Int8Blocks
)

// String returns the name in lower case.
func (n Numerics) String() string {
	if names := [...]string{"dense", "w4a4", "int8", "int8blocks"}; int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprintf("Numerics(%d)", uint8(n))
}

// int8Block is how many columns share a scale in Int8Blocks.
const int8Block = 256

// group is how many of in columns of an activation share a scale.
func (n Numerics) group(in int) int {
	switch n {
	case W4A4:
		return packing.TileColumns
	case Int8Blocks:
		return min(int8Block, in)
	default:
		return in
	}
}

// quantise replaces x by codes, whole numbers, and returns their scale: x is about codes
// times scale. A NaN or an infinity among x makes all codes NaN, so that it is not lost.
func (n Numerics) quantise(x []float32, unsigned bool) float32 {
	low, high := float32(-127), float32(127)
	switch {
	case n == W4A4 && unsigned:
		low, high = 0, 15
	case n == W4A4:
		low, high = -8, 7
	}
	top := high
	m := float32(0)
	for _, v := range x {
		if !unsigned {
			v = max(v, -v)
		}
		m = max(m, v)
	}
	scale := m * (1 / top)
	if scale == 0 {
		clear(x)
		return 0
	}
	inverse := 1 / scale
	for i, v := range x {
		x[i] = min(max(float32(math.RoundToEven(float64(v*inverse))), low), high)
	}
	if n == W4A4 {
		return bf16.Round(scale)
	}
	return scale
}

// quantise turns the block's x into codes of x/s, and fills its scales.
func (q *svdq) quantise(b *Backend, k *block) {
	width := q.numerics.group(q.in)
	groups := (q.in + width - 1) / width
	scales := grow(&k.scales, k.rows*groups)
	unsigned := q.numerics == W4A4 && q.shifted
	b.each(k.rows, func(_ *worker, i int) {
		row := k.row(i)
		for j, v := range row {
			if unsigned {
				v += compute.Shift
			}
			v /= q.smooth[j]
			if q.numerics == W4A4 {
				v = bf16.Round(v)
			}
			row[j] = v
		}
		for g := range groups {
			scales[i*groups+g] = q.numerics.quantise(row[g*width:min((g+1)*width, q.in)], unsigned)
		}
	})
}

// grouped computes a tile of Q·(x/s) from codes: for each group, the exact sum of products
// of codes times both scales.
func (q *svdq) grouped(w *worker, k *block, y rows, from, to, first, outs int) {
	weights, scales := q.codesOf(w, first)
	width := q.numerics.group(q.in)
	groups := (q.in + width - 1) / width
	x := rows{k.x[from*k.cols:], k.cols}
	n := to - from
	sums := rows{grow(&w.branch, n*outs), outs}
	clear(y.v[:n*outs])
	for g := range groups {
		at := g * width
		multiply(sums, x.from(0, at), weights.from(0, at), n, outs, min(width, q.in-at))
		for i := range n {
			s := k.scales[(from+i)*groups+g]
			row := y.at(i, 0, outs)
			for j, t := range sums.at(i, 0, outs) {
				row[j] += t * (s * scales.v[j*scales.stride+g%scales.stride])
			}
		}
	}
}

// codesOf is a tile of weights as codes, and their scales: one for each group of a row, or
// one for a row.
func (q *svdq) codesOf(w *worker, first int) (weights, scales rows) {
	const n = packing.TileRows
	if q.numerics == W4A4 {
		codes, bits := q.unpack(w, first)
		weights = rows{grow(&w.weights, n*q.in), q.in}
		for i, c := range codes {
			weights.v[i] = float32(c)
		}
		scales = rows{grow(&w.scales, len(bits)), len(bits) / n}
		for i, b := range bits {
			scales.v[i] = bf16.Value(b)
		}
		return weights, scales
	}
	weights = q.decode(w, first)
	scales = rows{grow(&w.scales, n), 1}
	for i := range n {
		scales.v[i] = q.numerics.quantise(weights.at(i, 0, q.in), false)
	}
	return weights, scales
}
