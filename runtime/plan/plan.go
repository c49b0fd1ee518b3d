// Package plan is the backend that computes nothing and counts: the same calls that run a
// model on a GPU say, on this one, what the run takes.
//
//	b := plan.New(plan.Options{})
//	m, err := vae.New(b, config, set)     // what the weights take
//	plan.Stage(b, "decode")
//	m.Decode(ctx, z, h, w)                // what the run takes
//	fmt.Print(b.Result())
//
// A set of headers alone (weights.Describe) is enough, so a model can be planned that is not
// there. Nothing depends on values: downloads give zeros, and everything is finite.
//
// # What is counted
//
// Weights, when they are loaded, in the bytes that they are held in. Those of an SVDQuant
// linear are Options' to say; all others are held as they lie in the file, of convolutions
// over time the one slice that acts. What a backend keeps beside them, as padding or a second
// layout, is not counted. Groups of weights are counted for themselves: what they hold, what
// package kernels needs to have them come and go, and how often a run begins to use them, from
// which Result.Stream chooses those that do not stay on a device that is too small for all.
//
// Operations:
//
//   - FLOPs are those of products of matrices, two for each multiplication and addition. What
//     a norm, an activation or a sum of residuals takes is in none of them, nor what a backend
//     computes beyond the operation, as with a mask or a fringe of a tile.
//   - Bytes are the floor of what goes to and from memory: the weights once, each input once,
//     the result once. Attention's scores are none of them.
//   - Launches are calls. A backend needs one for each at least.
//
// The arena is that of every backend, offsets and alignment included, so that its peak is
// theirs, for activations of the same size.
//
// # Checks
//
// The backend checks what the contract says of shapes, of tensors that overlap and of such
// that are gone from the arena, and panics as others do. A plan at the published size holds a
// model's code against that without a byte of weights.
package plan

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// Holding is how the codes of an SVDQuant linear are held.
type Holding uint8

const (
	// Packed is 4 bits a code and the scales of its groups, as in the file.
	Packed Holding = iota
	// Int8 is a byte for each weight, scales and branch of low rank worked in, and two float32
	// for each input and output: what tensor cores without 4-bit units read.
	Int8
	// Whole is one matrix in 16 bits, smoothing and the branch of low rank worked in.
	Whole
	// W4A4 is Packed, for products of inputs that are rounded to codes of 4 bits too.
	W4A4
)

// Options say whose memory is planned. The zero value plans for a GPU that holds weights as
// they are.
type Options struct {
	// ActBytes is the size of an activation: 2 for bfloat16, 4 for package ref. 0 is 2.
	ActBytes int
	// SVDQ is how linears of an SVDQuant checkpoint are held.
	SVDQ Holding
	// Temporaries counts as well what package kernels takes of the arena for the time of an
	// operation, such as the result of a Pre before a product.
	Temporaries bool
}

// Backend is a compute.Backend. Like every other it is used by one goroutine at a time.
type Backend struct {
	options Options
	arena   compute.Arena
	weights [weightKinds]Weights
	groups  []*group
	loading *group // of what is being loaded
	using   *group // whose weights were used last
	stages  []*stage
	now     *stage
	times   int64 // how often what comes now is counted
}

var _ compute.Backend = (*Backend)(nil)

// New makes a backend. Options out of range panic.
func New(o Options) *Backend {
	if o.ActBytes == 0 {
		o.ActBytes = 2
	}
	if o.ActBytes < 0 || o.SVDQ > W4A4 {
		panic(fmt.Sprintf("plan: activations of %d bytes, holding %d", o.ActBytes, o.SVDQ))
	}
	b := &Backend{options: o, times: 1}
	b.Begin()
	return b
}

// Stage has what follows counted under a name, on a backend that counts; to others it does
// nothing, so that a pipeline may call it on any.
func Stage(b compute.Backend, name string) {
	if p, ok := b.(*Backend); ok {
		p.Stage(name)
	}
}

// Stage has what follows counted under a name. A name that was there before goes on.
func (b *Backend) Stage(name string) {
	b.now = nil
	for _, s := range b.stages {
		if s.name == name {
			b.now = s
		}
	}
	if b.now == nil {
		b.now = &stage{name: name}
		b.stages = append(b.stages, b.now)
	}
	b.now.peak = max(b.now.peak, b.arena.Used())
}

// Times calls do n times, with 0 to n−1. On a backend that counts it calls do once, with 0, and
// counts that n times over, so that fifty steps are planned in the time of one. Every call must
// take the same and leave the arena as it was; on a backend that counts it panics otherwise.
// The first error ends it.
func Times(b compute.Backend, n int, do func(i int) error) error {
	if p, ok := b.(*Backend); ok && n > 0 {
		return p.repeat(n, do)
	}
	for i := range n {
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}

// repeat counts what do takes n times.
func (b *Backend) repeat(n int, do func(i int) error) error {
	before, mark := b.times, b.Mark()
	b.times *= int64(n)
	defer func() { b.times = before }()
	if err := do(0); err != nil {
		return err
	}
	if b.Mark() != mark {
		panic(fmt.Sprintf("plan: %d bytes are in use behind what is repeated, %d were before", b.Mark(), mark))
	}
	return nil
}

// Begin forgets what operations took, and which stage it is. Weights stay, and what is in the
// arena is in it.
func (b *Backend) Begin() {
	b.stages, b.using = nil, nil
	for _, g := range b.groups {
		g.Uses = 0
	}
	b.Stage("")
}

// Peak is how many bytes of the arena were in use at a time since Begin.
func (b *Backend) Peak() (n int64) {
	for _, s := range b.stages {
		n = max(n, s.peak)
	}
	return n
}

// Alloc takes a tensor from the arena, which has no limit.
func (b *Backend) Alloc(k compute.Kind, rows, cols int) compute.Tensor {
	size := f32Bytes
	if k == compute.Act {
		size = b.options.ActBytes
	}
	t, _ := b.arena.Alloc(k, rows, cols, size)
	b.now.peak = max(b.now.peak, b.arena.Used())
	return t
}

// f32Bytes is the size of a float32.
const f32Bytes = 4

// Mark is the arena's state.
func (b *Backend) Mark() compute.Mark { return b.arena.Mark() }

// Reset goes back to a state.
func (b *Backend) Reset(m compute.Mark) { b.arena.Reset(m) }

// Upload counts the bytes of a tensor.
func (b *Backend) Upload(dst compute.Tensor, values []float32) {
	compute.CheckValues(dst, values)
	b.format(dst)
	b.arena.Present(dst)
	b.now.uploaded += b.times * dst.Bytes()
}

// Download counts the bytes of a tensor and gives zeros.
func (b *Backend) Download(values []float32, src compute.Tensor) error {
	compute.CheckValues(src, values)
	b.format(src)
	b.arena.Present(src)
	b.now.downloaded += b.times * src.Bytes()
	clear(values)
	return nil
}

// Sync returns nil: nothing here can fail.
func (b *Backend) Sync() error { return nil }

// Renew returns nil.
func (b *Backend) Renew() error { return nil }

// Close returns nil. Counts can still be read.
func (b *Backend) Close() error { return nil }
