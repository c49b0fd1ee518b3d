package ref

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// denseTile is how many outputs of a dense linear are computed at a time.
const denseTile = 16

// dense is a linear of one or several matrices.
type dense struct {
	size
	parts []matrix
	bias  []float32 // nil is none
}

func loadDense(b *Backend, s compute.Dense) (*dense, error) {
	if len(s.Weights) == 0 {
		return nil, loading(compute.Weight{}, fmt.Errorf("a dense linear of no weights"))
	}
	if len(s.Biases) != 0 && len(s.Biases) != len(s.Weights) {
		return nil, loading(s.Weights[0], fmt.Errorf("%d weights with %d biases", len(s.Weights), len(s.Biases)))
	}
	d := &dense{size: size{home: b}}
	for i, w := range s.Weights {
		m, err := denseMatrix(w)
		if err != nil {
			return nil, loading(w, err)
		}
		if i > 0 && m.cols != d.in {
			return nil, loading(w, fmt.Errorf("it has %d inputs, %v has %d", m.cols, s.Weights[0], d.in))
		}
		d.in, d.out = m.cols, d.out+m.rows
		d.parts = append(d.parts, m)
	}
	for i, w := range s.Biases {
		v, err := biasOf(w, d.parts[i].rows)
		if err != nil {
			return nil, loading(w, err)
		}
		d.bias = append(d.bias, v...)
	}
	return d, nil
}

// denseMatrix passes over dimensions of 1 behind the second.
func denseMatrix(w compute.Weight) (matrix, error) {
	if len(w.Shape) < 2 {
		return matrix{}, fmt.Errorf("it has %d dimensions, a linear has 2", len(w.Shape))
	}
	for _, d := range w.Shape[2:] {
		if d != 1 {
			return matrix{}, fmt.Errorf("its shape is %v, a linear's dimensions behind the second are 1", w.Shape)
		}
	}
	return newMatrix(w)
}

func biasOf(w compute.Weight, n int) ([]float32, error) {
	if len(w.Shape) != 1 || w.Shape[0] != int64(n) {
		return nil, fmt.Errorf("its shape is %v, this takes [%d]", w.Shape, n)
	}
	return floats(w)
}

func (d *dense) tile() int { return denseTile }

func (d *dense) prepare(*Backend, *block) {}

func (d *dense) multiply(w *worker, k *block, y rows, from, to, first, outs int) {
	weights := rows{grow(&w.weights, outs*d.in), d.in}
	for i := range outs {
		d.row(weights.at(i, 0, d.in), first+i)
	}
	multiply(y, rows{k.x[from*k.cols:], k.cols}, weights, to-from, outs, d.in)
	if d.bias != nil {
		addBias(y, d.bias[first:][:outs], to-from)
	}
}

// row decodes the weights of one output.
func (d *dense) row(dst []float32, out int) {
	for i := range d.parts {
		if m := &d.parts[i]; out < m.rows {
			m.row(dst, out)
			return
		} else {
			out -= m.rows
		}
	}
}

// addBias adds the bias to n rows.
func addBias(y rows, bias []float32, n int) {
	for i := range n {
		for j, v := range y.at(i, 0, len(bias)) {
			y.v[i*y.stride+j] = v + bias[j]
		}
	}
}
