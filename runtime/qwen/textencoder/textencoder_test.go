package textencoder

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/tokenizer"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
)

// bound is how far values may be from the original's, relative to the largest. What was seen
// is a tenth of it, which is float32's rounding.
const bound = 1e-5

// fixture is the model of the golden vectors over the reference backend.
type fixture struct {
	*Model
	*golden
	settings
	ref *ref.Backend
}

func newFixture(t testing.TB, o ref.Options) *fixture {
	t.Helper()
	files := generate(t, modelsettest.Golden())
	if o.ArenaBytes == 0 {
		o.ArenaBytes = 8 << 20
	}
	b := ref.New(o)
	t.Cleanup(func() { b.Close() }) // some tests make errors stick
	m, err := New(b, files.config, files.open(t))
	require.NoError(t, err)
	require.Equal(t, 128, m.Hidden())
	return &fixture{m, readGolden(t), files.settings(t), b}
}

// encode returns the embeddings of a case, and leaves the arena as it was.
func (f *fixture) encode(t testing.TB, c goldenCase) []float32 {
	t.Helper()
	mark := f.ref.Mark()
	defer f.ref.Reset(mark)
	p := f.prompt(t, c, f.settings)
	out, err := f.Encode(t.Context(), c.images(f.settings), p)
	require.NoError(t, err)
	require.Len(t, out, 1)
	require.Equal(t, "act", out[0].Kind.String())
	require.Equal(t, []int{len(p.IDs) - p.Drop, f.Hidden()}, []int{out[0].Rows, out[0].Cols})
	return f.download(t, out[0])
}

func (f *fixture) download(t testing.TB, x compute.Tensor) []float32 {
	t.Helper()
	values := make([]float32, x.Len())
	require.NoError(t, f.ref.Download(values, x))
	return values
}

// near holds values against golden ones.
func (f *fixture) near(t testing.TB, name string, got []float32) {
	t.Helper()
	want := f.floats(t, name)
	require.Len(t, got, len(want), name)
	var most, far float64
	for i, w := range want {
		most = max(most, math.Abs(float64(w)))
		far = max(far, math.Abs(float64(got[i])-float64(w)))
	}
	require.Greater(t, most, 1.0, name)
	t.Logf("%s: %.1e of the largest value", name, far/most)
	require.LessOrEqual(t, far/most, bound, name)
}

// TestGolden holds embeddings against the original's.
func TestGolden(t *testing.T) {
	f := newFixture(t, ref.Options{Poison: true})
	for _, c := range f.cases {
		f.near(t, c.Name+".hidden", f.encode(t, c))
	}
}

// TestVisionGolden holds a picture's tokens against the original's.
func TestVisionGolden(t *testing.T) {
	f := newFixture(t, ref.Options{Poison: true})
	for _, c := range f.cases {
		for i, image := range c.images(f.settings) {
			s, err := f.tower.size(image)
			require.NoError(t, err)
			dst := f.ref.Alloc(compute.Act, s.h*s.w, f.Hidden())
			require.NoError(t, f.tower.see(t.Context(), f.ref, dst, image.Patches, s))
			f.near(t, fmt.Sprintf("%s.vision.%d", c.Name, i), f.download(t, dst))
		}
	}
}

