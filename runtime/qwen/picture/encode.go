package picture

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
)

// jpegQuality is the quality of the JPEGs that the service answers with.
const jpegQuality = 95

// JPEG returns the picture as a JPEG of quality 95, chroma halved in both directions, which
// are Pillow's quantisation tables and sampling for quality=95. The same picture gives the
// same bytes.
func (p *RGB) JPEG() ([]byte, error) {
	return p.encode("JPEG", func(b *bytes.Buffer, m image.Image) error {
		return jpeg.Encode(b, m, &jpeg.Options{Quality: jpegQuality})
	})
}

// PNG returns the picture as a PNG, 8-bit RGB without alpha: nothing is lost. The same
// picture gives the same bytes.
func (p *RGB) PNG() ([]byte, error) {
	return p.encode("PNG", func(b *bytes.Buffer, m image.Image) error { return png.Encode(b, m) })
}

func (p *RGB) encode(format string, to func(*bytes.Buffer, image.Image) error) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("writing picture as %s: %w", format, err)
	}
	m := image.NewRGBA(image.Rect(0, 0, p.W, p.H)) // the type that the encoders are quick on
	for i := range p.W * p.H {
		copy(m.Pix[4*i:], p.Pix[3*i:3*i+3])
		m.Pix[4*i+3] = 0xff
	}
	var b bytes.Buffer
	if err := to(&b, m); err != nil {
		return nil, fmt.Errorf("writing picture as %s: %w", format, err)
	}
	return b.Bytes(), nil
}
