package plan_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// TestGroups: what groups hold, what they take of a window, and how often a run turns to them.
func TestGroups(t *testing.T) {
	b := plan.New(plan.Options{})
	load := func(name string) (compute.Linear, compute.Vector) {
		b.Group(name)
		defer b.Group("")
		l, err := b.LoadLinear(svdqSpec())
		require.NoError(t, err)
		v, err := b.LoadVector(compute.Weight{Name: "v", DType: safetensors.BF16, Shape: []int64{in}})
		require.NoError(t, err)
		return l, v
	}
	first, norm := load("first")
	second, _ := load("second")
	b.Group("words")
	_, err := b.LoadTable(compute.Weight{Name: "t", DType: safetensors.BF16, Shape: []int64{50, 7}})
	require.NoError(t, err)
	b.Group("")
	_, err = b.LoadVector(compute.Weight{Name: "of none", DType: safetensors.F32, Shape: []int64{3}})
	require.NoError(t, err)

	x, y := b.Alloc(compute.Act, 1, in), b.Alloc(compute.Act, 1, out)
	run := func(int) error {
		b.Linear(y, first, x, compute.Pre{Kind: compute.RMSNorm, Weight: norm}, compute.Post{})
		b.Linear(y, first, x, compute.Pre{}, compute.Post{})
		b.Apply(b.Alloc(compute.Act, 1, in), x, compute.Pre{Kind: compute.SiLU}) // of no group
		b.Apply(b.Alloc(compute.Act, 1, in), x, compute.Pre{Kind: compute.RMSNorm, Weight: norm})
		b.Linear(y, second, x, compute.Pre{}, compute.Post{})
		return nil
	}
	mark := b.Mark()
	require.NoError(t, plan.Times(b, 3, func(i int) error { defer b.Reset(mark); return run(i) }))
	window := int64(svdqBytes+lowBytes) + // as it comes: 256 values of each vector are whole units of 256 bytes
		4*in + 4*out + lowBytes + // in order
		4*in // the norm
	want := []plan.Group{
		{"first", svdqBytes + lowBytes + 2*in, window, 3},
		{"second", svdqBytes + lowBytes + 2*in, window, 3},
		{"words", 700, 0, 0},
	}
	require.Equal(t, want, b.Result().Groups)
	b.Begin()
	require.Zero(t, b.Result().Groups[0].Uses)
	require.Panics(t, func() {
		b.Linear(y, second, x, compute.Pre{Kind: compute.RMSNorm, Weight: norm}, compute.Post{})
	}, "weights of two groups")
}

// resultOf is a model of a table, layers that a run uses once, and blocks that it uses each step.
func resultOf(layers, blocks, steps int64) plan.Result {
	r := plan.Result{WeightBytes: 1000, Groups: []plan.Group{{"words", 900, 0, 1}}}
	for i := range layers {
		r.Groups = append(r.Groups, plan.Group{fmt.Sprintf("layer %d", i), 500, 510, 1})
	}
	for i := range blocks {
		r.Groups = append(r.Groups, plan.Group{fmt.Sprintf("block %d", i), 200, 220, steps})
	}
	for _, g := range r.Groups {
		r.WeightBytes += g.Bytes
	}
	return r
}

// TestStream: what is used least leaves first, spread over the run, and no more than must.
func TestStream(t *testing.T) {
	r := resultOf(4, 10, 8)
	require.Equal(t, int64(1000+900+2000+2000), r.WeightBytes)
	all := func(name string, numbers ...int) (out []string) {
		for _, i := range numbers {
			out = append(out, fmt.Sprintf("%s %d", name, i))
		}
		return out
	}
	words, layers := []string{"words"}, all("layer", 0, 1, 2, 3)
	for _, c := range []struct {
		room int64
		want plan.Streaming
		ok   bool
	}{
		{5900, plan.Streaming{HeldBytes: 5900}, true},
		{5899, plan.Streaming{words, 0, 5000, 0, 900}, true},
		{5000, plan.Streaming{words, 0, 5000, 0, 900}, true},
		// A window takes as much as two layers: with fewer than three nothing is won.
		{4999, plan.Streaming{append(words, all("layer", 0, 1, 2)...), 1020, 4520, 3 * 510, 2400}, true},
		{4020, plan.Streaming{slices.Concat(words, layers), 1020, 4020, 4 * 510, 2900}, true},
		{4019, plan.Streaming{slices.Concat(words, layers, all("block", 0)), 1020, 3820, 4*510 + 8*220, 3100}, true},
		{3500, plan.Streaming{slices.Concat(words, layers, all("block", 0, 3, 6)), 1020, 3420, 4*510 + 3*8*220, 3500}, true},
		{2020, plan.Streaming{slices.Concat(words, layers, all("block", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)), 1020, 2020, 4*510 + 80*220, 4900}, true},
		{2019, plan.Streaming{slices.Concat(words, layers, all("block", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)), 1020, 2020, 4*510 + 80*220, 4900}, false},
	} {
		got, ok := r.Stream(c.room)
		require.Equal(t, c.want, got, "%d", c.room)
		require.Equal(t, c.ok, ok, "%d", c.room)
	}
}

// TestStreamFits: whatever the room, what is chosen fits, and with more room no more streams.
func TestStreamFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := resultOf(rapid.Int64Range(0, 30).Draw(t, "layers"), rapid.Int64Range(0, 60).Draw(t, "blocks"), rapid.Int64Range(1, 50).Draw(t, "steps"))
		room := rapid.Int64Range(0, r.WeightBytes+100).Draw(t, "room")
		s, ok := r.Stream(room)
		require.Equal(t, s.HeldBytes <= room, ok)
		more, _ := r.Stream(room + rapid.Int64Range(0, 1000).Draw(t, "more"))
		require.LessOrEqual(t, more.RunBytes, s.RunBytes)
		held := int64(0)
		for _, g := range r.Groups {
			if !slices.Contains(s.Groups, g.Name) {
				held += g.Bytes
			}
		}
		require.Equal(t, 1000+held+s.WindowBytes, s.HeldBytes)
	})
}
