// Package noise is the noise that an edit starts from: the normal numbers that a seed means.
//
// A seed is part of a picture's identity, so its noise is made on the host, the same for
// every backend and machine, and equal to what diffusers draws with a generator of that seed:
//
//   - Normal, the service's own, is torch.randn on a CUDA device (Philox4x32-10),
//   - NormalCPU is torch.randn on the CPU (MT19937), for golden vectors made there.
//
// # CUDA's numbers
//
// Philox4x32-10 (Salmon et al., SC11) is a function of a counter of 128 bits and a key of 64.
// PyTorch's kernel (ATen/native/cuda/DistributionTemplates.h, read in 2.12.0) starts
//
//	threads = 256 · min(SMs · ⌊threads per SM/256⌋, ⌈n/256⌉)
//
// threads, each with a generator of cuRAND: the key is the seed, the counter's upper half the
// thread's number, its lower half counts the calls. A call gives four words and, by Box-Muller,
// four normal numbers, of words 0 and 1 the sine, then the cosine, and likewise of 2 and 3. In
// call j of thread t, number k goes to element
//
//	(4·j + k)·threads + t
//
// Where all elements have a thread of their own, each gets its thread's first number only. That
// is so up to 270,336 elements on an H100 or H200 (132 SMs of 2,048 threads), so for a
// picture of 1024² (262,144). As ⌈n/256⌉ blocks are only started where that is enough
// for one number each, the noise of a smaller tensor is always the beginning of a larger
// one's, and the full number of threads can be taken for all sizes.
//
// Larger tensors depend on the GPU that drew them: GPU says which is meant. The layout holds
// for contiguous tensors that 32-bit offsets address (MaxElements), drawn first from a fresh
// generator, in float32, float16 or bfloat16; float64 is drawn in another way.
//
// The words are exact. The normal numbers are float32 computed from correctly rounded
// logarithms, square roots, sines and cosines; the GPU's __sincosf is an approximation with an
// absolute error of 2^-21.4 up to an angle of π and more beyond (CUDA Programming Guide), so
// that float32 differs in the last bits, and a value in bfloat16 can be off by one unit, most
// often one close to zero.
package noise

import (
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"sync"
)

// Constants of Philox4x32, of the paper: two multipliers, and what each round adds to the key.
const (
	multiplier0, multiplier1 = 0xd2511f53, 0xcd9e8d57
	weyl0, weyl1             = 0x9e3779b9, 0xbb67ae85
	rounds                   = 10
)

// Philox4x32 returns the four words of a counter under a key, in 10 rounds. Words of both are
// given lowest first.
func Philox4x32(counter [4]uint32, key [2]uint32) [4]uint32 {
	for range rounds {
		hi0, lo0 := bits.Mul32(multiplier0, counter[0])
		hi1, lo1 := bits.Mul32(multiplier1, counter[2])
		counter = [4]uint32{hi1 ^ counter[1] ^ key[0], lo1, hi0 ^ counter[3] ^ key[1], lo0}
		key[0] += weyl0
		key[1] += weyl1
	}
	return counter
}

// GPU is what the layout of a large tensor's noise depends on.
type GPU struct {
	// Multiprocessors is the number of SMs.
	Multiprocessors int
	// ThreadsPerMultiprocessor is how many threads can reside on one.
	ThreadsPerMultiprocessor int
}

// H100 is NVIDIA's H100 SXM and H200. The service's noise is an H100's, whatever it runs on.
var H100 = GPU{Multiprocessors: 132, ThreadsPerMultiprocessor: 2048}

// blockSize is the number of threads of a block of PyTorch's kernel.
const blockSize = 256

// Threads is the largest number of threads that PyTorch starts for a tensor; tensors of no
// more elements have the same noise on every GPU that has at least as many.
func (g GPU) Threads() int {
	return g.Multiprocessors * (g.ThreadsPerMultiprocessor / blockSize) * blockSize
}

// MaxElements is the largest tensor whose layout is the one described: beyond it PyTorch
// cuts a float32 tensor into several.
const MaxElements = math.MaxInt32 / 4

// Normal fills dst with what torch.randn draws first on a CUDA device for a contiguous
// tensor of len(dst) elements, after manual_seed(seed), before it is rounded to the tensor's
// own format (bf16.Round). It panics on more than MaxElements and on a GPU without threads.
func Normal(dst []float32, seed uint64, g GPU) {
	threads := g.Threads()
	if threads <= 0 || len(dst) > MaxElements {
		panic(fmt.Sprintf("noise: %d elements on %+v, want at most %d and a block of %d threads", len(dst), g, MaxElements, blockSize))
	}
	key := [2]uint32{uint32(seed), uint32(seed >> 32)}
	for call := uint32(0); len(dst) > 0; call++ {
		n := min(len(dst), 4*threads)
		fill(dst[:n], threads, call, key)
		dst = dst[n:]
	}
}

// fill stores one call of every thread: number k of thread t at k·threads + t. Threads are
// shared out to the processors: what one draws depends on no other.
func fill(dst []float32, threads int, call uint32, key [2]uint32) {
	n := min(threads, len(dst))
	shares := min(runtime.GOMAXPROCS(0), (n+leastThreads-1)/leastThreads)
	var group sync.WaitGroup
	for i := range shares {
		group.Go(func() {
			for t := n * i / shares; t < n*(i+1)/shares; t++ {
				draw(dst, t, threads, call, key)
			}
		})
	}
	group.Wait()
}

// leastThreads are worth a goroutine: some 100 µs.
const leastThreads = 1 << 11

// draw stores one call of thread t.
func draw(dst []float32, t, threads int, call uint32, key [2]uint32) {
	words := Philox4x32([4]uint32{call, 0, uint32(t), 0}, key)
	sin, cos := boxMuller(words[0], words[1])
	dst[t] = sin
	if t+threads >= len(dst) {
		return
	}
	dst[t+threads] = cos
	sin, cos = boxMuller(words[2], words[3])
	for k, v := range [2]float32{sin, cos} {
		if at := t + (2+k)*threads; at < len(dst) {
			dst[at] = v
		}
	}
}

// What cuRAND multiplies a word with: 2^-32, and 2π·2^-32 in float32.
const (
	unit  = 1.0 / (1 << 32)
	angle = float32(2*math.Pi) * unit
)

// boxMuller turns two words into two normal numbers as cuRAND does: the first word is the
// radius, the second the angle, both taken at the middle of their 2^-32. The GPU multiplies
// and adds with one rounding; in float64 the product is exact, and the sum's own rounding is
// far below float32's.
func boxMuller(x, y uint32) (sin, cos float32) {
	u := float32(float64(float32(x))*unit + unit/2)
	v := float32(float64(float32(y))*float64(angle) + float64(angle/2))
	radius := float32(math.Sqrt(float64(-2 * float32(math.Log(float64(u))))))
	s, c := math.Sincos(float64(v))
	return float32(s) * radius, float32(c) * radius
}
