package svdqtest

import (
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
)

// Sizes of the random weights, relative to a linear that keeps its input's variance.
const (
	lowRankShare = 0.3  // of a linear's output that comes from the low-rank branch
	geluGain     = 1.6  // makes up for the variance that GELU takes away
	siluRMS      = 0.6  // of SiLU over standard normal values
	biasStd      = 0.02 // of ordinary biases
	modStd       = 0.15 // of shift and scale over time steps, and of their biases
	gateShare    = 0.3  // of a gate that changes with time
)

// linear is one SVDQ linear of a block.
type linear struct {
	name    string
	in, out int64
	gain    float64
	fused   bool // q, k and v in one: NVFP4 files have one scale for each output channel
}

// model holds what the tensors of one checkpoint share.
type model struct {
	Params
	codes       safetensorstest.Fill // of SVDQ qweight
	groupScales safetensorstest.Fill
	codeRMS     float64
	awqCodes    safetensorstest.Fill
	awqScale    safetensorstest.Fill
	awqZero     safetensorstest.Fill
	modBias     safetensorstest.Fill
}

func newModel(p Params) *model {
	m := &model{Params: p, groupScales: safetensorstest.Codes(8, e4m3)}
	if p.Precision == NVFP4 {
		m.codes, m.codeRMS = nvfp4Fill(nvfp4Codes().words), nvfp4Codes().rms
	} else {
		m.codes, m.codeRMS = int4Fill(int4Codes().words), int4Codes().rms
	}
	m.modulation()
	return m
}

// modulation prepares what the AWQ linears share. Gates are so small that all residual
// additions together double a stream's variance.
func (m *model) modulation() {
	m.awqCodes = awqFill(awqCodes().words)
	gate := 1 / math.Sqrt(2*float64(m.Blocks))
	parts := [modParts]float64{modStd, modStd, gateShare * gate, modStd, modStd, gateShare * gate}
	unit := 1 / (awqCodes().rms * siluRMS * math.Sqrt(float64(m.hidden())))
	scales := sync.OnceValue(func() *periodic {
		return newPeriodic(func(j int, u float64) float64 { return parts[j] * unit * (0.8 + 0.4*u) })
	})
	m.awqScale = periodicFill(scales)
	m.awqZero = periodicFill(sync.OnceValue(func() *periodic { return scales().scaled(-7) }))
	m.modBias = periodicFill(sync.OnceValue(func() *periodic { return modulationBias(gate) }))
}

// modulationBias makes the biases of shift, scale and gate; scale's has the 1 that
// modulation adds.
func modulationBias(gate float64) *periodic {
	return newPeriodic(func(j int, u float64) float64 {
		z := math.Sqrt2 * math.Erfinv(2*u-1)
		switch j % 3 {
		case 0:
			return modStd * z
		case 1:
			return 1 + modStd*z
		}
		return gate * z
	})
}

// like makes a tensor draw from the same places as the one that is named new where it is
// named old.
func (m *model) like(old, new string, fill safetensorstest.Fill) safetensorstest.Fill {
	return func(t safetensors.Tensor, _ uint64) (safetensorstest.Source, error) {
		return fill(t, safetensorstest.Seed(m.Seed, strings.Replace(t.Name, "."+old, "."+new, 1)))
	}
}

// linears lists the SVDQ linears of a block.
func (m *model) linears() []linear {
	h := m.hidden()
	return []linear{
		{"attn.to_qkv", h, 3 * h, 1, true},
		{"attn.add_qkv_proj", h, 3 * h, 1, true},
		{"attn.to_out.0", h, h, 1, false},
		{"attn.to_add_out", h, h, 1, false},
		{"img_mlp.net.0.proj", h, mlpRatio * h, 1, false},
		{"img_mlp.net.2", mlpRatio * h, h, geluGain, false},
		{"txt_mlp.net.0.proj", h, mlpRatio * h, 1, false},
		{"txt_mlp.net.2", mlpRatio * h, h, geluGain, false},
	}
}

// tensors lists the whole checkpoint.
func (m *model) tensors() []safetensorstest.Tensor {
	out := m.globals()
	for b := range m.Blocks {
		prefix := fmt.Sprintf("transformer_blocks.%d.", b)
		for _, l := range m.linears() {
			out = append(out, m.svdq(prefix+l.name, l)...)
		}
		for _, mod := range []string{"img_mod.1", "txt_mod.1"} {
			out = append(out, m.awq(prefix+mod)...)
		}
		for _, norm := range []string{"norm_q", "norm_k", "norm_added_q", "norm_added_k"} {
			out = append(out, bf16(prefix+"attn."+norm+".weight", safetensorstest.Normal(1, 0.1), int64(m.HeadDim)))
		}
	}
	return out
}

