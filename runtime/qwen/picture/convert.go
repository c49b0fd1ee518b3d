package picture

import (
	"fmt"
	"image"
	"image/color"
)

// toRGB copies a decoded picture as Pillow's convert("RGB") does: alpha is dropped, samples
// of 16 bits lose the lower 8, but for grey without alpha, which is cut off at 255.
func toRGB(m image.Image, format string, grey16 bool) (*RGB, error) {
	switch m := m.(type) {
	case *image.YCbCr:
		return fromYCbCr(m, format == "WEBP")
	case *image.NYCbCrA:
		return fromYCbCr(&m.YCbCr, format == "WEBP")
	case *image.Gray:
		return rows(m.Rect, m.Pix, m.Stride, 1, grey8), nil
	case *image.Gray16:
		return rows(m.Rect, m.Pix, m.Stride, 2, cutOff(2)), nil
	case *image.RGBA:
		return rows(m.Rect, m.Pix, m.Stride, 4, colour8), nil
	case *image.NRGBA:
		return rows(m.Rect, m.Pix, m.Stride, 4, colour8), nil
	case *image.RGBA64:
		return rows(m.Rect, m.Pix, m.Stride, 8, colour16), nil
	case *image.NRGBA64:
		if grey16 {
			return rows(m.Rect, m.Pix, m.Stride, 8, cutOff(8)), nil
		}
		return rows(m.Rect, m.Pix, m.Stride, 8, colour16), nil
	case *image.CMYK:
		return rows(m.Rect, m.Pix, m.Stride, 4, inks), nil
	case *image.Paletted:
		return fromPalette(m)
	}
	return nil, fmt.Errorf("pixels of type %T are not known", m)
}

// rows converts pixels of a number of bytes each, row by row: a converter fills three bytes of
// to for each pixel of s.
func rows(r image.Rectangle, pix []uint8, stride, size int, convert func(to, s []uint8)) *RGB {
	out := newRGB(r.Dx(), r.Dy())
	eachRow(out.H, func(y int) { convert(out.row(y), pix[y*stride:][:out.W*size]) })
	return out
}

func grey8(to, s []uint8) {
	for i, v := range s {
		to[3*i], to[3*i+1], to[3*i+2] = v, v, v
	}
}

func colour8(to, s []uint8) {
	for ; len(s) >= 4 && len(to) >= 3; s, to = s[4:], to[3:] {
		to[0], to[1], to[2] = s[0], s[1], s[2]
	}
}

func colour16(to, s []uint8) {
	for ; len(s) >= 8 && len(to) >= 3; s, to = s[8:], to[3:] {
		to[0], to[1], to[2] = s[0], s[2], s[4]
	}
}

// cutOff is Pillow's way from mode I;16 to RGB: what is above 255 becomes 255. Pixels of size
// bytes begin with the grey.
func cutOff(size int) func(to, s []uint8) {
	return func(to, s []uint8) {
		for ; len(s) >= size && len(to) >= 3; s, to = s[size:], to[3:] {
			v := s[1]
			if s[0] != 0 {
				v = 255
			}
			to[0], to[1], to[2] = v, v, v
		}
	}
}

// inks takes the inks from white paper: Pillow's way from CMYK to RGB, which knows no
// profile. A CMYK JPEG by Adobe is stored inverted; image/jpeg has turned it.
func inks(to, s []uint8) {
	for ; len(s) >= 4 && len(to) >= 3; s, to = s[4:], to[3:] {
		white := 255 - int(s[3])
		for i := range 3 {
			ink := int(s[i])*white + 128
			to[i] = uint8(max(white-(ink>>8+ink)>>8, 0))
		}
	}
}

// fromPalette looks every pixel up. Entries are taken without their transparency.
func fromPalette(m *image.Paletted) (*RGB, error) {
	var table [256][3]uint8
	for i, c := range m.Palette {
		switch c := c.(type) { // of a PNG, opaque or with transparency, and of a BMP
		case color.RGBA:
			table[i] = [3]uint8{c.R, c.G, c.B}
		case color.NRGBA:
			table[i] = [3]uint8{c.R, c.G, c.B}
		default:
			return nil, fmt.Errorf("palette of type %T is not known", c)
		}
	}
	return rows(m.Rect, m.Pix, m.Stride, 1, func(to, s []uint8) {
		for i, v := range s {
			copy(to[3*i:3*i+3], table[v][:])
		}
	}), nil
}
