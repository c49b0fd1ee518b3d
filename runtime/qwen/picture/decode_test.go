package picture_test

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

// golden is a committed file.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	return read(t, filepath.Join("testdata", "golden", "17x13-"+name))
}

func TestInspect(t *testing.T) {
	for name, want := range map[string]picture.Info{
		"420.jpg":      {Format: "JPEG", Size: picture.Size{W: 17, H: 13}, Orientation: 1},
		"turned6.jpg":  {Format: "JPEG", Size: picture.Size{W: 13, H: 17}, Orientation: 6},
		"turned3.png":  {Format: "PNG", Size: picture.Size{W: 17, H: 13}, Orientation: 3},
		"turned8.webp": {Format: "WEBP", Size: picture.Size{W: 13, H: 17}, Orientation: 8},
		"palette.bmp":  {Format: "BMP", Size: picture.Size{W: 17, H: 13}, Orientation: 1},
	} {
		got, err := picture.Inspect(golden(t, name), service)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
}

// TestLimits: what a file says of itself is enough to refuse it, its pixels need not be there.
func TestLimits(t *testing.T) {
	small := picture.Limits{Bytes: 1 << 20, Side: 16, Pixels: 1 << 20}
	few := picture.Limits{Bytes: 1 << 20, Side: 100, Pixels: 220}
	for _, name := range []string{"rgb.jpg", "rgb.png", "rgb.webp", "rgba-lossless.webp", "rgb.bmp"} {
		data := golden(t, name)
		_, err := picture.Decode(data, small)
		require.ErrorIs(t, err, picture.ErrLimit)
		require.ErrorContains(t, err, "it has 17×13 pixels, the limit is 16 a side: the picture is too large")
		_, err = picture.Decode(data, few)
		require.ErrorIs(t, err, picture.ErrLimit)
		require.ErrorContains(t, err, "it has 17×13 = 221 pixels, the limit is 220")
		few.Pixels++
		_, err = picture.Decode(data, few)
		require.NoError(t, err)
		few.Pixels--
	}
	_, err := picture.Decode(make([]byte, 1<<20+1), small)
	require.EqualError(t, err, "reading picture: it has 1048577 bytes (1.0 MiB), the limit is 1048576: the picture is too large")
	_, err = picture.Decode(golden(t, "rgb.png"), picture.Limits{Bytes: 1, Side: 1})
	require.EqualError(t, err, "reading picture: limits of 1 bytes, 1 pixels a side and 0 pixels have to be positive")
}

// TestBomb: a header of 2³¹ pixels costs nothing.
func TestBomb(t *testing.T) {
	data := golden(t, "rgb.png")
	binary.BigEndian.PutUint32(data[16:], 1<<30)
	binary.BigEndian.PutUint32(data[20:], 1<<30)
	_, err := picture.Inspect(data, service)
	require.Error(t, err) // the header's sum is wrong
	bomb := golden(t, "rgb.bmp")
	binary.LittleEndian.PutUint32(bomb[18:], 1<<30)
	binary.LittleEndian.PutUint32(bomb[22:], 1<<30)
	allocated := testing.AllocsPerRun(1, func() { _, err = picture.Decode(bomb, service) })
	require.ErrorIs(t, err, picture.ErrLimit)
	require.Less(t, allocated, 100.0)
}

// TestScans: a JPEG of a few bytes a scan is refused, however small it is.
func TestScans(t *testing.T) {
	data := golden(t, "progressive.jpg")
	last := bytes.LastIndex(data, []byte{0xff, 0xda})
	scan := bytes.Clone(data[last : len(data)-2])
	data = append(data[:len(data)-2], bytes.Repeat(scan, 100)...)
	_, err := picture.Decode(append(data, 0xff, 0xd9), service)
	require.ErrorIs(t, err, picture.ErrLimit)
	require.ErrorContains(t, err, "more than 100 scans")
}

// TestTruncated cuts every kind of file at every byte: all are refused, none panics. What may
// be cut is what no pixel lies in: the end mark of a PNG or JPEG counts, padding does not.
func TestTruncated(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("testdata", "golden"))
	require.NoError(t, err)
	for _, e := range entries {
		if e.Name() == "expected.json" || strings.Contains(e.Name(), "turned") {
			continue
		}
		data := read(t, filepath.Join("testdata", "golden", e.Name()))
		for n := range data {
			_, err := picture.Decode(data[:n], service)
			require.Error(t, err, "%s cut to %d of %d bytes", e.Name(), n, len(data))
		}
	}
	_, err = picture.Decode(golden(t, "rgb.bmp")[:100], service)
	require.EqualError(t, err, "reading picture as BMP: the file ends before the picture does: unexpected EOF")
}

