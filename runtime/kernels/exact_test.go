package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// TestGPUExactConformance: codes of 4 bits are as far from float64 as package ref's; all else
// is as it is however weights are held.
func TestGPUExactConformance(t *testing.T) {
	variants(t, func(t *testing.T, o kernels.Options) {
		o.ArenaBytes, o.Held = 256<<20, kernels.W4A4
		computetest.Run(t, func(t *testing.T) compute.Backend { return open(t, o) }, computetest.Tolerance{F32: 1e-5, Act: 1. / 256, SVDQ: 0.3})
	})
}

// exactPair is a GPU and package ref, which both compute in codes of 4 bits.
func exactPair(t *testing.T, o kernels.Options) *pair {
	o.Held = kernels.W4A4
	return &pair{T: t, gpu: open(t, o), ref: ref.New(ref.Options{Numerics: ref.W4A4}), rng: rand.New(rand.NewPCG(21, 22))}
}

func (p *pair) close() {
	require.NoError(p, p.gpu.Close())
	require.NoError(p, p.ref.Close())
}

// upload takes tensors with values.
func (p *pair) upload(k compute.Kind, rows, cols int, v []float32) (t tensors) {
	t = p.alloc(k, rows, cols)
	for i, b := range p.backends() {
		b.Upload(t[i], v)
	}
	return t
}

// values of a tensor on one of them.
func download(t *testing.T, b compute.Backend, x compute.Tensor) []float32 {
	t.Helper()
	v := make([]float32, x.Len())
	require.NoError(t, b.Download(v, x))
	return v
}

// tailed is rows of input with heavy tails, as bfloat16 has them: columns that differ by orders
// of magnitude once they are divided by the smoothing factors, a row of zeros, one that is 300
// times the others and one that is next to nothing. For a shifted linear few values are below
// −Shift, as behind a GELU none are.
func tailed(rng *rand.Rand, rows int, s *computetest.SVDQ) []float32 {
	sizes := make([]float64, s.In)
	for j := range sizes {
		sizes[j] = s.Smooth[j] * math.Exp(1.5*rng.NormFloat64())
	}
	v := make([]float32, rows*s.In)
	for i := range v {
		x := rng.NormFloat64() * sizes[i%s.In]
		if s.Spec.Shifted && x < 0 && rng.IntN(50) > 0 {
			x = math.Exp(x) * -0.17
		}
		switch i / s.In {
		case 1:
			x = 0
		case 2:
			x *= 300
		case 3:
			x *= 1e-30
		}
		v[i] = bf16.Round(float32(x))
	}
	return v
}

