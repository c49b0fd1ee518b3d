package modelsettest

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// publishedNames are the files of Qwen/Qwen-Image-Edit at commit
// ac7f9318f633fc4b5778c59367c8128225f1e3de.
const publishedNames = `.gitattributes README.md model_index.json
processor/added_tokens.json processor/chat_template.jinja processor/merges.txt
processor/preprocessor_config.json processor/special_tokens_map.json processor/tokenizer.json
processor/tokenizer_config.json processor/video_preprocessor_config.json processor/vocab.json
scheduler/scheduler_config.json
text_encoder/config.json text_encoder/generation_config.json
text_encoder/model-00001-of-00004.safetensors text_encoder/model-00002-of-00004.safetensors
text_encoder/model-00003-of-00004.safetensors text_encoder/model-00004-of-00004.safetensors
text_encoder/model.safetensors.index.json
tokenizer/added_tokens.json tokenizer/chat_template.jinja tokenizer/merges.txt
tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json
transformer/config.json
transformer/diffusion_pytorch_model-00001-of-00009.safetensors
transformer/diffusion_pytorch_model-00002-of-00009.safetensors
transformer/diffusion_pytorch_model-00003-of-00009.safetensors
transformer/diffusion_pytorch_model-00004-of-00009.safetensors
transformer/diffusion_pytorch_model-00005-of-00009.safetensors
transformer/diffusion_pytorch_model-00006-of-00009.safetensors
transformer/diffusion_pytorch_model-00007-of-00009.safetensors
transformer/diffusion_pytorch_model-00008-of-00009.safetensors
transformer/diffusion_pytorch_model-00009-of-00009.safetensors
transformer/diffusion_pytorch_model.safetensors.index.json
vae/config.json vae/diffusion_pytorch_model.safetensors`

// publishedSizes are the sizes of the weight files there, in bytes.
var publishedSizes = map[string][]int64{
	"text_encoder": {4968243304, 4991495816, 4932751040, 1691924384},
	"transformer": {4989364312, 4984214160, 4946470000, 4984213736, 4946471896,
		4946451560, 4908690520, 4984232856, 1170918840},
	"vae": {253806966},
}

func base(t *testing.T, p Params) map[string]File {
	t.Helper()
	files, err := Base(p)
	require.NoError(t, err)
	return files
}

func read(t *testing.T, f File) []byte {
	t.Helper()
	content, err := io.ReadAll(io.NewSectionReader(f.Content, 0, f.Content.Size()))
	require.NoError(t, err)
	require.Len(t, content, int(f.Content.Size()))
	return content
}

func TestNamesArePublished(t *testing.T) {
	want := strings.Fields(publishedNames)
	require.Len(t, want, 39)
	for _, p := range []Params{Tiny(), Demo(), Real()} {
		files := base(t, p)
		require.ElementsMatch(t, want, slices.Collect(maps.Keys(files)))
		for name, f := range files {
			lfs := path.Ext(name) == ".safetensors" || name == "processor/tokenizer.json"
			require.Equal(t, lfs, f.LFS, name)
		}
	}
}

// TestRealSizes is the proof of names, shapes, order and headers: any tensor more, less or
// elsewhere would change a size.
func TestRealSizes(t *testing.T) {
	sizes, total := map[string][]int64{}, map[string]int64{}
	files := base(t, Real())
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) == ".safetensors" {
			size := files[name].Content.Size()
			sizes[path.Dir(name)] = append(sizes[path.Dir(name)], size)
			total[path.Dir(name)] += size
		}
	}
	require.Equal(t, publishedSizes, sizes)
	require.Equal(t, int64(40_861_027_880), total["transformer"])
	require.Equal(t, int64(2*8_292_166_656), Real().textEncoder().bytes())
	require.Equal(t, int64(2*20_430_401_088), Real().transformer().bytes())
	require.Equal(t, int64(2*126_892_531), Real().autoencoder().bytes())
}

func TestDemoSize(t *testing.T) {
	var weights int64
	for name, f := range base(t, Demo()) {
		if path.Ext(name) == ".safetensors" {
			weights += f.Content.Size()
		}
	}
	require.InDelta(t, 30e6, weights, 5e6)
}

func TestSetsAreDeterministic(t *testing.T) {
	sums := func(p Params) map[string][32]byte {
		sums := map[string][32]byte{}
		for name, f := range base(t, p) {
			sums[name] = sha256.Sum256(read(t, f))
		}
		return sums
	}
	a, b := sums(Tiny()), sums(Tiny())
	require.Equal(t, a, b)
	other := Tiny()
	other.Seed++
	for name, sum := range sums(other) {
		seeded := path.Ext(name) == ".safetensors" || name == "README.md"
		require.Equal(t, seeded, sum != a[name], name)
	}
}

