package kernels_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// streamed are all groups, or those whose name has a word in it.
func streamed(word string) func(group string) bool {
	return func(group string) bool { return strings.Contains(group, word) }
}

// bytesOn are those of a fake device.
func bytesOn(address uint64, n int) []byte {
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&address)), n)
}

// products looks at the weights of each product at the moment at which it is launched, on a
// device that is late with its copies: they must be those of the linear that was called.
type products struct {
	t      *testing.T
	want   chan []byte
	failed int
}

func (p *products) watch(kernel string, parameter func(i int) uint64) {
	if !strings.HasPrefix(kernel, "gemm_bf16") {
		return
	}
	if want := <-p.want; string(want) != string(bytesOn(parameter(2), len(want))) {
		p.failed++
	}
}

// A group has its weights in the window when an operation is launched, and keeps them until the
// next group is used, in whatever order groups are used, some of which stay on the device.
func TestGroupsComeAndGo(t *testing.T) {
	for name, which := range map[string]string{"all": "", "some": "2"} {
		t.Run(name, func(t *testing.T) {
			l := cudatest.TwoDevices()
			l.Machine.Late = true
			p := &products{t: t, want: make(chan []byte, 1000)}
			l.Machine.Watch = p.watch
			b, err := fakeBackend(t, l, ada, kernels.Options{ArenaBytes: 1 << 20, Streamed: streamed(which)})
			require.NoError(t, err)
			rng := rand.New(rand.NewPCG(8, 9))
			linears, bytes := loadGroups(t, b, rng, 23)
			x := b.Alloc(compute.Act, 3, 64)
			mark := b.Mark()
			for turn := range 200 {
				i := turn % len(linears)
				if turn > 100 {
					i = rng.IntN(len(linears))
				}
				for range 1 + turn%2 {
					p.want <- bytes[i]
					b.Linear(b.Alloc(compute.Act, 3, linears[i].Out()), linears[i], x, compute.Pre{}, compute.Post{})
				}
				b.Reset(mark)
			}
			require.NoError(t, b.Sync())
			require.Zero(t, p.failed, "products with other weights than theirs")
			require.Empty(t, p.want)
			require.NoError(t, b.Close())
			require.Empty(t, l.Machine.Live)
		})
	}
}

// loadGroups loads linears of several sizes, each of a group of its own.
func loadGroups(t *testing.T, b *kernels.Backend, rng *rand.Rand, n int) (linears []compute.Linear, bytes [][]byte) {
	t.Helper()
	for i := range n {
		b.Group(fmt.Sprintf("group %d", i))
		w := randomTable(rng, fmt.Sprintf("w%d", i), safetensors.BF16, int64(64*(1+rng.IntN(9))), 64)
		l, err := b.LoadLinear(compute.Dense{Weights: []compute.Weight{w}})
		require.NoError(t, err)
		linears, bytes = append(linears, l), append(bytes, w.Data)
	}
	b.Group("")
	return linears, bytes
}

// The window is what package plan says, with weights of every kind.
func TestThePlanKnowsTheWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	w := func(d safetensors.DType, shape ...int64) compute.Weight {
		n := int64(1)
		for _, s := range shape {
			n *= s
		}
		w := randomTable(rng, "w", d, n, 1)
		w.Shape = shape
		return w
	}
	linear := func(s compute.LinearSpec) func(b compute.Backend) error {
		return func(b compute.Backend) error { _, err := b.LoadLinear(s); return err }
	}
	wide := compute.Dense{Weights: []compute.Weight{w(safetensors.F32, 40, 24), w(safetensors.F32, 8, 24)}}
	biased := compute.Dense{Weights: []compute.Weight{w(safetensors.BF16, 33, 65)}, Biases: []compute.Weight{w(safetensors.BF16, 33)}}
	quantised := compute.AWQ{
		QWeight: w(safetensors.F32, 5, 64), WScales: w(safetensors.BF16, 2, 20), WZeros: w(safetensors.BF16, 2, 20), Bias: w(safetensors.BF16, 20), Parts: 5,
	}
	quantised.QWeight.DType = safetensors.I32
	vector, table := w(safetensors.BF16, 77), w(safetensors.BF16, 9, 64)
	conv := compute.ConvSpec{Weight: w(safetensors.BF16, 5, 3, 2, 3, 3), Bias: w(safetensors.BF16, 5), Stride: 1}
	for name, load := range map[string]func(b compute.Backend) error{
		"dense":       linear(biased),
		"wide":        linear(wide),
		"svdq":        linear(computetest.NewSVDQ(rng, 128, 384, 48, true).Spec),
		"awq":         linear(quantised),
		"vector":      func(b compute.Backend) error { _, err := b.LoadVector(vector); return err },
		"table":       func(b compute.Backend) error { _, err := b.LoadTable(table); return err },
		"convolution": func(b compute.Backend) error { _, err := b.LoadConv(conv); return err },
	} {
		t.Run(name, func(t *testing.T) {
			b, err := fakeBackend(t, cudatest.TwoDevices(), ada, kernels.Options{ArenaBytes: 1 << 20, Streamed: streamed("")})
			require.NoError(t, err)
			unpacked := int64(0)
			if name == "svdq" {
				unpacked = 2 * 128 * 384
			}
			p := plan.New(plan.Options{})
			for _, b := range []compute.Backend{b, p} {
				b.Group("only")
				require.NoError(t, load(b))
				b.Group("")
			}
			require.NoError(t, b.Sync())
			want := p.Result().Groups[0].WindowBytes
			require.Equal(t, 2*want, b.Weights()-unpacked)
			require.Equal(t, name == "table", want == 0)
			require.NoError(t, b.Close())
		})
	}
}

