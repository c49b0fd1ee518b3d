// Package packing moves the weights of an SVDQuant checkpoint between the order in which
// they lie in the file and plain row-major matrices.
//
// The shapes in a checkpoint's header are nominal. Quantised weights, their scales, the
// low-rank factors and even biases lie in the order in which the warps of a GPU read them:
//
//	tensor                        unit                plain form here
//	SVDQ qweight, int4 and e2m1   [128 × 64] codes    [out][in] codes, or two in a byte
//	SVDQ wscales, int4            128 rows × 1 group  [out][in/64] bfloat16
//	SVDQ wscales, nvfp4           128 rows × 4 groups [out][in/16] e4m3
//	bias, wcscales, smooth_factor 128 elements        [n] bfloat16
//	proj_up                       [16 × 16] values    [out][rank] bfloat16
//	proj_down                     [16 × 16] values    [rank][in] bfloat16
//	AWQ qweight                   [4 × 64] codes      [out][in] codes, or two in a byte
//	AWQ wscales, wzeros, bias     none                as stored, [in/64][out] and [out]
//
// AWQ linears are the modulation layers; on top of their packing the six outputs of each
// channel lie side by side, which Interleave and Deinterleave undo for rows, scales and
// bias alike.
//
// For each tensor there is an index function (CodeAt, ScaleAt, ...), which says where one
// element lies and is the definition, and a pair of bulk functions (UnpackInt4, PackInt4,
// ...), which work on whole tensors, 64 bits at a time.
//
// Rules of all bulk functions:
//
//   - Packed data are bytes as in the file, little-endian. Plain data have the type of
//     their elements: int8 for int4 codes (-8..7), uint8 for e2m1 and AWQ codes (0..15) and
//     for e4m3, uint16 for the bits of bfloat16. Rows of nibbles are bytes, the even column
//     in the low half.
//   - out and in are the linear's numbers of outputs and inputs, in elements. Both must be
//     positive multiples of 128 (AWQ: out of 4, in of 64), rank of 16. The published models
//     need no padding and none is made up here.
//   - Lengths must fit exactly. A wrong shape or length is an error and nothing is written.
//     A code that does not fit into four bits is an error too; then dst is unfinished.
//   - dst and src must not overlap. Functions keep no state: calls with distinct dst may
//     run at once.
//   - Unpack and Pack are exact inverses, byte for byte, whatever the bytes are.
//
// Tiles of 128 rows are the outermost unit of qweight and wscales, and of 128 (bias) and 16
// (proj_up) elements of the others. So rows from..to of a packed tensor are the packed
// bytes from·len/out..to·len/out, which can be given to these functions on their own
// wherever from and to are multiples of 128; in particular q, k and v of a fused linear are
// contiguous thirds. This is also how a tensor is split among cores. proj_down is packed
// along its inputs, and such a part of it is a range of columns.
//
// The formulas are facts about the packer of the deepcompressor project (warp tile of
// 128 × 64, mma m16n8k64) and its AWQ kernel's interleave of four rows.
package packing

import "fmt"

// Units of the layout, in elements.
const (
	// TileRows is the number of rows in a tile of an SVDQ weight, and the length of the
	// blocks in which biases and smooth factors are permuted.
	TileRows = 128
	// TileColumns is the number of columns in a tile of a 4-bit weight. An INT4 or AWQ
	// group is as wide.
	TileColumns = 64
	// NVFP4Group is the number of columns that share an e4m3 scale.
	NVFP4Group = 16
	// RankUnit is the side of a tile of a low-rank factor.
	RankUnit = 16
	// ModulationParts is the number of outputs of a modulation linear for each channel:
	// shift, scale and gate of the attention, then of the MLP.
	ModulationParts = 6

	tileBytes    = TileRows * TileColumns / 2 // of a tile of an SVDQ weight
	fragment     = 64                         // bytes in which two rows meet: see words.go
	packRows     = 16                         // rows in eight fragments
	awqRows      = 4                          // rows of an AWQ weight that are interleaved
	columnUnit   = 128                        // the packer works on two tiles of columns at once
	maxDimension = 1 << 24                    // keeps products far from overflow
)

// dim is a dimension to be checked.
type dim struct {
	name        string
	value, unit int
}

// checkDims refuses impossible dimensions.
func checkDims(what string, dims ...dim) error {
	for _, d := range dims {
		if d.value <= 0 || d.value%d.unit != 0 || d.value > maxDimension {
			return fmt.Errorf("packing %s: %s is %d, want a positive multiple of %d up to %d", what, d.name, d.value, d.unit, maxDimension)
		}
	}
	return nil
}

// checkLengths holds both sides against what the shape takes: elements on the plain side,
// bytes on the packed one.
func checkLengths(what string, wantPlain int64, plain int, wantPacked int64, packed int) error {
	if int64(plain) != wantPlain {
		return fmt.Errorf("packing %s: plain side has %d elements, the shape takes %d", what, plain, wantPlain)
	}
	if int64(packed) != wantPacked {
		return fmt.Errorf("packing %s: packed side has %d bytes, the shape takes %d", what, packed, wantPacked)
	}
	return nil
}