// TestFirstLayersGolden holds what comes out of the first layer of each half against the
// original's, so that a difference elsewhere can be placed.
func TestFirstLayersGolden(t *testing.T) {
	f := newFixture(t, ref.Options{})
	c := f.find(t, "edit")
	image, p := c.images(f.settings)[0], f.prompt(t, c, f.settings)
	s, err := f.tower.size(image)
	require.NoError(t, err)
	o := arrange(s.h, s.w, f.tower.window, f.tower.unit())
	x := f.ref.Alloc(compute.Act, image.Grid.Patches(), f.tower.hidden)
	f.tower.embedPatches(f.ref, x, o.patches(image.Patches))
	a := compute.Attention{Heads: f.tower.heads, KVHeads: f.tower.heads, Dim: f.tower.head(), Scale: scale(f.tower.head()), Windows: o.ends}
	f.tower.blocks[0].run(f.ref, x, visionEps, a, upload(f.ref, o.angles(s.w, f.tower.merge, f.tower.frequencies)))
	f.near(t, "edit.block", f.download(t, x))

	d := *f.decoder
	d.layers = d.layers[:0]
	tokens := f.ref.Alloc(compute.Act, s.h*s.w, f.Hidden())
	require.NoError(t, f.tower.see(t.Context(), f.ref, tokens, image.Patches, s))
	words := f.ref.Alloc(compute.Act, len(p.IDs), f.Hidden())
	f.ref.Embed(words, d.words, p.IDs)
	f.ref.Copy(words.Slice(p.Images[0].Start, p.Images[0].End), tokens)
	a = compute.Attention{Heads: d.heads, KVHeads: d.kvHeads, Dim: d.head(), Scale: scale(d.head()), Causal: true}
	f.decoder.layers[0].run(f.ref, words, d.eps, a, upload(f.ref, place(p, []size{s}).angles(d.sections, d.frequencies)))
	f.near(t, "edit.layer", f.download(t, words))
}

// TestWholePath: tokenizer, template, image processor and model of one set fit together, for
// both kinds of prompt.
func TestWholePath(t *testing.T) {
	set, err := modelsettest.Base(modelsettest.Golden())
	require.NoError(t, err)
	section := func(name string) *io.SectionReader {
		return io.NewSectionReader(set[name].Content, 0, set[name].Content.Size())
	}
	words, err := tokenizer.Read(section("processor/tokenizer.json"))
	require.NoError(t, err)
	config, err := io.ReadAll(section("processor/preprocessor_config.json"))
	require.NoError(t, err)
	processor, err := picture.ParseProcessor(config)
	require.NoError(t, err)
	text, err := words.EncodePlain("Make the sky purple, <|im_end|> please.")
	require.NoError(t, err)
	f := newFixture(t, ref.Options{Poison: true})
	for kind, sizes := range map[prompt.Kind][]picture.Size{prompt.Edit: {{W: 200, H: 90}}, prompt.EditPlus: {{W: 60, H: 130}, {W: 90, H: 60}}} {
		template, err := prompt.New(kind, words)
		require.NoError(t, err)
		var images []Image
		var counts []int
		for _, s := range sizes {
			patches, grid, err := processor.Append(nil, &picture.RGB{W: s.W, H: s.H, Pix: make([]uint8, 3*s.W*s.H)})
			require.NoError(t, err)
			images = append(images, Image{patches, grid})
			counts = append(counts, grid.Patches()/(processor.MergeSize*processor.MergeSize))
		}
		p, err := template.Prompt(counts, text)
		require.NoError(t, err)
		out, err := f.Encode(t.Context(), images, p)
		require.NoError(t, err)
		require.Equal(t, len(p.IDs)-template.Drop(), out[0].Rows)
		require.NoError(t, f.ref.Sync())
	}
}

// TestSame: neither what memory held before nor the number of workers nor an earlier picture
// changes a bit.
func TestSame(t *testing.T) {
	clean, poisoned := newFixture(t, ref.Options{Workers: 1}), newFixture(t, ref.Options{Poison: true, Workers: 2})
	for _, c := range clean.cases {
		first := clean.encode(t, c)
		require.Equal(t, first, clean.encode(t, c), c.Name)
		require.Equal(t, first, poisoned.encode(t, c), c.Name)
	}
	require.Equal(t, clean.encode(t, clean.cases[0]), poisoned.encode(t, clean.cases[0]))
}

