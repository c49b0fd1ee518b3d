package ref

import (
	"math"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// pre is a compute.Pre that is ready to run.
type pre struct {
	compute.Pre
	weight []float32
	mod    modulation
}

// pre makes a Pre ready to run on rows of cols values.
func (b *Backend) pre(p compute.Pre, cols int) pre {
	r := pre{Pre: p, weight: b.optional(p.Weight)}
	if p.Kind == compute.LayerNorm {
		r.mod = b.modulation(p.Mod, cols)
	}
	return r
}

// row computes dst = Pre(x), of row i of its tensor.
func (p *pre) row(dst, x []float32, i int) {
	switch p.Kind {
	case compute.None:
		copy(dst, x)
	case compute.SiLU:
		for j, v := range x {
			dst[j] = silu(v)
		}
	case compute.GELUTanh:
		for j, v := range x {
			dst[j] = geluTanh(v)
		}
	case compute.SwiGLU:
		for j := range dst {
			dst[j] = silu(x[j]) * x[len(dst)+j]
		}
	case compute.RMSNorm:
		for n := len(p.weight); len(x) > 0; dst, x = dst[n:], x[n:] {
			rmsNorm(dst[:n], x[:n], p.weight, p.Eps)
		}
	case compute.LayerNorm:
		layerNorm(dst, x, p.Eps)
		p.mod.modulate(dst, i)
	case compute.ChannelNorm, compute.ChannelNormSiLU:
		channelNorm(dst, x, p.weight)
		if p.Kind == compute.ChannelNormSiLU {
			for j, v := range dst {
				dst[j] = silu(v)
			}
		}
	}
}

func silu(v float32) float32 { return float32(float64(v) / (1 + math.Exp(-float64(v)))) }

// geluTanh uses 0.5·(1 + tanh z) = 1/(1 + e^−2z).
func geluTanh(v float32) float32 {
	x := float64(v)
	z := math.Sqrt(2/math.Pi) * (x + 0.044715*x*x*x)
	return float32(x / (1 + math.Exp(-2*z)))
}

func gelu(v float32) float32 {
	x := float64(v)
	return float32(0.5 * x * (1 + math.Erf(x/math.Sqrt2)))
}

func squares(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}

// rmsNorm computes dst = x·w/√(mean(x²) + eps). dst may be x.
func rmsNorm(dst, x, w []float32, eps float32) {
	f := float32(1 / math.Sqrt(squares(x)/float64(len(x))+float64(eps)))
	for j, v := range x {
		dst[j] = v * f * w[j]
	}
}

func layerNorm(dst, x []float32, eps float32) {
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += float64(v)
	}
	mean /= float64(len(x))
	for _, v := range x {
		variance += (float64(v) - mean) * (float64(v) - mean)
	}
	f := 1 / math.Sqrt(variance/float64(len(x))+float64(eps))
	for j, v := range x {
		dst[j] = float32((float64(v) - mean) * f)
	}
}

func channelNorm(dst, x, w []float32) {
	f := float32(math.Sqrt(float64(len(x))) / max(math.Sqrt(squares(x)), 1e-12))
	for j, v := range x {
		dst[j] = v * f * w[j]
	}
}

// modulation is a compute.Mod that is ready to run. The zero one is none.
type modulation struct {
	compute.Mod
	table       []float32
	cols, width int
}

// modulation makes a Mod ready to run on rows of width values.
func (b *Backend) modulation(m compute.Mod, width int) modulation {
	if m == (compute.Mod{}) {
		return modulation{}
	}
	return modulation{m, b.values(m.Table), m.Table.Cols, width}
}

// part is a part of the table's row for a token.
func (m *modulation) part(token, part int) []float32 {
	r := m.Row
	if token >= m.Until {
		r = m.Rest
	}
	return m.table[r*m.cols+part*m.width:][:m.width]
}

// modulate computes x·scale + shift in place.
func (m *modulation) modulate(x []float32, token int) {
	if m.table == nil {
		return
	}
	shift, scale := m.part(token, m.Shift), m.part(token, m.Scale)
	one := float32(0)
	if m.PlusOne {
		one = 1
	}
	for j, v := range x {
		x[j] = v*(scale[j]+one) + shift[j]
	}
}
