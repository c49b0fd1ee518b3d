package svdq_test

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// A file of the published size whose name promises another rank.
func Example() {
	file, err := svdqtest.New(svdqtest.Real(svdq.Int4, 32))
	if err != nil {
		panic(err)
	}
	header, err := safetensors.Read(file, file.Size())
	if err != nil {
		panic(err)
	}
	c, err := svdq.Identify(header)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s rank %d, %d blocks, %d tensors, %d bytes\n", c.Family, c.Precision, c.Rank, c.Blocks, c.Tensors, c.DataBytes)
	fmt.Println("findings about the tensors:", len(svdq.Check(header)))
	for _, f := range svdq.CheckName("svdq-int4_r128-qwen-image-edit.safetensors", c) {
		fmt.Printf("%s: %s\n", f.Severity, f)
	}
	// Output:
	// qwen-image int4 rank 32, 60 blocks, 4093 tensors, 11521481856 bytes
	// findings about the tensors: 0
	// error: r128 in the name, 32 in the tensors
}
