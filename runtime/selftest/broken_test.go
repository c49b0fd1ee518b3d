package selftest

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// broken is a backend that is right but for what its functions do. Each is nil for what is
// left as it is, and otherwise called before an operation with all that it may change, or
// behind it with the result.
type broken struct {
	compute.Backend
	spec      func(*compute.LinearSpec)
	conv      func(*compute.ConvSpec)
	pre       func(*compute.Pre)
	post      func(*compute.Post)
	split     func(*compute.Split)
	attention func(*compute.Attention)
	rows      func([]int32)
	step      func(*float32)
	// results spoils the result of the operation that it names.
	operation string
	result    func(compute.Backend, compute.Tensor)
}

func change[T any](f func(*T), v *T) {
	if f != nil {
		f(v)
	}
}

// everyOperation spoils all results.
const everyOperation = "every operation"

func (b *broken) behind(operation string, dst compute.Tensor) {
	if b.operation == operation || b.operation == everyOperation {
		b.result(b.Backend, dst)
	}
}

func (b *broken) LoadLinear(s compute.LinearSpec) (compute.Linear, error) {
	change(b.spec, &s)
	return b.Backend.LoadLinear(s)
}

func (b *broken) LoadConv(s compute.ConvSpec) (compute.Conv, error) {
	change(b.conv, &s)
	return b.Backend.LoadConv(s)
}

func (b *broken) Linear(dst compute.Tensor, l compute.Linear, x compute.Tensor, p compute.Pre, q compute.Post) {
	change(b.pre, &p)
	change(b.post, &q)
	b.Backend.Linear(dst, l, x, p, q)
	b.behind("Linear", dst)
}

func (b *broken) Convolve(dst compute.Tensor, c compute.Conv, x compute.Tensor, h, w int, p compute.Pre, q compute.Post) {
	change(b.pre, &p)
	change(b.post, &q)
	b.Backend.Convolve(dst, c, x, h, w, p, q)
	b.behind("Convolve", dst)
}

func (b *broken) Apply(dst, x compute.Tensor, p compute.Pre) {
	change(b.pre, &p)
	b.Backend.Apply(dst, x, p)
	b.behind("Apply", dst)
}

func (b *broken) Heads(s compute.Split) {
	change(b.split, &s)
	b.Backend.Heads(s)
	b.behind("Heads, q", s.Q)
	b.behind("Heads, k", s.K)
	b.behind("Heads, v", s.V)
}

func (b *broken) Attention(dst, q, k, v compute.Tensor, a compute.Attention) {
	change(b.attention, &a)
	b.Backend.Attention(dst, q, k, v, a)
	b.behind("Attention", dst)
}

func (b *broken) Embed(dst compute.Tensor, t compute.Table, ids []int32) {
	ids = b.changed(ids)
	b.Backend.Embed(dst, t, ids)
	b.behind("Embed", dst)
}

func (b *broken) Gather(dst, src compute.Tensor, rows []int32) {
	rows = b.changed(rows)
	b.Backend.Gather(dst, src, rows)
	b.behind("Gather", dst)
}

func (b *broken) changed(rows []int32) []int32 {
	rows = slices.Clone(rows)
	if b.rows != nil {
		b.rows(rows)
	}
	return rows
}

func (b *broken) Copy(dst, src compute.Tensor) {
	b.Backend.Copy(dst, src)
	b.behind("Copy", dst)
}

func (b *broken) Euler(x, v compute.Tensor, dt float32) {
	change(b.step, &dt)
	b.Backend.Euler(x, v, dt)
	b.behind("Euler", x)
}

func (b *broken) Guide(dst, positive, negative compute.Tensor, scale float32) {
	change(b.step, &scale)
	b.Backend.Guide(dst, positive, negative, scale)
	b.behind("Guide", dst)
}

