package textencoder

import (
	"math"
	"runtime"
	"sync"
)

// order is the order in which the vision tower holds a picture: windows one after the other,
// so that what attends to each other lies together. It is an order of merged tokens, whose
// patches stay neighbours.
type order struct {
	// tokens[i] is the token, counted row by row, that lies at i; places is the inverse.
	tokens, places []int32
	// ends are where the windows end, in patches.
	ends []int32
}

// arrange orders a picture of h×w merged tokens by windows of side×side, from left to right
// and from top to bottom; those at the right and at the bottom may be smaller. A token has
// unit patches.
func arrange(h, w, side, unit int) order {
	o := order{tokens: make([]int32, 0, h*w), places: make([]int32, h*w)}
	for top := 0; top < h; top += side {
		for left := 0; left < w; left += side {
			for y := top; y < min(top+side, h); y++ {
				for x := left; x < min(left+side, w); x++ {
					o.places[y*w+x] = int32(len(o.tokens))
					o.tokens = append(o.tokens, int32(y*w+x))
				}
			}
			o.ends = append(o.ends, int32(len(o.tokens)*unit))
		}
	}
	return o
}

// patches returns rows of patches, token by token in a picture's own order, in this order.
func (o order) patches(values []float32) []float32 {
	out := make([]float32, len(values))
	size := len(values) / len(o.tokens)
	each := max(1, len(o.tokens)/runtime.GOMAXPROCS(0))
	var parts sync.WaitGroup
	for from := 0; from < len(o.tokens); from += each {
		parts.Go(func() {
			for i, t := range o.tokens[from:min(from+each, len(o.tokens))] {
				copy(out[(from+i)*size:][:size], values[int(t)*size:])
			}
		})
	}
	parts.Wait()
	return out
}

// angles are the vision tower's rotary angles for a picture w merged tokens wide, a row for
// each patch in this order: first the frequencies turn with the patch's row, then once more
// with its column.
func (o order) angles(w, merge int, frequencies []float64) rotation {
	r := newRotation(len(o.tokens)*merge*merge, 2*len(frequencies))
	at := turns{frequencies: frequencies}
	for _, t := range o.tokens {
		top, left := int(t)/w*merge, int(t)%w*merge
		for i := range merge * merge {
			r.append(at.position(top + i/merge))
			r.append(at.position(left + i%merge))
		}
	}
	return r
}

// turns are the angles of some frequencies at each position that was asked for, which many rows
// have in common.
type turns struct {
	frequencies []float64
	at          []rotation // by position
}

func (t *turns) position(p int) rotation {
	for p >= len(t.at) {
		t.at = append(t.at, rotation{})
	}
	if t.at[p].cols == 0 {
		t.at[p] = newRotation(1, len(t.frequencies))
		for _, f := range t.frequencies {
			t.at[p].add(float64(p) * f)
		}
	}
	return t.at[p]
}

// rotation is a table of angles of a rotary embedding, row by row.
type rotation struct {
	cols     int
	cos, sin []float32
}

func newRotation(rows, cols int) rotation {
	return rotation{cols, make([]float32, 0, rows*cols), make([]float32, 0, rows*cols)}
}

// add appends an angle. Angles are reduced in float64: those of late positions are
// hundreds of turns, of which float32 would lose the end.
func (r *rotation) add(angle float64) {
	sin, cos := math.Sincos(angle)
	r.cos, r.sin = append(r.cos, float32(cos)), append(r.sin, float32(sin))
}

// append appends a row, or a part of one.
func (r *rotation) append(o rotation) {
	r.cos, r.sin = append(r.cos, o.cos...), append(r.sin, o.sin...)
}

func (r rotation) rows() int { return len(r.cos) / r.cols }

// frequencies are the n frequencies of a rotary embedding: theta^(−i/n).
func frequencies(theta float64, n int) []float64 {
	list := make([]float64, n)
	for i := range list {
		list[i] = math.Pow(theta, -float64(i)/float64(n))
	}
	return list
}
