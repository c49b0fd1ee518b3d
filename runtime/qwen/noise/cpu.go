package noise

import (
	"fmt"
	"math"
)

// Constants of MT19937 (Matsumoto and Nishimura, 1998).
const (
	mtWords  = 624
	mtMiddle = 397
	mtMatrix = 0x9908b0df
	mtUpper  = 0x80000000
)

// MT19937 is the Mersenne Twister, PyTorch's generator on the CPU. Make one with NewMT19937;
// it is not safe for concurrent use.
type MT19937 struct {
	state [mtWords]uint32
	next  int
}

// NewMT19937 seeds a generator as manual_seed does: only the low 32 bits of a seed count.
func NewMT19937(seed uint64) *MT19937 {
	m := &MT19937{next: mtWords}
	m.state[0] = uint32(seed)
	for i := 1; i < mtWords; i++ {
		before := m.state[i-1]
		m.state[i] = 1812433253*(before^before>>30) + uint32(i)
	}
	return m
}

// Uint32 returns the next word.
func (m *MT19937) Uint32() uint32 {
	if m.next == mtWords {
		m.twist()
	}
	y := m.state[m.next]
	m.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

func (m *MT19937) twist() {
	for i := range m.state {
		y := m.state[i]&mtUpper | m.state[(i+1)%mtWords]&^mtUpper
		m.state[i] = m.state[(i+mtMiddle)%mtWords] ^ y>>1 ^ y&1*mtMatrix
	}
	m.next = 0
}

// CPUGroup is the number of elements that PyTorch draws at a time on the CPU.
const CPUGroup = 16

// NormalCPU fills dst with what torch.randn draws first on the CPU for a contiguous tensor of
// len(dst) elements, after manual_seed(seed), before it is rounded to the tensor's own format.
// len(dst) must be a multiple of CPUGroup, as every latent of 16 channels is, or it panics:
// other lengths are drawn in another way.
//
// The layout is that of ATen/native/cpu/DistributionTemplates.h, read in PyTorch 2.12.0: of 16
// uniform numbers of 24 bits, the first eight are radii and the last eight angles; cosines come
// first, then sines. Values agree to a few units of float32, since PyTorch's vector code has
// approximations of its own.
func NormalCPU(dst []float32, seed uint64) {
	if len(dst)%CPUGroup != 0 {
		panic(fmt.Sprintf("noise: %d elements, want a multiple of %d", len(dst), CPUGroup))
	}
	m := NewMT19937(seed)
	for ; len(dst) > 0; dst = dst[CPUGroup:] {
		var uniform [CPUGroup]float32
		for i := range uniform {
			uniform[i] = float32(m.Uint32()&(1<<24-1)) / (1 << 24)
		}
		for i := range CPUGroup / 2 {
			radius := float32(math.Sqrt(float64(-2 * float32(math.Log(float64(1-uniform[i]))))))
			sin, cos := math.Sincos(float64(float32(2*math.Pi) * uniform[i+CPUGroup/2]))
			dst[i], dst[i+CPUGroup/2] = radius*float32(cos), radius*float32(sin)
		}
	}
}
