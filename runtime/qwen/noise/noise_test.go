package noise_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/noise"
)

// TestPhilox holds the generator against the known answers that its authors publish
// (Random123, tests/kat_vectors, "philox4x32 10").
func TestPhilox(t *testing.T) {
	const all = 0xffffffff
	cases := []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{all, all, all, all}, [2]uint32{all, all}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	}
	for _, tc := range cases {
		require.Equal(t, tc.want, noise.Philox4x32(tc.counter, tc.key))
	}
}

// TestMT19937 holds the Twister against the value that the C++ standard demands of its
// mt19937: the 10,000th word of the seed 5489 ([rand.predef]).
func TestMT19937(t *testing.T) {
	m := noise.NewMT19937(5489)
	for range 9999 {
		m.Uint32()
	}
	require.Equal(t, uint32(4123659995), m.Uint32())
}

// small has 1,536 threads, so that tests can go through several calls of each.
var small = noise.GPU{Multiprocessors: 3, ThreadsPerMultiprocessor: 600}

// kernel draws as the threads of PyTorch's kernel do, one after the other, with as few
// blocks as it starts: the definition, where Normal takes the short way.
func kernel(n int, seed uint64, g noise.GPU) []float32 {
	threads := min(g.Threads(), (n+255)/256*256)
	out := make([]float32, n)
	for t := range threads {
		for call := 0; call*4*threads+t < n; call++ {
			words := noise.Philox4x32([4]uint32{uint32(call), 0, uint32(t), 0}, [2]uint32{uint32(seed), uint32(seed >> 32)})
			for k := range 4 {
				if at := (4*call+k)*threads + t; at < n {
					out[at] = normal(words[k&^1], words[k|1], k%2 == 0)
				}
			}
		}
	}
	return out
}

// normal is one of the two numbers that Box and Muller make of two words, in float64.
func normal(x, y uint32, sine bool) float32 {
	radius, angle := math.Sqrt(-2*math.Log((float64(x)+0.5)/(1<<32))), 2*math.Pi*(float64(y)+0.5)/(1<<32)
	if sine {
		return float32(radius * math.Sin(angle))
	}
	return float32(radius * math.Cos(angle))
}

func TestLayout(t *testing.T) {
	require.Equal(t, 270336, noise.H100.Threads())
	require.Equal(t, 1536, small.Threads())
	for _, n := range []int{0, 1, 255, 256, 257, 1535, 1536, 1537, 3072, 3073, 4609, 6143, 6144, 6145, 7680, 7681, 20000} {
		got := make([]float32, n)
		noise.Normal(got, 77<<40+5, small)
		want := kernel(n, 77<<40+5, small)
		for i := range got {
			require.InDelta(t, want[i], got[i], 3e-6, "element %d of %d", i, n)
		}
	}
}

// TestProcessors: the noise does not depend on how threads were shared out.
func TestProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	for _, elements := range []int{9001, 300_000} { // of one number a thread, and of two for some
		var first []float32
		for _, n := range []int{1, 2, 7} {
			runtime.GOMAXPROCS(n)
			x := make([]float32, elements)
			noise.Normal(x, 3, noise.H100)
			if first == nil {
				first = x
			}
			require.Equal(t, first, x, "%d processors", n)
		}
	}
}

// TestBeginning: the noise of a smaller tensor is the beginning of a larger one's, and up to
// the number of threads it is the same on every GPU.
func TestBeginning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed, n := rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 10000).Draw(t, "n")
		whole, part := make([]float32, 10000), make([]float32, n)
		noise.Normal(whole, seed, small)
		noise.Normal(part, seed, small)
		require.Equal(t, whole[:n], part)
		noise.Normal(part, seed, noise.H100)
		require.Equal(t, whole[:min(n, small.Threads())], part[:min(n, small.Threads())])
	})
}

