package computetest

import (
	"math"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// views: operations on some rows of a tensor read and write these rows alone.
func views(m *machine) {
	const rows, in, out = 40, 96, 48
	d, p := m.dense(safetensors.BF16, in, true, out)
	for _, k := range kinds {
		x, v := m.random(k, rows, in)
		y := m.poisoned(k, rows, out)
		m.b.Linear(y.Slice(5, 24), d, x.Slice(17, 36), compute.Pre{Kind: compute.SiLU}, compute.Post{})
		want := p.apply(preTruth{kind: compute.SiLU}.apply(matrix{19, in, v.v[17*in : 36*in]}))
		m.near(y.Slice(5, 24), want, m.tol.Act)
		m.untouched(y.Slice(0, 5))
		m.untouched(y.Slice(24, rows))

		m.b.Copy(y.Slice(30, 32).Reshape(1, 2*out), x.Slice(1, 2))
		require.Equal(m, v.row(1), m.download(y.Slice(30, 32)).v)
		m.untouched(y.Slice(24, 30))
		m.untouched(y.Slice(32, rows))
	}
}

// arena: what was taken after a mark is taken again after Reset, what was taken before it
// stays, and an upload's slice is the caller's again.
func arena(m *machine) {
	kept, v := m.random(compute.Act, 3, 7)
	mark := m.b.Mark()
	first := m.b.Alloc(compute.F32, 2, 5)
	second := m.b.Alloc(compute.Act, 1, 1)
	require.Zero(m, first.Offset%compute.Align)
	require.Zero(m, second.Offset%compute.Align)
	values := []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	m.b.Upload(first, values)
	clear(values)
	require.Equal(m, []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, m.download(first).v)
	m.b.Reset(mark)
	again := m.b.Alloc(compute.F32, 2, 5)
	require.Equal(m, first, again)
	m.b.Upload(again, []float32{0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	require.Equal(m, v, m.download(kept))
	require.NoError(m, m.b.Sync())
}

// order: each operation sees what the one before it left, though nobody waits.
func order(m *machine) {
	x, v := m.random(compute.F32, 64, 64)
	y := m.poisoned(compute.F32, 64, 64)
	d, p := m.dense(safetensors.BF16, 64, true, 64)
	for range 5 {
		m.b.Linear(y, d, x, compute.Pre{Kind: compute.LayerNorm, Eps: 1e-6}, compute.Post{})
		m.b.Euler(x, y, 0.25)
		for i, s := range p.apply(preTruth{kind: compute.LayerNorm, eps: 1e-6}.apply(v)).v {
			v.v[i] += 0.25 * s
		}
	}
	m.near(x, v, 3*m.tol.Act)
}

// repeats: the same operations give the same bits.
func repeats(m *machine) {
	d, _ := m.dense(safetensors.BF16, 256, true, 3*128)
	q := NewSVDQ(m.rng, 128, 256, 32, false)
	l, err := m.b.LoadLinear(q.Spec)
	require.NoError(m, err)
	c, _ := m.conv(compute.ConvSpec{Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1}, []int{24, 256, 3, 3})
	norm, _ := m.vector(64)
	values := m.heavy(77, 256)
	run := func() []float64 {
		mark := m.b.Mark()
		defer m.b.Reset(mark)
		x, _ := m.upload(compute.Act, 77, 256, values)
		y, z := m.poisoned(compute.Act, 77, 384), m.poisoned(compute.Act, 77, 256)
		heads := make([]compute.Tensor, 4)
		for i := range heads {
			heads[i] = m.poisoned(compute.Act, 77, 128)
		}
		m.b.Linear(y, d, x, compute.Pre{Kind: compute.LayerNorm, Eps: 1e-6}, compute.Post{})
		m.b.Heads(compute.Split{X: y, Q: heads[0], K: heads[1], V: heads[2], Dim: 64, NormQ: norm, NormK: norm, Eps: 1e-6})
		m.b.Attention(heads[3], heads[0], heads[1], heads[2], compute.Attention{Heads: 2, KVHeads: 2, Dim: 64, Scale: 0.125})
		m.b.Linear(z, l, heads[3], compute.Pre{}, compute.Post{})
		r := m.poisoned(compute.Act, 77, 24)
		m.b.Convolve(r, c, z, 7, 11, compute.Pre{}, compute.Post{})
		return append(m.download(z).v, m.download(r).v...)
	}
	first := run()
	for range 3 {
		require.Equal(m, first, run())
	}
}

// arenaFull: the error sticks, and operations after it do nothing, without a crash.
func arenaFull(m *machine) {
	b := m.open(m.t)
	full := *m
	full.b = b
	operations := full.operations()
	x := b.Alloc(compute.Act, 2, 2)
	b.Upload(x, []float32{1, 2, 3, 4})
	require.NoError(m, b.Sync())
	mark := b.Mark()
	huge := b.Alloc(compute.Act, 1<<20, 1<<20)
	require.Equal(m, []int{1 << 20, 1 << 20}, []int{huge.Rows, huge.Cols})
	err := b.Sync()
	require.Error(m, err)
	require.Equal(m, fault.Resource, fault.KindOf(err), "%v", err)
	b.Reset(mark)
	b.Alloc(compute.F32, 1<<20, 1<<19) // another error, that nobody hears of
	for _, f := range operations {
		f(huge)
	}
	y := b.Alloc(compute.Act, 2, 2)
	b.Apply(y, x, compute.Pre{})
	require.ErrorIs(m, b.Download(make([]float32, 4), y), err)
	require.ErrorIs(m, b.Sync(), err)
	require.ErrorIs(m, b.Close(), err)
}

// operations are all of them, on a square tensor of 1<<20 columns that is in no arena.
func (m *machine) operations() []func(x compute.Tensor) {
	const small, wide = 1 << 3, 1 << 20
	l, _ := m.dense(safetensors.BF16, small, false, small)
	c, _ := m.conv(compute.ConvSpec{Stride: 1}, []int{small, small, 1, 1})
	w, _ := m.weight("table", safetensors.BF16, 1, 1, small)
	table, err := m.b.LoadTable(w)
	require.NoError(m, err)
	narrow := func(x compute.Tensor) compute.Tensor { return x.Reshape(wide*(wide/small), small) }
	flat := func(x compute.Tensor) compute.Tensor { x.Kind = compute.F32; return x }
	return []func(x compute.Tensor){
		func(x compute.Tensor) { m.b.Linear(narrow(x), l, narrow(x), compute.Pre{}, compute.Post{}) },
		func(x compute.Tensor) {
			m.b.Convolve(narrow(x), c, narrow(x), wide, wide/small, compute.Pre{}, compute.Post{})
		},
		func(x compute.Tensor) { m.b.Apply(x, x, compute.Pre{Kind: compute.SiLU}) },
		func(x compute.Tensor) {
			part := x.Reshape(4*wide, wide/4)
			part.Cols = wide / 8
			half := compute.Split{X: x.Reshape(4*wide, wide/4), Q: part, K: part, V: part, Dim: wide / 16}
			half.K.Cols, half.V.Cols = wide/16, wide/16
			m.b.Heads(half)
		},
		func(x compute.Tensor) {
			m.b.Attention(x, x, x, x, compute.Attention{Heads: 1, KVHeads: 1, Dim: wide, Scale: 1})
		},
		func(x compute.Tensor) { m.b.Embed(narrow(x).Slice(0, 2), table, []int32{0, 0}) },
		func(x compute.Tensor) { m.b.Gather(x.Slice(0, 1), x, []int32{wide - 1}) },
		func(x compute.Tensor) { m.b.Copy(x, x) },
		func(x compute.Tensor) { m.b.Euler(flat(x), x, 1) },
		func(x compute.Tensor) { m.b.Guide(x, x, x, 1) },
		func(x compute.Tensor) { m.b.Finite(x, "nothing") },
		func(x compute.Tensor) { m.b.Upload(x.Slice(0, 1), make([]float32, wide)) },
	}
}

// finite: numbers pass, whatever their size; what is none is an error that names the tensor.
func finite(m *machine) {
	for _, k := range kinds {
		x, _ := m.upload(k, 3, 70, m.heavy(3, 70))
		m.b.Finite(x, "all that is well")
		big := m.normal(2, 1)
		big[1] = 3e38
		y, _ := m.upload(k, 1, 2, big)
		m.b.Finite(y, "what is large")
		require.NoError(m, m.b.Sync())
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			b := m.open(m.t)
			v := m.normal(210, 1)
			v[209] = float32(bad)
			x := b.Alloc(k, 3, 70)
			b.Upload(x, v)
			b.Finite(x, "block 17's image stream")
			b.Finite(x, "another thing")
			err := b.Sync()
			require.ErrorContains(m, err, "block 17's image stream")
			require.NotContains(m, err.Error(), "another thing", "the first error sticks")
			require.ErrorIs(m, b.Download(v, x), err)
			require.NoError(m, b.Renew())
			b.Finite(x, "the same again")
			require.ErrorContains(m, b.Sync(), "the same again")
			require.NoError(m, b.Renew())
			v[209] = 1
			b.Upload(x, v)
			b.Finite(x, "what is well now")
			require.NoError(m, b.Download(v, x))
			require.InDelta(m, 1, v[209], 0)
			require.NoError(m, b.Close())
		}
	}
}
