package qwen

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/cuda"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
)

// openGPU makes a backend on the first GPU, or skips where there is none.
func openGPU(t *testing.T, o kernels.Options) func(func(plan.Options) (plan.Result, error)) (compute.Backend, int64, error) {
	t.Helper()
	driver, err := cuda.Open()
	if err != nil {
		t.Skipf("needs an NVIDIA GPU: %v", err)
	}
	devices, err := driver.Devices()
	require.NoError(t, err)
	return opens(plan.Options{Temporaries: true}, func() (compute.Backend, int64, error) {
		b, err := kernels.New(driver, devices[0], o)
		return b, o.ArenaBytes, err
	})
}

// TestGPUGolden: on a GPU, which computes in bfloat16, both pipelines stay near to diffusers'
// in float64: latents by 3 % of the largest, which is what rounding does through the text
// encoder, the VAE and every step of a model whose weights are random, and pictures by a few
// levels. Two edits are equal to the bit, and weights that stream change none.
func TestGPUGolden(t *testing.T) {
	whole := map[string][]byte{}
	for _, o := range []kernels.Options{{}, {Portable: true}, {Streamed: func(string) bool { return true }}} {
		o.ArenaBytes, o.Poison = 256<<20, true
		open := openGPU(t, o)
		g := readGoldens(t)
		for name := range g.cases {
			t.Run(fmt.Sprintf("%s, portable %t, streamed %t", name, o.Portable, o.Streamed != nil), func(t *testing.T) {
				m := goldenModelOn(t, g.class(name), Options{Open: open})
				first := g.run(t, m, name, 0.03)
				require.Equal(t, first.Pix, g.run(t, m, name, 0.03).Pix)
				switch {
				case o.Streamed != nil:
					require.Equal(t, whole[name], first.Pix)
				case !o.Portable:
					whole[name] = first.Pix
				}
				off, most := 0, 0
				for i, want := range g.bytes(t, name+".picture") {
					d := int(first.Pix[i]) - int(want)
					most, off = max(most, d, -d), off+max(d, -d)
				}
				t.Logf("the picture is off by %d levels at most, %.2g in the mean", most, float64(off)/float64(len(first.Pix)))
				require.LessOrEqual(t, float64(off)/float64(len(first.Pix)), 2.0)
			})
		}
	}
}
