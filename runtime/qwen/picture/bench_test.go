package picture_test

import (
	"bytes"
	"image"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

// photo is a picture as smooth as photographs are, 1 megapixel: waves and a little noise.
func photo() *picture.RGB {
	const side = 1024
	p, r := &picture.RGB{W: side, H: side, Pix: make([]uint8, 3*side*side)}, rand.New(rand.NewPCG(5, 6))
	for i := range p.Pix {
		x, y := float64(i/3%side), float64(i/3/side)
		wave := math.Sin(x/23+float64(i%3)) + math.Sin(y/37) + math.Sin((x+y)/7)/4
		p.Pix[i] = uint8(128 + 50*wave + 4*r.NormFloat64())
	}
	return p
}

// The following are an edit's work on pictures of 1 megapixel, in its order. Bytes are those of
// the picture's samples, 3 MB, but for FromVAE.

// BenchmarkDecode decodes the picture as most programs write it, and with the restart markers
// that JPEG writes.
func BenchmarkDecode(b *testing.B) {
	p := photo()
	whole := image.NewRGBA(image.Rect(0, 0, p.W, p.H))
	for i := range p.W * p.H {
		copy(whole.Pix[4*i:], append(p.Pix[3*i:3*i+3:3*i+3], 0xff))
	}
	var plain bytes.Buffer
	require.NoError(b, jpeg.Encode(&plain, whole, &jpeg.Options{Quality: 95}))
	restarts, err := p.JPEG()
	require.NoError(b, err)
	for name, data := range map[string][]byte{"plain": plain.Bytes(), "restarts": restarts} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(3 << 20)
			b.ReportAllocs()
			for b.Loop() {
				_, err := picture.Decode(data, service)
				require.NoError(b, err)
			}
		})
	}
}

func BenchmarkAppendVAE(b *testing.B) {
	p := photo()
	b.SetBytes(3 << 20)
	b.ReportAllocs()
	for b.Loop() {
		p.AppendVAE(nil)
	}
}

func BenchmarkPatches(b *testing.B) {
	processor, err := picture.ParseProcessor(read(b, filepath.Join("testdata", "preprocessor_config.json")))
	require.NoError(b, err)
	p := photo()
	b.SetBytes(3 << 20)
	b.ReportAllocs()
	for b.Loop() {
		_, _, err := processor.Append(nil, p)
		require.NoError(b, err)
	}
}

func BenchmarkFromVAE(b *testing.B) {
	x := photo().AppendVAE(nil)
	b.SetBytes(4 * int64(len(x)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := picture.FromVAE(x, 1024, 1024)
		require.NoError(b, err)
	}
}

func BenchmarkJPEG(b *testing.B) {
	p := photo()
	b.SetBytes(3 << 20)
	b.ReportAllocs()
	for b.Loop() {
		_, err := p.JPEG()
		require.NoError(b, err)
	}
}
