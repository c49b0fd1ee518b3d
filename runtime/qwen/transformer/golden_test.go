package transformer

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
)

// bound is how far a float32 result may be from diffusers' in float64, over its largest value.
const bound = 1e-5

// TestPredictionsOfDiffusers: with no reference, one and two, one time and several, with and
// without zero_cond_t, predictions are diffusers', whose last block computes everything. New
// arena memory is poisoned, so nothing is read that was not written.
func TestPredictionsOfDiffusers(t *testing.T) {
	g := readGolden(t)
	require.Len(t, g.Cases, 5)
	for name, c := range g.Cases {
		for _, kind := range []compute.Kind{compute.Act, compute.F32} {
			t.Run(fmt.Sprintf("%s in %v", name, kind), func(t *testing.T) {
				s := newScene(t, ref.Options{ArenaBytes: 1 << 24, Poison: true}, c.Zero)
				in := s.begin(g, name, kind)
				for step := range c.Times {
					want, _ := g.values(t, fmt.Sprintf("%s.v.%d", name, step))
					d := distance(t, want, s.forward(in, step))
					t.Logf("step %d: %.1e", step, d)
					require.Less(t, d, bound, "step %d", step)
				}
			})
		}
	}
}

// TestGoldenTellsFlagsApart: the goldens would notice the other setting of zero_cond_t, and
// another time.
func TestGoldenTellsFlagsApart(t *testing.T) {
	g := readGolden(t)
	one, _ := g.values(t, "one.v.0")
	zero, _ := g.values(t, "one.zero.v.0")
	later, _ := g.values(t, "one.v.1")
	require.Equal(t, g.Cases["one"].Times[0], g.Cases["one.zero"].Times[0])
	require.Greater(t, distance(t, one, zero), 1000*bound)
	require.Greater(t, distance(t, one, later), 1000*bound)
}

// TestBlocksOfDiffusers: both streams are diffusers' behind every block, and behind the last
// one the target's tokens are.
func TestBlocksOfDiffusers(t *testing.T) {
	g := readGolden(t)
	s := newScene(t, ref.Options{ArenaBytes: 1 << 24, Poison: true}, false)
	in := s.begin(g, "plus", compute.Act)
	f := in.run.embed(0, in.x, in.refs, in.text)
	f.block(0)
	for stream, got := range map[string]compute.Tensor{"image": f.image, "text": f.text} {
		want, _ := g.values(t, "plus.block.0."+stream)
		require.Less(t, distance(t, want, s.download(got)), bound, stream)
	}
	f.block(1)
	want, _ := g.values(t, "plus.block.1.image")
	require.Less(t, distance(t, want, s.download(f.image.Slice(0, in.x.Rows))), bound)
}

// TestTextsOfGuidance: an edit's texts, of different lengths, don't disturb each other.
func TestTextsOfGuidance(t *testing.T) {
	g := readGolden(t)
	s := newScene(t, ref.Options{ArenaBytes: 1 << 24, Poison: true}, false)
	in := s.begin(g, "one", compute.F32)
	alone := s.forward(in, 0)
	other := in
	other.text = s.text(g, in.run, compute.F32, 7)
	negative := s.forward(other, 0)
	require.Equal(t, alone, s.forward(in, 0))
	require.Equal(t, negative, s.forward(other, 0))
	require.Greater(t, distance(t, alone, negative), 1000*bound)
}