func TestFormat(t *testing.T) {
	for want, data := range map[string][]byte{
		`reading picture: it has no bytes: only single pictures in JPEG, PNG, WEBP and BMP are read`:                                nil,
		`reading picture: its first bytes are "GIF89a": only single pictures in JPEG, PNG, WEBP and BMP are read`:                   []byte("GIF89a"),
		`reading picture: its first bytes are "<svg xmlns=\"": only single pictures in JPEG, PNG, WEBP and BMP are read`:            []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`),
		`reading picture: its first bytes are "RIFF\x00\x00\x00\x00WAVE": only single pictures in JPEG, PNG, WEBP and BMP are read`: []byte("RIFF\x00\x00\x00\x00WAVE"),
	} {
		_, err := picture.Decode(data, service)
		require.EqualError(t, err, want)
		require.ErrorIs(t, err, picture.ErrFormat)
	}
}

// TestUnsupported: a whole file of a kind that is not read is of no known format.
func TestUnsupported(t *testing.T) {
	cmyk := golden(t, "cmyk.jpg")
	copy(cmyk[bytes.Index(cmyk, []byte("Adobe")):], "Nobod")
	_, err := picture.Decode(cmyk, service)
	require.ErrorIs(t, err, picture.ErrFormat)
	require.ErrorContains(t, err, "Adobe")
	packed := golden(t, "palette.bmp")
	packed[30] = 1 // run lengths
	_, err = picture.Decode(packed, service)
	require.ErrorIs(t, err, picture.ErrFormat)
	animated := golden(t, "rgba.webp")
	require.Equal(t, "VP8X", string(animated[12:16]))
	animated[20] |= 2
	_, err = picture.Decode(animated, service)
	require.ErrorIs(t, err, picture.ErrFormat)
	require.ErrorContains(t, err, "it is an animation")
}

// FuzzDecode: whatever the bytes are, there is a whole picture within the limits or an error.
func FuzzDecode(f *testing.F) {
	entries, err := filepath.Glob(filepath.Join("testdata", "golden", "*-*"))
	require.NoError(f, err)
	for _, path := range entries {
		f.Add(read(f, path))
	}
	l := picture.Limits{Bytes: 1 << 16, Side: 64, Pixels: 2048}
	f.Fuzz(func(t *testing.T, data []byte) {
		info, inspected := picture.Inspect(data, l)
		p, err := picture.Decode(data, l)
		if err != nil {
			return
		}
		require.NoError(t, inspected)
		require.Len(t, p.Pix, 3*p.W*p.H)
		require.LessOrEqual(t, max(p.W, p.H), l.Side)
		require.LessOrEqual(t, p.W*p.H, l.Pixels)
		require.Equal(t, info.Size, p.Size())
	})
}

// TestJPEG: strips change nothing: planes are those of image/jpeg's own file.
func TestJPEG(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	for _, s := range []picture.Size{{W: 1, H: 1}, {W: 16, H: 32}, {W: 17, H: 33}, {W: 40, H: 31}, {W: 33, H: 64}, {W: 65, H: 95}, {W: 100, H: 353}} {
		p := noise(r, s.W, s.H)
		whole := image.NewRGBA(image.Rect(0, 0, s.W, s.H))
		for i := range s.W * s.H {
			copy(whole.Pix[4*i:], append(p.Pix[3*i:3*i+3:3*i+3], 0xff))
		}
		var b bytes.Buffer
		require.NoError(t, jpeg.Encode(&b, whole, &jpeg.Options{Quality: 95}))
		want, err := jpeg.Decode(&b)
		require.NoError(t, err)
		data, err := p.JPEG()
		require.NoError(t, err)
		got, err := jpeg.Decode(bytes.NewReader(data))
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
		require.Equal(t, s.H > 32, bytes.Contains(data, []byte{0xff, 0xd0}), s)
	}
	_, err := (&picture.RGB{W: 1, H: 1 << 16, Pix: make([]uint8, 3<<16)}).JPEG()
	require.EqualError(t, err, "writing picture as JPEG: it has 1×65536 pixels, a side of a JPEG has at most 65535")
}

func TestEncode(t *testing.T) {
	src := noise(rand.New(rand.NewPCG(1, 1)), 37, 21)
	data, err := src.PNG()
	require.NoError(t, err)
	back, err := picture.Decode(data, service)
	require.NoError(t, err)
	require.Equal(t, src, back)
	again, err := src.PNG()
	require.NoError(t, err)
	require.Equal(t, data, again)

	smooth, err := picture.Resize(src, 333, 200, picture.Bicubic)
	require.NoError(t, err)
	data, err = smooth.JPEG()
	require.NoError(t, err)
	back, err = picture.Decode(data, service)
	require.NoError(t, err)
	_, mean := distance(t, smooth, back)
	require.Less(t, mean, 3.0)

	_, err = (&picture.RGB{W: 1, H: 2}).JPEG()
	require.EqualError(t, err, "writing picture as JPEG: 1×2 pixels have 6 samples, it has 0")
	_, err = (&picture.RGB{}).PNG()
	require.EqualError(t, err, "writing picture as PNG: 0×0 pixels are no picture, a side is 1 to 65536")
}
