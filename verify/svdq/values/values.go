// Package values reads the numbers of a checkpoint and says whether they can be weights.
//
// Names, shapes and sums leave one question open: whether what was published is whole and
// in the layout that its header promises. Check reads every tensor once and holds it
// against what a quantiser can have made:
//
//   - floating-point tensors have no NaN and no Inf, and nothing that float16 could not
//     hold, since the same files run in float16 on older GPUs;
//   - scales and smooth factors are above zero;
//   - an INT4 or AWQ scale is its group's absolute maximum over 7, an NVFP4 one over 6, so
//     almost every group reaches the largest code, and codes beyond it (-8, and 15 of AWQ)
//     do not occur; codes occur about as often as their opposites;
//   - wzeros is -7·wscales, which is the zero point 7 of a symmetric quantiser;
//   - the bias of a modulation layer is interleaved by six, with 1 added to the scales;
//   - no tensor has a stretch of one value as long as a disk sector.
//
// What is impossible is an error. What is only unlikely is a warning: the thresholds are
// constants of this package with their reasons, and they have not been calibrated on a
// genuine file. A tensor that breaks a rule in the order in which it should be, but keeps
// it in another known order or format, has been identified, and that is an error.
//
// # What values cannot show
//
// A rule that looks at a set of values does not see an order inside the set. So these
// faults leave no trace, whatever the threshold, because each maps every checkpoint that
// passes to another one that passes; only the sums of the file tell:
//
//   - columns permuted inside a group: nibbles swapped within bytes, bytes swapped within
//     words, lanes of an mma fragment in another order;
//   - whole groups permuted: rows or tiles in another order, an AWQ weight in row-major
//     order (whose groups are the same 32 bytes elsewhere), a modulation weight that is
//     not interleaved;
//   - values permuted inside a tensor of scales, smooth factors, biases or low-rank
//     factors: row-major instead of tiled, transposed, not permuted at all;
//   - two tensors of one kind and shape exchanged, such as those of two blocks or
//     proj_up and proj_down of a square layer;
//   - the signs of all codes of a group, a tensor of scales multiplied by a power of two,
//     a smooth factor that does not belong to its weight;
//   - a change of a low bit, of a sign in a bias or factor, or of a code to another
//     possible code.
//
// Noise that is confined to a few groups of an NVFP4 weight is not seen either: every
// nibble is a code there, seven of eight random groups reach a peak, and a group that lost
// its only peak is far below the share of a whole tensor, in any format.
//
// # One pass
//
// A Checker is fed the data of a file as they go by, in the order of the file, and needs
// nothing but the header beforehand: a stream from a registry is judged like a file on
// disk, in the same read that takes the sums. It takes any safetensors file: tensors that
// belong to no quantised linear are held against the rules for floating-point values, and
// dtypes without a rule are named.
package values

import (
	"context"
	"fmt"
	"io"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// pieceSize is the unit of judging, a multiple of all layouts' units.
const pieceSize = 1 << 20

// Check reads the data of the file that h was read from, once and from front to back, and
// returns what a Checker finds. An error means that the values could not be read to the
// end, because r failed, ended early or ctx ended; it says nothing about them.
func Check(ctx context.Context, h *safetensors.Header, r io.ReaderAt) (Stats, verify.Findings, error) {
	c := New(h)
	defer c.Close()
	data := io.NewSectionReader(r, h.DataStart, h.DataBytes())
	if _, err := verify.Copy(ctx, c, data, nil); err != nil {
		return Stats{}, nil, fmt.Errorf("checking values: %w", err)
	}
	return c.Finish()
}

// job is one tensor, or several of the same size whose values belong together.
type job struct {
	tensors []safetensors.Tensor
	kinds   []string // of the tensors
	probe   func() probe
}

// probe looks at the values of a job.
type probe interface {
	// feed takes the next piece of each tensor, equally many bytes.
	feed(pieces ...[]byte)
	// outcome judges what was fed.
	outcome(j job) outcome
}

// outcome is what a job yields: numbers of each tensor and what is wrong.
type outcome struct {
	numbers []numbers
	report
}