// revealing is a linear whose results are the codes of its inputs times their scales.
func revealing(rng *rand.Rand, n int, shifted bool) *computetest.SVDQ {
	s := computetest.NewSVDQ(rng, n, n, 16, shifted)
	codes := make([]int8, n*n)
	for i := range n {
		codes[i*n+i] = 1
	}
	must(packing.PackInt4(s.Spec.QWeight.Data, codes, n, n))
	one := make([]uint16, n*n/packing.TileColumns)
	for i := range one {
		one[i] = bf16.Bits(1)
	}
	must(packing.PackScales(s.Spec.WScales.Data, one, n, n))
	clear(s.Spec.Up.Data)
	clear(s.Spec.Bias.Data)
	return s
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// halfway is a row whose values are halfway between two codes, one in each group but that from
// which the group has the scale 1.
func halfway(rng *rand.Rand, s *computetest.SVDQ) []float32 {
	v := make([]float32, s.In)
	for j := range v {
		x, top := float64(rng.IntN(14)-7)+0.5, 7.0
		if s.Spec.Shifted {
			x, top = float64(rng.IntN(15))+0.5, 15
		}
		if j%packing.TileColumns == 13 {
			x = top
		}
		v[j] = float32(x * s.Smooth[j])
		if s.Spec.Shifted {
			v[j] -= compute.Shift
		}
	}
	return v
}

// TestGPUExactCodes: every code and every scale is the reference's, bit for bit.
func TestGPUExactCodes(t *testing.T) {
	p := exactPair(t, kernels.Options{ArenaBytes: 256 << 20})
	defer p.close()
	for _, n := range []int{128, 384, 1024} {
		for _, shifted := range []bool{false, true} {
			s := revealing(p.rng, n, shifted)
			l := p.linears(s.Spec)
			const rows = 77
			v := tailed(p.rng, rows, s)
			for i := rows / 2; i < rows; i++ {
				copy(v[i*n:], halfway(p.rng, s))
			}
			for _, k := range []compute.Kind{compute.Act, compute.F32} {
				x, y := p.upload(k, rows, n, v), p.alloc(compute.F32, rows, n)
				if k == compute.Act { // which the reference does not round
					p.ref.Upload(x[1], download(t, p.gpu, x[0]))
				}
				for i, b := range p.backends() {
					b.Linear(y[i], l[i], x[i], compute.Pre{}, compute.Post{})
				}
				got, want := download(t, p.gpu, y[0]), download(t, p.ref, y[1])
				for i, w := range want {
					if got[i] != w {
						t.Fatalf("%d columns, shifted %v, %v: column %d of row %d, %v, becomes %v, not %v", n, shifted, k, i%n, i/n, v[i], got[i], w)
					}
				}
			}
		}
	}
}

// TestGPUExact holds linears of the published sizes, and others, against package ref's: what
// codes and exact sums leave is the order of additions in float32.
func TestGPUExact(t *testing.T) {
	variants(t, func(t *testing.T, o kernels.Options) {
		p := exactPair(t, o)
		defer p.close()
		posts := []compute.PostKind{compute.Store, compute.StoreSiLU, compute.StoreGELU, compute.Add, compute.GateAdd}
		for _, c := range []struct {
			rows, in, out, rank int
			shifted             bool
			posts               []compute.PostKind
		}{
			{5, 128, 128, 16, false, posts},
			{333, 640, 1152, 48, true, posts},
			{1500, 384, 256, 32, false, posts},
			{70, 3072, 9216, 128, false, posts[:1]},
			{70, 3072, 3072, 128, false, posts[4:]},
			{70, 12288, 3072, 128, true, posts[4:]},
		} {
			s := computetest.NewSVDQ(p.rng, c.in, c.out, c.rank, c.shifted)
			used := [2]compute.Mark{p.gpu.Mark(), p.ref.Mark()}
			l, v := p.linears(s.Spec), tailed(p.rng, c.rows, s)
			for _, k := range []compute.Kind{compute.Act, compute.F32} {
				p.exact(l, p.upload(k, c.rows, c.in, v), c.posts)
			}
			for i, b := range p.backends() {
				b.Reset(used[i])
			}
		}
	})
}

// exact holds one linear with some Posts.
func (p *pair) exact(l [2]compute.Linear, x tensors, posts []compute.PostKind) {
	p.Helper()
	rows, out := x[0].Rows, l[0].Out()
	mod := p.random(compute.F32, 2, 3*out)
	for dst, tolerance := range map[compute.Kind]float64{compute.F32: 1e-5, compute.Act: 1. / 256} {
		residual, y := p.random(compute.Act, rows, out), p.alloc(dst, rows, out)
		for _, kind := range posts {
			for i, b := range p.backends() {
				post := compute.Post{Kind: kind}
				if kind == compute.Add || kind == compute.GateAdd {
					post.Residual = residual[i]
				}
				if kind == compute.GateAdd {
					post.Mod = compute.Mod{Table: mod[i], Row: 1, Rest: 0, Until: rows / 2, Gate: 2}
				}
				b.Linear(y[i], l[i], x[i], compute.Pre{}, post)
			}
			p.same(fmt.Sprintf("%d to %d, of %v to %v, Post %d", l[0].In(), out, x[0].Kind, dst, kind), y, tolerance)
		}
	}
}

// TestGPUExactPre: what Pre makes reaches the codes in float32, from either kind.
func TestGPUExactPre(t *testing.T) {
	p := exactPair(t, kernels.Options{ArenaBytes: 256 << 20})
	defer p.close()
	const rows, in, out = 150, 768, 384
	norm := p.weight("norm", 1, in)
	table := p.random(compute.F32, 2, 3*in)
	weight, err := p.gpu.LoadVector(norm)
	require.NoError(t, err)
	for _, shifted := range []bool{false, true} {
		s := computetest.NewSVDQ(p.rng, in, out, 64, shifted)
		l, v := p.linears(s.Spec), tailed(p.rng, rows, s)
		mod := compute.Mod{Table: table[0], Row: 1, Rest: 0, Until: 40, Shift: 0, Scale: 1, PlusOne: true}
		for _, pre := range []compute.Pre{
			{Kind: compute.SiLU}, {Kind: compute.GELUTanh}, {Kind: compute.RMSNorm, Weight: weight, Eps: 1e-6},
			{Kind: compute.LayerNorm, Eps: 1e-6, Mod: mod},
		} {
			for _, k := range []compute.Kind{compute.Act, compute.F32} {
				x, between := p.upload(k, rows, in, v), p.alloc(compute.F32, rows, in)
				y, twice := p.alloc(compute.F32, rows, out), p.alloc(compute.F32, rows, out)
				p.gpu.Linear(y[0], l[0], x[0], pre, compute.Post{})
				p.gpu.Apply(between[0], x[0], pre)
				p.gpu.Linear(twice[0], l[0], between[0], compute.Pre{}, compute.Post{})
				require.Equal(t, download(t, p.gpu, twice[0]), download(t, p.gpu, y[0]), "Pre %d of %v", pre.Kind, k)
				p.ref.Upload(between[1], download(t, p.gpu, between[0]))
				p.ref.Linear(y[1], l[1], between[1], compute.Pre{}, compute.Post{})
				p.same(fmt.Sprintf("Pre %d of %v, shifted %v", pre.Kind, k, shifted), y, 1e-5)
			}
		}
	}
}

// TestGPUExactNotFinite: what is no number makes its row none, and no other.
func TestGPUExactNotFinite(t *testing.T) {
	b := open(t, kernels.Options{ArenaBytes: 64 << 20, Held: kernels.W4A4})
	const rows, bad, in, out = 90, 70, 256, 128
	for _, shifted := range []bool{false, true} {
		l, err := b.LoadLinear(computetest.NewSVDQ(rand.New(rand.NewPCG(3, 3)), in, out, 16, shifted).Spec)
		require.NoError(t, err)
		x, y := b.Alloc(compute.Act, rows, in), b.Alloc(compute.Act, rows, out)
		for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			values := make([]float32, x.Len())
			values[bad*in+177] = float32(v)
			b.Upload(x, values)
			b.Linear(y, l, x, compute.Pre{}, compute.Post{})
			for i, r := range download(t, b, y) {
				if finite := r-r == 0; finite == (i/out == bad) {
					t.Fatalf("%v in row %d makes column %d of row %d %v", v, bad, i%out, i/out, r)
				}
			}
		}
	}
	require.NoError(t, b.Close())
}

