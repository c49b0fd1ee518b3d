package ref

import (
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// post is a compute.Post that is ready to run.
type post struct {
	kind          compute.PostKind
	cols          int
	dst, residual []float32
	mod           modulation
}

// post makes a Post ready to run.
func (b *Backend) post(p compute.Post, dst compute.Tensor) post {
	r := post{kind: p.Kind, cols: dst.Cols, dst: b.values(dst)}
	if p.Kind == compute.Add || p.Kind == compute.GateAdd {
		r.residual = b.values(p.Residual)
	}
	if p.Kind == compute.GateAdd {
		r.mod = b.modulation(p.Mod, dst.Cols)
	}
	return r
}

// store stores Post(y), values of a row that begin with a column.
func (p *post) store(row, col int, y []float32) {
	at := row*p.cols + col
	dst := p.dst[at:][:len(y)]
	switch p.kind {
	case compute.Store:
		copy(dst, y)
	case compute.StoreSiLU:
		for j, v := range y {
			dst[j] = silu(v)
		}
	case compute.StoreGELU:
		for j, v := range y {
			dst[j] = gelu(v)
		}
	case compute.Add:
		for j, r := range p.residual[at:][:len(y)] {
			dst[j] = r + y[j]
		}
	case compute.GateAdd:
		gate := p.mod.part(row, p.mod.Gate)[col:]
		for j, r := range p.residual[at:][:len(y)] {
			dst[j] = r + gate[j]*y[j]
		}
	}
}
