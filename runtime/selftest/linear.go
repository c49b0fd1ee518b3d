package selftest

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// denseWeights are matrices with biases, side by side.
func (s *side) denseWeights(d safetensors.DType, in int64, outs ...int64) compute.Linear {
	var spec compute.Dense
	for _, out := range outs {
		spec.Weights = append(spec.Weights, s.weight("weight", d, 0.07, out, in))
		spec.Biases = append(spec.Biases, s.weight("bias", d, 0.5, out))
	}
	return must(s.LoadLinear(spec))
}

// posts are the things to do to a result, by the names of compute's constants.
var posts = []struct {
	name string
	kind compute.PostKind
}{
	{"Store", compute.Store},
	{"StoreSiLU", compute.StoreSiLU},
	{"StoreGELU", compute.StoreGELU},
	{"Add", compute.Add},
	{"GateAdd", compute.GateAdd},
}

// dense is linears in bfloat16 with each Post, of sizes that fill no tile, and of as many
// rows as make few, some and many tiles of 128 by 128 for 17 to 190 multiprocessors: 64, 192
// and 768. It is long enough, at 392 inputs, for a pipeline of seven steps.
func dense() []check {
	list := []check{
		{"linear, odd sizes", narrow, func(s *side) {
			y, l := s.empty(compute.Act, 7, 33), s.denseWeights(safetensors.BF16, 65, 33)
			s.Linear(y, l, s.random(compute.Act, 7, 65), compute.Pre{}, compute.Post{})
			s.result(y)
		}},
		{"linear, float32", wide, func(s *side) {
			y, l := s.empty(compute.F32, 2, 96), s.denseWeights(safetensors.F32, 130, 96)
			s.Linear(y, l, s.fine(2, 130), compute.Pre{}, compute.Post{})
			s.result(y)
		}},
	}
	for _, p := range posts {
		list = append(list, check{"linear, " + p.name, narrow, func(s *side) { s.posted(p.kind) }})
	}
	for _, rows := range []int{1000, 3000, 12200} {
		list = append(list, check{fmt.Sprintf("linear, %d rows", rows), narrow, func(s *side) {
			const in, out = 392, 1024
			l, values := s.denseWeights(safetensors.BF16, in, out), s.normal(period*in, 1)
			n := s.many(rows)
			y := s.empty(compute.Act, n, out)
			s.Linear(y, l, s.repeated(n, in, values), compute.Pre{}, compute.Post{})
			s.result(y)
		}})
	}
	return list
}

// posted is a linear of two matrices with a Post. A sum goes in place of what it is added to.
func (s *side) posted(k compute.PostKind) {
	const rows, in, out = 77, 200, 136
	l, x := s.denseWeights(safetensors.BF16, in, 96, 40), s.random(compute.Act, rows, in)
	post := compute.Post{Kind: k}
	y := s.empty(compute.Act, rows, out)
	switch k {
	case compute.GateAdd:
		post.Mod = s.mod(rows, out)
		fallthrough
	case compute.Add:
		y = s.random(compute.Act, rows, out)
		post.Residual = y
	}
	s.Linear(y, l, x, compute.Pre{}, post)
	s.result(y)
}

// pres are the things to do to an input, by the names of compute's constants.
var pres = []struct {
	name string
	kind compute.PreKind
}{
	{"SiLU", compute.SiLU},
	{"GELUTanh", compute.GELUTanh},
	{"SwiGLU", compute.SwiGLU},
	{"RMSNorm", compute.RMSNorm},
	{"LayerNorm", compute.LayerNorm},
	{"ChannelNorm", compute.ChannelNorm},
	{"ChannelNormSiLU", compute.ChannelNormSiLU},
}

// applied is each Pre alone.
func applied() (list []check) {
	for _, p := range pres {
		list = append(list, check{"apply " + p.name, narrow, func(s *side) {
			const rows, cols = 21, 192
			x, pre := s.random(compute.Act, rows, cols), compute.Pre{Kind: p.kind, Eps: 0.1} // which bfloat16 sees
			switch p.kind {
			case compute.RMSNorm, compute.ChannelNorm, compute.ChannelNormSiLU:
				pre.Weight = s.vector(cols)
			case compute.LayerNorm:
				pre.Mod = s.mod(rows, cols)
			}
			y := s.empty(compute.Act, rows, pre.Width(cols))
			s.Apply(y, x, pre)
			s.result(y)
		}})
	}
	return list
}
