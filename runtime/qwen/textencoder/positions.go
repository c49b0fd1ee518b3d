package textencoder

import "github.com/plimsoll-oci/plimsoll/runtime/qwen/prompt"

// positions are where each token of a prompt stands in time, row and column.
type positions [3][]int32

// place numbers a prompt's tokens. Words count on in all three axes. A picture's tokens all
// stand at the time of its beginning, and their rows and columns count from it; the next
// word is one further than the furthest of them (get_rope_index, transformers 5.17, for
// still pictures). sizes are the pictures' rows and columns of merged tokens.
func place(p *prompt.Prompt, sizes []size) positions {
	var out positions
	next, at := 0, 0
	words := func(until int) {
		for ; at < until; at++ {
			out.add(next, next, next)
			next++
		}
	}
	for i, span := range p.Images {
		words(span.Start)
		for y := range sizes[i].h {
			for x := range sizes[i].w {
				out.add(next, next+y, next+x)
			}
		}
		next += max(sizes[i].h, sizes[i].w)
		at = span.End
	}
	words(len(p.IDs))
	return out
}

// size is a picture's size in merged tokens.
type size struct{ h, w int }

func (p *positions) add(values ...int) {
	for axis, v := range values {
		p[axis] = append(p[axis], int32(v))
	}
}

// last is the furthest position.
func (p positions) last() int {
	furthest := int32(0)
	for i := range p[0] {
		furthest = max(furthest, p[0][i], p[1][i], p[2][i])
	}
	return int(furthest)
}

// angles are the language model's rotary angles: the first sections[0] frequencies turn with
// time, the next with rows, the last with columns.
func (p positions) angles(sections [3]int, frequencies []float64) rotation {
	r := newRotation(len(p[0]), len(frequencies))
	var at [3]turns
	for axis, n := range sections {
		at[axis].frequencies, frequencies = frequencies[:n], frequencies[n:]
	}
	for i := range p[0] {
		for axis := range at {
			if len(at[axis].frequencies) > 0 {
				r.append(at[axis].position(int(p[axis][i])))
			}
		}
	}
	return r
}
