package kernels_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda/cudatest"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// randomTable is a table whose values are finite in both formats.
func randomTable(rng *rand.Rand, name string, d safetensors.DType, rows, cols int64) compute.Weight {
	w := compute.Weight{Name: name, DType: d, Shape: []int64{rows, cols}}
	for range rows * cols {
		v := float32(rng.NormFloat64())
		if d == safetensors.F32 {
			w.Data = binary.LittleEndian.AppendUint32(w.Data, uint32(rng.Uint64()>>34)|uint32(rng.Uint64()>>63)<<31)
		} else {
			w.Data = binary.LittleEndian.AppendUint16(w.Data, bf16.Bits(v))
		}
	}
	return w
}

// arrived reports whether bytes lie somewhere on a fake device.
func arrived(l *cudatest.Library, data []byte) bool {
	for _, b := range l.Machine.Live {
		if bytes.Contains(b, data) {
			return true
		}
	}
	return false
}

// What is loaded is on the device once the host waits, on one that is late with its copies:
// as it lies in the file, in float32 or rounded, and several matrices one below the other.
func TestEveryByteIsLoaded(t *testing.T) {
	l := cudatest.TwoDevices()
	l.Machine.Late = true
	b := openFake(t, l, hopper)
	rng := rand.New(rand.NewPCG(3, 4))
	short, wide := randomTable(rng, "short", safetensors.BF16, 7, 13), randomTable(rng, "wide", safetensors.F32, 5, 11)
	long := randomTable(rng, "long", safetensors.BF16, 1200, 1025) // several buffers
	for _, w := range []compute.Weight{short, wide, long} {
		_, err := b.LoadTable(w)
		require.NoError(t, err)
	}
	_, err := b.LoadVector(short)
	require.NoError(t, err)
	more := randomTable(rng, "more", safetensors.F32, 3, 11)
	bias := func(n int64) compute.Weight {
		w := randomTable(rng, "bias", safetensors.BF16, n, 1)
		w.Shape = w.Shape[:1]
		return w
	}
	five, three := bias(5), bias(3)
	_, err = b.LoadLinear(compute.Dense{Weights: []compute.Weight{wide, more}, Biases: []compute.Weight{five, three}})
	require.NoError(t, err)
	_, err = b.LoadLinear(compute.Dense{Weights: []compute.Weight{long}})
	require.NoError(t, err)
	require.NoError(t, b.Sync())
	for name, data := range map[string][]byte{
		"short": short.Data, "long": long.Data, "short in float32": widened(short.Data),
		"matrices":             append(bytes.Clone(wide.Data), more.Data...),
		"matrices in bfloat16": padded(append(narrowed(wide.Data), narrowed(more.Data)...), 11, 16), "a long one": padded(long.Data, 1025, 1032),
		"biases": append(widened(five.Data), widened(three.Data)...),
	} {
		require.True(t, arrived(l, data), name)
	}
	require.NoError(t, b.Close())
	require.Empty(t, l.Machine.Live)
}

// padded has rows of n values of 2 bytes with zeros behind them.
func padded(data []byte, n, to int) (out []byte) {
	for row := range slices.Chunk(data, 2*n) {
		out = append(append(out, row...), make([]byte, 2*(to-n))...)
	}
	return out
}

func widened(data []byte) (out []byte) {
	for i := 0; i < len(data); i += 2 {
		out = append(out, 0, 0, data[i], data[i+1])
	}
	return out
}

func narrowed(data []byte) (out []byte) {
	for v := range f32s(data) {
		out = binary.LittleEndian.AppendUint16(out, bf16.Bits(v))
	}
	return out
}

// Threads and pinned memory for loading are there while something is being loaded.
func TestLoadingEnds(t *testing.T) {
	l := cudatest.TwoDevices()
	b := openFake(t, l, hopper)
	allocations, goroutines := len(l.Machine.Live), runtime.NumGoroutine()
	_, err := b.LoadTable(randomTable(rand.New(rand.NewPCG(3, 4)), "t", safetensors.BF16, 2000, 1024)) // more than is copied without threads
	require.NoError(t, err)
	require.NoError(t, b.Sync())
	require.Len(t, l.Machine.Live, allocations+1, "the table's memory, and no pinned buffers")
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "threads are still there")
	}
	require.NoError(t, b.Close())
}

