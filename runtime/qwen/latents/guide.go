package latents

import (
	"fmt"
	"math"
)

// Guide joins the predictions for the prompt and for the negative prompt into one, token by
// token of width values, in dst, which may be one of the two:
//
//	c = negative + scale·(positive − negative)
//	v = c·‖positive‖/‖c‖
//
// so that guidance turns a token's velocity and leaves its length, as diffusers' Qwen-Image
// pipelines do. Norms are Euclidean over a token's values and summed in float64, so that they
// neither overflow nor lose small ones.
//
// Where c is zero it has no direction to keep and v is zero, too; diffusers makes NaN of 0·‖p‖/0
// there. Where positive is zero, v is zero in both. Values that are not finite stay so, for the
// caller's own check. width must be over 0 and all lengths one multiple of it, or Guide panics.
func Guide(dst, positive, negative []float32, scale float32, width int) {
	if width < 1 || len(dst) != len(positive) || len(dst) != len(negative) || len(dst)%width != 0 {
		panic(fmt.Sprintf("latents: guiding %d and %d values to %d in tokens of %d", len(positive), len(negative), len(dst), width))
	}
	for at := 0; at < len(dst); at += width {
		guide(dst[at:at+width], positive[at:at+width], negative[at:at+width], scale)
	}
}

// guide does one token.
func guide(dst, positive, negative []float32, scale float32) {
	var want, have float64 // squares of the norms
	for i, p := range positive {
		n := negative[i]
		c := n + float32(scale*(p-n))
		want += float64(p) * float64(p)
		have += float64(c) * float64(c)
		dst[i] = c
	}
	if have == 0 {
		return // c is zero, and so is v
	}
	ratio := math.Sqrt(want) / math.Sqrt(have) // in float32 a small one would lose digits
	for i, c := range dst {
		dst[i] = float32(float64(c) * ratio)
	}
}