// found tries operations on a backend, and demands that exactly some of them are wrong.
func found(t *testing.T, b *broken, among func(name string) bool, wrong func(name string) bool) {
	t.Helper()
	list := slices.DeleteFunc(checks(), func(c check) bool { return !among(c.name) })
	b.Backend = ref.New(ref.Options{})
	r, err := run(t.Context(), b, Options{Few: true}, list)
	require.ErrorIs(t, err, ErrWrong)
	require.Equal(t, fault.Internal, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "-device=cpu")
	require.False(t, r.OK)
	require.False(t, r.Worst().OK)
	require.Len(t, r.Operations, len(list))
	for _, o := range r.Operations {
		require.Equal(t, wrong(o.Name), !o.OK, "%s is off by %v", o.Name, o.Error)
		require.Equal(t, wrong(o.Name), strings.Contains(err.Error(), o.Name+" is off"), "%v", err)
	}
}

// begins is a filter for names that begin with one of some words.
func begins(words ...string) func(string) bool {
	return func(name string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(name, w) })
	}
}

// quick is a filter for what takes the reference no time.
func quick(name string) bool {
	return !strings.HasSuffix(name, "000 rows") && !strings.HasPrefix(name, "attention")
}

// spoil changes values of a tensor.
func spoil(f func(v []float32, cols int)) func(compute.Backend, compute.Tensor) {
	return func(b compute.Backend, t compute.Tensor) {
		v := make([]float32, t.Len())
		if err := b.Download(v, t); err != nil {
			panic(err)
		}
		f(v, t.Cols)
		b.Upload(t, v)
	}
}

func enlarge(v []float32, _ int) {
	for i := range v {
		v[i] *= 1.01
	}
}

// TestSpoilt: results of every operation that are off everywhere, in one row, or in one value.
func TestSpoilt(t *testing.T) {
	for name, result := range map[string]func(v []float32, cols int){
		"all by a hundredth":         enlarge,
		"a row is missing":           func(v []float32, cols int) { clear(v[len(v)-cols:]) },
		"a row was never written":    func(v []float32, cols int) { v[len(v)-cols] = float32(math.NaN()) },
		"a value is infinite":        func(v []float32, _ int) { v[len(v)/2] = float32(math.Inf(1)) },
		"a value is too large":       func(v []float32, _ int) { v[len(v)-1] += 20 },
		"a row has another's values": func(v []float32, cols int) { copy(v[len(v)-cols:], v[len(v)-2*cols:]) },
	} {
		t.Run(name, func(t *testing.T) {
			found(t, &broken{operation: everyOperation, result: spoil(result)}, quick, begins(""))
		})
	}
}

// TestNamed: an operation that is wrong is the only one that is said to be so.
func TestNamed(t *testing.T) {
	for operation, name := range map[string]string{
		"Convolve": "convolution", "Apply": "apply", "Heads, q": "heads", "Heads, k": "heads", "Heads, v": "heads",
		"Embed": "embed", "Gather": "gather", "Copy": "copy", "Euler": "Euler", "Guide": "guidance", "Linear": "linear",
	} {
		t.Run(operation, func(t *testing.T) {
			found(t, &broken{operation: operation, result: spoil(enlarge)}, quick, begins(name))
		})
	}
	t.Run("Attention", func(t *testing.T) {
		found(t, &broken{operation: "Attention", result: spoil(enlarge)}, begins("attention, one", "heads"), begins("attention"))
	})
}

// TestAllNamed: where nothing is right, everything is wrong, what takes long included.
func TestAllNamed(t *testing.T) {
	found(t, &broken{operation: everyOperation, result: spoil(enlarge)}, begins(""), begins(""))
}

