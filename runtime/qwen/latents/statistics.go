package latents

import (
	"fmt"
	"math"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/config"
)

// VAEClass is the one VAE class whose latents these are.
const VAEClass = "AutoencoderKLQwenImage"

// Statistics are mean and standard deviation of each channel of the VAE's latents: the
// transformer works on latents of mean 0 and deviation 1. It is read-only and safe for
// concurrent use.
type Statistics struct{ mean, std []float32 }

// ParseVAE reads the statistics from the text of vae/config.json. The lists latents_mean and
// latents_std must be there, both of z_dim finite float32 numbers (16, the class's default,
// where it is absent), deviations over 0; another class is refused. Errors are of kind
// fault.Invalid. The other keys are the VAE's matter and not looked at.
func ParseVAE(data []byte) (Statistics, error) {
	s, err := parseVAE(data)
	if err != nil {
		return Statistics{}, fault.Wrap(fault.Invalid, "", fmt.Errorf("reading the VAE's config.json: %w", err))
	}
	return s, nil
}

func parseVAE(data []byte) (s Statistics, err error) {
	o, err := config.Parse(data)
	if err != nil {
		return s, err
	}
	if class, err := config.Get(o, "_class_name", ""); err != nil || class != VAEClass {
		return s, fmt.Errorf("_class_name is %s, only %q is implemented", o.Text("_class_name"), VAEClass)
	}
	channels, err := config.Get(o, "z_dim", 16)
	if err != nil {
		return s, err
	}
	if s.mean, err = perChannel(o, "latents_mean", channels); err != nil {
		return s, err
	}
	if s.std, err = perChannel(o, "latents_std", channels); err != nil {
		return s, err
	}
	for c, v := range s.std {
		if !(v > 0) {
			return s, fmt.Errorf("latents_std is %g in channel %d, want a number over 0", v, c)
		}
	}
	return s, nil
}

// perChannel reads one finite float32 for each channel.
func perChannel(o config.Object, key string, channels int) ([]float32, error) {
	list, err := o.Numbers(key)
	if err != nil {
		return nil, err
	}
	if channels < 1 || len(list) != channels {
		return nil, fmt.Errorf("%s has %d numbers, z_dim is %d", key, len(list), channels)
	}
	out := make([]float32, channels)
	for c, v := range list {
		if out[c] = float32(v); math.IsInf(float64(out[c]), 0) {
			return nil, fmt.Errorf("%s is %g in channel %d, beyond float32", key, v, c)
		}
	}
	return out, nil
}

// Channels is the number of channels.
func (s Statistics) Channels() int { return len(s.mean) }

// Normalise turns the encoder's latents into the transformer's, in place: (z − mean)/std for
// each channel of z [Channels, positions].
func (s Statistics) Normalise(z []float32) {
	s.eachChannel(z, func(z []float32, mean, std float32) {
		for i, v := range z {
			z[i] = (v - mean) / std
		}
	})
}

// Denormalise turns the transformer's latents into the decoder's, in place: z·std + mean for
// each channel of z [Channels, positions]. diffusers divides by 1/std instead, which differs in
// the last bit.
func (s Statistics) Denormalise(z []float32) {
	s.eachChannel(z, func(z []float32, mean, std float32) {
		for i, v := range z {
			z[i] = float32(v*std) + mean // the conversion keeps compilers from fusing the two
		}
	})
}

func (s Statistics) eachChannel(z []float32, f func(z []float32, mean, std float32)) {
	if len(s.mean) == 0 || len(z)%len(s.mean) != 0 {
		panic(fmt.Sprintf("latents: %d values are not %d channels", len(z), len(s.mean)))
	}
	n := len(z) / len(s.mean)
	for c, mean := range s.mean {
		f(z[c*n:(c+1)*n], mean, s.std[c])
	}
}