// A copy that fails is the error of the first call that waits, and says which tensor it was.
func TestLoadingFails(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	load := map[string]func(b *kernels.Backend) error{
		"vector": func(b *kernels.Backend) error {
			return second(b.LoadVector(randomTable(rng, "vector", safetensors.BF16, 1, 64)))
		},
		"table": func(b *kernels.Backend) error {
			return second(b.LoadTable(randomTable(rng, "table", safetensors.BF16, 2, 64)))
		},
		"dense": func(b *kernels.Backend) error {
			return second(b.LoadLinear(compute.Dense{Weights: []compute.Weight{randomTable(rng, "dense", safetensors.BF16, 2, 64)}}))
		},
		"conv|bias": func(b *kernels.Backend) error {
			w := randomTable(rng, "conv", safetensors.BF16, 8, 8)
			w.Shape = []int64{8, 8, 1, 1}
			bias := randomTable(rng, "bias", safetensors.BF16, 8, 1)
			bias.Shape = bias.Shape[:1]
			return second(b.LoadConv(compute.ConvSpec{Weight: w, Bias: bias, Stride: 1}))
		},
	}
	for name, f := range load {
		t.Run(name, func(t *testing.T) {
			l := cudatest.TwoDevices()
			l.Fail.Set("cuMemcpyHtoDAsync_v2", 2)
			b := openFake(t, l, hopper)
			require.NoError(t, f(b))
			err := b.Sync()
			require.Regexp(t, "copying ("+name+") BF16\\[", err)
			require.ErrorIs(t, err, cuda.ErrMemory)
			require.Equal(t, fault.Resource, fault.KindOf(err))
			require.Equal(t, err, b.Close())
			require.Empty(t, l.Machine.Live)
		})
	}
}

func second[T any](_ T, err error) error { return err }

// Close does not wait for what nobody will use.
func TestLoadingIsGivenUp(t *testing.T) {
	l := cudatest.TwoDevices()
	b := openFake(t, l, hopper)
	_, err := b.LoadTable(randomTable(rand.New(rand.NewPCG(3, 4)), "t", safetensors.BF16, 2000, 1024))
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.Empty(t, l.Machine.Live)
}

// A linear whose kernels have no room is an error that names it, and leaves the rest as it
// was.
func TestNoRoomForLoading(t *testing.T) {
	for held, bytes := range map[kernels.Held]int{kernels.Packed: 13056, kernels.EightBits: 42752} {
		l := cudatest.TwoDevices()
		b, err := fakeBackend(t, l, hopper, kernels.Options{ArenaBytes: 64 << 10, Held: held})
		require.NoError(t, err)
		spec := computetest.NewSVDQ(rand.New(rand.NewPCG(3, 4)), 128, 256, 16, true).Spec
		all := b.Alloc(compute.Act, 1, 32000)
		_, err = b.LoadLinear(spec)
		require.ErrorContains(t, err, fmt.Sprintf("out of CUDA memory: its kernels read %d bytes in the arena, and 64000 of 65536 are in use", bytes))
		require.ErrorContains(t, err, "loading "+spec.QWeight.String())
		require.Equal(t, fault.Resource, fault.KindOf(err))
		b.Upload(all, make([]float32, 32000))
		require.NoError(t, b.Close())
	}
}

