// Package svdqtest makes SVDQuant checkpoints of the Qwen-Image family: files with the
// names, dtypes, shapes, packing and metadata of the published ones, of any width, depth
// and rank, in INT4 and NVFP4, whose weights are random numbers.
//
// It is written from the description of the format alone and shares no table with package
// svdq, so that the two check each other. Nothing is stored: bytes are computed when they
// are read (see package safetensorstest), so a full-size file of 12.65 GB needs neither
// disk nor memory.
//
// The numbers are those of a model that could run, though it has learnt nothing:
//
//   - Quantisation codes are normal values rounded onto the grid. As in a file whose
//     scales are absolute maxima, each row of each group reaches the largest code, at the
//     places where the packed layout puts that group: 64 columns of an INT4 or AWQ row,
//     16 columns of an NVFP4 row.
//   - Scales, low-rank factors and biases are sized so that every linear keeps its input's
//     variance and the residual streams at most double theirs over the whole depth.
//   - wzeros is -7·wscales rounded to bfloat16, element by element; modulation biases are
//     interleaved by six and carry the +1 of the two scales.
//
// Everything else is independent and identically distributed along a tensor, so that the
// permutations of the packed layout have nothing to change.
package svdqtest

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
)

// The two precisions of SVDQuant checkpoints.
const (
	Int4  = "int4"
	NVFP4 = "nvfp4"
)

// Fixed dimensions of the family.
const (
	patch    = 2   // latent pixels a side in one token
	timeDims = 256 // width of the sinusoidal timestep embedding
	mlpRatio = 4
	modParts = 6 // shift, scale and gate, twice
	tile     = 128
)

// Params describes a checkpoint. Every field but Seed and ZeroCondT must be set.
type Params struct {
	Precision string // Int4 or NVFP4
	Rank      int    // of the low-rank branch, a multiple of 16
	Blocks    int    // transformer blocks
	Heads     int    // attention heads
	HeadDim   int    // width of a head, a multiple of 32; Heads·HeadDim a multiple of 128
	JointDim  int    // hidden size of the text encoder
	// InChannels is the width of a token of latents, 4 × the VAE's channels.
	InChannels int
	// OutChannels is the number of the VAE's channels.
	OutChannels int
	// ZeroCondT is the flag of Edit-2511: reference tokens are modulated for time 0.
	ZeroCondT bool
	// Seed names the weights. Two seeds share no random tensor.
	Seed uint64
}

// Real returns the dimensions of the published checkpoints with this precision and rank.
func Real(precision string, rank int) Params {
	return Params{
		Precision: precision, Rank: rank, Blocks: 60, Heads: 24, HeadDim: 128,
		JointDim: 3584, InChannels: 64, OutChannels: 16,
	}
}

// hidden is the width of both streams.
func (p Params) hidden() int64 { return int64(p.Heads) * int64(p.HeadDim) }

// group is the number of columns that share a scale.
func (p Params) group() int64 {
	if p.Precision == NVFP4 {
		return 16
	}
	return 64
}

// axes splits a head's width over frame, height and width for the rotary embedding, in
// the proportions 16 : 56 : 56 of the published models.
func (p Params) axes() [3]int {
	return [3]int{p.HeadDim / 8, p.HeadDim / 16 * 7, p.HeadDim / 16 * 7}
}

// check refuses dimensions that the packed layout or the architecture cannot have.
func (p Params) check() error {
	for _, d := range []struct {
		name        string
		value, unit int
	}{
		{"Rank", p.Rank, 16}, {"Blocks", p.Blocks, 1}, {"Heads", p.Heads, 1}, {"HeadDim", p.HeadDim, 32},
		{"Heads·HeadDim", int(p.hidden()), tile}, {"JointDim", p.JointDim, 1},
		{"InChannels", p.InChannels, 1}, {"OutChannels", p.OutChannels, 1},
	} {
		if d.value <= 0 || d.value%d.unit != 0 {
			return fmt.Errorf("making a checkpoint: %s is %d, want a positive multiple of %d", d.name, d.value, d.unit)
		}
	}
	if p.Precision != Int4 && p.Precision != NVFP4 {
		return fmt.Errorf("making a checkpoint: precision is %q, want %q or %q", p.Precision, Int4, NVFP4)
	}
	return nil
}

// Checkpoint is a generated checkpoint: an io.ReaderAt with its Size and Header. It is
// immutable and safe for concurrent use.
type Checkpoint struct {
	*safetensorstest.File
	Params Params
}

// New describes the checkpoint of these parameters. It makes the header and no weights.
func New(p Params) (*Checkpoint, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	m, err := metadata(p)
	if err != nil {
		return nil, err
	}
	f, err := safetensorstest.New(m, newModel(p).tensors(), p.Seed)
	if err != nil {
		return nil, fmt.Errorf("making a checkpoint: %w", err)
	}
	return &Checkpoint{File: f, Params: p}, nil
}

// tensor is short for a tensor with its fill.
func tensor(name string, d safetensors.DType, fill safetensorstest.Fill, shape ...int64) safetensorstest.Tensor {
	return safetensorstest.Tensor{Spec: safetensors.Spec{Name: name, DType: d, Shape: shape}, Fill: fill}
}
