package kernels

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
)

// layer is a loaded linear.
type layer interface {
	compute.Linear
	owner() *Backend
	group() *group
	join(g *group)
	// run computes dst = Post(Pre(x)·Wᵀ + b) of what was checked.
	run(dst, x compute.Tensor, p compute.Pre, e epilogue)
}

// size is what all layers have.
type size struct {
	home    *Backend
	in, out int
	of      *group // nil is none that streams
}

// In is the number of inputs.
func (s *size) In() int { return s.in }

// Out is the number of outputs.
func (s *size) Out() int { return s.out }

func (s *size) owner() *Backend { return s.home }

func (s *size) group() *group { return s.of }

func (s *size) join(g *group) { s.of = g }

// LoadLinear takes a linear.
func (b *Backend) LoadLinear(s compute.LinearSpec) (compute.Linear, error) {
	var l layer
	var err error
	switch s := s.(type) {
	case compute.Dense:
		l, err = loadDense(b, s)
	case compute.SVDQ:
		l, err = loadSVDQ(b, s)
	case compute.AWQ:
		l, err = loadAWQ(b, s)
	default:
		panic(fmt.Sprintf("kernels: a linear of type %T", s))
	}
	if err != nil {
		return nil, err
	}
	l.join(b.window.loading)
	return l, nil
}

// Linear computes dst = Post(Pre(x)·Wᵀ + b).
func (b *Backend) Linear(dst compute.Tensor, l compute.Linear, x compute.Tensor, p compute.Pre, q compute.Post) {
	w, ok := l.(layer)
	if !ok || w.owner() != b {
		panic(fmt.Sprintf("kernels: a linear of another backend, %T", l))
	}
	compute.CheckLinear(dst, l, x, p, q)
	if b.ready() {
		b.arena.ApartFused(dst, x, p, q)
		b.use(w.group(), p.Weight)
		w.run(dst, x, p, b.epilogue(dst, q))
	}
}

// Flags of an epilogue, in tiles.cuh.
const (
	flagSiLU        = 1
	flagGELU        = 2
	flagOutF32      = 8
	flagResidualF32 = 16
)

// epilogue is a Post as the kernels of products take it.
type epilogue struct {
	flags                int
	residual, gate, rest cuda.Parameter
	until                int
}

func (b *Backend) epilogue(dst compute.Tensor, p compute.Post) epilogue {
	var e epilogue
	switch p.Kind {
	case compute.StoreSiLU:
		e.flags = flagSiLU
	case compute.StoreGELU:
		e.flags = flagGELU
	case compute.GateAdd:
		e.gate, e.rest = b.part(p.Mod, p.Mod.Gate, dst.Cols)
		e.until = p.Mod.Until
	}
	if p.Kind == compute.Add || p.Kind == compute.GateAdd {
		e.residual = b.address(p.Residual)
		if p.Residual.Kind == compute.F32 {
			e.flags |= flagResidualF32
		}
	}
	if dst.Kind == compute.F32 {
		e.flags |= flagOutF32
	}
	return e
}

// tile is a kernel of gemm.cu: the tile of a block, and what a block is.
type tile struct{ m, n, threads, shared int }

// The kernels of gemm.cu, the largest tile first.
var tiles = []tile{{128, 256, 256, 98304}, {128, 128, 128, 65536}, {64, 64, 128, 40960}}

// blocks is how many tiles a result has.
func (t tile) blocks(m, n int) int { return ceil(m, t.m) * ceil(n, t.n) }

// tileFor is the largest tile of which there are enough to keep the device busy: twice its
// multiprocessors, or once for the middle one.
func (b *Backend) tileFor(m, n int) tile {
	sms := b.context.Device().Multiprocessors
	for i, t := range tiles[:len(tiles)-1] {
		if t.blocks(m, n) >= 2*sms>>i {
			return t
		}
	}
	return tiles[len(tiles)-1]
}

// What gemm.sm_90a.cu says of its kernels: the tile, the threads of a block, its shared
// memory, and how many columns of its inputs are copied at a time.
const (
	hopperRows, hopperOuts = 128, 256
	hopperThreads          = 384
	hopperGEMMShared       = 218112
	hopperDepth            = 64
)

// hopperBlocks is the grid of gemm.sm_90a.cu's kernels: a block for each tile, and no more
// than can run at once.
func (b *Backend) hopperBlocks(m, n int) cuda.Dim {
	return cuda.Dim{X: min(ceil(m, hopperRows)*ceil(n, hopperOuts), b.context.Device().Multiprocessors)}
}

// hopperOperands describes x [m,k] and w [n,k] to those kernels.
func hopperOperands(x, w cuda.Pointer, m, n, k int) []cuda.Matrix {
	return []cuda.Matrix{
		{P: x, Rows: m, Cols: k, TileRows: hopperRows, TileCols: hopperDepth},
		{P: w, Rows: n, Cols: k, TileRows: hopperOuts, TileCols: hopperDepth},
	}
}

// multiply computes dst = epilogue(x·wᵀ + bias) on the tensor cores, x [m,k] and w [n,k] in
// bfloat16, k a multiple of 8.
func (b *Backend) multiply(dst, x, w, bias cuda.Parameter, m, n, k int, e epilogue) {
	// With few tiles most multiprocessors would have none: smaller tiles are faster then.
	if grid := b.hopperBlocks(m, n); 3*grid.X >= b.context.Device().Multiprocessors && b.functions.has("gemm_bf16_hopper") {
		b.launchTiled("gemm_bf16_hopper", grid, cuda.Dim{X: hopperThreads}, hopperGEMMShared,
			hopperOperands(cuda.Pointer(x), cuda.Pointer(w), m, n, k),
			dst, bias, e.residual, e.gate, e.rest, cuda.Int(m), cuda.Int(n), cuda.Int(k), cuda.Int(e.until), cuda.Int(e.flags))
		return
	}
	t := b.tileFor(m, n)
	b.launch(fmt.Sprintf("gemm_bf16_%dx%d", t.m, t.n), cuda.Dim{X: t.blocks(m, n)}, cuda.Dim{X: t.threads}, t.shared,
		dst, x, w, bias, e.residual, e.gate, e.rest,
		cuda.Int(m), cuda.Int(n), cuda.Int(k), cuda.Int(e.until), cuda.Int(e.flags))
}
