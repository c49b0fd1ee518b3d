package transformer

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// loaded are a model's layers in a backend.
type loaded struct {
	imageIn, textIn, time1, time2, normOut, projOut compute.Linear

	textNorm compute.Vector
	blocks   []block
}

// block is a block's layers.
type block struct{ image, text stream }

// stream is the layers of a block's stream. Those behind the attention, out, up and down, are
// not loaded for the last block's text, of which nothing is read any more.
type stream struct {
	mod, qkv, out, up, down compute.Linear
	normQ, normK            compute.Vector
}

// loader loads layers until one can't be: then err says why, and the rest are nil.
type loader struct {
	backend compute.Loader
	err     error
}

// load gives a backend all that it needs.
func load(backend compute.Loader, t tensors) (loaded, error) {
	l := &loader{backend: backend}
	out := loaded{
		imageIn: l.linear(t.imageIn), textIn: l.linear(t.textIn), textNorm: l.vector(t.textNorm),
		time1: l.linear(t.time1), time2: l.linear(t.time2),
		normOut: l.linear(t.normOut), projOut: l.linear(t.projOut),
	}
	out.blocks = make([]block, len(t.blocks))
	// Modulations are of groups of their own: Begin computes all of them, and steps none.
	for i, b := range t.blocks {
		backend.Group(fmt.Sprintf("modulation of block %d", i))
		out.blocks[i].image.mod, out.blocks[i].text.mod = l.linear(b.image.mod), l.linear(b.text.mod)
	}
	for i, b := range t.blocks {
		last := i == len(t.blocks)-1
		backend.Group(fmt.Sprintf("block %d", i))
		l.stream(&out.blocks[i].image, b.image, true)
		l.stream(&out.blocks[i].text, b.text, !last)
	}
	backend.Group("")
	return out, l.err
}

// stream loads a stream's layers but its modulation, and those behind the attention if whole.
func (l *loader) stream(s *stream, t streamTensors, whole bool) {
	s.qkv, s.normQ, s.normK = l.linear(t.qkv), l.vector(t.normQ), l.vector(t.normK)
	if whole {
		s.out, s.up, s.down = l.linear(t.out), l.linear(t.up), l.linear(t.down)
	}
}

func (l *loader) linear(s compute.LinearSpec) compute.Linear {
	if l.err != nil {
		return nil
	}
	out, err := l.backend.LoadLinear(s)
	l.err = err
	return out
}

func (l *loader) vector(w compute.Weight) compute.Vector {
	if l.err != nil {
		return nil
	}
	out, err := l.backend.LoadVector(w)
	l.err = err
	return out
}