func TestReadAtAnyOffset(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for name, f := range base(t, Tiny()) {
		whole := read(t, f)
		for range 20 {
			off := rng.Int64N(f.Content.Size())
			p := make([]byte, rng.Int64N(min(5000, f.Content.Size()-off)+1))
			_, err := f.Content.ReadAt(p, off)
			require.NoError(t, err)
			require.Equal(t, whole[off:off+int64(len(p))], p, name)
		}
		n, err := f.Content.ReadAt(make([]byte, 8), f.Content.Size()-3)
		require.Equal(t, 3, n)
		require.Equal(t, io.EOF, err)
	}
}

// TestWeightsAreSized reads tensors of every kind and measures them.
func TestWeightsAreSized(t *testing.T) {
	f := base(t, Demo())["vae/diffusion_pytorch_model.safetensors"]
	h, err := safetensors.Read(f.Content, f.Content.Size())
	require.NoError(t, err)
	for name, want := range map[string][2]float64{
		"decoder.mid_block.resnets.0.conv1.weight":           {0, 1 / math.Sqrt(64*9)},
		"decoder.mid_block.attentions.0.to_qkv.weight":       {0, 1 / math.Sqrt(64)},
		"decoder.up_blocks.0.resnets.1.conv2.bias":           {0, biasStd},
		"decoder.up_blocks.0.resnets.1.norm2.gamma":          {1, normStd},
		"encoder.down_blocks.5.time_conv.weight":             {0, 1 / math.Sqrt(32)},
		"decoder.up_blocks.2.upsamplers.0.resample.1.weight": {0, 1 / math.Sqrt(32*9)},
	} {
		tensor, ok := h.Tensor(name)
		require.True(t, ok, name)
		mean, std := moments(t, h.Section(f.Content, tensor))
		require.InDelta(t, want[0], mean, 0.5*want[1], name)
		require.InEpsilon(t, want[1], std, 0.5, name)
	}
}

// moments are mean and standard deviation of a bfloat16 tensor.
func moments(t *testing.T, r io.Reader) (mean, std float64) {
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	n := float64(len(b) / 2)
	var sum, squares float64
	for ; len(b) > 0; b = b[2:] {
		v := float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16))
		require.False(t, math.IsNaN(v) || math.IsInf(v, 0))
		sum += v
		squares += v * v
	}
	mean = sum / n
	return mean, math.Sqrt(squares/n - mean*mean)
}

func TestImpossibleDimensions(t *testing.T) {
	for name, change := range map[string]func(*Params){
		"text":        func(p *Params) { p.Text.Layers = 0 },
		"vision":      func(p *Params) { p.Vision.Depth = -1 },
		"vae":         func(p *Params) { p.VAE.Base = 0 },
		"heads":       func(p *Params) { p.Text.Heads = 0 },
		"text head":   func(p *Params) { p.Text.Heads = 3 },
		"kv heads":    func(p *Params) { p.Text.KVHeads = 3 },
		"vision head": func(p *Params) { p.Vision.Heads = 8 },
		"head":        func(p *Params) { p.Transformer.HeadDim = 48 },
		"tokens":      func(p *Params) { p.Text.Tokens = 255 },
		"rows":        func(p *Params) { p.Text.Rows = 610 },
		"full":        func(p *Params) { p.Vision.Full = []int{2} },
		"shards":      func(p *Params) { p.ShardLimit = 1 << 40 },
	} {
		p := Tiny()
		change(&p)
		_, err := Base(p)
		require.ErrorContains(t, err, "making a model set", name)
	}
}

// TestSmallestLimit holds the bisection against its definition.
func TestSmallestLimit(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		var l tensors
		largest := int64(0)
		for range 1 + rng.IntN(30) {
			l.add("t", nil, 1+rng.IntN(50))
			largest = max(largest, bytesOf(l[len(l)-1]))
		}
		count := 1 + rng.IntN(8)
		limit := l.smallestLimit(count)
		require.LessOrEqual(t, len(l.shards(limit)), count)
		if limit > largest {
			require.Greater(t, len(l.shards(limit-1)), count)
		}
		require.Equal(t, l, slices.Concat(l.shards(limit)...))
	}
}

// TestPythonReadsFloats: Python's loaders tell 1000000.0 from 1000000.
func TestPythonReadsFloats(t *testing.T) {
	files := base(t, Tiny())
	config := string(read(t, files["text_encoder/config.json"]))
	require.Contains(t, config, `"rope_theta": 1000000.0,`)
	require.Contains(t, config, `"rms_norm_eps": 1e-06,`)
	require.Contains(t, string(read(t, files["scheduler/scheduler_config.json"])), `"shift": 1.0,`)
}
