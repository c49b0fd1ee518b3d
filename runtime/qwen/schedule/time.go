package schedule

import (
	"math"

	"github.com/plimsoll-oci/plimsoll/runtime/bf16"
)

// TimeChannels is the width of the sinusoidal embedding of a timestep, the input of the
// transformer's time_text_embed.timestep_embedder.
const TimeChannels = 256

// maxPeriod is the longest period of the sinusoids, in timesteps, over 2π.
const maxPeriod = 10000

// logPeriod is its negative logarithm.
var logPeriod = -math.Log(maxPeriod)

// ModelTime is the time that the transformer gets for a timestep of 0 to 1000, as a pipeline
// in bfloat16 makes it: t rounded to bfloat16, divided by 1000, rounded again. The first
// rounding moves a timestep by up to 2. A pipeline in float32, as golden vectors come from, has
// t/1000 instead. Whether the quotient is a division (PyTorch on the CPU) or a product with
// float32(1/1000) (on CUDA) makes no difference for any bfloat16 in the range.
func ModelTime(t float32) float32 { return bf16.Round(bf16.Round(t) / TrainTimesteps) }

// TimeEmbedding returns the sinusoidal embedding of a time u between 0 and 1 as diffusers'
// Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0, scale=1000) does: 128 cosines,
// then 128 sines, of 1000·(u·f_i) with f_i = 10000^(−i/128).
//
// Angles are float32, with its rounding at every product; their sines and cosines are right
// to the last bit of float32. The transformer takes the result rounded to its own format
// (bf16.Round). With zero_cond_t, reference tokens get the embedding of 0: ones, then zeros.
func TimeEmbedding(u float32) (out [TimeChannels]float32) {
	const half = TimeChannels / 2
	for i := range half {
		exponent := float32(logPeriod) * float32(i) / half
		angle := u * float32(math.Exp(float64(exponent)))
		sin, cos := math.Sincos(float64(angle * 1000))
		out[i], out[half+i] = float32(cos), float32(sin)
	}
	return out
}