// TestPromptsOfOnePicture: several prompts about the same pictures come out as each does
// alone.
func TestPromptsOfOnePicture(t *testing.T) {
	f := newFixture(t, ref.Options{Poison: true})
	c := f.find(t, "plus")
	long := f.prompt(t, c, f.settings)
	short := &prompt.Prompt{IDs: long.IDs[:len(long.IDs)-25], Images: long.Images, Drop: long.Drop + 1}
	both, err := f.Encode(t.Context(), c.images(f.settings), short, long)
	require.NoError(t, err)
	require.Len(t, both, 2)
	first, second := f.download(t, both[0]), f.download(t, both[1])
	require.Equal(t, f.encode(t, c), second)
	// Later words don't change earlier ones.
	width := f.Hidden()
	require.Equal(t, second[width:width+len(first)], first)
}

// TestCancel ends an Encode at each of its layers.
func TestCancel(t *testing.T) {
	f := newFixture(t, ref.Options{})
	c := f.find(t, "plus")
	layers := 2*f.vision.depth + f.language.layers
	for n := range layers {
		ctx := &countdown{Context: t.Context(), left: n}
		_, err := f.Encode(ctx, c.images(f.settings), f.prompt(t, c, f.settings))
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, fault.Canceled, fault.KindOf(err))
		require.Zero(t, f.ref.Mark())
	}
	_, err := f.Encode(&countdown{Context: t.Context(), left: layers}, c.images(f.settings), f.prompt(t, c, f.settings))
	require.NoError(t, err)
	require.NoError(t, f.ref.Sync())
}

// countdown is a context that ends after it was asked a number of times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left == 0 {
		return context.Canceled
	}
	c.left--
	return nil
}

// TestFull: an arena that is too small is the backend's error, and nothing panics.
func TestFull(t *testing.T) {
	f := newFixture(t, ref.Options{ArenaBytes: 1 << 20})
	c := f.find(t, "wide")
	_, err := f.Encode(t.Context(), c.images(f.settings), f.prompt(t, c, f.settings))
	require.NoError(t, err)
	require.Equal(t, fault.Resource, fault.KindOf(f.ref.Sync()))
}

// TestNotFinite: broken numbers are the backend's error, which says where they were seen.
func TestNotFinite(t *testing.T) {
	f := newFixture(t, ref.Options{})
	c := f.find(t, "edit")
	images := c.images(f.settings)
	images[0].Patches[1000] = float32(math.Inf(1))
	_, err := f.Encode(t.Context(), images, f.prompt(t, c, f.settings))
	require.NoError(t, err)
	require.ErrorContains(t, f.ref.Sync(), "a picture's tokens")

	files := generate(t, modelsettest.Golden())
	tensors := files.generated(t)
	change(t, tensors, "model.norm.weight", safetensors.BF16, safetensorstest.Bytes(slices.Repeat([]byte{0xC0, 0x7F}, 128))) // NaN
	b := ref.New(ref.Options{ArenaBytes: 8 << 20})
	defer b.Close()
	m, err := New(b, files.config, open(t, tensors))
	require.NoError(t, err)
	_, err = m.Encode(t.Context(), c.images(f.settings), c.prompt(f.settings))
	require.NoError(t, err)
	require.ErrorContains(t, b.Sync(), "a prompt's embeddings")
}

// BenchmarkEncode is a picture of 20×20 patches at the demo's sizes.
func BenchmarkEncode(b *testing.B) {
	files := generate(b, modelsettest.Demo())
	back := ref.New(ref.Options{})
	m, err := New(back, files.config, files.open(b))
	require.NoError(b, err)
	s := files.settings(b)
	c := goldenCase{Grids: [][3]int{{1, 20, 20}}, Text: []int{16, 20}, Drop: 16}
	for b.Loop() {
		mark := back.Mark()
		_, err := m.Encode(b.Context(), c.images(s), c.prompt(s))
		require.NoError(b, err)
		require.NoError(b, back.Sync())
		back.Reset(mark)
	}
	require.NoError(b, back.Close())
}
