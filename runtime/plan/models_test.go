package plan_test

import (
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/textencoder"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/transformer"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/vae"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// The published transformer, and a picture of 1024×1024 with one reference.
const (
	width, blocks, rank = 3072, 60, 128
	target, reference   = 4096, 4096
)

// published is the published checkpoint without its bytes.
func published(t testing.TB) *safetensors.Header {
	t.Helper()
	c, err := svdqtest.New(svdqtest.Real(svdqtest.Int4, rank))
	require.NoError(t, err)
	return c.Header()
}

func loadTransformer(t testing.TB, h *safetensors.Header, o plan.Options) (*plan.Backend, *transformer.Model) {
	t.Helper()
	set, err := weights.Describe(h)
	require.NoError(t, err)
	b := plan.New(o)
	m, err := transformer.New(b, set)
	require.NoError(t, err)
	return b, m
}

// forward predicts once for a square picture of 1024×1024 with one reference and a text.
func forward(t testing.TB, b *plan.Backend, m *transformer.Model, text int) (stage plan.StageResult, before int64) {
	t.Helper()
	square := latents.Shape{Channels: 16, Height: 128, Width: 128}
	b.Stage("begin")
	x := b.Alloc(compute.F32, target, square.TokenWidth())
	refs := b.Alloc(compute.F32, reference, square.TokenWidth())
	run, err := m.Begin(transformer.Edit{Target: square, References: []latents.Shape{square}, Times: []float32{1, 0.5}})
	require.NoError(t, err)
	words, err := run.Text(b.Alloc(compute.Act, text, 3584))
	require.NoError(t, err)
	before = int64(b.Mark())
	b.Stage("forward")
	_, err = run.Forward(t.Context(), 0, x, refs, words)
	require.NoError(t, err)
	for _, s := range b.Result().Stages {
		if s.Name == "forward" {
			return s, before
		}
	}
	require.Fail(t, "no stage of that name")
	return stage, before
}

// of is what operations of a kind took.
func of(s plan.StageResult, name string) plan.Work {
	for _, o := range s.Operations {
		if o.Name == name {
			return o.Work
		}
	}
	return plan.Work{}
}

// TestTransformerFLOPs holds a step of the published transformer against floors that are
// computed by hand: those of diffusers' forward, which are known to three digits, less what
// the last block leaves out since nobody reads it.
func TestTransformerFLOPs(t *testing.T) {
	h := published(t)
	for _, c := range []struct {
		text                            int64
		linear, attention, lowRank, all float64 // of diffusers' forward, in tera
	}{
		{1406, 130.4, 67.9, 7.2, 205.6}, // Edit: the picture is in the text
		{241, 114.6, 52.4, 6.4, 173.4},  // Edit-Plus
	} {
		b, m := loadTransformer(t, h, plan.Options{})
		s, before := forward(t, b, m, int(c.text))
		n := c.text + target + reference
		unread := c.text + reference
		linear, low, attention := int64(24*width*width*blocks)*n, int64(32*width*rank*blocks)*n, int64(4*width*blocks)*n*n
		require.InDelta(t, c.linear, float64(linear)/1e12, 0.06)
		require.InDelta(t, c.attention, float64(attention)/1e12, 0.06)
		require.InDelta(t, c.lowRank, float64(low)/1e12, 0.06)
		require.InDelta(t, c.all, float64(linear+attention+low)/1e12, 0.11)

		require.Equal(t, linear-18*width*width*unread, of(s, "svdq").FLOPs)
		require.Equal(t, low-24*width*rank*unread, of(s, "lowRank").FLOPs)
		require.Equal(t, attention-4*width*n*unread, of(s, "attention").FLOPs)
		require.Equal(t, int64(2*width*64*(2*target+reference)), of(s, "dense").FLOPs)
		require.InEpsilon(t, c.all*1e12, s.FLOPs, 0.01)

		// The same package's statements about bytes.
		require.InEpsilon(t, (12.75*width*width+64*width*rank)*blocks, of(s, "svdq").WeightBytes+of(s, "lowRank").WeightBytes, 0.01)
		require.InEpsilon(t, 2*28*n*width*blocks, s.ActivationBytes, 0.03)
		result := int64(target * 64 * 4)
		require.LessOrEqual(t, s.ArenaPeak-before-result, 2*7*n*width)
		require.Greater(t, s.ArenaPeak-before-result, 2*6*n*width)
		t.Logf("%d tokens of text\n%s", c.text, b.Result())
	}
}

// TestTransformerWeights: as in the file, the whole checkpoint is held but for what nothing
// reads: second smoothing factors, and the last block's text behind its attention. As int8
// it is as large as its codes.
func TestTransformerWeights(t *testing.T) {
	h := published(t)
	var unread int64
	for _, tensor := range h.Tensors {
		unneeded := strings.HasSuffix(tensor.Name, ".smooth_factor_orig")
		for _, last := range []string{"attn.to_add_out.", "txt_mlp."} {
			unneeded = unneeded || strings.HasPrefix(tensor.Name, "transformer_blocks.59."+last)
		}
		if unneeded {
			unread += tensor.Size()
		}
	}
	b, _ := loadTransformer(t, h, plan.Options{})
	packed := b.Result()
	require.Equal(t, h.DataBytes()-unread, packed.WeightBytes)
	b, _ = loadTransformer(t, h, plan.Options{SVDQ: plan.Int8})
	wide := b.Result()
	// Both streams of 60 blocks, of which the last text has no more than q, k and v.
	quantised := func(bytes func(in, out int64) int64) (n int64) {
		for _, l := range [][2]int64{{width, width}, {width, 4 * width}, {4 * width, width}} {
			n += (2*blocks - 1) * bytes(l[0], l[1])
		}
		return n + 2*blocks*bytes(width, 3*width)
	}
	const modulations, groups = 2 * blocks, width / 64
	for _, r := range []struct {
		plan.Result
		svdq    func(in, out int64) int64
		lowRank int64 // bytes of a value
	}{
		{packed, func(in, out int64) int64 { return in*out/2 + 2*in/64*out + 2*in + 2*out }, 2},
		{wide, func(in, out int64) int64 { return in*out + 8*out + 8*in }, 0},
	} {
		values := quantised(func(in, out int64) int64 { return in*out + out })
		require.Equal(t, plan.Weights{Kind: "svdq", Layers: 8*blocks - 3, Values: values, Bytes: quantised(r.svdq)}, held(r.Result, "svdq"))
		values = quantised(func(in, out int64) int64 { return rank * (in + out) })
		require.Equal(t, plan.Weights{Kind: "lowRank", Layers: 8*blocks - 3, Values: values, Bytes: r.lowRank * values}, held(r.Result, "lowRank"))
		require.Equal(t, plan.Weights{
			Kind: "awq", Layers: modulations, Values: modulations * 6 * width * (width + 1),
			Bytes: modulations * 6 * width * (width/2 + 2*2*groups + 2),
		}, held(r.Result, "awq"))
		require.Equal(t, plan.Weights{Kind: "dense", Layers: 6, Values: 40_523_328 - 3584, Bytes: 2 * (40_523_328 - 3584)}, held(r.Result, "dense"))
	}
}

func held(r plan.Result, kind string) plan.Weights {
	for _, w := range r.Weights {
		if w.Kind == kind {
			return w
		}
	}
	return plan.Weights{}
}

// TestTextEncoder holds the published text encoder, on a picture of 1024×1024 and 1406 tokens
// behind the template's beginning, against its widths.
func TestTextEncoder(t *testing.T) {
	const vision, visionUnit, depth, full, patches = 1280, 3420, 32, 4, 74 * 74
	const hidden, unit, kv, layers, merged, tokens = 3584, 18944, 512, 28, 37 * 37, 64 + 1406
	config, set := textEncoder(t)
	b := plan.New(plan.Options{})
	m, err := textencoder.New(b, config, set)
	require.NoError(t, err)
	p := &prompt.Prompt{IDs: make([]int32, tokens), Images: []prompt.Span{{Start: 65, End: 65 + merged}}, Drop: 64}
	for i := range merged {
		p.IDs[65+i] = 151655
	}
	image := textencoder.Image{Patches: make([]float32, patches*1176), Grid: picture.Grid{T: 1, H: 74, W: 74}}
	_, err = m.Encode(t.Context(), []textencoder.Image{image}, p)
	require.NoError(t, err)

	r := b.Result().Total
	// 9×9 windows of 8×8 patches, 18 of 8×2 and one of 2×2; then every patch sees all.
	const windows = 81*64*64 + 18*16*16 + 4*4
	require.Equal(t, int64(4*vision*((depth-full)*windows+full*patches*patches)+layers*4*hidden*tokens*(tokens+1)/2), of(r, "attention").FLOPs)
	tower := int64(patches * depth * (8*vision*vision + 6*vision*visionUnit))
	ends := int64(2*patches*1176*vision + 2*merged*(4*vision*4*vision+4*vision*hidden))
	language := int64(tokens * layers * (4*hidden*hidden + 4*hidden*kv + 6*hidden*unit))
	require.Equal(t, tower+ends+language, of(r, "dense").FLOPs)
	// The published model has 8.29 G values, of which its head, and only it, is not loaded.
	require.Equal(t, int64(2*(8_292_166_656-152064*hidden)), b.Result().WeightBytes)
	t.Logf("\n%s", b.Result())
}

// textEncoder is the configuration of the published text encoder, and its tensors without
// their bytes.
func textEncoder(t testing.TB) (config []byte, set *weights.Set) {
	t.Helper()
	files, err := modelsettest.Base(modelsettest.Real())
	require.NoError(t, err)
	var headers []*safetensors.Header
	for name, f := range files {
		if strings.HasPrefix(name, "text_encoder/model-") {
			h, err := safetensors.Read(f.Content, f.Content.Size())
			require.NoError(t, err)
			headers = append(headers, h)
		}
	}
	c := files["text_encoder/config.json"].Content
	config, err = io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	require.NoError(t, err)
	set, err = weights.Describe(headers...)
	require.NoError(t, err)
	return config, set
}

// autoencoder is the configuration and the weights of a VAE with a base width.
func autoencoder(t testing.TB, base int) (config []byte, file modelsettest.File) {
	t.Helper()
	p := modelsettest.Golden()
	p.VAE.Base = base
	files, err := modelsettest.Base(p)
	require.NoError(t, err)
	c := files["vae/config.json"].Content
	config, err = io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	require.NoError(t, err)
	return config, files["vae/diffusion_pytorch_model.safetensors"]
}

// side is how many pixels a published picture is high and wide.
const side = 1024

// convolutionFLOPs adds up the products of a network's convolutions from its tensors' names,
// which say at which resolution they act.
func convolutionFLOPs(h *safetensors.Header, network string) (flops int64) {
	for _, tensor := range h.Tensors {
		if !strings.HasPrefix(tensor.Name, network+".") || !strings.HasSuffix(tensor.Name, ".weight") || strings.Contains(tensor.Name, "time_conv") {
			continue
		}
		at := strings.Split(tensor.Name, ".")
		pixels := int64(side * side / 64)
		switch {
		case at[1] == "down_blocks": // two blocks and what halves the sides, four times
			i, _ := strconv.Atoi(at[2])
			pixels = side * side >> (2 * (i / 3))
			if i%3 == 2 {
				pixels /= 4
			}
		case at[1] == "up_blocks":
			i, _ := strconv.Atoi(at[2])
			pixels <<= 2 * i
			if at[3] == "upsamplers" {
				pixels *= 4
			}
		case tensor.Name == "encoder.conv_in.weight" || tensor.Name == "decoder.conv_out.weight":
			pixels = side * side
		}
		n := pixels
		for i, d := range tensor.Shape {
			if i != 2 || len(tensor.Shape) != 5 { // one slice of the three in time
				n *= d
			}
		}
		flops += 2 * n
	}
	return flops
}

// TestVAE holds the published VAE at 1024×1024 against the sum over its tensors, and its
// arena against package vae's formula.
func TestVAE(t *testing.T) {
	const base, channels, z = 96, 3, 16
	const tokens, attended = side * side / 64, 4 * base
	config, file := autoencoder(t, base)
	h, err := safetensors.Read(file.Content, file.Content.Size())
	require.NoError(t, err)
	set, err := weights.Describe(h)
	require.NoError(t, err)
	b := plan.New(plan.Options{})
	m, err := vae.New(b, config, set)
	require.NoError(t, err)
	for _, c := range []struct {
		name        string
		launches    int64
		pixelwise   int64 // what quant_conv and post_quant_conv compute
		left, input int64 // bytes of the arena
		run         func()
	}{
		{"encoder", 32, 2 * tokens * z * 2 * z, 4 * tokens * z, 2 * channels * side * side, func() {
			_, err = m.Encode(t.Context(), b.Alloc(compute.Act, side*side, channels), side, side)
		}},
		{"decoder", 39, 2 * tokens * z * z, 4 * channels * side * side, 2 * tokens * z, func() {
			_, err = m.Decode(t.Context(), b.Alloc(compute.Act, tokens, z), side/8, side/8)
		}},
	} {
		mark := b.Mark()
		b.Begin()
		b.Stage(c.name)
		c.run()
		require.NoError(t, err)
		require.Equal(t, c.input+c.left, int64(b.Mark()-mark), c.name)
		b.Reset(mark)
		s := b.Result().Total
		require.Equal(t, c.launches, s.Launches, c.name)
		attention := of(s, "attention").FLOPs
		require.Equal(t, int64(4*tokens*tokens*attended), attention, c.name)
		require.Equal(t, convolutionFLOPs(h, c.name)+c.pixelwise, s.FLOPs-attention, c.name)
		require.Equal(t, c.input+c.left+2*2*base*side*side, b.Peak(), c.name)
		t.Logf("\n%s", b.Result())
	}
}

// TestArenaOfRef: the same calls need as much of package ref's arena as of this one.
func TestArenaOfRef(t *testing.T) {
	config, file := autoencoder(t, 8)
	set, err := weights.Read(file.Content)
	require.NoError(t, err)
	run := func(b compute.Backend) {
		m, err := vae.New(b, config, set)
		require.NoError(t, err)
		x := b.Alloc(compute.F32, 48*80, 3)
		b.Upload(x, make([]float32, x.Len()))
		z, err := m.Encode(t.Context(), x, 48, 80)
		require.NoError(t, err)
		_, err = m.Decode(t.Context(), z, 6, 10)
		require.NoError(t, err)
		require.NoError(t, b.Sync())
	}
	real, planned := ref.New(ref.Options{ArenaBytes: 1 << 20}), plan.New(plan.Options{ActBytes: 4})
	run(real)
	run(planned)
	require.Equal(t, real.Mark(), planned.Mark())
	require.Equal(t, real.Peak(), planned.Peak())
	require.NoError(t, real.Close())
	require.NoError(t, planned.Close())
}
