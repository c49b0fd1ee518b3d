package compute

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// Weight is a tensor as it lies in a file.
type Weight struct {
	Name  string
	DType safetensors.DType
	Shape []int64
	// Data are the tensor's bytes, little-endian. They are read-only.
	Data []byte
}

// IsZero reports whether w is no tensor.
func (w Weight) IsZero() bool { return w.Name == "" && w.Data == nil }

// Len is the number of values.
func (w Weight) Len() int {
	n := 1
	for _, d := range w.Shape {
		n *= int(d)
	}
	return n
}

// String describes the tensor, as messages need it.
func (w Weight) String() string { return fmt.Sprintf("%s %s%v", w.Name, w.DType, w.Shape) }

// LinearSpec is one of Dense, SVDQ and AWQ.
type LinearSpec interface{ linear() }

// Dense is a linear as it was trained, in BF16 or F32, or several that read one input:
// their outputs side by side.
type Dense struct {
	// Weights are [outᵢ, in]; further dimensions of 1, as of a convolution of one pixel, are
	// passed over.
	Weights []Weight
	// Biases are [outᵢ], one for each of the Weights, or none at all.
	Biases []Weight
}

// SVDQ is a linear of an SVDQuant INT4 checkpoint: codes of 4 bits with a scale for each
// row and 64 columns, of the input divided by smoothing factors, beside a branch of low
// rank on the input as it is,
//
//	y = Q·(x/s) + U·(D·x) + b
//
// in the packing and order of the file (package verify/svdq/packing). All but the codes are
// BF16.
type SVDQ struct {
	QWeight Weight // I8 [out, in/2]
	WScales Weight // [in/64, out]
	Smooth  Weight // [in]
	Down    Weight // [in, rank]
	Up      Weight // [out, rank]
	Bias    Weight // [out]
	// Shifted says that the checkpoint was made for inputs to which Shift was added before
	// the division, so that they are quantised without a sign: b is b₀ − Shift·Σ Q/s, and
	// the shifted input belongs with it. U·D reads the input without the shift.
	Shifted bool
}

// Shift is what is added to the output of a GELU, which is above −Shift everywhere, before
// it is quantised without a sign (nunchaku: 0.171875 in its GELU epilogue).
const Shift = 0.171875

// AWQ is a linear with codes of 4 bits, w = q·s + z, a scale and a zero for each row and 64
// columns. Scales, zeros and bias are BF16.
type AWQ struct {
	QWeight Weight // I32 [out/4, in/2]
	WScales Weight // [in/64, out]
	WZeros  Weight // [in/64, out]
	Bias    Weight // [out]
	// Parts, if over 1, says that outputs lie interleaved, output c of part j at Parts·c + j.
	// The loaded linear has them part by part.
	Parts int
}

func (Dense) linear() {}
func (SVDQ) linear()  {}
func (AWQ) linear()   {}

// ConvSpec is a convolution of a picture.
type ConvSpec struct {
	// Weight is [out, in, kh, kw], or [out, in, kt, kh, kw] of a causal convolution over
	// time: a single picture has only zeros before it, so that the last of the kt slices
	// is all that acts.
	Weight Weight
	Bias   Weight // [out]
	// Stride is the step in both directions, 1 or 2.
	Stride int
	// Top, Left, Bottom and Right are the zeros around the picture.
	Top, Left, Bottom, Right int
	// Upsample doubles both sides first, each pixel taken four times, before zeros are put
	// around.
	Upsample bool
}
