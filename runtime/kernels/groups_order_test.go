package kernels_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// uses is what the kernels of products with weights, and those that bring the weights of SVDQ
// linears into order, use of the device's memory.
func uses(t *testing.T) func(kernel string, parameter func(i int) uint64) []cudatest.Range {
	return func(kernel string, parameter func(i int) uint64) []cudatest.Range {
		integer := func(i int) int { return int(int32(parameter(i))) }
		reads := func(i, n int) cudatest.Range { return cudatest.Range{Address: parameter(i), Bytes: n} }
		writes := func(i, n int) cudatest.Range { return cudatest.Range{Address: parameter(i), Bytes: n, Written: true} }
		switch {
		case strings.HasPrefix(kernel, "gemm_bf16"):
			dst, x, w, bias := 0, 1, 2, 3
			if kernel == "gemm_bf16_hopper" {
				dst, x, w = 2, 0, 1
			}
			rows, out, in := integer(7), integer(8), integer(9)
			all := []cudatest.Range{writes(dst, 2*rows*out), reads(x, 2*rows*in), reads(w, 2*out*in)}
			if parameter(bias) != 0 {
				all = append(all, reads(bias, 4*out))
			}
			return all
		case kernel == "svdq_weights":
			out, in, rank := integer(6), integer(7), integer(8)
			return []cudatest.Range{
				writes(0, 2*out*in), reads(1, out*in/2), reads(2, 2*out*in/64), reads(3, 4*in), reads(4, 2*out*rank), reads(5, 2*in*rank),
			}
		case kernel == "svdq_vector":
			return []cudatest.Range{writes(0, 4*integer(2)), reads(1, 2*integer(2))}
		case kernel == "svdq_lowrank":
			n := 2 * integer(2) * integer(3)
			return []cudatest.Range{writes(0, n), reads(1, n)}
		case kernel == "svdq_shift":
			out, in := integer(4), integer(5)
			return []cudatest.Range{writes(0, 4*out), reads(1, out*in/2), reads(2, 2*out*in/64), reads(3, 4*in)}
		}
		t.Errorf("no test knows what %s uses", kernel)
		return nil
	}
}

// scales is what looks at weights at the moment at which a kernel is launched that reads them:
// they must be those of the linear that was called. The kernels that bring weights into order
// only copy them here, so that what they write is known too.
type scales struct {
	t    *testing.T
	want chan compute.LinearSpec
	// unpacked is the linear whose weights were unpacked for the next product.
	unpacked *compute.SVDQ

	mu    sync.Mutex
	wrong []string
	fresh map[uint64]bool // where bytes came that nothing has brought into order
}

func newScales(t *testing.T, l *cudatest.Library) *scales {
	t.Helper()
	s := &scales{t: t, want: make(chan compute.LinearSpec, 10_000), fresh: map[uint64]bool{}}
	l.Machine.Watch, l.Machine.Uses = s.watch, uses(t)
	l.Machine.Copies = func(dst uint64, _ []byte) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fresh[dst] = true
	}
	return s
}

func (s *scales) watch(kernel string, parameter func(i int) uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case strings.HasPrefix(kernel, "gemm_bf16"):
		s.product(map[bool]uint64{false: parameter(2), true: parameter(1)}[kernel == "gemm_bf16_hopper"], parameter(3))
	case kernel == "svdq_weights":
		q, ok := (<-s.want).(compute.SVDQ)
		if !ok {
			s.wrong = append(s.wrong, "weights of another linear are unpacked")
			return
		}
		s.unpacked = &q
		for i, w := range []compute.Weight{q.QWeight, q.WScales, q.Smooth, q.Up, q.Down} {
			s.same(w.Name, parameter(1+i), w.Data)
		}
	case kernel == "svdq_vector":
		s.move(parameter(0), parameter(1), 2*int(int32(parameter(2))))
	case kernel == "svdq_lowrank":
		s.move(parameter(0), parameter(1), 2*int(int32(parameter(2)))*int(int32(parameter(3))))
	}
}

// product looks at the weights of a product, unless they were unpacked, and at its bias.
func (s *scales) product(w, bias uint64) {
	if q := s.unpacked; q != nil {
		s.same("bias", bias, q.Bias.Data)
		s.unpacked = nil
		return
	}
	d, ok := (<-s.want).(compute.Dense)
	if !ok {
		s.wrong = append(s.wrong, "a product without unpacked weights")
		return
	}
	s.same("weights", w, d.Weights[0].Data)
	s.same("bias", bias, widened(d.Biases[0].Data))
}

func (s *scales) same(what string, address uint64, want []byte) {
	if string(bytesOn(address, len(want))) != string(want) {
		s.wrong = append(s.wrong, what)
	}
}

// move is a kernel that brings weights into order, of which each takes what came only once.
func (s *scales) move(to, from uint64, n int) {
	if !s.fresh[from] {
		s.wrong = append(s.wrong, "brought into order twice")
	}
	delete(s.fresh, from)
	copy(bytesOn(to, n), bytesOn(from, n))
}

// mixed is a group of linears.
type mixed struct {
	linears []compute.Linear
	specs   []compute.LinearSpec
}

