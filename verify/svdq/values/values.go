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
// Check needs the header and an io.ReaderAt. It takes any safetensors file: tensors that
// belong to no quantised linear are held against the rules for floating-point values, and
// dtypes without a rule are named.
package values

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// pieceSize is the unit of reading, a multiple of all layouts' units. A worker holds two.
const pieceSize = 1 << 20

// Options says how Check works; the zero value is ready for use.
type Options struct {
	// Workers is the number of tensors that are read side by side; 0 is GOMAXPROCS. Each
	// takes 2 MiB of memory, whatever the size of the file.
	Workers int
	// Progress, if not nil, is called with the number of bytes after each piece that was
	// read, from several goroutines at once. The calls add up to the data bytes of the
	// tensors that have a rule.
	Progress func(n int64)
}

// Check reads all tensors of the file that h was read from and returns their statistics
// and what is wrong with them. Every byte is read once, in pieces of 1 MiB. Messages begin
// with the tensor's name; the same fault of many blocks is one finding that counts them.
// The findings' Object is empty: the caller knows the name of the file. Their order and
// the statistics do not depend on the number of workers.
//
// An error means that the values could not be read to the end, because r failed, ended
// early or ctx was cancelled; it says nothing about them.
func Check(ctx context.Context, h *safetensors.Header, r io.ReaderAt, o Options) (Stats, verify.Findings, error) {
	c := checker{header: h, file: r, options: o}
	var out report
	c.jobs = plan(h, &out)
	c.outcomes = make([]outcome, len(c.jobs))
	if err := c.run(ctx); err != nil {
		return Stats{}, nil, err
	}
	var kinds collection
	for _, x := range c.outcomes {
		for _, n := range x.numbers {
			kinds.add(n)
		}
		out.faults = append(out.faults, x.faults...)
	}
	return kinds.stats(), out.findings(), nil
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

// checker is one run of Check.
type checker struct {
	header   *safetensors.Header
	file     io.ReaderAt
	options  Options
	jobs     []job
	outcomes []outcome // of the jobs
	next     atomic.Int64
}

// run does the jobs on all workers.
func (c *checker) run(ctx context.Context) error {
	workers := c.options.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	group, ctx := errgroup.WithContext(ctx)
	for range min(workers, len(c.jobs)) {
		group.Go(func() error { return c.work(ctx) })
	}
	return group.Wait()
}

// work does jobs until none is left.
func (c *checker) work(ctx context.Context) error {
	var buffers [maxTogether][]byte
	for i := range buffers {
		buffers[i] = make([]byte, min(pieceSize, c.largest()))
	}
	for {
		i := int(c.next.Add(1)) - 1
		if i >= len(c.jobs) {
			return nil
		}
		p := c.jobs[i].probe()
		if err := c.read(ctx, c.jobs[i], p, buffers); err != nil {
			return err
		}
		c.outcomes[i] = p.outcome(c.jobs[i])
	}
}

// largest is the size of the largest tensor.
func (c *checker) largest() (size int64) {
	for _, j := range c.jobs {
		size = max(size, j.tensors[0].Size())
	}
	return size
}

// maxTogether is the largest number of tensors in a job.
const maxTogether = 2

// read feeds a job's tensors to its probe.
func (c *checker) read(ctx context.Context, j job, p probe, buffers [maxTogether][]byte) error {
	size := j.tensors[0].Size()
	for off := int64(0); off < size; off += pieceSize {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("checking values of %s: %w", shorten(j.tensors[0].Name), err)
		}
		pieces := buffers[:len(j.tensors)]
		for i, t := range j.tensors {
			pieces[i] = pieces[i][:min(pieceSize, size-off)]
			if err := c.readAt(pieces[i], t, off); err != nil {
				return err
			}
		}
		p.feed(pieces...)
	}
	return nil
}

// readAt fills p from a tensor's data.
func (c *checker) readAt(p []byte, t safetensors.Tensor, off int64) error {
	n, err := c.file.ReadAt(p, c.header.DataStart+t.Begin+off)
	if n < len(p) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("checking values of %s: reading byte %d of %d: %w", shorten(t.Name), off+int64(n), t.Size(), err)
	}
	if c.options.Progress != nil {
		c.options.Progress(int64(n))
	}
	return nil
}