// TestMoments: mean, variance, skewness and kurtosis of a million numbers, and that their
// neighbours, in order and from one number of a thread to the next, know nothing of each other.
func TestMoments(t *testing.T) {
	draw := map[string]func([]float32){
		"CUDA": func(x []float32) { noise.Normal(x, 2026, noise.H100) },
		"CPU":  func(x []float32) { noise.NormalCPU(x, 2026) },
	}
	x := make([]float32, 1<<20)
	for name, fill := range draw {
		fill(x)
		var sum [5]float64
		var beside, lane float64
		for i, v := range x {
			for power, p := 1, float64(v); power < 5; power, p = power+1, p*float64(v) {
				sum[power] += p
			}
			beside += float64(v) * float64(x[(i+1)%len(x)])
			lane += float64(v) * float64(x[(i+noise.H100.Threads())%len(x)])
		}
		n := float64(len(x))
		for what, tc := range map[string][3]float64{ // value, expected, five standard errors
			"mean": {sum[1] / n, 0, 5 / math.Sqrt(n)}, "variance": {sum[2] / n, 1, 5 * math.Sqrt(2/n)},
			"skewness": {sum[3] / n, 0, 5 * math.Sqrt(15/n)}, "kurtosis": {sum[4] / n, 3, 5 * math.Sqrt(96/n)},
			"neighbours": {beside / n, 0, 5 / math.Sqrt(n)}, "lanes": {lane / n, 0, 5 / math.Sqrt(n)},
		} {
			require.InDelta(t, tc[1], tc[0], tc[2], "%s of %s", what, name)
		}
	}
}

func TestRefusals(t *testing.T) {
	require.Panics(t, func() { noise.Normal(make([]float32, 1), 0, noise.GPU{}) })
	require.Panics(t, func() {
		noise.Normal(make([]float32, 1), 0, noise.GPU{Multiprocessors: 1, ThreadsPerMultiprocessor: 255})
	})
	require.PanicsWithValue(t, "noise: 17 elements, want a multiple of 16", func() { noise.NormalCPU(make([]float32, 17), 0) })
	noise.Normal(nil, 0, noise.H100)
	noise.NormalCPU(nil, 0)
}

// drawn is what a script of testdata had PyTorch draw. At is nil where all elements are kept.
type drawn struct {
	Versions map[string]string
	Cases    []struct {
		Seed              uint64
		Shape             []int
		Elements          int
		At                []int
		Float32, BFloat16 []float32
	}
}

func readDrawn(t *testing.T, name string) (d drawn) {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &d))
	require.NotEmpty(t, d.Cases)
	return d
}

// TestTorchCPU holds NormalCPU against PyTorch's own draws.
func TestTorchCPU(t *testing.T) {
	d := readDrawn(t, "testdata/torch_cpu.json")
	require.Equal(t, "2.12.0+cu130", d.Versions["torch"])
	for _, c := range d.Cases {
		x := make([]float32, len(c.Float32))
		noise.NormalCPU(x, c.Seed)
		compare(t, fmt.Sprintf("seed %d, shape %v", c.Seed, c.Shape), x, c.Float32, c.BFloat16, 2e-6)
	}
}

// TestTorchCUDA holds Normal against what an H100 drew: elements around all edges of the
// layout, in sizes of one number a thread, of four, and of a second call. The worst distance
// seen is 1.6e-6, from __sincosf at angles beyond π; a wrong lane is off by 1.
func TestTorchCUDA(t *testing.T) {
	for _, c := range readDrawn(t, "testdata/torch_cuda.json").Cases {
		x := make([]float32, c.Elements)
		noise.Normal(x, c.Seed, noise.H100)
		kept := make([]float32, len(c.At))
		for i, at := range c.At {
			kept[i] = x[at]
		}
		compare(t, fmt.Sprintf("seed %d, %d elements", c.Seed, c.Elements), kept, c.Float32, c.BFloat16, 4e-6)
	}
}

// compare bounds the distance in float32, and the share of elements whose bfloat16 differs.
func compare(t *testing.T, what string, got, float, half []float32, bound float64) {
	t.Helper()
	require.Len(t, float, len(got), what)
	require.Len(t, half, len(got), what)
	differ, worst := 0, 0.0
	for i, v := range got {
		worst = max(worst, math.Abs(float64(v)-float64(float[i])))
		if bf16.Round(v) != half[i] {
			differ++
		}
	}
	require.Less(t, worst, bound, what)
	require.LessOrEqual(t, differ, 1+len(got)/100, "%s: values that differ in bfloat16", what)
	t.Logf("%s: worst distance %.2g, %d of %d differ in bfloat16", what, worst, differ, len(got))
}

func BenchmarkNormal(b *testing.B) {
	for _, side := range []int{1024, 2048} {
		x := make([]float32, 16*side/8*side/8)
		b.Run(fmt.Sprintf("%d²", side), func(b *testing.B) {
			b.SetBytes(4 * int64(len(x)))
			for b.Loop() {
				noise.Normal(x, 1, noise.H100)
			}
		})
	}
}

func BenchmarkNormalCPU(b *testing.B) {
	x := make([]float32, 16*256*256)
	b.SetBytes(4 * int64(len(x)))
	for b.Loop() {
		noise.NormalCPU(x, 1)
	}
}
