package transformer

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

// Sizes of the architecture that no tensor is needed for.
const (
	group          = 64 // columns of a 4-bit weight that share a scale
	mlpRatio       = 4  // inner width of an MLP over the streams' width
	parts          = 6  // of a modulation: shift, scale and gate of the attention, then of the MLP
	tokenPositions = latents.Patch * latents.Patch
)

// tensors are those of a checkpoint, as a backend takes them.
type tensors struct {
	imageIn, textIn, time1, time2, normOut, projOut compute.Dense

	textNorm compute.Weight
	blocks   []blockTensors
}

// blockTensors are those of a block: the two streams have alike ones.
type blockTensors struct{ image, text streamTensors }

type streamTensors struct {
	mod                compute.AWQ
	qkv, out, up, down compute.SVDQ
	normQ, normK       compute.Weight
}

// streamNames are the names of a stream's modules inside a block.
type streamNames struct{ mod, qkv, out, mlp, normQ, normK string }

var (
	imageNames = streamNames{"img_mod.1", "attn.to_qkv", "attn.to_out.0", "img_mlp", "attn.norm_q", "attn.norm_k"}
	textNames  = streamNames{"txt_mod.1", "attn.add_qkv_proj", "attn.to_add_out", "txt_mlp", "attn.norm_added_q", "attn.norm_added_k"}
)

// taker takes the tensors of a checkpoint of known dimensions; the set keeps the first error.
type taker struct {
	set  *weights.Set
	dims svdq.Checkpoint
}

func (t taker) all() (out tensors) {
	hidden, joint := t.dims.Hidden, t.dims.JointDim
	const time = "time_text_embed.timestep_embedder."
	out.imageIn = t.dense("img_in", t.dims.InChannels, hidden)
	out.textNorm = t.set.Take("txt_norm.weight", int64(joint))
	out.textIn = t.dense("txt_in", joint, hidden)
	out.time1 = t.dense(time+"linear_1", schedule.TimeChannels, hidden)
	out.time2 = t.dense(time+"linear_2", hidden, hidden)
	for i := range t.dims.Blocks {
		at := fmt.Sprintf("transformer_blocks.%d.", i)
		out.blocks = append(out.blocks, blockTensors{image: t.stream(at, imageNames), text: t.stream(at, textNames)})
	}
	out.normOut = t.dense("norm_out.linear", hidden, 2*hidden)
	out.projOut = t.dense("proj_out", hidden, tokenPositions*t.dims.OutChannels)
	return out
}

// stream takes one stream's tensors of the block whose names begin with at.
func (t taker) stream(at string, names streamNames) streamTensors {
	hidden, inner := t.dims.Hidden, mlpRatio*t.dims.Hidden
	down := t.svdq(at+names.mlp+".net.2", inner, hidden)
	down.Shifted = true
	return streamTensors{
		mod:   t.awq(at+names.mod, hidden, parts*hidden),
		qkv:   t.svdq(at+names.qkv, hidden, 3*hidden),
		out:   t.svdq(at+names.out, hidden, hidden),
		up:    t.svdq(at+names.mlp+".net.0.proj", hidden, inner),
		down:  down,
		normQ: t.set.Take(at+names.normQ+".weight", int64(t.dims.HeadDim)),
		normK: t.set.Take(at+names.normK+".weight", int64(t.dims.HeadDim)),
	}
}

func (t taker) dense(name string, in, out int) compute.Dense {
	return compute.Dense{
		Weights: []compute.Weight{t.set.Take(name+".weight", int64(out), int64(in))},
		Biases:  []compute.Weight{t.set.Take(name+".bias", int64(out))},
	}
}

func (t taker) svdq(name string, in, out int) compute.SVDQ {
	i, o, rank := int64(in), int64(out), int64(t.dims.Rank)
	return compute.SVDQ{
		QWeight: t.set.Take(name+".qweight", o, i/2),
		WScales: t.set.Take(name+".wscales", i/group, o),
		Smooth:  t.set.Take(name+".smooth_factor", i),
		Down:    t.set.Take(name+".proj_down", i, rank),
		Up:      t.set.Take(name+".proj_up", o, rank),
		Bias:    t.set.Take(name+".bias", o),
	}
}

func (t taker) awq(name string, in, out int) compute.AWQ {
	i, o := int64(in), int64(out)
	return compute.AWQ{
		QWeight: t.set.Take(name+".qweight", o/4, i/2),
		WScales: t.set.Take(name+".wscales", i/group, o),
		WZeros:  t.set.Take(name+".wzeros", i/group, o),
		Bias:    t.set.Take(name+".bias", o),
		Parts:   parts,
	}
}
