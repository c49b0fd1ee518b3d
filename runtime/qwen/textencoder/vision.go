package textencoder

import (
	"context"
	"fmt"
	"slices"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// tower is the vision tower with its merger.
type tower struct {
	vision
	frequencies []float64
	embed       compute.Linear // of patches
	blocks      []layer
	mergeNorm   compute.Vector
	merge1      compute.Linear
	merge2      compute.Linear
}

func newTower(l *loading, s vision) *tower {
	t := &tower{vision: s, frequencies: frequencies(visionTheta, s.head()/4), blocks: make([]layer, s.depth)}
	t.takeEmbed(l)
	for i := range t.blocks {
		l.group(fmt.Sprintf("block %d of the vision tower", i))
		takeBlock(l, &t.blocks[i], s, fmt.Sprintf("visual.blocks.%d.", i))
	}
	l.group("")
	merged := s.unit() * s.hidden
	l.norm(&t.mergeNorm, "visual.merger.ln_q", s.hidden)
	l.linear(&t.merge1, merged, true, rows{"visual.merger.mlp.0", merged})
	l.linear(&t.merge2, merged, true, rows{"visual.merger.mlp.2", s.out})
	return t
}

// takeEmbed takes a convolution whose kernel is as large as a patch and moves by whole
// patches: a linear.
func (t *tower) takeEmbed(l *loading) {
	side := int64(t.patch)
	w := l.set.Take("visual.patch_embed.proj.weight", int64(t.hidden), int64(t.channels), int64(t.frames), side, side)
	w.Shape = []int64{int64(t.hidden), int64(t.patchLen())}
	l.dense(&t.embed, compute.Dense{Weights: []compute.Weight{w}})
}

// takeBlock takes a block whose tensors begin with at.
func takeBlock(l *loading, k *layer, s vision, at string) {
	l.norm(&k.norm1, at+"norm1", s.hidden)
	l.linear(&k.qkv, s.hidden, true, rows{at + "attn.qkv", 3 * s.hidden})
	l.linear(&k.out, s.hidden, true, rows{at + "attn.proj", s.hidden})
	l.norm(&k.norm2, at+"norm2", s.hidden)
	l.linear(&k.gateUp, s.hidden, true, rows{at + "mlp.gate_proj", s.intermediate}, rows{at + "mlp.up_proj", s.intermediate})
	l.linear(&k.down, s.intermediate, true, rows{at + "mlp.down_proj", s.hidden})
}

// see writes a picture's tokens, row by row, to dst [h·w, out].
func (t *tower) see(ctx context.Context, b compute.Backend, dst compute.Tensor, patches []float32, s size) error {
	defer b.Reset(b.Mark())
	o := arrange(s.h, s.w, t.window, t.unit())
	x := b.Alloc(compute.Act, dst.Rows*t.unit(), t.hidden)
	t.embedPatches(b, x, o.patches(patches))
	rope := upload(b, o.angles(s.w, t.merge, t.frequencies))
	a := compute.Attention{Heads: t.heads, KVHeads: t.heads, Dim: t.head(), Scale: scale(t.head())}
	for i := range t.blocks {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("at block %d of %d of the vision tower: %w", i+1, len(t.blocks), err)
		}
		a.Windows = o.ends
		if slices.Contains(t.full, i) {
			a.Windows = nil
		}
		t.blocks[i].run(b, x, visionEps, a, rope)
	}
	t.mergePatches(b, dst, x, o)
	b.Finite(dst, "a picture's tokens")
	return nil
}

func (t *tower) embedPatches(b compute.Backend, x compute.Tensor, patches []float32) {
	defer b.Reset(b.Mark())
	pixels := b.Alloc(compute.Act, x.Rows, t.patchLen())
	b.Upload(pixels, patches)
	b.Linear(x, t.embed, pixels, compute.Pre{}, compute.Post{})
}

// mergePatches makes one token of the patches of each, which are normalised one by one, and
// undoes the order.
func (t *tower) mergePatches(b compute.Backend, dst, x compute.Tensor, o order) {
	units := x.Reshape(dst.Rows, t.unit()*t.hidden)
	inner := b.Alloc(compute.Act, units.Rows, t.merge1.Out())
	b.Linear(inner, t.merge1, units, rmsNorm(t.mergeNorm, visionEps), compute.Post{Kind: compute.StoreGELU})
	tokens := b.Alloc(compute.Act, dst.Rows, dst.Cols)
	b.Linear(tokens, t.merge2, inner, compute.Pre{}, compute.Post{})
	b.Gather(dst, tokens, o.places)
}
