package transformer

import (
	"math"
	"slices"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
)

const (
	// ropeTheta is the base of the rotary frequencies (diffusers: QwenEmbedRope, theta).
	ropeTheta = 10000
	// Positions is the number of positions on either side of 0 in the model's rotary table
	// (diffusers: QwenEmbedRope, pos_index and neg_index).
	Positions = 4096
)

// rotary makes the angles of tokens: position times frequency, for the pairs of a head, which
// belong to three axes (frame, row, column) one after the other. Angles are float32 with its
// rounding, as the model was trained with them: at position 4095 that is 1e-4.
type rotary struct{ frequencies [3][]float32 }

// newRotary makes the frequencies θ^(−2i/d) of axes that are d values wide, d even.
func newRotary(axes [3]int) (r rotary) {
	for a, width := range axes {
		for i := 0; i < width; i += 2 {
			power := float32(math.Pow(ropeTheta, float64(float32(i)/float32(width))))
			r.frequencies[a] = append(r.frequencies[a], 1/power)
		}
	}
	return r
}

// angles are the cosines and sines of pairs, one after the other.
type angles struct{ cos, sin []float32 }

// add appends the angles of further pairs.
func (a *angles) add(parts ...angles) {
	for _, p := range parts {
		a.cos = append(a.cos, p.cos...)
		a.sin = append(a.sin, p.sin...)
	}
}

// grow makes room for further pairs.
func (a *angles) grow(n int) { a.cos, a.sin = slices.Grow(a.cos, n), slices.Grow(a.sin, n) }

// pairs is how many a token has.
func (r rotary) pairs() (n int) {
	for _, f := range r.frequencies {
		n += len(f)
	}
	return n
}

// axis is the angles of an axis' pairs at a position.
func (r rotary) axis(axis, position int) (out angles) {
	for _, f := range r.frequencies[axis] {
		sin, cos := math.Sincos(float64(float32(position) * f))
		out.cos = append(out.cos, float32(cos))
		out.sin = append(out.sin, float32(sin))
	}
	return out
}

// picture appends the angles of a picture's tokens, row by row. Picture 0 is the target. Rows
// and columns count from the middle; an odd side has one more below 0 than from 0 on.
func (r rotary) picture(to *angles, number int, s latents.Shape) {
	rows, columns := s.TokenRows(), s.TokenColumns()
	frame := r.axis(0, number)
	to.grow(rows * columns * r.pairs())
	across := make([]angles, columns)
	for x := range across {
		across[x] = r.axis(2, x-(columns-columns/2))
	}
	for y := range rows {
		down := r.axis(1, y-(rows-rows/2))
		for x := range columns {
			to.add(frame, down, across[x])
		}
	}
}

// text is the angles of n text tokens, which follow each other on all axes from first on.
func (r rotary) text(first, n int) (out angles) {
	out.grow(n * r.pairs())
	for i := first; i < first+n; i++ {
		out.add(r.axis(0, i), r.axis(1, i), r.axis(2, i))
	}
	return out
}

// upload puts angles into the arena as rows of half a head.
func (a angles) upload(b compute.Memory, half int) compute.Rope {
	rope := compute.Rope{
		Cos: b.Alloc(compute.F32, len(a.cos)/half, half),
		Sin: b.Alloc(compute.F32, len(a.sin)/half, half),
	}
	b.Upload(rope.Cos, a.cos)
	b.Upload(rope.Sin, a.sin)
	return rope
}

// firstText is the position of the first text token: the longest half side of all pictures.
func firstText(target latents.Shape, references []latents.Shape) int {
	first := max(target.TokenRows()/2, target.TokenColumns()/2)
	for _, s := range references {
		first = max(first, s.TokenRows()/2, s.TokenColumns()/2)
	}
	return first
}

// MaxText is how many tokens a text may have beside these pictures: the rotary table ends at
// Positions, and text follows the pictures' longest half side. It is below 1 where no text fits.
func MaxText(target latents.Shape, references ...latents.Shape) int {
	return Positions - firstText(target, references)
}
