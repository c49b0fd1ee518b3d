package vae

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

const (
	configFile  = "vae/config.json"
	weightsFile = "vae/diffusion_pytorch_model.safetensors"
)

// published has the dimensions of the published VAE; the rest of the set is small.
func published() modelsettest.Params {
	p := modelsettest.Golden()
	p.VAE = modelsettest.Real().VAE
	return p
}

// files are the VAE's configuration and weights of a generated set.
func files(t testing.TB, p modelsettest.Params) (config []byte, tensors modelsettest.File) {
	t.Helper()
	all, err := modelsettest.Base(p)
	require.NoError(t, err)
	c := all[configFile].Content
	config, err = io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	require.NoError(t, err)
	return config, all[weightsFile]
}

// loaded is the golden VAE on a reference backend, whose new memory holds NaN.
func loaded(t testing.TB) (*Model, *ref.Backend) {
	t.Helper()
	config, file := files(t, modelsettest.Golden())
	set, err := weights.Read(file.Content)
	require.NoError(t, err)
	b := ref.New(ref.Options{ArenaBytes: 16 << 20, Poison: true})
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	m, err := New(b, config, set)
	require.NoError(t, err)
	return m, b
}

// goldens are testdata/golden.safetensors.
type goldens struct{ *weights.Set }

func readGoldens(t testing.TB) goldens {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.safetensors")
	require.NoError(t, err)
	set, err := weights.Read(bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, "0.42.1", set.Metadata()["diffusers"])
	return goldens{set}
}

// take returns a tensor [channels, h, w] with its shape.
func (g goldens) take(t testing.TB, name string) (latents.Shape, []float32) {
	t.Helper()
	w := g.Take(name, weights.Any, weights.Any, weights.Any)
	require.NoError(t, g.Err())
	out := make([]float32, w.Len())
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(w.Data[4*i:]))
	}
	return latents.Shape{Channels: int(w.Shape[0]), Height: int(w.Shape[1]), Width: int(w.Shape[2])}, out
}

// upload puts values [channels, h, w] into a new tensor, channels last.
func upload(b compute.Backend, k compute.Kind, s latents.Shape, values []float32) compute.Tensor {
	rows := make([]float32, s.Len())
	s.ChannelsLast(rows, values)
	x := b.Alloc(k, s.Height*s.Width, s.Channels)
	b.Upload(x, rows)
	return x
}

// download returns a tensor's values as [channels, h, w].
func download(t testing.TB, b compute.Backend, s latents.Shape, x compute.Tensor) []float32 {
	t.Helper()
	require.Equal(t, [2]int{s.Height * s.Width, s.Channels}, [2]int{x.Rows, x.Cols})
	rows, values := make([]float32, s.Len()), make([]float32, s.Len())
	require.NoError(t, b.Download(rows, x))
	s.ChannelsFirst(values, rows)
	return values
}

// requireNear fails where values differ by more than a float32 network of 30 layers does.
func requireNear(t testing.TB, want, got []float32) {
	t.Helper()
	require.Len(t, got, len(want))
	worst := 0.0
	for i, v := range want {
		require.False(t, math.IsNaN(float64(got[i])), "value %d", i)
		worst = max(worst, math.Abs(float64(v)-float64(got[i])))
	}
	t.Logf("largest difference %.2g", worst)
	require.LessOrEqual(t, worst, 2e-5)
}

func TestEncodeOfDiffusers(t *testing.T) {
	m, b := loaded(t)
	g := readGoldens(t)
	for _, n := range []string{"0", "1", "2"} {
		size, picture := g.take(t, "picture."+n)
		shape, want := g.take(t, "mean."+n)
		z, err := m.Encode(t.Context(), upload(b, compute.Act, size, picture), size.Height, size.Width)
		require.NoError(t, err)
		require.Equal(t, compute.F32, z.Kind)
		requireNear(t, want, download(t, b, shape, z))
	}
}

func TestDecodeOfDiffusers(t *testing.T) {
	m, b := loaded(t)
	g := readGoldens(t)
	for _, n := range []string{"0", "1", "2"} {
		shape, z := g.take(t, "latents."+n)
		size, want := g.take(t, "decoded."+n)
		x, err := m.Decode(t.Context(), upload(b, compute.F32, shape, z), shape.Height, shape.Width)
		require.NoError(t, err)
		require.Equal(t, compute.F32, x.Kind)
		requireNear(t, want, download(t, b, size, x))
	}
}

// TestMiddleOfDiffusers says in which half of a network an error is.
func TestMiddleOfDiffusers(t *testing.T) {
	m, b := loaded(t)
	g := readGoldens(t)
	const ahead, middle = 2, 3 // layers of the decoder ahead of its middle block, and in it
	for _, c := range []struct {
		input, want string
		layers      []layer
	}{
		{"picture.0", "encoder.mid", m.encoder.layers[:len(m.encoder.layers)-1]},
		{"latents.0", "decoder.mid", m.decoder.layers[:ahead+middle]},
	} {
		s, values := g.take(t, c.input)
		f := frame{upload(b, compute.Act, s, values), s.Height, s.Width}
		mem := newMemory(b, 1<<16)
		for _, l := range c.layers {
			f = l.run(b, mem, f)
		}
		shape, want := g.take(t, c.want)
		require.Equal(t, [2]int{shape.Height, shape.Width}, [2]int{f.h, f.w})
		requireNear(t, want, download(t, b, shape, f.x))
	}
}