// loadMixed loads groups of dense and SVDQ linears of several sizes.
func loadMixed(t *testing.T, b *kernels.Backend, rng *rand.Rand, n int) []mixed {
	t.Helper()
	groups := make([]mixed, n)
	for i := range groups {
		b.Group(fmt.Sprintf("group %d", i))
		for j := range 1 + rng.IntN(2) {
			var spec compute.LinearSpec
			if (i+j)%2 == 0 {
				spec = computetest.NewSVDQ(rng, 128, 128*(1+rng.IntN(2)), 16, rng.IntN(2) == 0).Spec
			} else {
				out := int64(64 * (1 + rng.IntN(9)))
				bias := randomTable(rng, "bias", safetensors.BF16, out, 1)
				bias.Shape = bias.Shape[:1]
				spec = compute.Dense{Weights: []compute.Weight{randomTable(rng, "w", safetensors.BF16, out, 128)}, Biases: []compute.Weight{bias}}
			}
			l, err := b.LoadLinear(spec)
			require.NoError(t, err)
			groups[i].linears, groups[i].specs = append(groups[i].linears, l), append(groups[i].specs, spec)
		}
	}
	b.Group("")
	return groups
}

// use calls the linears of a group.
func (s *scales) use(b *kernels.Backend, g mixed, rows int) {
	for i, linear := range g.linears {
		s.want <- g.specs[i]
		product(b, linear, rows)
	}
}

// done ends a backend with which nothing went wrong.
func (s *scales) done(b *kernels.Backend, l *cudatest.Library) {
	require.NoError(s.t, b.Sync())
	require.NoError(s.t, b.Close())
	require.Empty(s.t, s.want)
	require.Empty(s.t, s.wrong)
	require.Empty(s.t, l.Machine.Disorder)
}

// On a device where kernels take their time, no copy touches what one that was launched still
// reads, and no kernel reads what is not there or not in order: with groups of every kind, some of
// which stay on the device, in whatever order they are used.
func TestCopiesFollowProducts(t *testing.T) {
	for name, c := range map[string]struct {
		device, rows int
		resident     string // the numbers of groups that stay
		kernel       string
	}{
		"all":    {ada, 3, "", "gemm_bf16_64x64"},
		"some":   {ada, 3, "348", "gemm_bf16_64x64"},
		"hopper": {hopper, 44 * 128, "", "gemm_bf16_hopper"},
	} {
		t.Run(name, func(t *testing.T) {
			l := cudatest.TwoDevices()
			l.Machine.Late = true
			s := newScales(t, l)
			b, err := fakeBackend(t, l, c.device, kernels.Options{ArenaBytes: 16 << 20, Streamed: func(group string) bool {
				return !strings.ContainsAny(group, "#"+c.resident)
			}})
			require.NoError(t, err)
			rng := rand.New(rand.NewPCG(8, 9))
			groups := loadMixed(t, b, rng, 13)
			for turn := range 200 {
				i := turn % len(groups)
				if turn > 100 {
					i = rng.IntN(len(groups))
				}
				for range 1 + turn%2 {
					s.use(b, groups[i], c.rows)
				}
			}
			s.done(b, l)
			for _, kernel := range []string{c.kernel, "svdq_weights", "svdq_vector", "svdq_lowrank", "svdq_shift"} {
				require.NotZero(t, l.Machine.Launches[kernel], kernel)
			}
		})
	}
}

// Groups that were loaded after others were used have their turn too, though the window grows
// under those, and they move in it.
func TestGroupsThatComeLater(t *testing.T) {
	l := cudatest.TwoDevices()
	l.Machine.Late = true
	s := newScales(t, l)
	b, err := fakeBackend(t, l, ada, kernels.Options{ArenaBytes: 1 << 20, Streamed: streamed("group")})
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(8, 9))
	_, err = b.LoadLinear(computetest.NewSVDQ(rng, 128, 256, 16, false).Spec) // unpacked memory is large enough from now on
	require.NoError(t, err)
	var groups []mixed
	for round := range 4 {
		groups = append(groups, loadMixed(t, b, rng, 2+3*round)...)
		for _, g := range groups {
			s.use(b, g, 3)
		}
	}
	s.done(b, l)
}

// A group that could not come comes when it is used again.
func TestGroupThatFailedToCome(t *testing.T) {
	l := cudatest.TwoDevices()
	b, err := fakeBackend(t, l, ada, kernels.Options{ArenaBytes: 1 << 20, Streamed: streamed("")})
	require.NoError(t, err)
	b.Group("only")
	linear, err := b.LoadLinear(computetest.NewSVDQ(rand.New(rand.NewPCG(1, 2)), 128, 128, 16, false).Spec)
	require.NoError(t, err)
	b.Group("")
	l.Fail.Set("cuModuleGetFunction", 2)
	product(b, linear, 3)
	require.Error(t, b.Sync())
	l.Fail.Clear()
	require.NoError(t, b.Renew())
	product(b, linear, 3)
	require.NoError(t, b.Close())
}

// The memory for unpacked weights is not given back under kernels that use it.
func TestUnpackedGrows(t *testing.T) {
	l := cudatest.TwoDevices()
	l.Machine.Uses = uses(t)
	b, err := fakeBackend(t, l, ada, kernels.Options{ArenaBytes: 1 << 20, Streamed: streamed("streams")})
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	linear, err := b.LoadLinear(computetest.NewSVDQ(rng, 128, 128, 16, false).Spec)
	require.NoError(t, err)
	product(b, linear, 3)
	b.Group("streams")
	_, err = b.LoadLinear(computetest.NewSVDQ(rng, 128, 256, 16, false).Spec)
	require.NoError(t, err)
	b.Group("")
	require.NoError(t, b.Close())
	require.Empty(t, l.Machine.Disorder)
}
