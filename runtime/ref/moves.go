package ref

import (
	"fmt"
	"math"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// Embed copies rows of a table.
func (b *Backend) Embed(dst compute.Tensor, t compute.Table, ids []int32) {
	m, ok := t.(*table)
	if !ok || m.home != b {
		panic(fmt.Sprintf("ref: a table of another backend, %T", t))
	}
	compute.CheckEmbed(dst, t, ids)
	if b.err != nil {
		return
	}
	b.arena.Apart(dst)
	out := b.values(dst)
	b.each(len(ids), func(_ *worker, i int) { m.row(out[i*m.cols:][:m.cols], int(ids[i])) })
}

// Gather copies rows of src, which has the kind of dst.
func (b *Backend) Gather(dst, src compute.Tensor, rows []int32) {
	compute.CheckGather(dst, src, rows)
	if b.err != nil {
		return
	}
	b.arena.Apart(dst, src)
	out, in := b.values(dst), b.values(src)
	for i, r := range rows {
		copy(out[i*dst.Cols:][:dst.Cols], in[int(r)*src.Cols:])
	}
}

// Copy copies values.
func (b *Backend) Copy(dst, src compute.Tensor) {
	compute.CheckCopy(dst, src)
	if b.err != nil {
		return
	}
	b.arena.Apart(dst, src)
	copy(b.values(dst), b.values(src))
}

// Euler computes x += dt·v.
func (b *Backend) Euler(x, v compute.Tensor, dt float32) {
	compute.CheckEuler(x, v)
	if b.err != nil {
		return
	}
	b.arena.Apart(x, v)
	out := b.values(x)
	for i, d := range b.values(v) {
		out[i] += dt * d
	}
}

// Guide joins two predictions.
func (b *Backend) Guide(dst, positive, negative compute.Tensor, scale float32) {
	compute.CheckGuide(dst, positive, negative)
	if b.err != nil {
		return
	}
	b.arena.ApartGuide(dst, positive, negative)
	out, p, n := b.values(dst), b.values(positive), b.values(negative)
	b.each(dst.Rows, func(_ *worker, i int) {
		at, end := i*dst.Cols, (i+1)*dst.Cols
		guide(out[at:end], p[at:end], n[at:end], float64(scale))
	})
}

// guide joins the predictions of one token. dst may be one of them.
func guide(dst, positive, negative []float32, scale float64) {
	joined := 0.0
	for i, n := range negative {
		c := float64(n) + scale*(float64(positive[i])-float64(n))
		joined += c * c
	}
	f := 0.0
	if joined > 0 {
		f = math.Sqrt(squares(positive) / joined)
	}
	for i, n := range negative {
		dst[i] = float32((float64(n) + scale*(float64(positive[i])-float64(n))) * f)
	}
}

// Finite makes a NaN or an infinity an error that sticks.
func (b *Backend) Finite(x compute.Tensor, what string) {
	if b.err != nil {
		return
	}
	b.arena.Present(x)
	for i, v := range b.values(x) {
		if v-v != 0 {
			b.stick(fault.Wrap(fault.Internal, "", fmt.Errorf("checking %s: value %d of row %d of %v is %v",
				what, i%x.Cols, i/x.Cols, x, v)))
			return
		}
	}
}
