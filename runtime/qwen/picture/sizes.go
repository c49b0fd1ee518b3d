package picture

import (
	"fmt"
	"math"
)

// Size is a picture's width and height in pixels.
type Size struct{ W, H int }

// String returns "640×480".
func (s Size) String() string { return fmt.Sprintf("%d×%d", s.W, s.H) }

// Size returns the picture's sides.
func (p *RGB) Size() Size { return Size{p.W, p.H} }

const (
	// areaStep is what sides made for an area are multiples of (calculate_dimensions of
	// diffusers' Qwen-Image-Edit pipelines).
	areaStep = 32
	// outputStep is what output sides are multiples of: the VAE shrinks by 8, and a token of
	// the transformer holds 2×2 latents.
	outputStep = 16
	// maxRatio is the longest side over the shortest that the VL processor takes.
	maxRatio = 200
)

// ForArea returns the sides nearest to an area in pixels and to a picture's ratio, each the
// nearest multiple of 32, halves to the even one. A ratio so large that a side would be zero
// is an error, and so is a side beyond what a picture can have.
func ForArea(area int, of Size) (Size, error) {
	if area < 1 || of.W < 1 || of.H < 1 {
		return Size{}, fmt.Errorf("choosing a size of %d pixels with the ratio of %v: all have to be positive", area, of)
	}
	ratio := float64(of.W) / float64(of.H)
	w := math.Sqrt(float64(float64(area) * ratio))
	h := w / ratio
	w, h = math.RoundToEven(w/areaStep)*areaStep, math.RoundToEven(h/areaStep)*areaStep
	if w < 1 || h < 1 || w > maxSide || h > maxSide {
		return Size{}, fmt.Errorf("choosing a size of %d pixels with the ratio of %v: %.0f×%.0f is the nearest, a side is %d to %d", area, of, w, h, areaStep, maxSide)
	}
	return Size{int(w), int(h)}, nil
}

// floored returns the sides floored to multiples of 16.
func (s Size) floored() Size {
	return Size{s.W / outputStep * outputStep, s.H / outputStep * outputStep}
}

// Plan is what an edit makes of its reference pictures.
type Plan struct {
	// Output is the size of the edited picture.
	Output Size
	// References has the sizes of each reference, in order.
	References []Reference
}

// Reference are the sizes of one reference: Condition is what the VL processor gets and
// VAE what the VAE encodes. Both are reached by Lanczos from the picture itself.
type Reference struct{ Condition, VAE Size }

// PlanEdit is the rule of QwenImageEditPipeline, the first Qwen-Image-Edit: the one
// reference is brought to the area, in pixels (1024² for the real model), for the VL
// processor and the VAE alike, and the output has that size. A requested output of another
// size, zero for none, is floored to multiples of 16.
func PlanEdit(area int, picture, requested Size) (Plan, error) {
	s, err := ForArea(area, picture)
	if err != nil {
		return Plan{}, err
	}
	out, err := output(s, requested)
	return Plan{Output: out, References: []Reference{{Condition: s, VAE: s}}}, err
}

// PlanEditPlus is the rule of QwenImageEditPlusPipeline (Qwen-Image-Edit-2509 and later):
// every reference has one area for the VL processor (384² for the real model) and one for
// the VAE (1024²), each with its own ratio, and the output follows the last reference.
func PlanEditPlus(condition, vae int, pictures []Size, requested Size) (Plan, error) {
	if len(pictures) == 0 {
		return Plan{}, fmt.Errorf("choosing the sizes of an edit: no reference picture is given, at least 1 is needed")
	}
	var p Plan
	for i, of := range pictures {
		c, err := ForArea(condition, of)
		if err != nil {
			return Plan{}, fmt.Errorf("picture %d: %w", i+1, err)
		}
		v, err := ForArea(vae, of)
		if err != nil {
			return Plan{}, fmt.Errorf("picture %d: %w", i+1, err)
		}
		p.References = append(p.References, Reference{Condition: c, VAE: v})
	}
	var err error
	p.Output, err = output(p.References[len(pictures)-1].VAE, requested)
	return p, err
}

// output is the size of the edited picture: each side as requested or as it comes.
func output(s, requested Size) (Size, error) {
	if requested.W != 0 {
		s.W = requested.W
	}
	if requested.H != 0 {
		s.H = requested.H
	}
	out := s.floored()
	if out.W < outputStep || out.H < outputStep || out.W > maxSide || out.H > maxSide {
		return Size{}, fmt.Errorf("choosing the output's size: %v floored to multiples of %d is %v, a side is %d to %d", s, outputStep, out, outputStep, maxSide)
	}
	return out, nil
}

// SmartResize returns the sides that the VL processor brings a picture to: multiples of
// factor, the nearest to its own while their product lies between the bounds in pixels,
// else scaled to them (smart_resize of Qwen2-VL's image processor in transformers 4.57, where
// a side is at least one factor, though the product exceed the bound then). A side of more
// than 200 times the other is an error.
func SmartResize(s Size, factor, minPixels, maxPixels int) (Size, error) {
	if s.W < 1 || s.H < 1 || factor < 1 || minPixels < 1 || maxPixels < minPixels {
		return Size{}, fmt.Errorf("choosing the VL processor's size of %v: factor %d and %d to %d pixels are no rule", s, factor, minPixels, maxPixels)
	}
	w, h := float64(s.W), float64(s.H)
	if ratio := max(w, h) / min(w, h); ratio > maxRatio {
		return Size{}, fmt.Errorf("choosing the VL processor's size of %v: the ratio of its sides is %.1f, at most %d", s, ratio, maxRatio)
	}
	f := float64(factor)
	bw, bh := math.RoundToEven(w/f)*f, math.RoundToEven(h/f)*f
	switch {
	case bw*bh > float64(maxPixels):
		beta := math.Sqrt(w * h / float64(maxPixels))
		bw, bh = max(f, math.Floor(w/beta/f)*f), max(f, math.Floor(h/beta/f)*f)
	case bw*bh < float64(minPixels):
		beta := math.Sqrt(float64(minPixels) / (w * h))
		bw, bh = math.Ceil(float64(w*beta)/f)*f, math.Ceil(float64(h*beta)/f)*f
	}
	if bw < 1 || bh < 1 || bw > maxSide || bh > maxSide {
		return Size{}, fmt.Errorf("choosing the VL processor's size of %v: %.0f×%.0f is the nearest, a side is %d to %d", s, bw, bh, factor, maxSide)
	}
	return Size{int(bw), int(bh)}, nil
}
