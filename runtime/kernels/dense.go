package kernels

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// dense is a linear of one or several matrices, one below the other.
type dense struct {
	size
	// narrow is the matrix in bfloat16 [out, padded], what a product with activations reads, the
	// columns beyond in zero; wide is in float32 [out, in], where it came so.
	narrow, wide cuda.Pointer
	padded       int
	bias         cuda.Pointer // 0 is none
}

func loadDense(b *Backend, s compute.Dense) (*dense, error) {
	d := &dense{size: size{home: b}}
	format, err := d.measure(s)
	if err != nil {
		return nil, err
	}
	if err := d.load(s, format); err != nil {
		return nil, loading(s.Weights[0], err)
	}
	return d, nil
}

// load takes memory and puts the matrices and biases on their way, each to its rows.
func (d *dense) load(s compute.Dense, format safetensors.DType) error {
	b := d.home
	all := []taken{{&d.narrow, int64(d.padded) * int64(d.out) * actSize}}
	if format == safetensors.F32 {
		all = append(all, taken{&d.wide, int64(d.in) * int64(d.out) * f32Size})
	}
	if len(s.Biases) > 0 {
		all = append(all, taken{&d.bias, int64(d.out) * f32Size})
	}
	if err := b.take(all...); err != nil {
		return err
	}
	row := 0
	for i, w := range s.Weights {
		if format == safetensors.F32 {
			b.putRaw(w, d.wide+cuda.Pointer(row)*cuda.Pointer(d.in)*f32Size)
		}
		b.putRows(w, d.narrow+cuda.Pointer(row)*cuda.Pointer(d.padded)*actSize, d.in, d.padded)
		if len(s.Biases) > 0 {
			b.putWide(s.Biases[i], d.bias+cuda.Pointer(row*f32Size))
		}
		row += int(w.Shape[0])
	}
	return nil
}

// measure checks the weights, and finds the size and the format.
func (d *dense) measure(s compute.Dense) (safetensors.DType, error) {
	if len(s.Weights) == 0 {
		return "", loading(compute.Weight{}, fmt.Errorf("a dense linear of no weights"))
	}
	first := s.Weights[0]
	if len(s.Biases) != 0 && len(s.Biases) != len(s.Weights) {
		return "", loading(first, fmt.Errorf("%d weights with %d biases", len(s.Weights), len(s.Biases)))
	}
	for i, w := range s.Weights {
		if err := sized(w, safetensors.BF16, safetensors.F32); err != nil {
			return "", loading(w, err)
		}
		if len(w.Shape) < 2 || w.Len() != int(w.Shape[0]*w.Shape[1]) {
			return "", loading(w, fmt.Errorf("its shape is %v, a linear's is [out, in] and further dimensions of 1", w.Shape))
		}
		if w.DType != first.DType || w.Shape[1] != first.Shape[1] {
			return "", loading(w, fmt.Errorf("it is not like %v, whose input it shares", first))
		}
		if len(s.Biases) > 0 {
			if err := checkBias(s.Biases[i], w.Shape[0]); err != nil {
				return "", err
			}
		}
		d.out += int(w.Shape[0])
	}
	d.in = int(first.Shape[1])
	d.padded = ceil(d.in, productUnit) * productUnit
	return first.DType, nil
}

// checkBias checks a bias of n values.
func checkBias(w compute.Weight, n int64) error {
	if len(w.Shape) != 1 || w.Shape[0] != n {
		return loading(w, fmt.Errorf("its shape is %v, this takes [%d]", w.Shape, n))
	}
	if err := sized(w, safetensors.BF16, safetensors.F32); err != nil {
		return loading(w, err)
	}
	return nil
}

// productUnit is what the depth of a product is a multiple of.
const productUnit = 8

func (d *dense) run(dst, x compute.Tensor, p compute.Pre, e epilogue) {
	b := d.home
	if x.Kind == compute.Act && d.padded != d.in {
		d.runPadded(dst, x, p, e)
		return
	}
	y, done := b.prepared(x, p, x.Kind)
	defer done()
	if b.err != nil {
		return
	}
	if y.Kind == compute.Act && y.Offset%16 == 0 {
		b.multiply(b.address(dst), b.address(y), cuda.Address(d.narrow), cuda.Address(d.bias), y.Rows, d.out, d.in, e)
		return
	}
	w, kind, stride := d.narrow, compute.Act, d.padded
	if d.wide != 0 {
		w, kind, stride = d.wide, compute.F32, d.in
	}
	const side = 64 // of a block's tile
	b.launch("linear_"+format(y.Kind)+format(kind), cuda.Dim{X: ceil(d.out, side), Y: ceil(y.Rows, side)}, cuda.Dim{X: threads}, 0,
		b.address(dst), b.address(y), cuda.Address(w), cuda.Address(d.bias), e.residual, e.gate, e.rest,
		cuda.Int(y.Rows), cuda.Int(d.out), cuda.Int(d.in), cuda.Int(stride), cuda.Int(e.until), cuda.Int(e.flags))
}

// runPadded is run for activations that are no multiple of productUnit wide, as in the vision
// tower's last linears: Pre(x) gets columns of zeros. SwiGLU writes them itself.
func (d *dense) runPadded(dst, x compute.Tensor, p compute.Pre, e epilogue) {
	b := d.home
	y, done := x, func() {}
	if p.Kind != compute.SwiGLU {
		y, done = b.prepared(x, p, compute.Act)
	}
	defer done()
	z, done := b.temporary(compute.Act, x.Rows, d.padded)
	defer done()
	if b.err != nil {
		return
	}
	if p.Kind == compute.SwiGLU {
		b.swiglu(z, x)
	} else {
		b.pad(z, y)
	}
	b.multiply(b.address(dst), b.address(z), cuda.Address(d.narrow), cuda.Address(d.bias), z.Rows, d.out, d.padded, e)
}

// pad copies rows of activations to wider ones, whose further columns become zero.
func (b *Backend) pad(dst, x compute.Tensor) {
	b.spread("pad_columns", dst.Len(), 1, b.address(dst), b.address(x), cuda.Int(x.Rows), cuda.Int(x.Cols), cuda.Int(dst.Cols))
}
