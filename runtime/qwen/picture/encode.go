package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// jpegQuality is the quality of the JPEGs that the service answers with.
const jpegQuality = 95

// JPEG returns the picture as a JPEG of quality 95, chroma halved in both directions, which
// are Pillow's quantisation tables and sampling for quality=95. The same picture gives the
// same bytes: those of image/jpeg but for restart markers, which change no pixel. They stand
// between strips of 32 rows, which image/jpeg has written side by side.
func (p *RGB) JPEG() ([]byte, error) {
	data, err := p.jpeg()
	if err != nil {
		return nil, fmt.Errorf("writing picture as JPEG: %w", err)
	}
	return data, nil
}

// PNG returns the picture as a PNG, 8-bit RGB without alpha: nothing is lost. The same
// picture gives the same bytes.
func (p *RGB) PNG() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("writing picture as PNG: %w", err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, p.rgba(0, p.H)); err != nil {
		return nil, fmt.Errorf("writing picture as PNG: %w", err)
	}
	return b.Bytes(), nil
}

// rgba is a copy of some rows in the type that encoders are quick on.
func (p *RGB) rgba(from, below int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, p.W, below-from))
	to := m.Pix
	for src := p.Pix[3*p.W*from : 3*p.W*below]; len(src) >= 3 && len(to) >= 4; src, to = src[3:], to[4:] {
		to[0], to[1], to[2], to[3] = src[0], src[1], src[2], 0xff
	}
	return m
}

// A strip is a restart interval: rows of whole MCUs, squares of 16 pixels.
const (
	mcu       = 16
	stripRows = 2 * mcu
)

// Markers of JPEG (ITU-T T.81, table B.1).
const (
	sof0  = 0xc0
	dht   = 0xc4
	rst0  = 0xd0
	soi   = 0xd8
	eoi   = 0xd9
	sos   = 0xda
	dqt   = 0xdb
	dri   = 0xdd
	app0  = 0xe0
	app1  = 0xe1
	app14 = 0xee
	app15 = 0xef
	com   = 0xfe
	tem   = 0x01
)

// maxJPEG is the longest side that a JPEG's header can state.
const maxJPEG = 1<<16 - 1

// jpeg encodes strips and joins them. A restart interval is coded as if nothing came before it
// and ends with a whole byte, as the data of a picture of its own do (ITU-T T.81, F.1.1.5.1 and
// B.1.1.5).
func (p *RGB) jpeg() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if p.W > maxJPEG || p.H > maxJPEG {
		return nil, fmt.Errorf("it has %d×%d pixels, a side of a JPEG has at most %d", p.W, p.H, maxJPEG)
	}
	strips := make([]strip, (p.H+stripRows-1)/stripRows)
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range strips {
		group.Go(func() (err error) {
			strips[i], err = encodeStrip(p.rgba(i*stripRows, min((i+1)*stripRows, p.H)))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return p.join(strips), nil
}

// strip is a JPEG in its parts: head has the tables and SOF0, the size of which lies at size;
// scan is the header of the scan, and data what follows, without the end of the picture.
type strip struct {
	head, scan, data []byte
	size             int
}

// encodeStrip makes a JPEG of some rows and takes it apart.
func encodeStrip(m *image.RGBA) (s strip, err error) {
	var b bytes.Buffer
	b.Grow(m.Rect.Dx()*m.Rect.Dy() + 1024)
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: jpegQuality}); err != nil {
		return s, err
	}
	all := b.Bytes()
	for at := 2; at+4 <= len(all); {
		length := 2 + int(binary.BigEndian.Uint16(all[at+2:]))
		switch all[at+1] {
		case sof0:
			s.size = at + 5 // behind marker, length and precision
		case sos:
			s.head, s.scan, s.data = all[:at], all[at:at+length], all[at+length:len(all)-2]
			return s, nil
		}
		at += length
	}
	return s, errors.New("image/jpeg wrote no scan")
}

// join makes one JPEG of strips, whose tables are the same.
func (p *RGB) join(strips []strip) []byte {
	first, length := strips[0], 0
	data := make([][]byte, len(strips))
	for i, s := range strips {
		data[i] = s.data
		length += len(s.data) + 2
	}
	out := make([]byte, 0, len(first.head)+6+len(first.scan)+length)
	out = append(out, first.head...)
	binary.BigEndian.PutUint16(out[first.size:], uint16(p.H))
	if len(strips) > 1 {
		interval := (p.W + mcu - 1) / mcu * (stripRows / mcu)
		out = binary.BigEndian.AppendUint16(append(out, 0xff, dri, 0, 4), uint16(interval))
	}
	return append(appendIntervals(append(out, first.scan...), data), 0xff, eoi)
}
