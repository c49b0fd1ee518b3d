package ref

import (
	"math"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// queries is how many queries a worker takes at a time: its scratch holds their scores.
const queries = 32

// span is some queries and the keys that the last of them sees.
type span struct{ from, to, first, end int }

// Attention computes softmax(scale·q·kᵀ)·v, head by head.
func (b *Backend) Attention(dst, q, k, v compute.Tensor, a compute.Attention) {
	compute.CheckAttention(dst, q, k, v, a)
	if b.err != nil {
		return
	}
	b.arena.Apart(dst, q, k, v)
	out, query := rows{b.values(dst), dst.Cols}, rows{b.values(q), q.Cols}
	key, value := rows{b.values(k), k.Cols}, rows{b.values(v), v.Cols}
	spans := spansOf(q.Rows, k.Rows, a)
	b.each(a.Heads*len(spans), func(w *worker, i int) {
		h, s := i/len(spans), spans[i%len(spans)]
		at, shared := h*a.Dim, h/(a.Heads/a.KVHeads)*a.Dim
		n, m := s.to-s.from, s.end-s.first
		scores := rows{grow(&w.result, n*m), m}
		multiply(scores, query.from(s.from, at), key.from(s.first, shared), n, m, a.Dim)
		for r := range n {
			seen := m
			if a.Causal {
				seen = s.from + r + 1 - s.first
			}
			c := scores.at(r, 0, seen)
			softmax(c, a.Scale)
			combine(out.at(s.from+r, at, a.Dim), c, value.from(s.first, shared))
		}
	})
}

// from is the matrix that begins with a row and a column.
func (r rows) from(row, col int) rows { return rows{r.v[row*r.stride+col:], r.stride} }

// softmax computes e^(scale·c) over its sum, in place.
func softmax(c []float32, scale float32) {
	top := math.Inf(-1)
	for _, v := range c {
		top = max(top, float64(v)*float64(scale))
	}
	sum := 0.0
	for i, v := range c {
		e := math.Exp(float64(v)*float64(scale) - top)
		c[i] = float32(e)
		sum += e
	}
	f := float32(1 / sum)
	for i := range c {
		c[i] *= f
	}
}

// spansOf cuts the queries of each window into spans.
func spansOf(n, m int, a compute.Attention) []span {
	ends := a.Windows
	if ends == nil {
		ends = []int32{int32(n)}
	}
	var spans []span
	first := 0
	for _, e := range ends {
		end := int(e)
		keys := end
		if a.Windows == nil {
			keys = m
		}
		for from := first; from < end; from += queries {
			s := span{from, min(from+queries, end), first, keys}
			if a.Causal {
				s.end = s.to
			}
			spans = append(spans, s)
		}
		first = end
	}
	return spans
}
