package picture_test

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

func noise(r *rand.Rand, w, h int) *picture.RGB {
	p := &picture.RGB{W: w, H: h, Pix: make([]uint8, 3*w*h)}
	for i := range p.Pix {
		p.Pix[i] = uint8(r.Uint32())
	}
	return p
}

var filters = map[string]picture.Filter{"lanczos": picture.Lanczos, "bicubic": picture.Bicubic}

func TestResizeGolden(t *testing.T) {
	var g struct {
		Picture *picture.RGB
		Resized []struct {
			picture.RGB
			Filter string
		}
	}
	unmarshal(t, filepath.Join("testdata", "resized.json"), &g)
	require.NotEmpty(t, g.Resized)
	for _, want := range g.Resized {
		got, err := picture.Resize(g.Picture, want.W, want.H, filters[want.Filter])
		require.NoError(t, err)
		require.Equal(t, &want.RGB, got, "%s to %v", want.Filter, want.Size())
	}
}

// TestProcessors: no result depends on how the work was shared out.
func TestProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	processor, err := picture.ParseProcessor(read(t, filepath.Join("testdata", "preprocessor_config.json")))
	require.NoError(t, err)
	p := noise(rand.New(rand.NewPCG(1, 2)), 301, 203)
	failed := p.AppendVAE(nil)
	failed[150_001], failed[100_000] = float32(math.NaN()), float32(math.Inf(1))
	var first []any
	for _, n := range []int{1, 2, 7} {
		runtime.GOMAXPROCS(n)
		resized, err := picture.Resize(p, 99, 401, picture.Lanczos)
		require.NoError(t, err)
		x := p.AppendVAE([]float32{1, 2})
		require.Len(t, x, 2+len(p.Pix))
		patches, grid, err := processor.Append([]float32{3}, p)
		require.NoError(t, err)
		require.Len(t, patches, 1+grid.Patches()*processor.PatchLen())
		back, err := picture.FromVAE(x[2:], p.W, p.H)
		require.NoError(t, err)
		data, err := p.JPEG()
		require.NoError(t, err)
		_, err = picture.FromVAE(failed, p.W, p.H)
		require.EqualError(t, err, "making a picture of the VAE's output: row 110, column 223, channel 1 is +Inf, not a finite number")
		got := []any{resized, x, patches, back, data}
		if first == nil {
			first = got
		}
		require.Equal(t, first, got, "%d processors", n)
	}
}

// TestResizeFlat: a picture of one colour stays one, whatever is done to it.
func TestResizeFlat(t *testing.T) {
	p := &picture.RGB{W: 5, H: 3, Pix: make([]uint8, 45)}
	for i := range p.Pix {
		p.Pix[i] = []uint8{0, 128, 255}[i%3]
	}
	for _, f := range filters {
		for _, s := range []picture.Size{{W: 1, H: 1}, {W: 400, H: 2}, {W: 5, H: 33}} {
			got, err := picture.Resize(p, s.W, s.H, f)
			require.NoError(t, err)
			for i, v := range got.Pix {
				require.Equal(t, p.Pix[i%3], v)
			}
		}
	}
}

func TestResizeErrors(t *testing.T) {
	p := &picture.RGB{W: 2, H: 1, Pix: make([]uint8, 6)}
	same, err := picture.Resize(p, 2, 1, picture.Bicubic)
	require.NoError(t, err)
	require.Same(t, p, same)
	for want, try := range map[string]func() error{
		"resizing picture: filter 0 is neither lanczos nor bicubic": func() error {
			_, err := picture.Resize(p, 2, 1, 0)
			return err
		},
		"resizing picture of 2×1 pixels: 0×1 is no size, a side is 1 to 65536": func() error {
			_, err := picture.Resize(p, 0, 1, picture.Lanczos)
			return err
		},
		"resizing picture: 2×2 pixels have 12 samples, it has 6": func() error {
			_, err := picture.Resize(&picture.RGB{W: 2, H: 2, Pix: p.Pix}, 1, 1, picture.Lanczos)
			return err
		},
		"resizing picture: 0×0 pixels are no picture, a side is 1 to 65536": func() error {
			_, err := picture.Resize(&picture.RGB{}, 1, 1, picture.Lanczos)
			return err
		},
	} {
		require.EqualError(t, try(), want)
	}
}

func BenchmarkResize(b *testing.B) {
	p := noise(rand.New(rand.NewPCG(1, 2)), 2048, 2048)
	for name, f := range filters {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(p.Pix)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := picture.Resize(p, 1024, 1024, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
