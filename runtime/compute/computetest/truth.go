package computetest

import (
	"math"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// truth of the contract's formulas, in float64.

// apply is W·x + b for each row.
func (p plain) apply(x matrix) matrix {
	y := newMatrix(x.rows, p.w.rows)
	for i := range x.rows {
		for o := range p.w.rows {
			s := 0.0
			if p.bias != nil {
				s = p.bias[o]
			}
			for k, w := range p.w.row(o) {
				s += w * x.row(i)[k]
			}
			y.row(i)[o] = s
		}
	}
	return y
}

// modTruth is a compute.Mod over a table's values.
type modTruth struct {
	compute.Mod
	table matrix
	width int
}

func (m modTruth) value(token, part, col int) float64 {
	r := m.Rest
	if token < m.Until {
		r = m.Row
	}
	return m.table.row(r)[part*m.width+col]
}

// preTruth is a compute.Pre over values.
type preTruth struct {
	kind   compute.PreKind
	eps    float64
	weight []float64
	mod    *modTruth
}

func silu(v float64) float64 { return v / (1 + math.Exp(-v)) }

func (p preTruth) apply(x matrix) matrix {
	y := matrix{x.rows, x.cols, append([]float64(nil), x.v...)}
	if p.kind == compute.SwiGLU {
		y = newMatrix(x.rows, x.cols/2)
	}
	for i := range x.rows {
		p.row(y.row(i), x.row(i), i)
	}
	return y
}

func (p preTruth) row(y, x []float64, token int) {
	switch p.kind {
	case compute.SiLU:
		for j := range y {
			y[j] = silu(x[j])
		}
	case compute.GELUTanh:
		for j, v := range x {
			y[j] = 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
		}
	case compute.SwiGLU:
		for j := range y {
			y[j] = silu(x[j]) * x[j+len(y)]
		}
	case compute.RMSNorm:
		n := len(p.weight)
		for j := range y {
			piece := x[j/n*n:][:n]
			y[j] = x[j] * p.weight[j%n] / math.Sqrt(sumSquares(piece)/float64(n)+p.eps)
		}
	case compute.LayerNorm:
		p.layerNorm(y, x, token)
	case compute.ChannelNorm, compute.ChannelNormSiLU:
		for j := range y {
			y[j] = x[j] * math.Sqrt(float64(len(x))) * p.weight[j] / max(math.Sqrt(sumSquares(x)), 1e-12)
			if p.kind == compute.ChannelNormSiLU {
				y[j] = silu(y[j])
			}
		}
	}
}

func (p preTruth) layerNorm(y, x []float64, token int) {
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	for j, v := range x {
		y[j] = (v - mean) / math.Sqrt(variance+p.eps)
		if p.mod != nil {
			scale := p.mod.value(token, p.mod.Scale, j)
			if p.mod.PlusOne {
				scale++
			}
			y[j] = y[j]*scale + p.mod.value(token, p.mod.Shift, j)
		}
	}
}

// postTruth is a compute.Post over values.
type postTruth struct {
	kind     compute.PostKind
	residual matrix
	mod      *modTruth
}

func (p postTruth) apply(y matrix) matrix {
	r := newMatrix(y.rows, y.cols)
	for i, v := range y.v {
		switch p.kind {
		case compute.Store:
			r.v[i] = v
		case compute.StoreSiLU:
			r.v[i] = silu(v)
		case compute.StoreGELU:
			r.v[i] = 0.5 * v * (1 + math.Erf(v/math.Sqrt2))
		case compute.Add:
			r.v[i] = p.residual.v[i] + v
		case compute.GateAdd:
			r.v[i] = p.residual.v[i] + p.mod.value(i/y.cols, p.mod.Gate, i%y.cols)*v
		}
	}
	return r
}

// attention is softmax(scale·q·kᵀ)·v for each head, over the rows that sees allows.
func attention(q, k, v matrix, a compute.Attention) matrix {
	y := newMatrix(q.rows, q.cols)
	for h := range a.Heads {
		kv := h / (a.Heads / a.KVHeads)
		for i := range q.rows {
			attentionRow(y.row(i)[h*a.Dim:][:a.Dim], q.row(i)[h*a.Dim:][:a.Dim], k, v, kv*a.Dim, func(j int) bool {
				return sees(a, i, j)
			}, float64(a.Scale))
		}
	}
	return y
}

// sees reports whether query i sees key j.
func sees(a compute.Attention, i, j int) bool {
	window := func(row int) int {
		for n, end := range a.Windows {
			if row < int(end) {
				return n
			}
		}
		return -1
	}
	return (!a.Causal || j <= i) && window(i) == window(j)
}

func attentionRow(y, q []float64, k, v matrix, at int, sees func(int) bool, scale float64) {
	weights := make([]float64, k.rows)
	top, sum := math.Inf(-1), 0.0
	for j := range weights {
		for d, x := range q {
			weights[j] += x * k.row(j)[at+d] * scale
		}
		if sees(j) {
			top = max(top, weights[j])
		}
	}
	for j, w := range weights {
		weights[j] = 0
		if sees(j) {
			weights[j] = math.Exp(w - top)
		}
		sum += weights[j]
	}
	for d := range y {
		for j, w := range weights {
			y[d] += w / sum * v.row(j)[at+d]
		}
	}
}

// convTruth is a convolution over values.
type convTruth struct {
	compute.ConvSpec
	w                   []float64
	bias                []float64
	out, in, kt, kh, kw int
}

func (c convTruth) apply(x matrix, h, w, rows, columns int) matrix {
	y := newMatrix(rows*columns, c.out)
	for p := range y.rows {
		for o := range c.out {
			y.row(p)[o] = c.bias[o] + c.window(x, h, w, p/columns, p%columns, o)
		}
	}
	return y
}

// window is the sum under the window at one pixel of the result.
func (c convTruth) window(x matrix, h, w, row, column, o int) float64 {
	s, zoom := 0.0, 1
	if c.Upsample {
		zoom = 2
	}
	for i := range c.in * c.kh * c.kw {
		ch, ky, kx := i/(c.kh*c.kw), i/c.kw%c.kh, i%c.kw
		sy, sx := row*c.Stride+ky-c.Top, column*c.Stride+kx-c.Left
		if sy < 0 || sx < 0 || sy >= zoom*h || sx >= zoom*w {
			continue
		}
		weight := c.w[(((o*c.in+ch)*c.kt+c.kt-1)*c.kh+ky)*c.kw+kx]
		s += weight * x.row(sy/zoom*w + sx/zoom)[ch]
	}
	return s
}
