package transformer

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
)

// TestForwardRepeats: a prediction is a function of its inputs, and the arena holds it alone
// afterwards.
func TestForwardRepeats(t *testing.T) {
	g := readGolden(t)
	s := newScene(t, ref.Options{ArenaBytes: 1 << 24}, true)
	in := s.begin(g, "plus.zero", compute.Act)
	before := s.backend.Mark()
	first := s.forward(in, 1)
	result := int64(s.backend.Mark() - before)
	require.Equal(t, int64(compute.Align*((len(first)*4+compute.Align-1)/compute.Align)), result)
	s.forward(in, 0)
	require.Equal(t, first, s.forward(in, 1))
}

// TestMemory: an edit and a Forward take what the package comment says.
func TestMemory(t *testing.T) {
	g := readGolden(t)
	s := newScene(t, ref.Options{ArenaBytes: 1 << 26}, true)
	target, references := g.pictures("plus")
	times := make([]float32, 11)
	r, err := s.model.Begin(Edit{Target: target, References: references, Times: times})
	require.NoError(t, err)
	const width, blocks, head, rows = 256, 2, 64, 13
	tokens := target.Tokens() + references[0].Tokens() + references[1].Tokens()
	modulations := 48*width*blocks*len(times) + 24*width*blocks + 8*width*len(times)
	used := s.backend.Mark()
	require.InDelta(t, modulations+tokens*4*head, int(used), 10*compute.Align)

	s.backend.Reset(used)
	text, err := r.Text(s.upload(g, compute.Act, "text.13"))
	require.NoError(t, err)
	x := s.upload(g, compute.Act, "plus.x")
	before := s.backend.Mark()
	// The peak of Begin lies below that of Forward.
	_, err = r.Forward(t.Context(), 0, x.Slice(0, r.target), x.Slice(r.target, x.Rows), text)
	require.NoError(t, err)
	peak := s.backend.Peak() - int64(before)
	result := int64(s.backend.Mark() - before)
	require.LessOrEqual(t, peak, int64(7*(rows+tokens)*width*4)+result+6*compute.Align)
	require.Greater(t, peak, int64(6*(rows+tokens)*width*4))
}

// counted is a context that ends when it is asked often enough.
type counted struct {
	context.Context
	left int
}

func (c *counted) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestCancel: a Forward stops before any block, and leaves the arena as it was.
func TestCancel(t *testing.T) {
	g := readGolden(t)
	s := newScene(t, ref.Options{ArenaBytes: 1 << 24}, false)
	in := s.begin(g, "one", compute.Act)
	want := s.forward(in, 0)
	before := s.backend.Mark()
	for block := range 2 {
		_, err := in.run.Forward(&counted{t.Context(), block}, 0, in.x, in.refs, in.text)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, map[int]string{0: "before block 0 of 2", 1: "before block 1 of 2"}[block])
		require.Equal(t, fault.Canceled, fault.KindOf(err))
		require.Equal(t, before, s.backend.Mark())
	}
	require.Equal(t, want, s.forward(in, 0))
}

// TestNotFinite: a NaN is an error that names the step, and the block where it is looked for.
func TestNotFinite(t *testing.T) {
	g := readGolden(t)
	for debug, want := range map[bool]string{false: "the prediction of step 2", true: "the image stream behind block 0 of step 2"} {
		s := newScene(t, ref.Options{ArenaBytes: 1 << 24}, false)
		in := s.begin(g, "one", compute.F32)
		in.run.edit.Debug = debug
		values := s.download(in.x)
		values[77] = float32(math.NaN())
		s.backend.Upload(in.x, values)
		v, err := in.run.Forward(t.Context(), 1, in.x, in.refs, in.text)
		require.NoError(t, err)
		require.ErrorContains(t, s.backend.Download(make([]float32, v.Len()), v), want)
	}
}

// TestArenaTooSmall: wherever the arena ends, it is an error and no panic.
func TestArenaTooSmall(t *testing.T) {
	g := readGolden(t)
	for _, size := range []int64{1 << 10, 1 << 17, 1 << 18, 1 << 19} {
		s := newScene(t, ref.Options{ArenaBytes: size}, true)
		in := s.begin(g, "one.zero", compute.F32)
		v, err := in.run.Forward(t.Context(), 0, in.x, in.refs, in.text)
		require.NoError(t, err)
		err = s.backend.Download(make([]float32, v.Len()), v)
		require.Equal(t, fault.Resource, fault.KindOf(err), "an arena of %d bytes: %v", size, err)
	}
}

