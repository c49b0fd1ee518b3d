package vae

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/config"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
)

// Channels is the number of channels of a picture: red, green, blue.
const Channels = 3

// stages is the number of resolutions, each half of the one before: the latents' is the
// last one.
const stages = 4

// maxWidth and maxBlocks bound what a configuration may ask for, so that sizes cannot
// overflow. The published model has 384 and 2.
const (
	maxWidth  = 1 << 16
	maxBlocks = 64
)

// Config is what vae/config.json says about the network.
type Config struct {
	// Base is the number of channels at full resolution, and Mult what it is multiplied by
	// at each resolution, the full one first.
	Base int
	Mult []int
	// Blocks is the number of residual blocks at each resolution of the encoder; the
	// decoder has one more.
	Blocks int
	// Latents is the number of channels of the latents.
	Latents int
}

// ignored are keys of the class that don't change what the network computes of one picture:
// dropout acts in training only, and the statistics are package latents' matter.
var ignored = []string{"dropout", "latents_mean", "latents_std"}

// used are keys of the class that are looked at.
var used = []string{
	"_class_name", "base_dim", "z_dim", "dim_mult", "num_res_blocks", "attn_scales", "temperal_downsample", "input_channels",
}

// ParseConfig reads the text of vae/config.json. Absent keys have the defaults of diffusers'
// AutoencoderKLQwenImage (0.42.1). Another class, attention outside of the middle block
// (attn_scales), another number of resolutions or of a picture's channels, numbers out of
// range and a key that the class doesn't have (those that begin with "_" are diffusers' own
// notes and are passed over) are refused: errors are of kind fault.Invalid and name the key
// and what is there.
func ParseConfig(data []byte) (Config, error) {
	c, err := parseConfig(data)
	if err != nil {
		return Config{}, fault.Wrap(fault.Invalid, "", fmt.Errorf("reading the VAE's config.json: %w", err))
	}
	return c, nil
}

func parseConfig(data []byte) (c Config, err error) {
	o, err := config.Parse(data)
	if err != nil {
		return c, err
	}
	for _, key := range o.Keys() {
		if !strings.HasPrefix(key, "_") && !slices.Contains(used, key) && !slices.Contains(ignored, key) {
			return c, fmt.Errorf("%s is %s, an option that is not known here", key, o.Text(key))
		}
	}
	if err := supported(o); err != nil {
		return c, err
	}
	if c.Base, err = config.Get(o, "base_dim", 96); err != nil {
		return c, err
	}
	if c.Latents, err = config.Get(o, "z_dim", 16); err != nil {
		return c, err
	}
	if c.Blocks, err = config.Get(o, "num_res_blocks", 2); err != nil {
		return c, err
	}
	if c.Mult, err = config.Get(o, "dim_mult", []int{1, 2, 4, 4}); err != nil {
		return c, err
	}
	return c, c.check()
}

// supported refuses what the class can do and this package can't.
func supported(o config.Object) error {
	if class, err := config.Get(o, "_class_name", ""); err != nil || class != latents.VAEClass {
		return fmt.Errorf("_class_name is %s, only %q is implemented", o.Text("_class_name"), latents.VAEClass)
	}
	if scales, err := config.Get(o, "attn_scales", []float64{}); err != nil || len(scales) != 0 {
		return fmt.Errorf("attn_scales is %s, only an empty list is implemented", o.Text("attn_scales"))
	}
	if channels, err := config.Get(o, "input_channels", Channels); err != nil || channels != Channels {
		return fmt.Errorf("input_channels is %s, only %d is implemented", o.Text("input_channels"), Channels)
	}
	// It says where frames are halved, which a single one never is; a list of another length
	// belongs to another network.
	halved, err := config.Get(o, "temperal_downsample", []bool{false, true, true})
	if err == nil && len(halved) != stages-1 {
		err = fmt.Errorf("temperal_downsample is %s, want %d times true or false", o.Text("temperal_downsample"), stages-1)
	}
	return err
}

// check says which number is out of range.
func (c Config) check() error {
	if len(c.Mult) != stages {
		return fmt.Errorf("dim_mult has %d numbers, only %d are implemented: a position of the latents is %d×%d pixels", len(c.Mult), stages, latents.Scale, latents.Scale)
	}
	if c.Base < 1 || c.Base > maxWidth {
		return fmt.Errorf("base_dim is %d, want 1 to %d", c.Base, maxWidth)
	}
	if c.Latents < 1 || c.Latents > maxWidth {
		return fmt.Errorf("z_dim is %d, want 1 to %d", c.Latents, maxWidth)
	}
	if c.Blocks < 1 || c.Blocks > maxBlocks {
		return fmt.Errorf("num_res_blocks is %d, want 1 to %d", c.Blocks, maxBlocks)
	}
	for i, m := range c.Mult {
		if m < 1 || m > maxWidth/c.Base {
			return fmt.Errorf("dim_mult has %d at %d: the width is %d times that, want 1 to %d", m, i, c.Base, maxWidth)
		}
		if i > 0 && c.width(i)%2 != 0 {
			return fmt.Errorf("dim_mult has %d at %d: the width of %d can't be halved", m, i, c.width(i))
		}
	}
	return nil
}

// width is the number of channels at a resolution, 0 being the full one.
func (c Config) width(stage int) int { return c.Base * c.Mult[stage] }
