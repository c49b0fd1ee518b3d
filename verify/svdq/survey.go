package svdq

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

const (
	blockPrefix = "transformer_blocks."
	// maxBlocks bounds the depth that a foreign name can claim.
	maxBlocks = 1024
	// minBlockTensors is how many tensors make an index a block rather than a stray name;
	// a whole block has 68.
	minBlockTensors = 8
)

// votes counts how many tensors speak for each value of a property.
type votes[T cmp.Ordered] map[T]int

// winner returns the value with the most votes, the smallest of several, the zero value
// of none.
func (v votes[T]) winner() T {
	var best T
	for value, n := range v {
		if top := v[best]; n > top || n == top && value < best {
			best = value
		}
	}
	return best
}

// survey is what one pass over a header collects.
type survey struct {
	quantised int         // SVDQ linears
	blocks    map[int]int // tensors of each block index
	names     map[string]bool
	precision votes[string]

	rank, group, hidden, headDim, joint, in, out votes[int64]
}

// marks are parts of names that show what a file is.
var marks = []string{
	"single_transformer_blocks.", "x_embedder.", "context_refiner.", "noise_refiner.", ".attn.add_qkv_proj.",
	".attn.to_q.weight", "model.embed_tokens.", "visual.", "encoder.conv_in.",
}

func look(h *safetensors.Header) *survey {
	s := &survey{
		blocks: map[int]int{}, names: map[string]bool{}, precision: votes[string]{}, rank: votes[int64]{}, group: votes[int64]{},
		hidden: votes[int64]{}, headDim: votes[int64]{}, joint: votes[int64]{}, in: votes[int64]{}, out: votes[int64]{},
	}
	seen := make([]bool, len(marks))
	for _, t := range h.Tensors {
		for i, m := range marks {
			if !seen[i] && strings.Contains(t.Name, m) {
				seen[i], s.names[m] = true, true
			}
		}
		if b, local, ok := splitBlock(t.Name); ok {
			s.blocks[b]++
			s.blockTensor(local, t)
		} else {
			s.globalTensor(t)
		}
		s.linear(h, t)
	}
	return s
}

// splitBlock splits "transformer_blocks.7.attn.to_qkv.bias" into 7 and "attn.to_qkv.bias".
func splitBlock(name string) (b int, local string, ok bool) {
	rest, ok := strings.CutPrefix(name, blockPrefix)
	if !ok {
		return 0, "", false
	}
	digits, local, ok := strings.Cut(rest, ".")
	b, err := strconv.Atoi(digits)
	if !ok || err != nil || b < 0 || b >= maxBlocks || strconv.Itoa(b) != digits {
		return 0, "", false
	}
	return b, local, true
}

// linear collects what every family's quantised linears show.
func (s *survey) linear(h *safetensors.Header, t safetensors.Tensor) {
	dot := strings.LastIndexByte(t.Name, '.')
	if dot < 0 || len(t.Shape) != 2 {
		return
	}
	switch base, suffix := t.Name[:dot], t.Name[dot+1:]; suffix {
	case "proj_down", "proj_up", "lora_down", "lora_up":
		s.rank[t.Shape[1]]++
	case "qweight":
		scales, ok := h.Tensor(base + ".wscales")
		if ok && t.DType == safetensors.I8 {
			s.quantisedLinear(2*t.Shape[1], scales)
		}
	}
}

// quantisedLinear judges an SVDQ linear with that many inputs by its scales.
func (s *survey) quantisedLinear(inputs int64, scales safetensors.Tensor) {
	switch scales.DType {
	case safetensors.BF16, safetensors.F16:
		s.precision[Int4]++
	case safetensors.F8E4M3:
		s.precision[NVFP4]++
	default:
		return
	}
	s.quantised++
	if len(scales.Shape) == 2 && scales.Shape[0] > 0 && inputs%scales.Shape[0] == 0 {
		s.group[inputs/scales.Shape[0]]++
	}
}

// blockTensor collects dimensions from a tensor of a Qwen-Image block.
func (s *survey) blockTensor(local string, t safetensors.Tensor) {
	switch {
	case local == "attn.to_out.0.qweight" && len(t.Shape) == 2:
		s.hidden[t.Shape[0]]++
	case strings.HasPrefix(local, "attn.norm_") && len(t.Shape) == 1:
		s.headDim[t.Shape[0]]++
	}
}

// globalTensor collects dimensions from a tensor outside the blocks.
func (s *survey) globalTensor(t safetensors.Tensor) {
	if t.Name == "txt_norm.weight" && len(t.Shape) == 1 {
		s.joint[t.Shape[0]]++
	}
	if len(t.Shape) != 2 {
		return
	}
	switch t.Name {
	case "img_in.weight":
		s.hidden[t.Shape[0]]++
		s.in[t.Shape[1]]++
	case "txt_in.weight":
		s.joint[t.Shape[1]]++
	case "proj_out.weight":
		s.hidden[t.Shape[1]]++
		s.out[t.Shape[0]]++
	}
}

// depth is the number of blocks: one more than the highest index that has tensors enough
// to be a block.
func (s *survey) depth() int {
	depth := 0
	for b, n := range s.blocks {
		if n >= minBlockTensors {
			depth = max(depth, b+1)
		}
	}
	return depth
}

// family returns the family whose names occur, "" for none.
func (s *survey) family() string {
	switch {
	case s.names["single_transformer_blocks."] || s.names["x_embedder."]:
		return Flux
	case s.names["context_refiner."] || s.names["noise_refiner."]:
		return ZImage
	case s.names[".attn.add_qkv_proj."]:
		return QwenImage
	}
	return ""
}

// resembles says what a file without SVDQuant weights looks like.
func (s *survey) resembles() string {
	switch {
	case s.names[".attn.to_q.weight"]:
		return "it looks like an unquantised transformer"
	case s.names["model.embed_tokens."] || s.names["visual."]:
		return "it looks like a text encoder"
	case s.names["encoder.conv_in."]:
		return "it looks like a VAE"
	}
	return "its names are of no known kind"
}
