package svdqtest

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bf16s decodes a tensor of bfloat16.
func bf16s(t *testing.T, c *Checkpoint, name string) []float64 {
	b := section(t, c, name)
	out := make([]float64, len(b)/2)
	for i := range out {
		out[i] = bf16Value(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return out
}

func rms(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x / float64(len(v))
	}
	return math.Sqrt(sum)
}

// codeStats describes a packed weight, unpacked.
type codeStats struct {
	count  [16]int
	groups int
	peaked int // groups in which the largest magnitude occurs
}

// unpackStats reads every code at its place and counts groups that reach peak.
func unpackStats(b []byte, rows, cols, group int, at func(n, k, in int) nibbleAt, value func(byte) float64, peak float64) codeStats {
	var s codeStats
	for n := range rows {
		for g := range cols / group {
			top := 0.0
			for k := g * group; k < (g+1)*group; k++ {
				c := at(n, k, cols).of(b)
				s.count[c]++
				top = max(top, math.Abs(value(c)))
			}
			s.groups++
			if top == peak {
				s.peaked++
			}
		}
	}
	return s
}

func TestInt4Codes(t *testing.T) {
	c := make1(t, small(Int4))
	for name, dims := range map[string][2]int{"attn.to_qkv": {384, 128}, "img_mlp.net.2": {128, 512}} {
		s := unpackStats(section(t, c, "transformer_blocks.1."+name+".qweight"), dims[0], dims[1], 64, svdqCode, int4Grid.value, 7)
		require.Zero(t, s.count[8], "code -8 does not occur")
		require.Equal(t, s.groups, s.peaked, "every group of every row reaches 7")
		total := dims[0] * dims[1]
		require.InDelta(t, 0.137, float64(s.count[0])/float64(total), 0.02, "normal values: zero is the most frequent code")
		require.InDelta(t, s.count[7], s.count[9], 0.25*float64(s.count[7]), "signs balance")
		require.Less(t, s.count[7]+s.count[9], total/10, "peaks are rare inside a group")
	}
}

// TestWrongLayoutIsVisible: the statistic that tells layouts apart works on generated
// weights. Read in plain row-major order, groups mix rows and many miss the peak.
func TestWrongLayoutIsVisible(t *testing.T) {
	c := make1(t, small(Int4))
	plain := func(n, k, in int) nibbleAt { return nibbleAt{(n*in + k) / 2, k % 2 * 4} }
	s := unpackStats(section(t, c, "transformer_blocks.0.img_mlp.net.2.qweight"), 128, 512, 64, plain, int4Grid.value, 7)
	require.Less(t, s.peaked, s.groups*97/100)
}

func TestAWQCodes(t *testing.T) {
	c := make1(t, small(Int4))
	s := unpackStats(section(t, c, "transformer_blocks.0.txt_mod.1.qweight"), 768, 128, 64, awqCode, awqGrid.value, 7)
	require.Zero(t, s.count[15])
	require.Equal(t, s.groups, s.peaked)
}

func TestNVFP4Codes(t *testing.T) {
	c := make1(t, small(NVFP4))
	for name, dims := range map[string][2]int{"attn.to_out.0": {128, 128}, "txt_mlp.net.2": {128, 512}} {
		s := unpackStats(section(t, c, "transformer_blocks.1."+name+".qweight"), dims[0], dims[1], 16, svdqCode, e2m1Value, 6)
		require.Zero(t, s.count[8], "zero has no sign")
		require.Equal(t, s.groups, s.peaked)
		for code, n := range s.count {
			require.True(t, n > 0 || code == 8, "code %d occurs", code)
		}
	}
	scales := section(t, c, "transformer_blocks.0.attn.to_qkv.wscales")
	for _, b := range scales {
		require.True(t, b >= 0x68 && b < 0x78, "scale code %#x is positive and finite", b)
	}
}

func TestE2M1RoundsToTheNearest(t *testing.T) {
	for v, want := range map[float64]byte{0: 0, -0.1: 0, 0.3: 1, -0.3: 9, 1.2: 2, 2.6: 5, -2.4: 12, 4.9: 6, 5.1: 7, -99: 15} {
		require.Equal(t, want, e2m1(v), "%v", v)
		require.InDelta(t, v, e2m1Value(want), max(1, math.Abs(v)-6))
	}
}

// TestEveryValueIsPossible reads all bfloat16 tensors: finite everywhere, positive where
// a scale must be, and zero points beside their scales.
func TestEveryValueIsPossible(t *testing.T) {
	for _, precision := range []string{Int4, NVFP4} {
		c := make1(t, small(precision))
		for _, x := range c.Header().Tensors {
			if x.DType != "BF16" {
				continue
			}
			v := bf16s(t, c, x.Name)
			suffix := x.Name[strings.LastIndexByte(x.Name, '.')+1:]
			for i, y := range v {
				require.False(t, math.IsNaN(y) || math.IsInf(y, 0), "%s[%d] is %v", x.Name, i, y)
				if suffix == "wscales" || suffix == "wcscales" || suffix == "wtscale" || strings.HasPrefix(suffix, "smooth") {
					require.Positive(t, y, "%s[%d]", x.Name, i)
				}
			}
			require.Less(t, rms(v), 2.0, x.Name)
		}
		requireZeroPoints(t, c, "transformer_blocks.1.img_mod.1")
		require.Equal(t, section(t, c, "transformer_blocks.0.attn.to_out.0.smooth_factor"),
			section(t, c, "transformer_blocks.0.attn.to_out.0.smooth_factor_orig"))
	}
}

func requireZeroPoints(t *testing.T, c *Checkpoint, name string) {
	scales, zeros := bf16s(t, c, name+".wscales"), bf16s(t, c, name+".wzeros")
	for i, s := range scales {
		require.InEpsilon(t, -7*s, zeros[i], 1.0/256, "%s[%d]", name, i)
	}
}

// TestModulationInterleave: bias and scales follow the order of the six parts.
func TestModulationInterleave(t *testing.T) {
	p := small(Int4)
	p.Blocks = 8
	c := make1(t, p)
	bias := bf16s(t, c, "transformer_blocks.7.img_mod.1.bias")
	scales := bf16s(t, c, "transformer_blocks.7.img_mod.1.wscales")
	part := func(v []float64, j int) (out []float64) {
		for i := j; i < len(v); i += 6 {
			out = append(out, v[i])
		}
		return out
	}
	for j := range 6 {
		b := part(bias, j)
		sum := 0.0
		for _, x := range b {
			sum += x / float64(len(b))
		}
		wantMean := map[int]float64{1: 1, 4: 1}[j]
		require.InDelta(t, wantMean, sum, 0.06, "part %d", j)
		ratio := rms(part(scales, j)) / rms(part(scales, 0))
		if j%3 == 2 {
			require.InDelta(t, gateShare*0.25/modStd, ratio, 0.05, "gates are 1/sqrt(2·8)")
			require.InDelta(t, 0.25, rms(b), 0.05)
		} else {
			require.InDelta(t, 1, ratio, 0.03)
		}
	}
}

// dequantised returns an SVDQ linear as a plain matrix, out by in: unpacked codes times
// scales over smooth factors, plus the low-rank product.
func dequantised(t *testing.T, c *Checkpoint, name string, out, in int) [][]float64 {
	rank, group := c.Params.Rank, int(c.Params.group())
	q, smooth := section(t, c, name+".qweight"), bf16s(t, c, name+".smooth_factor")
	down, up := bf16s(t, c, name+".proj_down"), bf16s(t, c, name+".proj_up")
	scale := scales(t, c, name, in/group)
	value := int4Grid.value
	if c.Params.Precision == NVFP4 {
		value = e2m1Value
	}
	w := make([][]float64, out)
	for n := range w {
		w[n] = make([]float64, in)
		for k := range w[n] {
			w[n][k] = value(svdqCode(n, k, in).of(q)) * scale(n, k/group) / smooth[lane128(k)]
			for r := range rank {
				w[n][k] += up[projUp(n, r, rank)] * down[projDown(k, r, rank)]
			}
		}
	}
	return w
}

// scales returns the scale of a row's group, both levels multiplied for NVFP4.
func scales(t *testing.T, c *Checkpoint, name string, groups int) func(n, g int) float64 {
	if c.Params.Precision == Int4 {
		v := bf16s(t, c, name+".wscales")
		return func(n, g int) float64 { return v[int4Scale(n, g, groups)] }
	}
	b := section(t, c, name+".wscales")
	global := func(int) float64 { return 0 }
	if _, ok := c.Header().Tensor(name + ".wcscales"); ok {
		v := bf16s(t, c, name+".wcscales")
		global = func(n int) float64 { return v[lane128(n)] }
	} else {
		v := bf16s(t, c, name+".wtscale")[0]
		global = func(int) float64 { return v }
	}
	return func(n, g int) float64 {
		code := b[nvfp4Scale(n, g, groups)]
		return math.Ldexp(1+float64(code&7)/8, int(code>>3&15)-7) * global(n)
	}
}

// TestLinearsKeepVariance: a matrix that keeps its input's variance has rows of norm 1,
// times the gain of the layer. So a chain of blocks neither explodes nor dies.
func TestLinearsKeepVariance(t *testing.T) {
	for _, precision := range []string{Int4, NVFP4} {
		c := make1(t, small(precision))
		for name, l := range map[string]struct {
			out, in int
			gain    float64
		}{
			"attn.to_qkv": {384, 128, 1}, "attn.to_out.0": {128, 128, 1}, "img_mlp.net.0.proj": {512, 128, 1}, "img_mlp.net.2": {128, 512, geluGain},
		} {
			w := dequantised(t, c, "transformer_blocks.0."+name, l.out, l.in)
			sum := 0.0
			for _, row := range w {
				sum += rms(row) * rms(row) * float64(l.in) / float64(l.out)
			}
			require.InEpsilon(t, l.gain, math.Sqrt(sum), 0.1, "%s %s", precision, name)
		}
	}
}

// TestUnquantisedLinears: the same for the layers around the blocks.
func TestUnquantisedLinears(t *testing.T) {
	c := make1(t, small(Int4))
	for name, norm := range map[string]float64{
		"img_in": 1, "txt_in": 1, "proj_out": 1, "time_text_embed.timestep_embedder.linear_1": math.Sqrt2, "norm_out.linear": modStd / siluRMS,
	} {
		x, _ := c.Header().Tensor(name + ".weight")
		got := rms(bf16s(t, c, name+".weight")) * math.Sqrt(float64(x.Shape[1]))
		require.InEpsilon(t, norm, got, 0.05, name)
	}
}
