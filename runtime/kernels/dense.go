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
	width := f32Size
	if format == safetensors.BF16 {
		width = actSize
	}
	data := make([]byte, 0, d.in*d.out*width)
	var bias []float32
	for i, w := range s.Weights {
		data = append(data, w.Data...)
		if len(s.Biases) == 0 {
			continue
		}
		v, err := biasOf(s.Biases[i], int(w.Shape[0]))
		if err != nil {
			return nil, loading(s.Biases[i], err)
		}
		bias = append(bias, v...)
	}
	if err := d.put(format, data, bias); err != nil {
		return nil, loading(s.Weights[0], err)
	}
	return d, nil
}

// put puts the matrix and the bias on the device.
func (d *dense) put(format safetensors.DType, data []byte, bias []float32) (err error) {
	if format == safetensors.F32 {
		if d.wide, err = d.home.upload(data); err != nil {
			return err
		}
		data = narrow(data)
	}
	if d.narrow, err = d.home.upload(data); err != nil || bias == nil {
		return err
	}
	d.bias, err = d.home.floats(bias)
	return err
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
	for _, w := range s.Weights {
		if err := sized(w, safetensors.BF16, safetensors.F32); err != nil {
			return "", loading(w, err)
		}
		if len(w.Shape) < 2 || w.Len() != int(w.Shape[0]*w.Shape[1]) {
			return "", loading(w, fmt.Errorf("its shape is %v, a linear's is [out, in] and further dimensions of 1", w.Shape))
		}
		if w.DType != first.DType || w.Shape[1] != first.Shape[1] {
			return "", loading(w, fmt.Errorf("it is not like %v, whose input it shares", first))
		}
		d.out += int(w.Shape[0])
	}
	d.in = int(first.Shape[1])
	return first.DType, nil
}

func biasOf(w compute.Weight, n int) ([]float32, error) {
	if len(w.Shape) != 1 || w.Shape[0] != int64(n) {
		return nil, fmt.Errorf("its shape is %v, this takes [%d]", w.Shape, n)
	}
	return values(w)
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
