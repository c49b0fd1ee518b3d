package values_test

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
)

// A checkpoint with one weight in row-major order. Names, shapes and sizes are right.
func Example() {
	checkpoint, err := svdqtest.New(svdqtest.Params{
		Precision: svdqtest.Int4, Rank: 16, Blocks: 1, Heads: 4, HeadDim: 32, JointDim: 96, InChannels: 64, OutChannels: 16,
	})
	if err != nil {
		panic(err)
	}
	h := checkpoint.Header()
	file, err := io.ReadAll(io.NewSectionReader(checkpoint, 0, checkpoint.Size()))
	if err != nil {
		panic(err)
	}
	t, _ := h.Tensor("transformer_blocks.0.attn.to_qkv.qweight")
	weight := file[h.DataStart+t.Begin : h.DataStart+t.End]
	if err := packing.UnpackNibbles(weight, bytes.Clone(weight), 384, 128); err != nil {
		panic(err)
	}

	stats, findings, err := values.Check(context.Background(), h, bytes.NewReader(file))
	if err != nil {
		panic(err)
	}
	fmt.Println(stats.Tensors, "tensors read")
	for _, f := range findings {
		fmt.Printf("%s: %s\n", f.Severity, f)
	}
	// Output:
	// 81 tensors read
	// error: transformer_blocks.0.attn.to_qkv.qweight lies in rows, not in tiles: 100 % of its groups would have the largest code, instead of 94.53 %
}
