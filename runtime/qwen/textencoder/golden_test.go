package textencoder

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// golden is testdata/golden.safetensors, which testdata/golden.py writes with transformers.
type golden struct {
	data   []byte
	header *safetensors.Header
	cases  []goldenCase
}

type goldenCase struct {
	Name  string
	Grids [][3]int
	Text  []int
	Drop  int
}

func readGolden(t testing.TB) *golden {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.safetensors")
	require.NoError(t, err)
	g := &golden{data: data}
	g.header, err = safetensors.Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	require.Equal(t, "5.17.0", g.header.Metadata["transformers"])
	require.NoError(t, json.Unmarshal([]byte(g.header.Metadata["cases"]), &g.cases))
	require.Len(t, g.cases, 4)
	return g
}

func (g *golden) words(t testing.TB, name string, kind safetensors.DType) []uint32 {
	t.Helper()
	tensor, ok := g.header.Tensor(name)
	require.True(t, ok, name)
	require.Equal(t, kind, tensor.DType, name)
	raw, err := io.ReadAll(g.header.Section(bytes.NewReader(g.data), tensor))
	require.NoError(t, err)
	out := make([]uint32, tensor.Elements())
	require.NoError(t, binary.Read(bytes.NewReader(raw), binary.LittleEndian, out))
	return out
}

func (g *golden) floats(t testing.TB, name string) []float32 {
	words := g.words(t, name, safetensors.F32)
	out := make([]float32, len(words))
	for i, w := range words {
		out[i] = math.Float32frombits(w)
	}
	return out
}

func (g *golden) ints(t testing.TB, name string) []int32 {
	words := g.words(t, name, safetensors.I32)
	out := make([]int32, len(words))
	for i, w := range words {
		out[i] = int32(w)
	}
	return out
}

// find is the case of a name.
func (g *golden) find(t testing.TB, name string) goldenCase {
	i := slices.IndexFunc(g.cases, func(c goldenCase) bool { return c.Name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return g.cases[i]
}

// prompt is a case's prompt: spans follow from the lengths.
func (g *golden) prompt(t testing.TB, c goldenCase, s settings) *prompt.Prompt {
	t.Helper()
	p := c.prompt(s)
	ids := g.ints(t, c.Name+".ids")
	require.Len(t, p.IDs, len(ids))
	p.IDs = ids
	return p
}

// prompt is a prompt of a case's lengths.
func (c goldenCase) prompt(s settings) *prompt.Prompt {
	p := &prompt.Prompt{IDs: make([]int32, c.Text[0]), Drop: c.Drop}
	for i, g := range c.Grids {
		start, n := len(p.IDs)+1, g[1]*g[2]/s.vision.unit()
		p.Images = append(p.Images, prompt.Span{Start: start, End: start + n})
		p.IDs = slices.Concat(p.IDs, []int32{0}, slices.Repeat([]int32{s.imageToken}, n), make([]int32, 1+c.Text[i+1]))
	}
	return p
}

// images are a case's pictures.
func (c goldenCase) images(s settings) []Image {
	var out []Image
	for i, g := range c.Grids {
		grid := picture.Grid{T: g[0], H: g[1], W: g[2]}
		out = append(out, Image{pixels(grid.Patches()*s.vision.patchLen(), i+1), grid})
	}
	return out
}

// pixels are golden.py's: a hash of the index (lowbias32), from -2 to 2.
func pixels(count, seed int) []float32 {
	out := make([]float32, count)
	for i := range out {
		x := uint32(i) + uint32(seed)*0x9E3779B9
		x ^= x >> 16
		x *= 0x7FEB352D
		x ^= x >> 15
		x *= 0x846CA68B
		x ^= x >> 16
		out[i] = float32(x>>8)/(1<<22) - 2
	}
	return out
}

// modelFiles are the text encoder's files of a generated set.
type modelFiles struct {
	config []byte
	shards []verify.Section
}

func generate(t testing.TB, p modelsettest.Params) modelFiles {
	t.Helper()
	files, err := modelsettest.Base(p)
	require.NoError(t, err)
	var m modelFiles
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch f := files[name]; {
		case name == "text_encoder/config.json":
			m.config = make([]byte, f.Content.Size())
			_, err := f.Content.ReadAt(m.config, 0)
			require.NoError(t, err)
		case strings.HasPrefix(name, "text_encoder/") && strings.HasSuffix(name, ".safetensors"):
			m.shards = append(m.shards, f.Content)
		}
	}
	require.Len(t, m.shards, modelsettest.TextShards)
	return m
}

func (m modelFiles) settings(t testing.TB) settings {
	t.Helper()
	s, err := parse(m.config)
	require.NoError(t, err)
	return s
}

func (m modelFiles) open(t testing.TB) *weights.Set {
	t.Helper()
	set, err := weights.Read(m.shards...)
	require.NoError(t, err)
	return set
}

// TestWindowsOfTransformers: windows and their order are those of the original.
func TestWindowsOfTransformers(t *testing.T) {
	g, v := readGolden(t), generate(t, modelsettest.Golden()).settings(t).vision
	for _, c := range g.cases {
		for i, grid := range c.Grids {
			o := arrange(grid[1]/v.merge, grid[2]/v.merge, v.window, v.unit())
			require.Equal(t, g.ints(t, fmt.Sprintf("%s.order.%d", c.Name, i)), o.tokens, c.Name)
			require.Equal(t, g.ints(t, fmt.Sprintf("%s.ends.%d", c.Name, i)), o.ends, c.Name)
		}
	}
}

// TestPositionsOfTransformers: positions are those of the original where it is told which
// tokens are pictures'.
func TestPositionsOfTransformers(t *testing.T) {
	g, s := readGolden(t), generate(t, modelsettest.Golden()).settings(t)
	for _, c := range g.cases {
		var sizes []size
		for _, grid := range c.Grids {
			sizes = append(sizes, size{grid[1] / s.vision.merge, grid[2] / s.vision.merge})
		}
		p := place(g.prompt(t, c, s), sizes)
		require.Equal(t, g.ints(t, c.Name+".positions"), slices.Concat(p[0], p[1], p[2]), c.Name)
	}
}