// TestForwardRefuses: what is not this edit's is named.
func TestForwardRefuses(t *testing.T) {
	g := readGolden(t)
	s := newScene(t, ref.Options{ArenaBytes: 1 << 24}, false)
	in := s.begin(g, "one", compute.Act)
	alone := s.begin(g, "none", compute.Act)
	before := s.backend.Mark()
	for want, call := range map[string]func() (compute.Tensor, error){
		"predicting step 3: the edit has 2 steps":      func() (compute.Tensor, error) { return in.run.Forward(t.Context(), 2, in.x, in.refs, in.text) },
		"predicting step 0: the edit has 2 steps":      func() (compute.Tensor, error) { return in.run.Forward(t.Context(), -1, in.x, in.refs, in.text) },
		"the text is not one of this edit's":           func() (compute.Tensor, error) { return in.run.Forward(t.Context(), 0, in.x, in.refs, alone.text) },
		"the target is act[24×64], want 60×64":         func() (compute.Tensor, error) { return in.run.Forward(t.Context(), 0, in.refs, in.refs, in.text) },
		"the references are act[60×64], want 24×64":    func() (compute.Tensor, error) { return in.run.Forward(t.Context(), 0, in.x, in.x, in.text) },
		"the references are act[0×0], want 24×64":      func() (compute.Tensor, error) { return in.run.Forward(t.Context(), 0, in.x, compute.Tensor{}, in.text) },
		"the references are act[24×64], want 0×64":     func() (compute.Tensor, error) { return alone.run.Forward(t.Context(), 0, alone.x, in.refs, alone.text) },
		"preparing a text: it is act[60×64], want row": func() (compute.Tensor, error) { _, err := in.run.Text(in.x); return compute.Tensor{}, err },
	} {
		_, err := call()
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.Internal, fault.KindOf(err))
	}
	require.Equal(t, before, s.backend.Mark())
	require.NoError(t, s.backend.Sync())
}

// TestLimits: pictures and texts are taken as far as there are positions, and no further.
func TestLimits(t *testing.T) {
	s := newScene(t, ref.Options{ArenaBytes: 1 << 25}, false)
	small, long := latents.Shape{Channels: 16, Height: 4, Width: 6}, latents.Shape{Channels: 16, Height: 2, Width: 202}
	require.Equal(t, 4095, MaxText(small))
	require.Equal(t, 4046, MaxText(small, small, long))
	times := []float32{0.5}
	for _, e := range []Edit{
		{Target: latents.Shape{Channels: 16, Height: 2, Width: 4*Positions + 2}, Times: times},
		{Target: small, References: []latents.Shape{small, {Channels: 16, Height: 4*Positions + 2, Width: 2}}, Times: times},
		{Target: small, References: make([]latents.Shape, Positions), Times: times},
	} {
		before := s.backend.Mark()
		_, err := s.model.Begin(e)
		require.Equal(t, fault.Usage, fault.KindOf(err), "%v", err)
		require.NotEmpty(t, fault.HintOf(err))
		require.Equal(t, before, s.backend.Mark())
	}
	for _, e := range []Edit{
		{Target: small},
		{Target: small, Times: []float32{0.5, 1.5}},
		{Target: small, Times: []float32{float32(math.NaN())}},
		{Times: times},
		{Target: latents.Shape{Channels: 16, Height: 3, Width: 6}, Times: times},
		{Target: small, References: []latents.Shape{{Channels: 8, Height: 4, Width: 6}}, Times: times},
	} {
		_, err := s.model.Begin(e)
		require.Equal(t, fault.Internal, fault.KindOf(err), "%v", err)
	}
	r, err := s.model.Begin(Edit{Target: small, References: []latents.Shape{long}, Times: times})
	require.NoError(t, err)
	embedding := s.backend.Alloc(compute.F32, 4047, 128)
	s.backend.Upload(embedding, make([]float32, embedding.Len()))
	_, err = r.Text(embedding)
	require.ErrorContains(t, err, "it has 4047 tokens, the model has positions for 4046")
	require.Equal(t, fault.Usage, fault.KindOf(err))
	_, err = r.Text(embedding.Slice(1, 4047))
	require.NoError(t, err)
	require.NoError(t, s.backend.Sync())
}