// TestGPUExactRoundsOfLoading: linears that were loaded in many rounds are those of one.
func TestGPUExactRoundsOfLoading(t *testing.T) {
	one := linearsInRounds(t, kernels.Options{ArenaBytes: 64 << 20, Held: kernels.W4A4})
	many := linearsInRounds(t, kernels.Options{ArenaBytes: 512 << 10, Held: kernels.W4A4})
	require.Equal(t, one, many)
}

// exactLaunch is what a launch of gemm_w4a4 was given.
type exactLaunch struct{ codes, scales, low, m, n, k, rank, pitch, flags uint64 }

// TestExactLaunches: every device has the kernels; W is never made, and a shift is not undone.
func TestExactLaunches(t *testing.T) {
	for _, device := range []int{hopper, ada} {
		l := cudatest.TwoDevices()
		var launches []exactLaunch
		var shifts []float32
		l.Machine.Watch = func(kernel string, p func(i int) uint64) {
			switch kernel {
			case "gemm_w4a4":
				launches = append(launches, exactLaunch{p(1), p(2), p(9), uint64(uint32(p(11))), uint64(uint32(p(12))), uint64(uint32(p(13))), uint64(uint32(p(14))), uint64(uint32(p(15))), uint64(uint32(p(17)))})
			case "w4a4_codes_h", "w4a4_codes_f":
				shifts = append(shifts, math.Float32frombits(uint32(p(7))))
			}
		}
		b, err := fakeBackend(t, l, device, kernels.Options{ArenaBytes: 64 << 20, Poison: true, Held: kernels.W4A4})
		require.NoError(t, err)
		const rows, in, out, rank = 200, 256, 384, 32
		pres := []struct {
			k compute.Kind
			p compute.Pre
		}{{compute.Act, compute.Pre{}}, {compute.F32, compute.Pre{}}, {compute.Act, compute.Pre{Kind: compute.GELUTanh}}}
		for _, shifted := range []bool{false, true} {
			linear, err := b.LoadLinear(computetest.NewSVDQ(rand.New(rand.NewPCG(1, 2)), in, out, rank, shifted).Spec)
			require.NoError(t, err)
			for _, c := range pres {
				b.Linear(b.Alloc(compute.F32, rows, out), linear, b.Alloc(c.k, rows, in), c.p, compute.Post{Kind: compute.StoreSiLU})
			}
		}
		require.NoError(t, b.Sync())
		for name, n := range map[string]int{
			"gemm_w4a4": 6, "w4a4_codes_h": 2, "w4a4_codes_f": 4, "map_hf8": 2, "linear_fh": 4, "linear_hh": 2, "transpose_bf16": 2,
			"svdq_weights": 0, "svdq_shift": 0,
		} {
			require.Equal(t, n, l.Machine.Launches[name], name)
		}
		require.Equal(t, []float32{0, 0, 0, compute.Shift, compute.Shift, compute.Shift}, shifts)
		for _, g := range launches {
			require.Equal(t, exactLaunch{g.codes, g.scales, g.low, rows, out, in, rank, 256, 1 | 8}, g)
			// What lies in the arena lies apart: codes, then scales, behind L.
			require.LessOrEqual(t, g.low+4*rows*rank, g.codes)
			require.LessOrEqual(t, g.codes+rows*in, g.scales)
		}
		require.Equal(t, [3]uintptr{4 * 3, 1, 1}, l.Machine.Last.Grid)
		require.Equal(t, uintptr(45056), l.Machine.Last.Shared)
		require.NoError(t, b.Close())
		require.Empty(t, l.Machine.Live)
	}
}

