// Package svdq says what a quantised checkpoint is, from its tensors.
//
// An SVDQuant checkpoint is one safetensors file: 4-bit weights with scales, a low-rank
// branch that carries what four bits cannot, and a few layers left alone. Files with the
// same name and size class differ in family, precision (INT4 runs on other GPUs than
// NVFP4) and rank, and their names and metadata are often wrong. So Identify reads names,
// shapes and dtypes only, by majority where tensors disagree, and Check then holds every
// tensor against the table that follows from what was identified:
//
//   - method: an I8 qweight [O, I/2] with wscales [I/group, O] beside it;
//   - precision: wscales in BF16 or F16 are INT4, in F8_E4M3 NVFP4;
//   - rank: the second dimension of proj_down and proj_up;
//   - family: names that only one architecture has;
//   - width, depth and heads: shapes of the layers that show them.
//
// Metadata and file name are claims. Where they disagree with the tensors it is an error,
// where they are silent a warning. What no tensor shows is not guessed: base, Edit, 2509,
// 2511 and Lightning files have identical tables, and only the sums of the whole file tell
// them apart.
//
// The package needs the header alone and works at any width and depth. Values are not
// read.
package svdq

import (
	"errors"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// The precisions of the 4-bit weights.
const (
	Int4  = "int4"  // two's complement, a BF16 scale for 64 columns
	NVFP4 = "nvfp4" // e2m1, an e4m3 scale for 16 columns and a second level above it
)

// The families whose names are known. Only QwenImage has a table of tensors here.
const (
	QwenImage = "qwen-image"
	Flux      = "flux"
	ZImage    = "z-image"
)

// Checkpoint is what the tensors of a file say.
type Checkpoint struct {
	Family    string `json:"family"`    // QwenImage, Flux or ZImage
	Precision string `json:"precision"` // Int4 or NVFP4
	Rank      int    `json:"rank"`      // of the low-rank branch
	GroupSize int    `json:"groupSize"` // columns of a weight that share a scale
	Blocks    int    `json:"blocks"`    // transformer blocks; 0 outside QwenImage, like all below but the last three
	Hidden    int    `json:"hidden"`    // width of both streams, Heads × HeadDim
	Heads     int    `json:"heads"`
	HeadDim   int    `json:"headDim"`
	JointDim  int    `json:"jointDim"` // width of the text encoder's output
	// InChannels is the width of a token of latents.
	InChannels int `json:"inChannels"`
	// OutChannels is the number of channels that a token's pixels get, 4 pixels a token.
	OutChannels int `json:"outChannels"`
	// Config is the metadata's "config": a claim, the zero value if absent or unreadable.
	Config Config `json:"config"`
	// DataBytes is the size of all tensors.
	DataBytes int64 `json:"dataBytes"`
	// Tensors is the number of tensors.
	Tensors int `json:"tensors"`
}

// Identify tells what a checkpoint is. It returns an error with fault.Invalid, which
// names what the file looks like instead, if it holds no SVDQuant linear or is of no known
// family. A damaged checkpoint is identified as far as it goes: call Check for the damage.
func Identify(h *safetensors.Header) (Checkpoint, error) { return look(h).identify(h) }

func (s *survey) identify(h *safetensors.Header) (Checkpoint, error) {
	if s.quantised == 0 {
		return Checkpoint{}, refuse(fmt.Errorf("identifying checkpoint: none of %d tensors is an SVDQuant weight (I8 qweight with wscales): %s", len(h.Tensors), s.resembles()))
	}
	c := Checkpoint{
		Family: s.family(), Precision: s.precision.winner(), Rank: int(s.rank.winner()), GroupSize: int(s.group.winner()),
		DataBytes: h.DataBytes(), Tensors: len(h.Tensors),
	}
	if c.Family == "" {
		return Checkpoint{}, refuse(errors.New("identifying checkpoint: SVDQuant weights of no known family: neither Qwen-Image's, Flux's nor Z-Image's names occur"))
	}
	if config, err := parseConfig(h.Metadata); err == nil {
		c.Config = config
	}
	if c.Family == QwenImage {
		s.dimensions(&c)
	}
	return c, nil
}

func refuse(err error) error {
	return fault.Wrap(fault.Invalid, "name a checkpoint of nunchaku's format, such as svdq-int4_r128-qwen-image-edit.safetensors", err)
}

// dimensions fills in what only Qwen-Image's names show.
func (s *survey) dimensions(c *Checkpoint) {
	c.Blocks = s.depth()
	c.Hidden, c.HeadDim = int(s.hidden.winner()), int(s.headDim.winner())
	if c.HeadDim > 0 {
		c.Heads = c.Hidden / c.HeadDim
	}
	c.JointDim, c.InChannels = int(s.joint.winner()), int(s.in.winner())
	c.OutChannels = int(s.out.winner()) / (patchSize * patchSize)
}
