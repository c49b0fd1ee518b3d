package transformer

import (
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
	for i, b := range t.blocks {
		last := i == len(t.blocks)-1
		out.blocks = append(out.blocks, block{image: l.stream(b.image, true), text: l.stream(b.text, !last)})
	}
	return out, l.err
}

// stream loads a stream's layers, and those behind the attention if whole.
func (l *loader) stream(t streamTensors, whole bool) stream {
	s := stream{mod: l.linear(t.mod), qkv: l.linear(t.qkv), normQ: l.vector(t.normQ), normK: l.vector(t.normK)}
	if whole {
		s.out, s.up, s.down = l.linear(t.out), l.linear(t.up), l.linear(t.down)
	}
	return s
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
