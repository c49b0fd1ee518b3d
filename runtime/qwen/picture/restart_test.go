package picture

import (
	"bytes"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// randomJPEG is a JPEG of noise, as JPEG writes it.
func randomJPEG(t testing.TB, w, h int) []byte {
	t.Helper()
	p, r := newRGB(w, h), rand.New(rand.NewPCG(uint64(w), uint64(h)))
	for i := range p.Pix {
		p.Pix[i] = uint8(r.Uint32())
	}
	data, err := p.JPEG()
	require.NoError(t, err)
	return data
}

// samePlanes compares what is within the picture.
func samePlanes(t testing.TB, want image.Image, got *image.YCbCr) {
	t.Helper()
	w, ok := want.(*image.YCbCr)
	require.True(t, ok)
	require.Equal(t, w.Rect, got.Rect)
	require.Equal(t, w.SubsampleRatio, got.SubsampleRatio)
	for y := range w.Rect.Dy() {
		for x := range w.Rect.Dx() {
			require.Equal(t, w.YCbCrAt(x, y), got.YCbCrAt(x, y), "(%d, %d)", x, y)
		}
	}
}

// TestIntervals: pieces make the planes of the whole, and other files are not taken apart.
func TestIntervals(t *testing.T) {
	for _, s := range []Size{{1, 33}, {16, 64}, {37, 95}, {50, 353}} {
		data := randomJPEG(t, s.W, s.H)
		f, ok := findIntervals(data)
		require.True(t, ok, s)
		require.Equal(t, (s.H+31)/32, len(f.data), s)
		want, err := jpeg.Decode(bytes.NewReader(data))
		require.NoError(t, err)
		samePlanes(t, want, f.decode())
	}
	data := randomJPEG(t, 40, 100)
	at := bytes.Index(data, []byte{0xff, rst0 + 1})
	for name, broken := range map[string][]byte{
		"one interval":   randomJPEG(t, 40, 32),
		"cut":            data[:len(data)-2],
		"other marker":   bytes.Replace(data, []byte{0xff, rst0 + 1}, []byte{0xff, rst0 + 2}, 1),
		"marker missing": append(bytes.Clone(data[:at]), data[at+2:]...),
		"other interval": bytes.Replace(data, []byte{0xff, dri, 0, 4, 0, 6}, []byte{0xff, dri, 0, 4, 0, 5}, 1),
		"no interval":    bytes.Replace(data, []byte{0xff, dri, 0, 4, 0, 6}, []byte{0xff, dri, 0, 4, 0, 0}, 1),
		"progressive":    bytes.Replace(data, []byte{0xff, sof0}, []byte{0xff, sof0 + 2}, 1),
	} {
		_, ok := findIntervals(broken)
		require.False(t, ok, name)
	}
}

// FuzzIntervals: what is decoded in pieces is what jpeg.Decode makes of the whole.
func FuzzIntervals(f *testing.F) {
	for _, s := range []Size{{1, 33}, {17, 64}, {16, 100}} {
		f.Add(randomJPEG(f, s.W, s.H))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := jpeg.DecodeConfig(bytes.NewReader(data))
		if err != nil || config.Width*config.Height > 1<<14 {
			return
		}
		p, ok := findIntervals(data)
		if !ok {
			return
		}
		got := p.decode()
		if got == nil {
			return
		}
		want, err := jpeg.Decode(bytes.NewReader(data))
		require.NoError(t, err)
		samePlanes(t, want, got)
	})
}
