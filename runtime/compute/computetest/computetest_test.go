package computetest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/compute/computetest"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
)

// TestBF16 runs the suite on a backend that rounds as a GPU does: half a hundredth must be
// enough for one whose activations are bfloat16 between all steps.
func TestBF16(t *testing.T) {
	computetest.Run(t, func(t *testing.T) compute.Backend {
		return &short{ref.New(ref.Options{ArenaBytes: 64 << 20, Poison: true}), t}
	}, computetest.Tolerance{F32: 2e-6, Act: 0.005})
}

// short is a backend whose activations are rounded to bfloat16 whenever they are stored, and
// before they are multiplied.
type short struct {
	*ref.Backend
	t *testing.T
}

// round rounds a tensor, unless it is F32 or nothing works any more.
func (s *short) round(x compute.Tensor) {
	if x.Kind == compute.F32 || s.Sync() != nil {
		return
	}
	v := make([]float32, x.Len())
	require.NoError(s.t, s.Download(v, x))
	for i := range v {
		v[i] = bf16.Round(v[i])
	}
	s.Backend.Upload(x, v)
}

func (s *short) Upload(dst compute.Tensor, values []float32) {
	s.Backend.Upload(dst, values)
	s.round(dst)
}

// before applies Pre to a copy, if there is room for it, and rounds.
func (s *short) before(x compute.Tensor, pre compute.Pre, width int) (compute.Tensor, compute.Pre) {
	if pre.Kind == compute.None || s.Sync() != nil {
		return x, pre
	}
	y := s.Alloc(compute.Act, x.Rows, width)
	s.Apply(y, x, pre)
	return y, compute.Pre{}
}

func (s *short) Linear(dst compute.Tensor, l compute.Linear, x compute.Tensor, pre compute.Pre, post compute.Post) {
	mark := s.Mark()
	defer s.Reset(mark)
	x, pre = s.before(x, pre, l.In())
	s.Backend.Linear(dst, l, x, pre, post)
	s.round(dst)
}

func (s *short) Convolve(dst compute.Tensor, c compute.Conv, x compute.Tensor, h, w int, pre compute.Pre, post compute.Post) {
	mark := s.Mark()
	defer s.Reset(mark)
	x, pre = s.before(x, pre, c.In())
	s.Backend.Convolve(dst, c, x, h, w, pre, post)
	s.round(dst)
}

func (s *short) Apply(dst, x compute.Tensor, pre compute.Pre) {
	s.Backend.Apply(dst, x, pre)
	s.round(dst)
}

func (s *short) Heads(p compute.Split) {
	s.Backend.Heads(p)
	s.round(p.Q)
	s.round(p.K)
	s.round(p.V)
}

func (s *short) Attention(dst, q, k, v compute.Tensor, a compute.Attention) {
	s.Backend.Attention(dst, q, k, v, a)
	s.round(dst)
}

func (s *short) Embed(dst compute.Tensor, t compute.Table, ids []int32) {
	s.Backend.Embed(dst, t, ids)
	s.round(dst)
}

func (s *short) Copy(dst, src compute.Tensor) {
	s.Backend.Copy(dst, src)
	s.round(dst)
}

func (s *short) Guide(dst, positive, negative compute.Tensor, scale float32) {
	s.Backend.Guide(dst, positive, negative, scale)
	s.round(dst)
}
