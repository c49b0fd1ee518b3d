package textencoder

import (
	"context"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// decoder is the language model without its head.
type decoder struct {
	language
	frequencies []float64
	words       compute.Table
	layers      []layer
	norm        compute.Vector
}

func newDecoder(l *loading, s language) *decoder {
	d := &decoder{language: s, frequencies: frequencies(s.theta, s.head()/2), layers: make([]layer, s.layers)}
	l.group("words")
	l.table(&d.words, "model.embed_tokens", s.vocabulary, s.hidden)
	for i := range d.layers {
		l.group(fmt.Sprintf("layer %d of the language model", i))
		takeLayer(l, &d.layers[i], s, fmt.Sprintf("model.layers.%d.", i))
	}
	l.group("")
	l.norm(&d.norm, "model.norm", s.hidden)
	return d
}

// takeLayer takes a layer whose tensors begin with at.
func takeLayer(l *loading, y *layer, s language, at string) {
	kv := s.kvHeads * s.head()
	l.norm(&y.norm1, at+"input_layernorm", s.hidden)
	l.linear(&y.qkv, s.hidden, true,
		rows{at + "self_attn.q_proj", s.hidden}, rows{at + "self_attn.k_proj", kv}, rows{at + "self_attn.v_proj", kv})
	l.linear(&y.out, s.hidden, false, rows{at + "self_attn.o_proj", s.hidden})
	l.norm(&y.norm2, at+"post_attention_layernorm", s.hidden)
	l.linear(&y.gateUp, s.hidden, false,
		rows{at + "mlp.gate_proj", s.intermediate}, rows{at + "mlp.up_proj", s.intermediate})
	l.linear(&y.down, s.intermediate, false, rows{at + "mlp.down_proj", s.hidden})
}

// read sends tokens x [n, hidden] through all layers, in place, and writes the last dst.Rows
// of them, normalised, to dst.
func (d *decoder) read(ctx context.Context, b compute.Backend, dst, x compute.Tensor, at positions) error {
	rope := upload(b, at.angles(d.sections, d.frequencies))
	a := compute.Attention{Heads: d.heads, KVHeads: d.kvHeads, Dim: d.head(), Scale: scale(d.head()), Causal: true}
	for i := range d.layers {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("at layer %d of %d of the language model: %w", i+1, len(d.layers), err)
		}
		d.layers[i].run(b, x, d.eps, a, rope)
	}
	b.Apply(dst, x.Slice(x.Rows-dst.Rows, x.Rows), rmsNorm(d.norm, d.eps))
	b.Finite(dst, "a prompt's embeddings")
	return nil
}