// TestArena holds the peak against the package comment's formula, and what stays against
// the result alone.
func TestArena(t *testing.T) {
	const h, w = 64, 48
	const float = 4
	p := modelsettest.Golden()
	for _, c := range []struct {
		name     string
		rows     int
		cols     int
		run      func(m *Model, x compute.Tensor) (compute.Tensor, error)
		in, left int64
	}{
		{"encode", h * w, Channels, func(m *Model, x compute.Tensor) (compute.Tensor, error) {
			return m.Encode(context.Background(), x, h, w)
		}, Channels * h * w, modelsettest.Latents * h / 8 * w / 8},
		{"decode", h / 8 * w / 8, modelsettest.Latents, func(m *Model, x compute.Tensor) (compute.Tensor, error) {
			return m.Decode(context.Background(), x, h/8, w/8)
		}, modelsettest.Latents * h / 8 * w / 8, Channels * h * w},
	} {
		m, b := loaded(t)
		x := b.Alloc(compute.Act, c.rows, c.cols)
		b.Upload(x, make([]float32, x.Len()))
		_, err := c.run(m, x)
		require.NoError(t, err, c.name)
		require.NoError(t, b.Sync(), c.name)
		require.Equal(t, float*(c.in+c.left), int64(b.Mark()), c.name)
		require.Equal(t, float*(c.in+c.left+2*h*w*int64(p.VAE.Base)), b.Peak(), c.name)
	}
}

// TestRunsAgree: a run leaves nothing behind that another one sees, and what an arena held
// before does not matter.
func TestRunsAgree(t *testing.T) {
	m, b := loaded(t)
	g := readGoldens(t)
	size, picture := g.take(t, "picture.1")
	run := func(kind compute.Kind) []float32 {
		mark := b.Mark()
		defer b.Reset(mark)
		z, err := m.Encode(t.Context(), upload(b, kind, size, picture), size.Height, size.Width)
		require.NoError(t, err)
		x, err := m.Decode(t.Context(), z, size.Height/latents.Scale, size.Width/latents.Scale)
		require.NoError(t, err)
		return download(t, b, size, x)
	}
	first := run(compute.Act)
	require.Equal(t, first, run(compute.Act))
	require.Equal(t, first, run(compute.F32))

	random := rand.New(rand.NewPCG(1, 2))
	garbage := b.Alloc(compute.Act, 1000, 1000)
	values := make([]float32, garbage.Len())
	for i := range values {
		values[i] = random.Float32()*200 - 100
	}
	mark := b.Mark()
	b.Upload(garbage, values)
	b.Reset(mark - compute.Mark(garbage.Bytes()))
	require.Equal(t, first, run(compute.Act))
}

// countdown is a context that ends after its error was asked for a number of times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestCanceled: every layer asks, and an end leaves nothing in the arena.
func TestCanceled(t *testing.T) {
	m, b := loaded(t)
	x := b.Alloc(compute.Act, 256, Channels)
	b.Upload(x, make([]float32, x.Len()))
	z := b.Alloc(compute.Act, 4, modelsettest.Latents)
	b.Upload(z, make([]float32, z.Len()))
	mark := b.Mark()
	for _, c := range []struct {
		layers int
		run    func(ctx context.Context) (compute.Tensor, error)
	}{
		{len(m.encoder.layers), func(ctx context.Context) (compute.Tensor, error) { return m.Encode(ctx, x, 16, 16) }},
		{len(m.decoder.layers), func(ctx context.Context) (compute.Tensor, error) { return m.Decode(ctx, z, 2, 2) }},
	} {
		require.Greater(t, c.layers, 15)
		for _, asked := range []int{0, 1, c.layers / 2, c.layers} {
			out, err := c.run(&countdown{t.Context(), asked})
			require.ErrorIs(t, err, context.Canceled)
			require.True(t, out.IsZero())
			require.Equal(t, mark, b.Mark())
		}
		_, err := c.run(&countdown{t.Context(), c.layers + 1})
		require.NoError(t, err)
		b.Reset(mark)
	}
}

// TestCanceledEarly: what comes behind an end is not run.
func TestCanceledEarly(t *testing.T) {
	config, file := files(t, modelsettest.Golden())
	b := plan.New(plan.Options{})
	m, err := New(b, config, described(t, file, slices.Clone))
	require.NoError(t, err)
	x, z := b.Alloc(compute.Act, 256, Channels), b.Alloc(compute.Act, 4, modelsettest.Latents)
	launches := func(run func() error) int64 {
		b.Begin()
		require.ErrorIs(t, run(), context.Canceled)
		return b.Result().Total.Launches
	}
	// A convolution and a residual block of two; two convolutions.
	for asked, want := range [][2]int64{{0, 0}, {1, 1}, {3, 2}} {
		require.Equal(t, want[0], launches(func() error { _, err := m.Encode(&countdown{t.Context(), asked}, x, 16, 16); return err }))
		require.Equal(t, want[1], launches(func() error { _, err := m.Decode(&countdown{t.Context(), asked}, z, 2, 2); return err }))
	}
}

// TestShapesPanic: sizes that contradict a tensor are a defect of the caller.
func TestShapesPanic(t *testing.T) {
	m, b := loaded(t)
	x, z := b.Alloc(compute.Act, 16*24, Channels), b.Alloc(compute.Act, 2*3, modelsettest.Latents)
	for _, size := range [][2]int{{24, 24}, {0, 24}, {-16, -24}, {12, 32}, {32, 12}} {
		require.Panics(t, func() { _, _ = m.Encode(t.Context(), x, size[0], size[1]) }, "%v", size)
	}
	require.Panics(t, func() { _, _ = m.Encode(t.Context(), z, 16, 24) })
	require.Panics(t, func() { _, _ = m.Decode(t.Context(), z, 2, 2) })
	require.Panics(t, func() { _, _ = m.Decode(t.Context(), z, -2, -3) })
	require.Panics(t, func() { _, _ = m.Decode(t.Context(), x, 16, 24) })
}
