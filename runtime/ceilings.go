package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// ceilings are the rates that bound everything a machine computes: of large products of
// matrices, and of a large copy. They are the backend's own, taken before the model is there,
// so that a stage's share of its floor says what is lost between the products and around them.
// How near the products are to the machine's own limit is for runtime/kernels/README.md.
type ceilings struct {
	// FLOPs is the rate of a square product in the backend's format for activations, in
	// operations a second, and Product the length of its sides.
	FLOPs   float64 `json:"flopsPerSecond"`
	Product int     `json:"productSide"`
	// Int8 is the rate of such a product by SVDQ weights in 8 bits, where a GPU holds them so;
	// the rounding of its input is part of it.
	Int8 float64 `json:"int8OperationsPerSecond,omitempty"`
	// Bytes is the rate of a copy in the device's memory, read and written bytes together.
	Bytes     float64 `json:"bytesPerSecond"`
	CopyBytes int64   `json:"copyBytes"`
}

// work is what a stage computes: operations of products, those of SVDQ linears among them, and
// the bytes that it moves. The branch of low rank is not counted: it can be worked into the
// weights, as kernels does and as the model's original has it.
type work struct{ flops, svdq, bytes int64 }

func (a work) minus(b work) work { return work{a.flops - b.flops, a.svdq - b.svdq, a.bytes - b.bytes} }

func workOf(operations ...plan.Operation) (w work) {
	for _, o := range operations {
		w.bytes += o.WeightBytes + o.ActivationBytes
		switch o.Name {
		case "lowRank":
			continue
		case "svdq":
			w.svdq += o.FLOPs
		}
		w.flops += o.FLOPs
	}
	return w
}

// floor is the least time that work takes below the ceilings: products and memory may run side
// by side.
func (c ceilings) floor(w work) float64 {
	svdq := c.Int8
	if svdq == 0 {
		svdq = c.FLOPs
	}
	return max(float64(w.flops-w.svdq)/c.FLOPs+float64(w.svdq)/svdq, float64(w.bytes)/c.Bytes)
}

// The sizes that fill a GPU, and those that a CPU does in a moment.
const (
	productGPU, productCPU = 8192, 256
	copyGPU, copyCPU       = 1 << 30, 1 << 24
	// A ceiling is the best of so many turns of so many launches.
	ceilingTurns, ceilingLaunches = 5, 5
)

// ceilings measures on a backend of its own, which it closes.
func (m machine) ceilings() (c ceilings, err error) {
	c.Product, c.CopyBytes = productCPU, copyCPU
	if m.driver != nil {
		c.Product, c.CopyBytes = productGPU, copyGPU
	}
	// x and y, or x and the copy, and as much as a product's input for what it takes inside.
	b, err := m.bare(2*c.CopyBytes + 3*4*int64(c.Product)*int64(c.Product))
	if err != nil {
		return c, err
	}
	err = c.measure(b, m.weights == weightsInt8)
	return c, errors.Join(err, b.Close())
}

// bare is a backend without a model.
func (m machine) bare(arena int64) (compute.Backend, error) {
	if m.driver == nil {
		return ref.New(ref.Options{ArenaBytes: arena}), nil
	}
	return kernels.New(m.driver, m.device, kernels.Options{ArenaBytes: arena, Held: forms[m.weights].held})
}

func (c *ceilings) measure(b compute.Backend, int8 bool) (err error) {
	rng := rand.New(rand.NewPCG(1, 2))
	x := b.Alloc(compute.Act, c.Product, c.Product)
	values := make([]float32, x.Len())
	for i := range values {
		values[i] = 2*rng.Float32() - 1
	}
	b.Upload(x, values)
	if c.FLOPs, err = productRate(b, x, compute.Dense{Weights: []compute.Weight{randomBF16(rng, c.Product, c.Product)}}); err != nil {
		return err
	}
	if int8 {
		if c.Int8, err = productRate(b, x, randomSVDQ(rng, c.Product)); err != nil {
			return err
		}
	}
	c.Bytes, err = copyRate(b, x, int(c.CopyBytes))
	return err
}

