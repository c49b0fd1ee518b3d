package picture

import "fmt"

// RGB is a picture of 8-bit red, green and blue samples, sRGB as they come: no colour
// profile is applied and no gamma. Pixel (x, y) is Pix[3*(y*W+x):][:3]; rows go from the
// top and have no padding, so that len(Pix) is 3*W*H.
type RGB struct {
	W, H int
	Pix  []uint8
}

// maxSide is the longest side of any picture here: with it every product of sides and
// bytes of a pixel fits an int, and a coordinate is exact in a float32, as in Pillow.
const maxSide = 1 << 16

func newRGB(w, h int) *RGB { return &RGB{W: w, H: h, Pix: make([]uint8, 3*w*h)} }

func (p *RGB) row(y int) []uint8 { return p.Pix[3*p.W*y:][:3*p.W] }

// check holds the sides against the samples.
func (p *RGB) check() error {
	if p.W < 1 || p.H < 1 || p.W > maxSide || p.H > maxSide {
		return fmt.Errorf("%d×%d pixels are no picture, a side is 1 to %d", p.W, p.H, maxSide)
	}
	if want := 3 * p.W * p.H; len(p.Pix) != want {
		return fmt.Errorf("%d×%d pixels have %d samples, it has %d", p.W, p.H, want, len(p.Pix))
	}
	return nil
}

// turned returns the picture as a viewer has to show it: orientation is EXIF's, 1 to 8,
// which tells where the first row and column of the stored picture belong. 1 returns p.
func (p *RGB) turned(orientation int) *RGB {
	// The source of target pixel (x, y): from the left or the right, the top or the
	// bottom, and with rows and columns swapped or not.
	o, ok := map[int]struct{ right, bottom, swap bool }{
		2: {right: true},
		3: {right: true, bottom: true},
		4: {bottom: true},
		5: {swap: true},
		6: {swap: true, bottom: true},
		7: {swap: true, right: true, bottom: true},
		8: {swap: true, right: true},
	}[orientation]
	if !ok {
		return p
	}
	out := newRGB(p.W, p.H)
	if o.swap {
		out.W, out.H = p.H, p.W
	}
	first, right, down := 0, 3, 3*p.W // the source of the first pixel, and of those beside and below it
	if o.right {
		first, right = first+3*(p.W-1), -right
	}
	if o.bottom {
		first, down = first+3*(p.H-1)*p.W, -down
	}
	if o.swap {
		right, down = down, right
	}
	eachRow(out.H, func(y int) {
		to, at := out.row(y), first+y*down
		for ; len(to) >= 3; to, at = to[3:], at+right {
			from := p.Pix[at : at+3 : at+3]
			to[0], to[1], to[2] = from[0], from[1], from[2]
		}
	})
	return out
}
