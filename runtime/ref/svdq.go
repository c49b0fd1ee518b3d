package ref

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// svdq is a linear of an SVDQuant checkpoint, in its file's bytes. Its tiles are those of
// the packing.
type svdq struct {
	size
	rank                    int
	numerics                Numerics
	shifted                 bool
	codes, scales, down, up []byte
	smooth, bias            []float32
}

func loadSVDQ(b *Backend, s compute.SVDQ) (*svdq, error) {
	if len(s.QWeight.Shape) != 2 || len(s.Down.Shape) != 2 {
		return nil, loading(s.QWeight, fmt.Errorf("it or %v has not two dimensions", s.Down))
	}
	q := &svdq{
		size: size{b, int(2 * s.QWeight.Shape[1]), int(s.QWeight.Shape[0])},
		rank: int(s.Down.Shape[1]), numerics: b.numerics, shifted: s.Shifted,
		codes: s.QWeight.Data, scales: s.WScales.Data, down: s.Down.Data, up: s.Up.Data,
	}
	if q.in%packing.TileRows != 0 || q.out%packing.TileRows != 0 || q.rank%packing.RankUnit != 0 {
		return nil, loading(s.QWeight, fmt.Errorf("%d inputs, %d outputs and rank %d, this takes multiples of %d, %[4]d and %d",
			q.in, q.out, q.rank, packing.TileRows, packing.RankUnit))
	}
	for _, c := range []struct {
		w     compute.Weight
		dtype safetensors.DType
		shape []int
	}{
		{s.QWeight, safetensors.I8, []int{q.out, q.in / 2}},
		{s.WScales, safetensors.BF16, []int{q.in / packing.TileColumns, q.out}},
		{s.Smooth, safetensors.BF16, []int{q.in}},
		{s.Down, safetensors.BF16, []int{q.in, q.rank}},
		{s.Up, safetensors.BF16, []int{q.out, q.rank}},
		{s.Bias, safetensors.BF16, []int{q.out}},
	} {
		if err := shaped(c.w, c.dtype, c.shape...); err != nil {
			return nil, loading(c.w, err)
		}
	}
	q.smooth, q.bias = unpackVector(s.Smooth.Data), unpackVector(s.Bias.Data)
	if q.shifted && q.numerics != W4A4 {
		q.undoShift(b)
	}
	return q, nil
}

// unpackVector copies a vector out of its permuted order.
func unpackVector(data []byte) []float32 {
	bits := make([]uint16, len(data)/2)
	must(packing.UnpackVector(bits, data))
	v := make([]float32, len(bits))
	for i, b := range bits {
		v[i] = bf16.Value(b)
	}
	return v
}

// undoShift makes the stored bias, b₀ − Shift·Σ Q/s, the one of an input that is not
// shifted.
func (q *svdq) undoShift(b *Backend) {
	b.each(q.out/packing.TileRows, func(w *worker, t int) {
		weights := q.decode(w, t*packing.TileRows)
		for i := range packing.TileRows {
			sum := 0.0
			for j, v := range weights.at(i, 0, q.in) {
				sum += float64(v) / float64(q.smooth[j])
			}
			q.bias[t*packing.TileRows+i] += float32(compute.Shift * sum)
		}
	})
}

func (q *svdq) tile() int { return packing.TileRows }

// prepare computes D·x, and then, in place, x/s or its codes.
func (q *svdq) prepare(b *Backend, k *block) {
	q.project(b, k)
	if q.numerics != Dense {
		q.quantise(b, k)
		return
	}
	b.each(k.rows, func(_ *worker, i int) {
		for j, v := range k.row(i) {
			k.x[i*k.cols+j] = v / q.smooth[j]
		}
	})
}

// project computes the block's D·x.
func (q *svdq) project(b *Backend, k *block) {
	low := rows{grow(&k.low, k.rows*q.rank), q.rank}
	units := q.rank / packing.RankUnit
	parts := (k.rows + partRows - 1) / partRows
	b.each(parts*units, func(w *worker, i int) {
		from, first := i/units*partRows, i%units*packing.RankUnit
		n := min(partRows, k.rows-from)
		down := q.decodeDown(w, first)
		multiply(rows{low.v[from*q.rank+first:], q.rank}, rows{k.x[from*k.cols:], k.cols}, down, n, packing.RankUnit, q.in)
	})
}

func (q *svdq) multiply(w *worker, k *block, y rows, from, to, first, outs int) {
	if q.numerics == Dense {
		multiply(y, rows{k.x[from*k.cols:], k.cols}, q.decode(w, first), to-from, outs, q.in)
	} else {
		q.grouped(w, k, y, from, to, first, outs)
	}
	q.finish(w, k, y, from, to, first, outs)
}

// finish adds U·(D·x) and the bias to a tile of Q·(x/s).
func (q *svdq) finish(w *worker, k *block, y rows, from, to, first, outs int) {
	up := q.decodeUp(w, first)
	low := rows{k.low[from*q.rank:], q.rank}
	branch := rows{grow(&w.branch, (to-from)*outs), outs}
	multiply(branch, low, up, to-from, outs, q.rank)
	for i := range to - from {
		sum := branch.at(i, 0, outs)
		for j, v := range y.at(i, 0, outs) {
			y.v[i*y.stride+j] = v + sum[j] + q.bias[first+j]
		}
	}
}

// decode decodes the tile of Q that begins with a row.
func (q *svdq) decode(w *worker, first int) rows {
	const n = packing.TileRows
	codes, scales := q.unpack(w, first)
	groups := q.in / packing.TileColumns
	weights := grow(&w.weights, n*q.in)
	for g := range n * groups {
		s := bf16.Value(scales[g])
		at := g * packing.TileColumns
		for i, c := range codes[at:][:packing.TileColumns] {
			weights[at+i] = float32(c) * s
		}
	}
	return rows{weights, q.in}
}

// unpack unpacks the codes [128][in] and scales [128][in/64] of a tile.
func (q *svdq) unpack(w *worker, first int) ([]int8, []uint16) {
	const n = packing.TileRows
	groups := q.in / packing.TileColumns
	codes := grow(&w.codes, n*q.in)
	must(packing.UnpackInt4(codes, q.codes[first*q.in/2:][:n*q.in/2], n, q.in))
	scales := grow(&w.bits, n*groups)
	must(packing.UnpackScales(scales, q.scales[first*groups*2:][:n*groups*2], n, q.in))
	return codes, scales
}

// decodeUp decodes the tile of U that begins with a row.
func (q *svdq) decodeUp(w *worker, first int) rows {
	const n = packing.TileRows
	bits := grow(&w.bits, n*q.rank)
	must(packing.UnpackUp(bits, q.up[first*q.rank*2:][:n*q.rank*2], n, q.rank))
	up := grow(&w.low, n*q.rank)
	for i, b := range bits {
		up[i] = bf16.Value(b)
	}
	return rows{up, q.rank}
}

// decodeDown decodes 16 rows of D. They lie apart in the file, which is packed along the
// inputs.
func (q *svdq) decodeDown(w *worker, first int) rows {
	down := grow(&w.weights, packing.RankUnit*q.in)
	for r := range packing.RankUnit {
		for i := range q.in {
			down[r*q.in+i] = valueAt(q.down, packing.DownAt(i, first+r, q.rank))
		}
	}
	return rows{down, q.in}
}

// must is for what loading has checked.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("ref: unpacking checked weights: %v", err))
	}
}