// productRate is how many operations a second a product with square weights does.
func productRate(b compute.Backend, x compute.Tensor, s compute.LinearSpec) (float64, error) {
	defer b.Reset(b.Mark())
	l, err := b.LoadLinear(s)
	if err != nil {
		return 0, fmt.Errorf("measuring a product: %w", err)
	}
	y := b.Alloc(compute.Act, x.Rows, l.Out())
	took, err := fastest(b, func() { b.Linear(y, l, x, compute.Pre{}, compute.Post{}) })
	if err != nil {
		return 0, fmt.Errorf("measuring a product of %v: %w", x, err)
	}
	return 2 * float64(x.Rows) * float64(l.In()) * float64(l.Out()) / took, nil
}

// copyRate is how many bytes a second a copy of some bytes, with the values of x, reads and
// writes.
func copyRate(b compute.Backend, x compute.Tensor, bytes int) (float64, error) {
	defer b.Reset(b.Mark())
	from, to := b.Alloc(compute.F32, bytes/copyRow, copyRow/4), b.Alloc(compute.F32, bytes/copyRow, copyRow/4)
	piece := x.Len() / from.Cols
	for row := 0; row+piece <= from.Rows; row += piece {
		b.Copy(from.Slice(row, row+piece), x) // pages that were never written would be read for nothing
	}
	took, err := fastest(b, func() { b.Copy(to, from) })
	if err != nil {
		return 0, fmt.Errorf("measuring a copy of %d bytes: %w", bytes, err)
	}
	return 2 * float64(bytes) / took, nil
}

// copyRow is a row of what is copied, in bytes.
const copyRow = 4096

// randomBF16 makes a weight of values between −1 and 1.
func randomBF16(rng *rand.Rand, shape ...int) compute.Weight {
	return randomWeight(safetensors.BF16, 2, func(at []byte) { binary.LittleEndian.PutUint16(at, bf16.Bits(2*rng.Float32()-1)) }, shape...)
}

// randomWeight makes a weight of values of size bytes.
func randomWeight(d safetensors.DType, size int, put func(at []byte), shape ...int) compute.Weight {
	w, n := compute.Weight{Name: "product", DType: d}, size
	for _, side := range shape {
		w.Shape, n = append(w.Shape, int64(side)), n*side
	}
	w.Data = make([]byte, n)
	for i := 0; i < n; i += size {
		put(w.Data[i:])
	}
	return w
}

// randomSVDQ makes square SVDQ weights: any codes are some weights. Scales and smoothing lie
// between 0.5 and 1.
func randomSVDQ(rng *rand.Rand, side int) compute.SVDQ {
	codes := func(at []byte) { at[0] = byte(rng.Uint32()) }
	factors := func(at []byte) { binary.LittleEndian.PutUint16(at, bf16.Bits(0.5+rng.Float32()/2)) }
	const group, rank = 64, 16
	return compute.SVDQ{
		QWeight: randomWeight(safetensors.I8, 1, codes, side, side/2),
		WScales: randomWeight(safetensors.BF16, 2, factors, side/group, side),
		Smooth:  randomWeight(safetensors.BF16, 2, factors, side),
		Down:    randomBF16(rng, side, rank),
		Up:      randomBF16(rng, side, rank),
		Bias:    randomBF16(rng, side),
	}
}

// fastest is the seconds that a launch takes in the best of several turns, after one that does
// not count.
func fastest(b compute.Backend, launch func()) (float64, error) {
	best := math.Inf(1)
	for turn := range 1 + ceilingTurns {
		began := time.Now()
		for range ceilingLaunches {
			launch()
		}
		if err := b.Sync(); err != nil {
			return 0, err
		}
		if turn > 0 {
			best = min(best, time.Since(began).Seconds()/ceilingLaunches)
		}
	}
	return best, nil
}