// TestExactLoads: the bytes of the file are on the device, and no more memory is taken than for
// packed weights, of which W is made.
func TestExactLoads(t *testing.T) {
	s := computetest.NewSVDQ(rand.New(rand.NewPCG(1, 2)), 2048, 1024, 64, true).Spec
	weights := map[kernels.Held]int64{}
	for _, held := range []kernels.Held{kernels.Packed, kernels.W4A4} {
		l := cudatest.TwoDevices()
		b, err := fakeBackend(t, l, ada, kernels.Options{ArenaBytes: 64 << 20, Held: held})
		require.NoError(t, err)
		_, err = b.LoadLinear(s)
		require.NoError(t, err)
		require.NoError(t, b.Sync())
		require.True(t, arrived(l, s.QWeight.Data) && arrived(l, s.WScales.Data))
		weights[held] = b.Weights()
		require.NoError(t, b.Close())
	}
	require.Less(t, weights[kernels.W4A4], weights[kernels.Packed])

	b, err := fakeBackend(t, cudatest.TwoDevices(), ada, kernels.Options{ArenaBytes: 64 << 10, Held: kernels.W4A4})
	require.NoError(t, err)
	_, err = b.LoadLinear(s)
	require.ErrorContains(t, err, "loading "+s.QWeight.String())
	require.ErrorContains(t, err, "its kernels read 661504 bytes in the arena")
	require.NoError(t, b.Close())
}
