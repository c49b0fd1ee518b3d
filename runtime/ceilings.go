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

// ceilings are the two rates that bound everything a machine computes: of a large product of
// matrices, and of a large copy. They are the backend's own, taken before the model is there,
// so that a stage's share of its floor says what is lost between the products and around them.
// How near the products are to the machine's own limit is for runtime/kernels/README.md.
type ceilings struct {
	// FLOPs is the rate of a square product in the backend's format for activations, in
	// operations a second, and Product the length of its sides.
	FLOPs   float64 `json:"flopsPerSecond"`
	Product int     `json:"productSide"`
	// Bytes is the rate of a copy in the device's memory, read and written bytes together.
	Bytes     float64 `json:"bytesPerSecond"`
	CopyBytes int64   `json:"copyBytes"`
}

// floor is the least time that work takes below the ceilings: products and memory may run side
// by side.
func (c ceilings) floor(w plan.Work) float64 {
	return max(float64(w.FLOPs)/c.FLOPs, float64(w.WeightBytes+w.ActivationBytes)/c.Bytes)
}

// The sizes that fill a GPU, and those that a CPU does in a moment.
const (
	productGPU, productCPU = 8192, 512
	copyGPU, copyCPU       = 1 << 30, 1 << 26
	// A ceiling is the best of so many turns of so many launches.
	ceilingTurns, ceilingLaunches = 5, 5
)

// ceilings measures on a backend of its own, which it closes.
func (m machine) ceilings() (c ceilings, err error) {
	c.Product, c.CopyBytes = productCPU, copyCPU
	if m.driver != nil {
		c.Product, c.CopyBytes = productGPU, copyGPU
	}
	b, err := m.bare(2*c.CopyBytes + 2*int64(c.Product)*int64(c.Product)*int64(m.actBytes()))
	if err != nil {
		return c, err
	}
	err = c.measure(b)
	return c, errors.Join(err, b.Close())
}

// bare is a backend without a model.
func (m machine) bare(arena int64) (compute.Backend, error) {
	if m.driver == nil {
		return ref.New(ref.Options{ArenaBytes: arena}), nil
	}
	return kernels.New(m.driver, m.device, kernels.Options{ArenaBytes: arena})
}

func (c *ceilings) measure(b compute.Backend) error {
	rng := rand.New(rand.NewPCG(1, 2))
	l, err := b.LoadLinear(compute.Dense{Weights: []compute.Weight{randomWeight(rng, c.Product)}})
	if err != nil {
		return fmt.Errorf("measuring a product: %w", err)
	}
	x, y := b.Alloc(compute.Act, c.Product, c.Product), b.Alloc(compute.Act, c.Product, c.Product)
	values := make([]float32, x.Len())
	for i := range values {
		values[i] = 2*rng.Float32() - 1
	}
	b.Upload(x, values)
	side := float64(c.Product)
	took, err := fastest(b, func() { b.Linear(y, l, x, compute.Pre{}, compute.Post{}) })
	if err != nil {
		return fmt.Errorf("measuring a product of %d: %w", c.Product, err)
	}
	c.FLOPs = 2 * side * side * side / took

	from, to := b.Alloc(compute.F32, int(c.CopyBytes)/copyRow, copyRow/4), b.Alloc(compute.F32, int(c.CopyBytes)/copyRow, copyRow/4)
	piece := x.Len() / from.Cols
	for row := 0; row+piece <= from.Rows; row += piece {
		b.Copy(from.Slice(row, row+piece), x) // pages that were never written would be read for nothing
	}
	if took, err = fastest(b, func() { b.Copy(to, from) }); err != nil {
		return fmt.Errorf("measuring a copy of %d bytes: %w", c.CopyBytes, err)
	}
	c.Bytes = 2 * float64(c.CopyBytes) / took
	return nil
}

// copyRow is a row of what is copied, in bytes.
const copyRow = 4096

// randomWeight makes a square weight of values between −1 and 1.
func randomWeight(rng *rand.Rand, side int) compute.Weight {
	w := compute.Weight{Name: "product", DType: safetensors.BF16, Shape: []int64{int64(side), int64(side)}, Data: make([]byte, 2*side*side)}
	for i := 0; i < len(w.Data); i += 2 {
		binary.LittleEndian.PutUint16(w.Data[i:], bf16.Bits(2*rng.Float32()-1))
	}
	return w
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
