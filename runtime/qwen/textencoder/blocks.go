package textencoder

import (
	"math"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// What both halves of the model are made of. The stream x is Act, as in the original; what
// is allocated here is given back at once.

// layer is attention and a gated linear unit, each behind a norm and beside the stream.
type layer struct {
	norm1, norm2 compute.Vector
	qkv, out     compute.Linear // q | k | v
	gateUp, down compute.Linear // gate | up
}

// run computes x += out(attention(qkv(norm(x)))) and x += down(SiLU(gate(norm(x)))·up(norm(x))).
func (y *layer) run(b compute.Backend, x compute.Tensor, eps float64, a compute.Attention, rope compute.Rope) {
	y.attend(b, x, rmsNorm(y.norm1, eps), a, rope)
	y.feedForward(b, x, rmsNorm(y.norm2, eps))
}

func (y *layer) attend(b compute.Backend, x compute.Tensor, norm compute.Pre, a compute.Attention, rope compute.Rope) {
	defer b.Reset(b.Mark())
	q := b.Alloc(compute.Act, x.Rows, a.Heads*a.Dim)
	k := b.Alloc(compute.Act, x.Rows, a.KVHeads*a.Dim)
	v := b.Alloc(compute.Act, x.Rows, a.KVHeads*a.Dim)
	split := b.Mark()
	joint := b.Alloc(compute.Act, x.Rows, y.qkv.Out())
	b.Linear(joint, y.qkv, x, norm, compute.Post{})
	b.Heads(compute.Split{X: joint, Q: q, K: k, V: v, Dim: a.Dim, Rope: rope})
	b.Reset(split)
	seen := b.Alloc(compute.Act, x.Rows, a.Heads*a.Dim)
	b.Attention(seen, q, k, v, a)
	b.Linear(x, y.out, seen, compute.Pre{}, compute.Post{Kind: compute.Add, Residual: x})
}

func (y *layer) feedForward(b compute.Backend, x compute.Tensor, norm compute.Pre) {
	defer b.Reset(b.Mark())
	wide := b.Alloc(compute.Act, x.Rows, y.gateUp.Out())
	b.Linear(wide, y.gateUp, x, norm, compute.Post{})
	b.Linear(x, y.down, wide, compute.Pre{Kind: compute.SwiGLU}, compute.Post{Kind: compute.Add, Residual: x})
}

// scale is what scores of heads dim wide are multiplied by.
func scale(dim int) float32 { return float32(1 / math.Sqrt(float64(dim))) }

func rmsNorm(w compute.Vector, eps float64) compute.Pre {
	return compute.Pre{Kind: compute.RMSNorm, Weight: w, Eps: float32(eps)}
}

// upload puts angles into the arena, in the pairing of both halves of the model.
func upload(b compute.Backend, r rotation) compute.Rope {
	rope := compute.Rope{
		Cos:    b.Alloc(compute.F32, r.rows(), r.cols),
		Sin:    b.Alloc(compute.F32, r.rows(), r.cols),
		Halves: true,
	}
	b.Upload(rope.Cos, r.cos)
	b.Upload(rope.Sin, r.sin)
	return rope
}
