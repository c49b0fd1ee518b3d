package ref

import (
	"encoding/binary"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// awq is a linear with 4-bit codes, scales and zeros. Outputs are numbered part by part;
// source says where one lies in the file.
type awq struct {
	size
	parts                int
	codes, scales, zeros []byte
	bias                 []float32
}

func loadAWQ(b *Backend, s compute.AWQ) (*awq, error) {
	if len(s.QWeight.Shape) != 2 {
		return nil, loading(s.QWeight, fmt.Errorf("it has %d dimensions, this takes 2", len(s.QWeight.Shape)))
	}
	a := &awq{
		size:  size{b, int(2 * s.QWeight.Shape[1]), int(4 * s.QWeight.Shape[0])},
		parts: max(s.Parts, 1),
		codes: s.QWeight.Data, scales: s.WScales.Data, zeros: s.WZeros.Data,
	}
	if a.in%packing.TileColumns != 0 || a.out%a.parts != 0 {
		return nil, loading(s.QWeight, fmt.Errorf("%d inputs are no multiple of %d, or %d outputs none of %d parts",
			a.in, packing.TileColumns, a.out, a.parts))
	}
	groups := a.in / packing.TileColumns
	for _, c := range []struct {
		w     compute.Weight
		dtype safetensors.DType
		shape []int
	}{
		{s.QWeight, safetensors.I32, []int{a.out / 4, a.in / 2}},
		{s.WScales, safetensors.BF16, []int{groups, a.out}},
		{s.WZeros, safetensors.BF16, []int{groups, a.out}},
		{s.Bias, safetensors.BF16, []int{a.out}},
	} {
		if err := shaped(c.w, c.dtype, c.shape...); err != nil {
			return nil, loading(c.w, err)
		}
	}
	a.bias = make([]float32, a.out)
	for i := range a.bias {
		a.bias[i] = valueAt(s.Bias.Data, a.source(i))
	}
	return a, nil
}

// source is where the file has an output.
func (a *awq) source(out int) int {
	channels := a.out / a.parts
	return a.parts*(out%channels) + out/channels
}

func (a *awq) tile() int { return denseTile }

func (a *awq) prepare(*Backend, *block) {}

func (a *awq) multiply(w *worker, k *block, y rows, from, to, first, outs int) {
	weights := rows{grow(&w.weights, outs*a.in), a.in}
	for i := range outs {
		a.row(w, weights.at(i, 0, a.in), a.source(first+i))
	}
	multiply(y, rows{k.x[from*k.cols:], k.cols}, weights, to-from, outs, a.in)
	addBias(y, a.bias[first:][:outs], to-from)
}

// row decodes row n of the file. Four rows lie together and are unpacked together.
func (a *awq) row(w *worker, dst []float32, n int) {
	const together = 4
	size := together * a.in
	codes := grow(&w.units, size)
	must(packing.UnpackAWQ(codes, a.codes[n/together*size/2:][:size/2], together, a.in))
	codes = codes[n%together*a.in:][:a.in]
	for g := range a.in / packing.TileColumns {
		scale, zero := valueAt(a.scales, g*a.out+n), valueAt(a.zeros, g*a.out+n)
		at := g * packing.TileColumns
		for i, c := range codes[at:][:packing.TileColumns] {
			dst[at+i] = float32(c)*scale + zero
		}
	}
}

// valueAt is a value of packed bfloat16s.
func valueAt(data []byte, i int) float32 {
	return bf16.Value(binary.LittleEndian.Uint16(data[2*i:]))
}
