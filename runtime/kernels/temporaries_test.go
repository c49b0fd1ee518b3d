package kernels_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
)

// TestThePlanKnowsTemporaries: what an operation takes of the arena, tensors and all, is what
// package plan says.
func TestThePlanKnowsTemporaries(t *testing.T) {
	for name, f := range arenaUsers(t) {
		for held, holding := range map[kernels.Held]plan.Holding{
			kernels.Packed: plan.Packed, kernels.EightBits: plan.Int8, kernels.Whole: plan.Whole, kernels.W4A4: plan.W4A4,
		} {
			if held != kernels.Packed && !strings.HasPrefix(name, "svdq") {
				continue
			}
			t.Run(fmt.Sprintf("%s, %d", name, held), func(t *testing.T) {
				room := int64(12 << 20)
				if name == wideInParts {
					room = 300 << 20
				}
				b, err := fakeBackend(t, cudatest.TwoDevices(), hopper, kernels.Options{ArenaBytes: room, Held: held})
				require.NoError(t, err)
				f(b)
				p := plan.New(plan.Options{SVDQ: holding, Temporaries: true})
				f(p)
				require.NoError(t, b.Sync())
				require.Equal(t, p.Peak(), b.Peak())
				require.NoError(t, b.Close())
			})
		}
	}
}

// wideInParts is the attention whose scores do not fit into what they may take at a time.
const wideInParts = "a wide head in parts"

// arenaUsers are operations, each on tensors of its own.
func arenaUsers(t *testing.T) map[string]func(b compute.Backend) {
	users := map[string]func(b compute.Backend){}
	p := &pair{T: t, rng: rand.New(rand.NewPCG(7, 8))}
	for name, spec := range map[string]compute.LinearSpec{
		"dense":     compute.Dense{Weights: []compute.Weight{p.weight("w", 1, 256, 128)}},
		"dense odd": compute.Dense{Weights: []compute.Weight{p.weight("w", 1, 256, 127)}},
		"svdq":      computetest.NewSVDQ(p.rng, 128, 256, 16, false).Spec,
	} {
		for _, k := range []compute.Kind{compute.Act, compute.F32} {
			for _, pre := range []compute.PreKind{compute.None, compute.GELUTanh, compute.SwiGLU, compute.LayerNorm} {
				users[fmt.Sprintf("%s of %v, Pre %d", name, k, pre)] = func(b compute.Backend) {
					l, err := b.LoadLinear(spec)
					require.NoError(t, err)
					x := b.Alloc(k, 701, l.In())
					if pre == compute.SwiGLU {
						x = b.Alloc(k, 701, 2*l.In())
					}
					b.Linear(b.Alloc(compute.Act, 701, 256), l, x, compute.Pre{Kind: pre}, compute.Post{})
				}
			}
		}
	}
	for _, c := range [][2]int64{{8, 5}, {3, 16}} {
		for _, post := range []compute.PostKind{compute.Store, compute.GateAdd} {
			spec := compute.ConvSpec{Weight: p.weight("w", 1, c[1], c[0], 1, 1), Bias: p.weight("b", 1, c[1]), Stride: 1}
			users[fmt.Sprintf("convolution of %v, Post %d", c, post)] = func(b compute.Backend) {
				conv, err := b.LoadConv(spec)
				require.NoError(t, err)
				y := b.Alloc(compute.Act, 2000, int(c[1]))
				gate := compute.Mod{Table: b.Alloc(compute.F32, 1, int(c[1])), Until: 1}
				b.Convolve(y, conv, b.Alloc(compute.Act, 2000, int(c[0])), 40, 50,
					compute.Pre{Kind: compute.SiLU}, compute.Post{Kind: post, Residual: y, Mod: gate})
			}
		}
	}
	for _, a := range []compute.Attention{
		{Heads: 2, KVHeads: 2, Dim: 128},
		{Heads: 2, KVHeads: 1, Dim: 80, Windows: []int32{64, 100, 1000}},
		{Heads: 2, KVHeads: 1, Dim: 80, Windows: windowsOf(40, 1000)},
		{Heads: 2, KVHeads: 1, Dim: 16, Windows: []int32{64, 100, 1000}},
		{Heads: 3, KVHeads: 3, Dim: 24, Causal: true},
		{Heads: 1, KVHeads: 1, Dim: 384},
	} {
		users[fmt.Sprintf("attention %v", a)] = func(b compute.Backend) {
			q, k := b.Alloc(compute.Act, 1000, a.Heads*a.Dim), b.Alloc(compute.Act, 1000, a.KVHeads*a.Dim)
			b.Attention(b.Alloc(compute.Act, 1000, a.Heads*a.Dim), q, k, b.Alloc(compute.Act, 1000, a.KVHeads*a.Dim), a)
		}
	}
	users[wideInParts] = func(b compute.Backend) {
		x := b.Alloc(compute.Act, 8000, 384)
		b.Attention(b.Alloc(compute.Act, 8000, 384), x, x, x, compute.Attention{Heads: 1, KVHeads: 1, Dim: 384})
	}
	users["gather"] = func(b compute.Backend) {
		b.Gather(b.Alloc(compute.Act, 900, 1), b.Alloc(compute.Act, 1, 1), make([]int32, 900))
	}
	return users
}

// windowsOf are windows of so many rows.
func windowsOf(each, rows int) (ends []int32) {
	for end := each; end <= rows; end += each {
		ends = append(ends, int32(end))
	}
	return ends
}
