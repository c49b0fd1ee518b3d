package safetensors

// DType is the element type of a tensor, spelled as in the header of a file.
type DType string

// Every dtype of the public format (safetensors 0.8). A 4-bit or 6-bit tensor is packed
// without gaps and must fill whole bytes.
const (
	BOOL       DType = "BOOL"
	F4         DType = "F4"
	F6E2M3     DType = "F6_E2M3"
	F6E3M2     DType = "F6_E3M2"
	U8         DType = "U8"
	I8         DType = "I8"
	F8E5M2     DType = "F8_E5M2"
	F8E4M3     DType = "F8_E4M3"
	F8E8M0     DType = "F8_E8M0"
	F8E4M3FNUZ DType = "F8_E4M3FNUZ"
	F8E5M2FNUZ DType = "F8_E5M2FNUZ"
	I16        DType = "I16"
	U16        DType = "U16"
	F16        DType = "F16"
	BF16       DType = "BF16"
	I32        DType = "I32"
	U32        DType = "U32"
	F32        DType = "F32"
	C64        DType = "C64"
	F64        DType = "F64"
	I64        DType = "I64"
	U64        DType = "U64"
)

// ranked holds the dtypes in ascending order of rank. The rank decides where a writer
// puts a tensor (highest first), so the order is part of the canonical form.
var ranked = []DType{
	BOOL, F4, F6E2M3, F6E3M2, U8, I8, F8E5M2, F8E4M3, F8E8M0, F8E4M3FNUZ, F8E5M2FNUZ,
	I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64,
}

var bitsOf = map[DType]int{
	BOOL: 8, F4: 4, F6E2M3: 6, F6E3M2: 6, U8: 8, I8: 8, F8E5M2: 8, F8E4M3: 8, F8E8M0: 8,
	F8E4M3FNUZ: 8, F8E5M2FNUZ: 8, I16: 16, U16: 16, F16: 16, BF16: 16, I32: 32, U32: 32,
	F32: 32, C64: 64, F64: 64, I64: 64, U64: 64,
}

var rankOf = func() map[DType]int {
	m := make(map[DType]int, len(ranked))
	for i, d := range ranked {
		m[d] = i
	}
	return m
}()

// DTypes lists every known dtype in ascending order of rank.
func DTypes() []DType { return append([]DType(nil), ranked...) }

// Bits returns the width of one element in bits, 0 for an unknown dtype.
func (d DType) Bits() int { return bitsOf[d] }
