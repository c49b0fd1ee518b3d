package textencoder

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// TestMemory: Encode leaves its results alone, and at no time is anything in use that is done
// with. The first model is so deep that what one layer kept would show, the second sees many
// pictures for many prompts.
func TestMemory(t *testing.T) {
	deep := modelsettest.Golden()
	deep.Vision.Depth, deep.Text.Layers = 24, 24
	requirePeak(t, deep, 1, goldenCase{Grids: [][3]int{{1, 18, 22}}, Text: []int{3, 10}, Drop: 2})
	many := goldenCase{Grids: slices.Repeat([][3]int{{1, 2, 2}}, 40), Text: slices.Repeat([]int{1}, 41)}
	requirePeak(t, modelsettest.Golden(), 20, many)
}

func requirePeak(t *testing.T, p modelsettest.Params, prompts int, c goldenCase) {
	t.Helper()
	files := generate(t, p)
	s := files.settings(t)
	b := ref.New(ref.Options{ArenaBytes: 64 << 20})
	m, err := New(b, files.config, files.open(t))
	require.NoError(t, err)
	one := c.prompt(s)
	_, err = m.Encode(t.Context(), c.images(s), slices.Repeat([]*prompt.Prompt{one}, prompts)...)
	require.NoError(t, err)
	results := int64(prompts) * taken(len(one.IDs)-one.Drop, m.Hidden())
	require.EqualValues(t, results, b.Mark())
	tokens, seeing := int64(0), int64(0)
	for _, g := range c.Grids {
		tokens += taken(g[1]*g[2]/s.vision.unit(), m.Hidden())
		seeing = max(seeing, tokens+s.vision.peak(g[1]*g[2]))
	}
	require.Equal(t, results+max(seeing, tokens+s.language.peak(len(one.IDs))), b.Peak())
	require.NoError(t, b.Close())
}

// taken is what a tensor of the reference backend takes of the arena.
func taken(rows, cols int) int64 {
	return int64(4*rows*cols+compute.Align-1) / compute.Align * compute.Align
}

// peak is what seeing a picture takes at a time.
func (v vision) peak(patches int) int64 {
	stream, angles := taken(patches, v.hidden), 2*taken(patches, v.head()/2)
	attention := 3*taken(patches, v.hidden) + taken(patches, 3*v.hidden)
	merging := taken(patches, v.hidden) + taken(patches/v.unit(), v.out)
	layers := angles + max(attention, taken(patches, 2*v.intermediate), merging)
	return stream + max(taken(patches, v.patchLen()), layers)
}

// peak is what reading a prompt takes at a time.
func (l language) peak(tokens int) int64 {
	kv := l.head() * l.kvHeads
	attention := taken(tokens, l.hidden) + 2*taken(tokens, kv) + taken(tokens, l.hidden+2*kv)
	return taken(tokens, l.hidden) + 2*taken(tokens, l.head()/2) + max(attention, taken(tokens, 2*l.intermediate))
}