// Kernels that bring weights into order run when the bytes are there that they read, and the
// bytes stay until then, in however many rounds the arena has room for.
func TestRoundsOfLoading(t *testing.T) {
	for name, room := range map[string]int64{"one": 1 << 20, "several": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			l := cudatest.TwoDevices()
			l.Machine.Late = true
			var read [][]byte
			l.Machine.Watch = func(kernel string, parameter func(i int) uint64) {
				if kernel == "svdq_lowrank" {
					n := 2 * uint32(parameter(2)) * uint32(parameter(3))
					read = append(read, bytes.Clone(cudatest.Bytes(uintptr(parameter(1)), int(n))))
				}
			}
			b, err := fakeBackend(t, l, hopper, kernels.Options{ArenaBytes: room})
			require.NoError(t, err)
			tensor := b.Alloc(compute.Act, 1, 1000)
			b.Upload(tensor, make([]float32, 1000))
			rng := rand.New(rand.NewPCG(9, 9))
			var want [][]byte
			for range 9 {
				spec := computetest.NewSVDQ(rng, 128, 256, 16, true).Spec
				_, err := b.LoadLinear(spec)
				require.NoError(t, err)
				want = append(want, spec.Up.Data, spec.Down.Data)
			}
			require.NoError(t, b.Sync())
			require.Equal(t, want, read)
			got := make([]float32, 1000)
			require.NoError(t, b.Download(got, tensor))
			require.Equal(t, make([]float32, 1000), got, "a tensor was written over")
			require.NoError(t, b.Close())
		})
	}
}

// linearsInRounds loads linears and returns what one after the other makes of a picture.
func linearsInRounds(t *testing.T, o kernels.Options) (out []float32) {
	b := open(t, o)
	rng := rand.New(rand.NewPCG(11, 12))
	var all []compute.Linear
	for i := range 12 {
		l, err := b.LoadLinear(computetest.NewSVDQ(rng, 256, 256, 32, i%2 == 0).Spec)
		require.NoError(t, err)
		all = append(all, l)
	}
	x, y := b.Alloc(compute.Act, 64, 256), b.Alloc(compute.Act, 64, 256)
	v := make([]float32, x.Len())
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	for _, l := range all {
		b.Upload(x, v)
		b.Linear(y, l, x, compute.Pre{}, compute.Post{})
		part := make([]float32, y.Len())
		require.NoError(t, b.Download(part, y))
		out = append(out, part...)
	}
	require.NoError(t, b.Close())
	return out
}

// Weights that were brought into order in many rounds are those of one, bit for bit.
func TestGPURoundsOfLoading(t *testing.T) {
	device(t)
	for _, held := range []kernels.Held{kernels.Packed, kernels.Whole} {
		one := linearsInRounds(t, kernels.Options{ArenaBytes: 64 << 20, Held: held})
		many := linearsInRounds(t, kernels.Options{ArenaBytes: 256 << 10, Held: held})
		require.Equal(t, one, many)
	}
}

// Every byte of tables of many sizes comes back from a GPU, some of them larger than all
// pinned memory.
func TestGPUEveryByteIsLoaded(t *testing.T) {
	b := open(t, kernels.Options{ArenaBytes: 512 << 20})
	rng := rand.New(rand.NewPCG(5, 6))
	var weights []compute.Weight
	var tables []compute.Table
	for i, n := range []int64{1, 3, 255, 4096, 20000, 77} {
		for _, d := range []safetensors.DType{safetensors.BF16, safetensors.F32} {
			w := randomTable(rng, fmt.Sprint("t", i), d, n, 1001)
			table, err := b.LoadTable(w)
			require.NoError(t, err)
			weights, tables = append(weights, w), append(tables, table)
		}
	}
	for i, w := range weights {
		mark := b.Mark()
		ids := make([]int32, tables[i].Rows())
		for j := range ids {
			ids[j] = int32(j)
		}
		rows := b.Alloc(compute.F32, len(ids), tables[i].Cols())
		b.Embed(rows, tables[i], ids)
		got := make([]float32, rows.Len())
		require.NoError(t, b.Download(got, rows))
		data := w.Data
		if w.DType == safetensors.BF16 {
			data = widened(data)
		}
		at := 0
		for v := range f32s(data) {
			if v != got[at] {
				require.Failf(t, "another value", "%v of %v is %v, not %v", at, w, got[at], v)
			}
			at++
		}
		b.Reset(mark)
	}
	require.NoError(t, b.Close())
}

// f32s are the values of bytes.
func f32s(data []byte) iter.Seq[float32] {
	return func(yield func(float32) bool) {
		for i := 0; i < len(data); i += 4 {
			if !yield(math.Float32frombits(binary.LittleEndian.Uint32(data[i:]))) {
				return
			}
		}
	}
}
