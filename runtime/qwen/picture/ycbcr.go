package picture

import (
	"fmt"
	"image"
)

// fromYCbCr brings chroma to the size of luma and makes RGB of the two, as the decoders that
// Pillow is built on do: libjpeg(-turbo) with its "fancy" upsampling and full-range
// BT.601, or libwebp with its own and video-range BT.601. image/color knows neither: it repeats
// chroma samples and takes a WEBP's range for full. Formulas and roundings are facts from
// jdsample.c, jdcolor.c and from libwebp's dsp/yuv.h, dsp/upsampling.c.
func fromYCbCr(m *image.YCbCr, webp bool) (*RGB, error) {
	sx, sy, ok := steps(m.SubsampleRatio)
	if !ok {
		return nil, fmt.Errorf("chroma subsampling of %v is not known", m.SubsampleRatio)
	}
	out := newRGB(m.Rect.Dx(), m.Rect.Dy())
	cw, ch := (out.W+sx-1)/sx, (out.H+sy-1)/sy
	up := upsamplerFor(sx, sy, cw, webp)
	cb, cr := plane{m.Cb, m.CStride, cw, ch}, plane{m.Cr, m.CStride, cw, ch}
	toColour := fullRange
	if webp {
		toColour = videoRange
	}
	eachRows(out.H, func(from, below int) {
		sums, u, v := make([]int32, cw), make([]uint8, sx*cw), make([]uint8, sx*cw)
		for y := from; y < below; y++ {
			up.row(u, sums, cb, y)
			up.row(v, sums, cr, y)
			toColour(out.row(y), m.Y[y*m.YStride:][:out.W], u, v)
		}
	})
	return out, nil
}

// steps is how many luma samples a chroma sample has, across and down.
func steps(r image.YCbCrSubsampleRatio) (sx, sy int, ok bool) {
	switch r {
	case image.YCbCrSubsampleRatio444:
		return 1, 1, true
	case image.YCbCrSubsampleRatio422:
		return 2, 1, true
	case image.YCbCrSubsampleRatio420:
		return 2, 2, true
	case image.YCbCrSubsampleRatio440:
		return 1, 2, true
	case image.YCbCrSubsampleRatio411:
		return 4, 1, true
	case image.YCbCrSubsampleRatio410:
		return 4, 2, true
	}
	return 0, 0, false
}

// plane is a plane of chroma samples, w × h of them within the picture.
type plane struct {
	pix          []uint8
	stride, w, h int
}

// row is the row y, or the nearest there is.
func (p plane) row(y int) []uint8 { return p.pix[min(max(y, 0), p.h-1)*p.stride:][:p.w] }

// upsampler says how chroma is brought to the size of luma: by repeating samples, or by the
// triangle filter, three parts of the nearer sample and one of the next, in the directions
// that are halved. even and odd are added before a sum is cut, for even and odd columns; where
// columns are not halved, for even and odd rows.
type upsampler struct {
	sx, sy    int
	triangle  bool
	even, odd int32
}

// upsamplerFor chooses as libjpeg does, which repeats where a row has two samples or less and
// where a side is quartered; WEBP is always 4:2:0.
func upsamplerFor(sx, sy, w int, webp bool) upsampler {
	u := upsampler{sx: sx, sy: sy}
	switch {
	case webp:
		u.triangle, u.even, u.odd = true, 8, 8
	case sx == 2 && sy == 2 && w > 2:
		u.triangle, u.even, u.odd = true, 8, 7
	case sx == 2 && sy == 1 && w > 2, sx == 1 && sy == 2:
		u.triangle, u.even, u.odd = true, 1, 2
	}
	return u
}

// row fills dst, sx samples for each of a chroma row, for row y of luma.
func (u upsampler) row(dst []uint8, sums []int32, p plane, y int) {
	near := p.row(y / u.sy)
	if !u.triangle {
		for i, v := range near {
			for x := range u.sx {
				dst[i*u.sx+x] = v
			}
		}
		return
	}
	shift := 0
	for i, v := range near {
		sums[i] = int32(v)
	}
	if u.sy == 2 {
		far := p.row(y/2 - 1 + y%2*2)
		for i, v := range far {
			sums[i] = 3*sums[i] + int32(v)
		}
		shift = 2
	}
	if u.sx == 2 {
		u.across(dst, sums, shift+2)
		return
	}
	bias := u.even
	if y%2 == 1 {
		bias = u.odd
	}
	for i, s := range sums {
		dst[i] = uint8((s + bias) >> shift)
	}
}

// across doubles a row.
func (u upsampler) across(dst []uint8, sums []int32, shift int) {
	before := sums[0]
	for i, s := range sums {
		after := sums[min(i+1, len(sums)-1)]
		dst[2*i] = uint8((3*s + before + u.even) >> shift)
		dst[2*i+1] = uint8((3*s + after + u.odd) >> shift)
		before = s
	}
}

// fullRange is JFIF's YCbCr in libjpeg's fixed point of 16 bits.
func fullRange(to, luma, u, v []uint8) {
	const half = 1 << 15
	for x, l := range luma {
		y, cb, cr := int32(l), int32(u[x])-128, int32(v[x])-128
		to[3*x] = limit(y + (91881*cr+half)>>16)
		to[3*x+1] = limit(y + (-22554*cb-46802*cr+half)>>16)
		to[3*x+2] = limit(y + (116130*cb+half)>>16)
	}
}

// videoRange is BT.601 with luma from 16 to 235, in libwebp's fixed point.
func videoRange(to, luma, u, v []uint8) {
	for x, l := range luma {
		y, cb, cr := int32(l)*19077>>8, int32(u[x]), int32(v[x])
		to[3*x] = limit((y + cr*26149>>8 - 14234) >> 6)
		to[3*x+1] = limit((y - cb*6419>>8 - cr*13320>>8 + 8708) >> 6)
		to[3*x+2] = limit((y + cb*33050>>8 - 17685) >> 6)
	}
}

// limit cuts a value to a sample's range.
func limit(v int32) uint8 { return uint8(min(max(v, 0), 255)) }
