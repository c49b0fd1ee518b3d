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
	// narrow is the matrix in bfloat16, what a product with activations reads, and wide in
	// float32, where it came so.
	narrow, wide cuda.Pointer
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
	b, n := d.home, int64(d.in)*int64(d.out)
	all := []taken{{&d.narrow, n * actSize}}
	if format == safetensors.F32 {
		all = append(all, taken{&d.wide, n * f32Size})
	}
	if len(s.Biases) > 0 {
		all = append(all, taken{&d.bias, int64(d.out) * f32Size})
	}
	if err := b.take(all...); err != nil {
		return err
	}
	row := 0
	for i, w := range s.Weights {
		at := cuda.Pointer(row) * cuda.Pointer(d.in)
		if format == safetensors.F32 {
			b.putRaw(w, d.wide+at*f32Size)
			b.putNarrow(w, d.narrow+at*actSize)
		} else {
			b.putRaw(w, d.narrow+at*actSize)
		}
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

func (d *dense) run(dst, x compute.Tensor, p compute.Pre, e epilogue) {
	b := d.home
	y, done := b.prepared(x, p, x.Kind)
	defer done()
	if b.err != nil {
		return
	}
	if y.Kind == compute.Act && d.in%8 == 0 && y.Offset%16 == 0 {
		b.multiply(b.address(dst), b.address(y), cuda.Address(d.narrow), cuda.Address(d.bias), y.Rows, d.out, d.in, e)
		return
	}
	w, kind := d.narrow, compute.Act
	if d.wide != 0 {
		w, kind = d.wide, compute.F32
	}
	const side = 64 // of a block's tile
	b.launch("linear_"+format(y.Kind)+format(kind), cuda.Dim{X: ceil(d.out, side), Y: ceil(y.Rows, side)}, cuda.Dim{X: threads}, 0,
		b.address(dst), b.address(y), cuda.Address(w), cuda.Address(d.bias), e.residual, e.gate, e.rest,
		cuda.Int(y.Rows), cuda.Int(d.out), cuda.Int(d.in), cuda.Int(e.until), cuda.Int(e.flags))
}