// compiled waits for the kernels, whose compiling asks the fake library too.
func compiled(t *testing.T, b *kernels.Backend) {
	t.Helper()
	mark := b.Mark()
	b.Apply(b.Alloc(compute.Act, 1, 8), b.Alloc(compute.Act, 1, 8), compute.Pre{Kind: compute.SiLU})
	b.Reset(mark)
	require.NoError(t, b.Sync())
}

// Whatever of the driver fails as groups come, it is an error that sticks, and nothing crashes.
func TestGroupsFail(t *testing.T) {
	for _, call := range []string{"cuStreamWaitEvent", "cuEventRecord", "cuMemcpyHtoDAsync_v2", "cuEventSynchronize", "cuStreamCreate", "cuMemHostAlloc", "cuLaunchKernel"} {
		t.Run(call, func(t *testing.T) {
			l := cudatest.TwoDevices()
			b, err := fakeBackend(t, l, ada, kernels.Options{ArenaBytes: 1 << 20, Streamed: streamed("")})
			require.NoError(t, err)
			linears, _ := loadGroups(t, b, rand.New(rand.NewPCG(1, 2)), 9)
			x := b.Alloc(compute.Act, 3, 64)
			compiled(t, b)
			l.Fail.Set(call, 2)
			for _, linear := range linears {
				b.Linear(b.Alloc(compute.Act, 3, linear.Out()), linear, x, compute.Pre{}, compute.Post{})
			}
			require.ErrorContains(t, b.Sync(), call)
			require.ErrorContains(t, b.Close(), call)
		})
	}
}

// A window that has no room is an error of loading's end, and again until there is room.
func TestWindowHasNoRoom(t *testing.T) {
	l := cudatest.TwoDevices()
	p := &products{t: t, want: make(chan []byte, 1000)}
	l.Machine.Watch = p.watch
	b, err := fakeBackend(t, l, ada, kernels.Options{ArenaBytes: 1 << 20, Streamed: streamed("")})
	require.NoError(t, err)
	compiled(t, b)
	linears, bytes := loadGroups(t, b, rand.New(rand.NewPCG(1, 2)), 4)
	l.Fail.Set("cuMemAlloc_v2", 2)
	for range 2 {
		require.ErrorContains(t, b.Sync(), "making a window for 4 groups of weights: ")
		require.ErrorContains(t, b.Renew(), "making a window")
	}
	l.Fail.Clear()
	require.NoError(t, b.Renew())
	p.want <- bytes[2]
	b.Linear(b.Alloc(compute.Act, 3, linears[2].Out()), linears[2], b.Alloc(compute.Act, 3, 64), compute.Pre{}, compute.Post{})
	require.NoError(t, b.Close())
	require.Zero(t, p.failed)
	require.Empty(t, l.Machine.Live)
}

// A backend that is closed in the middle of loading makes no window.
func TestNoWindowForNobody(t *testing.T) {
	l := cudatest.TwoDevices()
	b, err := fakeBackend(t, l, ada, kernels.Options{ArenaBytes: 1 << 20, Streamed: streamed("")})
	require.NoError(t, err)
	compiled(t, b)
	loadGroups(t, b, rand.New(rand.NewPCG(1, 2)), 4)
	l.Fail.Set("cuMemAlloc_v2", 2)
	require.NoError(t, b.Close())
	require.Empty(t, l.Machine.Live)
}

// Weights of a group that is being loaded cannot be used.
func TestOpenGroup(t *testing.T) {
	b, err := fakeBackend(t, cudatest.TwoDevices(), ada, kernels.Options{ArenaBytes: 1 << 20, Streamed: streamed("")})
	require.NoError(t, err)
	b.Group("open")
	w := randomTable(rand.New(rand.NewPCG(1, 2)), "w", safetensors.BF16, 64, 64)
	linear, err := b.LoadLinear(compute.Dense{Weights: []compute.Weight{w}})
	require.NoError(t, err)
	x := b.Alloc(compute.Act, 3, 64)
	use := func() { b.Linear(b.Alloc(compute.Act, 3, 64), linear, x, compute.Pre{}, compute.Post{}) }
	require.PanicsWithValue(t, "kernels: an operation with weights of open, which is being loaded", use)
	b.Group("")
	use()
	require.NoError(t, b.Close())
}

// Values that are not finite do not end what streams.
func TestGroupsAfterAnError(t *testing.T) {
	l := cudatest.TwoDevices()
	p := &products{t: t, want: make(chan []byte, 1000)}
	l.Machine.Watch = p.watch
	b, err := fakeBackend(t, l, ada, kernels.Options{ArenaBytes: 1 << 20, Streamed: streamed("")})
	require.NoError(t, err)
	linears, bytes := loadGroups(t, b, rand.New(rand.NewPCG(1, 2)), 9)
	x := b.Alloc(compute.Act, 3, 64)
	mark := b.Mark()
	for turn := range 40 {
		i := turn % len(linears)
		y := b.Alloc(compute.Act, 3, linears[i].Out())
		if turn%7 == 6 {
			b.Alloc(compute.Act, 1<<20, 1<<10) // has no room
			b.Linear(y, linears[i], x, compute.Pre{}, compute.Post{})
			require.Error(t, b.Sync())
			require.NoError(t, b.Renew())
			b.Reset(mark)
			continue
		}
		p.want <- bytes[i]
		b.Linear(y, linears[i], x, compute.Pre{}, compute.Post{})
		b.Reset(mark)
	}
	require.NoError(t, b.Sync())
	require.Zero(t, p.failed)
	require.NoError(t, b.Close())
}
