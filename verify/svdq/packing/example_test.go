package packing_test

import (
	"fmt"
	"io"

	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// One element of the effective weight of an int4 linear: code·scale/smooth, plus the
// product of the low-rank factors.
func Example() {
	const out, in, rank = 384, 128, 16
	checkpoint, err := svdqtest.New(svdqtest.Params{
		Precision: svdqtest.Int4, Rank: rank, Blocks: 1, Heads: 4, HeadDim: 32, JointDim: 96, InChannels: 64, OutChannels: 16, Seed: 1,
	})
	must(err)
	read := func(suffix string) []byte {
		t, _ := checkpoint.Header().Tensor("transformer_blocks.0.attn.to_qkv." + suffix)
		b, err := io.ReadAll(checkpoint.Header().Section(checkpoint, t))
		must(err)
		return b
	}
	codes, scales, smooth := make([]int8, out*in), make([]uint16, out*in/64), make([]uint16, in)
	up, down := make([]uint16, out*rank), make([]uint16, rank*in)
	must(packing.UnpackInt4(codes, read("qweight"), out, in))
	must(packing.UnpackScales(scales, read("wscales"), out, in))
	must(packing.UnpackVector(smooth, read("smooth_factor")))
	must(packing.UnpackUp(up, read("proj_up"), out, rank))
	must(packing.UnpackDown(down, read("proj_down"), in, rank))

	const o, i = 200, 70
	w := float32(codes[o*in+i]) * packing.BF16(scales[o*in/64+i/64]) / packing.BF16(smooth[i])
	for r := range rank {
		w += packing.BF16(up[o*rank+r]) * packing.BF16(down[r*in+i])
	}
	fmt.Printf("code %d, weight %.4f\n", codes[o*in+i], w)
	// Output: code 3, weight 0.0125
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
