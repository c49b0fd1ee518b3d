package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/bmp"
	"golang.org/x/image/webp"
)

// Limits are what a file may be. They are looked at before memory for pixels is taken.
type Limits struct {
	// Bytes is the file's largest size, Side the longest side in pixels, Pixels the largest
	// product of the sides. All have to be positive.
	Bytes, Side, Pixels int
}

// Callers tell these apart from files that are broken.
var (
	// ErrFormat is about a file of another format than JPEG, PNG, WEBP and BMP, or of a kind
	// of these that is not read.
	ErrFormat = errors.New("only single pictures in JPEG, PNG, WEBP and BMP are read")
	// ErrLimit is about a file that is larger than its Limits.
	ErrLimit = errors.New("the picture is too large")
)

// Info is what a file says of itself.
type Info struct {
	Format string // "JPEG", "PNG", "WEBP" or "BMP"
	// Size is that of the picture as a viewer shows it, after Orientation.
	Size Size
	// Orientation is EXIF's, 1 to 8, 1 where the file says nothing.
	Orientation int
}

const (
	pngMagic = "\x89PNG\r\n\x1a\n"
	mebi     = 1 << 20
)

// format is a file format: how its first bytes look and how it is read.
type format struct {
	name   string
	is     func(data []byte) bool
	read   func(data []byte) (container, error)
	config func(io.Reader) (image.Config, error)
	decode func(data []byte) (image.Image, error)
}

var formats = []format{
	{"JPEG", prefix("\xff\xd8\xff"), readJPEG, jpeg.DecodeConfig, decodeJPEG},
	{"PNG", prefix(pngMagic), readPNG, png.DecodeConfig, whole(png.Decode)},
	{"WEBP", isWEBP, readWEBP, webp.DecodeConfig, whole(webp.Decode)},
	{"BMP", prefix("BM"), readBMP, bmp.DecodeConfig, whole(bmp.Decode)},
}

// whole has a decoder read a file that is in memory.
func whole(decode func(io.Reader) (image.Image, error)) func([]byte) (image.Image, error) {
	return func(data []byte) (image.Image, error) { return decode(bytes.NewReader(data)) }
}

func prefix(p string) func([]byte) bool {
	return func(data []byte) bool { return bytes.HasPrefix(data, []byte(p)) }
}

func isWEBP(data []byte) bool {
	return len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP"
}

// readBMP has nothing to read: a BMP has no EXIF.
func readBMP([]byte) (container, error) { return container{}, nil }

// Decode reads a picture from a file's bytes, which may come from anybody. Format and limits
// are told by content: names and media types play no part. EXIF orientation is applied as
// Pillow's ImageOps.exif_transpose does (XMP's is not read), and colours become RGB as by
// its convert("RGB"); the package comment has the details. A file that ends early is an
// error, and so is an animation in WEBP.
//
// The largest memory taken is about 30 bytes a pixel, within the Limits.
func Decode(data []byte, l Limits) (*RGB, error) {
	f, info, c, err := inspect(data, l)
	if err != nil {
		return nil, err
	}
	m, err := f.decode(data)
	if err != nil {
		return nil, reading(f.name, err)
	}
	if b := m.Bounds(); b.Dx() > l.Side || b.Dy() > l.Side || b.Dx()*b.Dy() > l.Pixels {
		return nil, reading(f.name, fmt.Errorf("it has %d×%d pixels behind a header of %v: %w", b.Dx(), b.Dy(), info.Size, ErrLimit))
	}
	p, err := toRGB(m, f.name, c.grey16)
	if err != nil {
		return nil, reading(f.name, err)
	}
	return p.turned(info.Orientation), nil
}

// Inspect reads what Decode would without the pixels: the errors are Decode's, but for those
// in the pixels' data.
func Inspect(data []byte, l Limits) (Info, error) {
	_, info, _, err := inspect(data, l)
	return info, err
}

// reading says which format was read, and which files are refused though they are whole.
func reading(format string, err error) error {
	var j jpeg.UnsupportedError
	var p png.UnsupportedError
	if errors.As(err, &j) || errors.As(err, &p) || errors.Is(err, bmp.ErrUnsupported) {
		err = fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the file ends before the picture does: %w", err)
	}
	return fmt.Errorf("reading picture as %s: %w", format, err)
}

func inspect(data []byte, l Limits) (f format, info Info, c container, err error) {
	if l.Bytes < 1 || l.Side < 1 || l.Pixels < 1 {
		return f, info, c, fmt.Errorf("reading picture: limits of %d bytes, %d pixels a side and %d pixels have to be positive", l.Bytes, l.Side, l.Pixels)
	}
	if len(data) > l.Bytes {
		return f, info, c, fmt.Errorf("reading picture: it has %d bytes (%.1f MiB), the limit is %d: %w", len(data), float64(len(data))/mebi, l.Bytes, ErrLimit)
	}
	f, err = formatOf(data)
	if err != nil {
		return f, info, c, err
	}
	config, err := f.config(bytes.NewReader(data))
	if err != nil {
		return f, info, c, reading(f.name, err)
	}
	info = Info{Format: f.name, Size: Size{config.Width, config.Height}}
	if err := l.check(info.Size); err != nil {
		return f, info, c, reading(f.name, err)
	}
	if c, err = f.read(data); err != nil {
		return f, info, c, reading(f.name, err)
	}
	if info.Orientation = orientation(c.exif); info.Orientation > 4 {
		info.Size = Size{config.Height, config.Width}
	}
	return f, info, c, nil
}

// formatOf looks at the first bytes.
func formatOf(data []byte) (format, error) {
	for _, f := range formats {
		if f.is(data) {
			return f, nil
		}
	}
	if len(data) == 0 {
		return format{}, fmt.Errorf("reading picture: it has no bytes: %w", ErrFormat)
	}
	return format{}, fmt.Errorf("reading picture: its first bytes are %q: %w", data[:min(len(data), 12)], ErrFormat)
}

// check holds a size against the limits; sides are far below the root of the largest int.
func (l Limits) check(s Size) error {
	side := min(l.Side, maxSide)
	switch {
	case s.W < 1 || s.H < 1:
		return fmt.Errorf("%v pixels are no picture", s)
	case s.W > side || s.H > side:
		return fmt.Errorf("it has %v pixels, the limit is %d a side: %w", s, side, ErrLimit)
	case s.W*s.H > l.Pixels:
		return fmt.Errorf("it has %v = %d pixels, the limit is %d: %w", s, s.W*s.H, l.Pixels, ErrLimit)
	}
	return nil
}
