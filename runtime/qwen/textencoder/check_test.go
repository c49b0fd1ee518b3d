package textencoder

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// TestWrongInputs: what does not fit together is refused before anything is computed.
func TestWrongInputs(t *testing.T) {
	f := newFixture(t, ref.Options{})
	c := f.find(t, "plus")
	for name, test := range map[string]struct {
		change func(images []Image, p *prompt.Prompt)
		want   string
	}{
		"frames":    {func(i []Image, _ *prompt.Prompt) { i[0].Grid.T = 2 }, "picture 1: its grid is 2×4×6 patches, want 1 frame"},
		"odd grid":  {func(i []Image, _ *prompt.Prompt) { i[1].Grid.W = 7 }, "picture 2: its grid is 1×14×7 patches"},
		"no grid":   {func(i []Image, _ *prompt.Prompt) { i[1].Grid = picture.Grid{} }, "picture 2: its grid is 0×0×0 patches"},
		"patches":   {func(i []Image, _ *prompt.Prompt) { i[0].Patches = i[0].Patches[1:] }, "picture 1: it has 28223 values, 24 patches of 1176 need 28224"},
		"too few":   {func(_ []Image, p *prompt.Prompt) { p.Images = p.Images[:1] }, "prompt 1: it has places for 1 pictures, there are 2"},
		"swapped":   {func(i []Image, _ *prompt.Prompt) { i[0], i[1] = i[1], i[0] }, "prompt 1: the place of picture 1 has 6 tokens, the picture has 28"},
		"order":     {func(_ []Image, p *prompt.Prompt) { p.Images[1] = p.Images[0] }, "the place of picture 2 is 6 to 12, the one before ends at 12"},
		"beyond":    {func(_ []Image, p *prompt.Prompt) { p.IDs = p.IDs[:40] }, "the place of picture 2 is 17 to 45"},
		"all gone":  {func(_ []Image, p *prompt.Prompt) { p.Drop = 76 }, "76 of its 76 tokens are to be dropped"},
		"negative":  {func(_ []Image, p *prompt.Prompt) { p.Drop = -1 }, "-1 of its 76 tokens are to be dropped"},
		"no id":     {func(_ []Image, p *prompt.Prompt) { p.IDs[3] = 640 }, "token 3 is 640, the model has 640"},
		"minus":     {func(_ []Image, p *prompt.Prompt) { p.IDs[75] = -1 }, "token 75 is -1, the model has 640"},
		"imitation": {func(_ []Image, p *prompt.Prompt) { p.IDs[60] = 612 }, "token 60 is 612, where a picture's tokens are 612 and nothing else is"},
		"word":      {func(_ []Image, p *prompt.Prompt) { p.IDs[6] = 5 }, "token 6 is 5, where a picture's tokens are 612"},
		"moved":     {func(_ []Image, p *prompt.Prompt) { p.Images[0] = prompt.Span{Start: 5, End: 11} }, "token 5 is 609, where a picture's tokens are 612"},
	} {
		images, p := c.images(f.settings), f.prompt(t, c, f.settings)
		test.change(images, p)
		_, err := f.Encode(t.Context(), images, p)
		require.ErrorContains(t, err, "encoding prompts: p", name)
		require.ErrorContains(t, err, test.want, name)
		require.Zero(t, f.ref.Mark())
		require.Zero(t, f.ref.Peak(), name)
	}
}

// TestTooLong: positions end where the configuration says, however few tokens use them.
func TestTooLong(t *testing.T) {
	files := generate(t, modelsettest.Golden())
	g, c := readGolden(t), goldenCase{}
	for last, want := range map[int]string{51: "prompt 1: it has 52 positions, the model knows 51", 52: ""} {
		limit := map[string]any{"max_position_embeddings": last, "text_config.max_position_embeddings": last}
		b := ref.New(ref.Options{ArenaBytes: 8 << 20})
		m, err := New(b, edit(t, files.config, limit), files.open(t))
		require.NoError(t, err)
		c = g.find(t, "plus")
		s := files.settings(t)
		_, err = m.Encode(t.Context(), c.images(s), g.prompt(t, c, s))
		if want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, want)
		}
		require.NoError(t, b.Close())
	}
}