// svdq lists the tensors of one SVDQ linear. Shapes are nominal: the elements lie in the
// packed order.
func (m *model) svdq(name string, l linear) []safetensorstest.Tensor {
	in, rank := float64(l.in), float64(m.Rank)
	std := l.gain / math.Sqrt(in) * math.Sqrt(1-lowRankShare*lowRankShare)
	smooth := safetensorstest.Uniform(0.5, 2) // the mean of 1/S² is 1
	out := []safetensorstest.Tensor{
		tensor(name+".qweight", safetensors.I8, m.codes, l.out, l.in/2),
		bf16(name+".bias", safetensorstest.Normal(0, biasStd), l.out),
		bf16(name+".smooth_factor", smooth, l.in),
		bf16(name+".smooth_factor_orig", m.like("smooth_factor_orig", "smooth_factor", smooth), l.in),
		bf16(name+".proj_down", safetensorstest.Normal(0, 1/math.Sqrt(in)), l.in, int64(m.Rank)),
		bf16(name+".proj_up", safetensorstest.Normal(0, l.gain*lowRankShare/math.Sqrt(rank)), l.out, int64(m.Rank)),
	}
	if m.Precision == NVFP4 {
		return append(out, m.nvfp4Scales(name, l, std)...)
	}
	scale := std / m.codeRMS
	return append(out, bf16(name+".wscales", safetensorstest.Uniform(0.8*scale, 1.2*scale), l.in/m.group(), l.out))
}

// e4m3 lists the group scales of NVFP4: the e4m3 codes of 64, 72, … 240.
var e4m3 = []uint64{0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77}

// e4m3RMS is the root mean square of those scales.
var e4m3RMS = func() float64 {
	sum := 0.0
	for i := range e4m3 {
		v := float64(8+i%8) * float64(int(8)<<(i/8))
		sum += v * v
	}
	return math.Sqrt(sum / float64(len(e4m3)))
}()

// nvfp4Scales lists the two levels of scales. A fused linear has the second one for each
// output channel, any other for the whole tensor.
func (m *model) nvfp4Scales(name string, l linear, std float64) []safetensorstest.Tensor {
	global := std / (m.codeRMS * e4m3RMS)
	groups := tensor(name+".wscales", safetensors.F8E4M3, m.groupScales, l.in/m.group(), l.out)
	if l.fused {
		return []safetensorstest.Tensor{groups, bf16(name+".wcscales", safetensorstest.Uniform(0.9*global, 1.1*global), l.out)}
	}
	return []safetensorstest.Tensor{groups, bf16(name+".wtscale", safetensorstest.Constant(global), 1)}
}

// awq lists the tensors of one modulation linear.
func (m *model) awq(name string) []safetensorstest.Tensor {
	in, out := m.hidden(), modParts*m.hidden()
	return []safetensorstest.Tensor{
		tensor(name+".qweight", safetensors.I32, m.awqCodes, out/4, in/2),
		bf16(name+".wscales", m.awqScale, in/64, out),
		bf16(name+".wzeros", m.like("wzeros", "wscales", m.awqZero), in/64, out),
		bf16(name+".bias", m.modBias, out),
	}
}

// globals lists the tensors outside the blocks.
func (m *model) globals() []safetensorstest.Tensor {
	h, tokens := m.hidden(), int64(patch*patch*m.OutChannels)
	joint, channels := int64(m.JointDim), int64(m.InChannels)
	time := "time_text_embed.timestep_embedder."
	out := []safetensorstest.Tensor{bf16("txt_norm.weight", safetensorstest.Normal(1, 0.1), joint)}
	out = append(out, dense("img_in", channels, h, 1)...)
	out = append(out, dense("txt_in", joint, h, 1)...)
	out = append(out, dense(time+"linear_1", timeDims, h, math.Sqrt2)...) // sines have half the variance
	out = append(out, dense(time+"linear_2", h, h, 1/siluRMS)...)
	out = append(out, dense("norm_out.linear", h, 2*h, modStd/siluRMS)...)
	return append(out, dense("proj_out", h, tokens, 1)...)
}

// dense lists weight and bias of an unquantised linear.
func dense(name string, in, out int64, gain float64) []safetensorstest.Tensor {
	return []safetensorstest.Tensor{
		bf16(name+".weight", safetensorstest.Normal(0, gain/math.Sqrt(float64(in))), out, in),
		bf16(name+".bias", safetensorstest.Normal(0, biasStd), out),
	}
}

func bf16(name string, fill safetensorstest.Fill, shape ...int64) safetensorstest.Tensor {
	return tensor(name, safetensors.BF16, fill, shape...)
}