// TestMisread: kernels that take one of their arguments for another.
func TestMisread(t *testing.T) {
	svdq := func(f func(*compute.SVDQ)) func(*compute.LinearSpec) {
		return func(s *compute.LinearSpec) {
			if q, ok := (*s).(compute.SVDQ); ok {
				f(&q)
				*s = q
			}
		}
	}
	awq := func(f func(*compute.AWQ)) func(*compute.LinearSpec) {
		return func(s *compute.LinearSpec) {
			if a, ok := (*s).(compute.AWQ); ok {
				f(&a)
				*s = a
			}
		}
	}
	// negated is a weight whose last value has another sign.
	negated := func(w *compute.Weight) {
		w.Data = slices.Clone(w.Data)
		w.Data[len(w.Data)-1] ^= 0x80
	}
	// moved is a weight whose values lie one place further.
	moved := func(w *compute.Weight) {
		w.Data = append(slices.Clone(w.Data[len(w.Data)-2:]), w.Data[:len(w.Data)-2]...)
	}
	// turned is codes of which each two have changed places.
	turned := func(w *compute.Weight) {
		w.Data = slices.Clone(w.Data)
		for i, b := range w.Data {
			w.Data[i] = b>>4 | b<<4
		}
	}
	for name, c := range map[string]struct {
		b      broken
		within []string // the operations that are tried
		wrong  []string // and what begins with one of these is wrong
	}{
		"float32 as bfloat16": {broken{spec: func(s *compute.LinearSpec) {
			if d, ok := (*s).(compute.Dense); ok && d.Weights[0].DType == safetensors.F32 {
				w := slices.Clone(d.Weights[0].Data)
				for i := 0; i < len(w); i += 4 {
					w[i], w[i+1] = 0, 0
				}
				d.Weights = slices.Clone(d.Weights)
				d.Weights[0].Data = w
				*s = d
			}
		}}, []string{"linear, float32", "linear, Store"}, []string{"linear, float32"}},
		"codes of SVDQ":    {broken{spec: svdq(func(q *compute.SVDQ) { turned(&q.QWeight) })}, []string{"linear SVDQ, L", "linear SVDQ, s", "linear AWQ"}, []string{"linear SVDQ"}},
		"a scale of SVDQ":  {broken{spec: svdq(func(q *compute.SVDQ) { negated(&q.WScales) })}, []string{"linear SVDQ, L", "linear SVDQ, s"}, []string{"linear SVDQ"}},
		"a factor of SVDQ": {broken{spec: svdq(func(q *compute.SVDQ) { negated(&q.Smooth) })}, []string{"linear SVDQ, L", "linear SVDQ, s"}, []string{"linear SVDQ"}},
		"a bias of SVDQ":   {broken{spec: svdq(func(q *compute.SVDQ) { negated(&q.Bias) })}, []string{"linear SVDQ, L", "linear SVDQ, s"}, []string{"linear SVDQ"}},
		"low rank, down":   {broken{spec: svdq(func(q *compute.SVDQ) { moved(&q.Down) })}, []string{"linear SVDQ, L", "linear SVDQ, s"}, []string{"linear SVDQ"}},
		"low rank, up":     {broken{spec: svdq(func(q *compute.SVDQ) { moved(&q.Up) })}, []string{"linear SVDQ, L", "linear SVDQ, s"}, []string{"linear SVDQ"}},
		"the shift":        {broken{spec: svdq(func(q *compute.SVDQ) { q.Shifted = false })}, []string{"linear SVDQ, L", "linear SVDQ, s"}, []string{"linear SVDQ, shifted"}},
		"codes of AWQ":     {broken{spec: awq(func(a *compute.AWQ) { turned(&a.QWeight) })}, []string{"linear SVDQ, L", "linear SVDQ, s", "linear AWQ"}, []string{"linear AWQ"}},
		"a scale of AWQ":   {broken{spec: awq(func(a *compute.AWQ) { negated(&a.WScales) })}, []string{"linear AWQ"}, []string{"linear AWQ"}},
		"a zero of AWQ":    {broken{spec: awq(func(a *compute.AWQ) { negated(&a.WZeros) })}, []string{"linear AWQ"}, []string{"linear AWQ"}},
		"parts":            {broken{spec: awq(func(a *compute.AWQ) { a.Parts = 1 })}, []string{"linear AWQ"}, []string{"linear AWQ, SiLU, 6 parts"}},

		"the step":  {broken{conv: func(s *compute.ConvSpec) { s.Top, s.Bottom = s.Bottom, s.Top }}, []string{"convolution"}, []string{"convolution, stride 2"}},
		"the sides": {broken{conv: func(s *compute.ConvSpec) { s.Left, s.Right = s.Right, s.Left }}, []string{"convolution"}, []string{"convolution, stride 2"}},
		"a tap":     {broken{conv: func(s *compute.ConvSpec) { negated(&s.Weight) }}, []string{"convolution"}, []string{"convolution"}},

		"what is before": {broken{pre: func(p *compute.Pre) { p.Kind = compute.None }}, []string{"apply GELU", "linear SVDQ, L", "linear SVDQ, s", "linear AWQ", "convolution"}, []string{"apply GELU", "linear SVDQ, L", "linear SVDQ, s", "linear AWQ, SiLU", "convolution, upsampled"}},
		"epsilon":        {broken{pre: func(p *compute.Pre) { p.Eps = 1e-6 }}, []string{"apply"}, []string{"apply RMSNorm", "apply LayerNorm"}},
		"one more":       {broken{pre: func(p *compute.Pre) { p.Mod.PlusOne = false }}, []string{"apply LayerNorm"}, []string{"apply LayerNorm"}},
		"until":          {broken{pre: func(p *compute.Pre) { p.Mod.Until++ }}, []string{"apply LayerNorm"}, []string{"apply LayerNorm"}},
		"the row":        {broken{pre: func(p *compute.Pre) { p.Mod.Row = p.Mod.Rest }}, []string{"apply LayerNorm"}, []string{"apply LayerNorm"}},
		"the rest":       {broken{pre: func(p *compute.Pre) { p.Mod.Rest = 0 }}, []string{"apply LayerNorm"}, []string{"apply LayerNorm"}},
		"the part":       {broken{pre: func(p *compute.Pre) { p.Mod.Shift = 0 }}, []string{"apply LayerNorm"}, []string{"apply LayerNorm"}},
		"what is behind": {broken{post: func(p *compute.Post) { p.Kind = compute.Store }}, []string{"linear, ", "convolution"}, []string{"linear, StoreSiLU", "linear, StoreGELU", "linear, Add", "linear, GateAdd", "convolution, up"}},
		"the gate":       {broken{post: func(p *compute.Post) { p.Mod.Gate = 1 }}, []string{"linear, Gate", "linear SVDQ, Layer"}, []string{"linear"}},
		"another gelu": {broken{post: func(p *compute.Post) {
			if p.Kind == compute.StoreGELU {
				p.Kind = compute.StoreSiLU
			}
		}}, []string{"linear, Store"}, []string{"linear, StoreGELU"}},

		"pairs":   {broken{split: func(s *compute.Split) { s.Rope.Halves = !s.Rope.Halves }}, []string{"heads"}, []string{"heads"}},
		"angles":  {broken{split: func(s *compute.Split) { s.Rope.Cos, s.Rope.Sin = s.Rope.Sin, s.Rope.Cos }}, []string{"heads"}, []string{"heads"}},
		"norms":   {broken{split: func(s *compute.Split) { s.NormQ, s.NormK = s.NormK, s.NormQ }}, []string{"heads"}, []string{"heads, RMSNorm"}},
		"no norm": {broken{split: func(s *compute.Split) { s.NormK = nil }}, []string{"heads"}, []string{"heads, RMSNorm"}},

		"causality": {broken{attention: func(a *compute.Attention) { a.Causal = false }}, []string{"attention, causal", "attention, small"}, []string{"attention, causal"}},
		"windows":   {broken{attention: func(a *compute.Attention) { a.Windows = nil }}, []string{"attention, w", "attention, s", "attention, causal"}, []string{"attention, w", "attention, s"}},
		"a window": {broken{attention: func(a *compute.Attention) {
			if a.Windows = slices.Clone(a.Windows); a.Windows != nil {
				a.Windows[0]--
			}
		}}, []string{"attention, s"}, []string{"attention"}},
		"scale": {broken{attention: func(a *compute.Attention) { a.Scale *= 1.02 }}, []string{"attention"}, []string{"attention"}},

		"rows": {broken{rows: func(rows []int32) { rows[0], rows[1] = rows[1], rows[0] }}, []string{"embed", "gather", "copy"}, []string{"embed", "gather"}},
		"step": {broken{step: func(v *float32) { *v *= 1.001 }}, []string{"Euler", "guidance", "copy"}, []string{"Euler", "guidance"}},
	} {
		t.Run(name, func(t *testing.T) { found(t, &c.b, begins(c.within...), begins(c.wrong...)) })
	}
}
