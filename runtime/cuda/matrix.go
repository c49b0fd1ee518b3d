package cuda

import "errors"

// maxMaps is the most tiled matrices that a launch can have.
const maxMaps = 8

// tensorMap is a CUtensorMap: 128 bytes that the driver fills, aligned to 64.
type tensorMap [16]uint64

// Values of cuTensorMapEncodeTiled.
const (
	tensorBF16       = 9 // CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
	tensorSwizzle128 = 3 // CU_TENSOR_MAP_SWIZZLE_128B
	tensorPromote256 = 3 // CU_TENSOR_MAP_L2_PROMOTION_L2_256B
)

// Matrix is a matrix of bfloat16 on the device, row-major without gaps, that a kernel
// copies tile by tile with the tensor memory accelerator: tiles of TileRows by TileCols
// values, in shared memory with a swizzle of 128 bytes, and zeros where the matrix ends. Its
// address is a multiple of 16, and so are the bytes of a row; a tile's row has at most 128.
type Matrix struct {
	P                  Pointer
	Rows, Cols         int
	TileRows, TileCols int
}

// errNoTensorMaps is about a driver before CUDA 12.0.
var errNoTensorMaps = errors.New("the driver has no cuTensorMapEncodeTiled, which came with CUDA 12.0")

func (m Matrix) encode(a *api, out *tensorMap) error {
	if a.cuTensorMapEncodeTiled == nil {
		return errNoTensorMaps
	}
	sizes, strides := [2]uint64{uint64(m.Cols), uint64(m.Rows)}, [1]uint64{uint64(2 * m.Cols)}
	box, steps := [2]uint32{uint32(m.TileCols), uint32(m.TileRows)}, [2]uint32{1, 1}
	return a.check("cuTensorMapEncodeTiled", a.cuTensorMapEncodeTiled(out, tensorBF16, uint32(len(sizes)), m.P,
		&sizes[0], &strides[0], &box[0], &steps[0], 0, tensorSwizzle128, tensorPromote256, 0))
}
