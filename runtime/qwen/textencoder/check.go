package textencoder

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"
)

// check holds pictures and prompts against the model and each other, and returns the
// pictures' sizes in merged tokens.
func (m *Model) check(images []Image, prompts []*prompt.Prompt) ([]size, error) {
	sizes := make([]size, len(images))
	for i, image := range images {
		s, err := m.tower.size(image)
		if err != nil {
			return nil, fmt.Errorf("picture %d: %w", i+1, err)
		}
		sizes[i] = s
	}
	for i, p := range prompts {
		if err := m.checkPrompt(p, sizes); err != nil {
			return nil, fmt.Errorf("prompt %d: %w", i+1, err)
		}
	}
	return sizes, nil
}

// size is a picture's size in merged tokens.
func (t *tower) size(image Image) (size, error) {
	g := image.Grid
	if g.T != 1 || g.H < 1 || g.W < 1 || g.H%t.merge != 0 || g.W%t.merge != 0 {
		return size{}, fmt.Errorf("its grid is %d×%d×%d patches, want 1 frame and sides that are multiples of %d", g.T, g.H, g.W, t.merge)
	}
	if len(image.Patches) != g.Patches()*t.patchLen() {
		return size{}, fmt.Errorf("it has %d values, %d patches of %d need %d", len(image.Patches), g.Patches(), t.patchLen(), g.Patches()*t.patchLen())
	}
	return size{g.H / t.merge, g.W / t.merge}, nil
}

// checkPrompt looks at spans first, since positions are made by them.
func (m *Model) checkPrompt(p *prompt.Prompt, sizes []size) error {
	if len(p.Images) != len(sizes) {
		return fmt.Errorf("it has places for %d pictures, there are %d", len(p.Images), len(sizes))
	}
	if p.Drop < 0 || p.Drop >= len(p.IDs) {
		return fmt.Errorf("%d of its %d tokens are to be dropped", p.Drop, len(p.IDs))
	}
	end := 0
	for i, span := range p.Images {
		if span.Start < end || span.End > len(p.IDs) {
			return fmt.Errorf("the place of picture %d is %d to %d, the one before ends at %d, the prompt at %d", i+1, span.Start, span.End, end, len(p.IDs))
		}
		if n := sizes[i].h * sizes[i].w; span.End-span.Start != n {
			return fmt.Errorf("the place of picture %d has %d tokens, the picture has %d", i+1, span.End-span.Start, n)
		}
		end = span.End
	}
	if err := m.checkIDs(p); err != nil {
		return err
	}
	if n := place(p, sizes).last() + 1; n > m.decoder.positions {
		return fmt.Errorf("it has %d positions, the model knows %d", n, m.decoder.positions)
	}
	return nil
}

// checkIDs makes sure that the tokenizer means the same by its ids as the model: a picture's
// token stands in pictures' places, and nowhere else.
func (m *Model) checkIDs(p *prompt.Prompt) error {
	pictured := make([]bool, len(p.IDs))
	for _, span := range p.Images {
		for i := span.Start; i < span.End; i++ {
			pictured[i] = true
		}
	}
	for i, id := range p.IDs {
		if id < 0 || int(id) >= m.decoder.vocabulary {
			return fmt.Errorf("token %d is %d, the model has %d", i, id, m.decoder.vocabulary)
		}
		if pictured[i] != (id == m.imageToken) {
			return fmt.Errorf("token %d is %d, where a picture's tokens are %d and nothing else is", i, id, m.imageToken)
		}
	}
	return nil
}
