package vae

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

func TestParseConfig(t *testing.T) {
	want := Config{Base: 96, Mult: []int{1, 2, 4, 4}, Blocks: 2, Latents: 16}
	data, _ := files(t, published())
	c, err := ParseConfig(data)
	require.NoError(t, err)
	require.Equal(t, want, c)
	c, err = ParseConfig([]byte(`{"_class_name": "AutoencoderKLQwenImage"}`))
	require.NoError(t, err)
	require.Equal(t, want, c)
	c, err = ParseConfig([]byte(`{"_class_name": "AutoencoderKLQwenImage", "base_dim": 5, "dim_mult": [3, 2, 4, 6], "num_res_blocks": 1,
		"z_dim": 7, "input_channels": 3, "attn_scales": [], "temperal_downsample": [true, true, true], "dropout": 0.5, "_note": "x"}`))
	require.NoError(t, err)
	require.Equal(t, Config{Base: 5, Mult: []int{3, 2, 4, 6}, Blocks: 1, Latents: 7}, c)
}

// TestParseConfigRefuses: what the class can do and this package can't is never passed over.
func TestParseConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		key, value, want string
	}{
		{"_class_name", `"AutoencoderKLWan"`, `_class_name is "AutoencoderKLWan", only "AutoencoderKLQwenImage" is implemented`},
		{"attn_scales", `[0.5]`, "attn_scales is [0.5]"},
		{"attn_scales", `null`, "attn_scales is null"},
		{"input_channels", `4`, "input_channels is 4, only 3 is implemented"},
		{"is_residual", `true`, "is_residual is true, an option that is not known here"},
		{"temperal_downsample", `[false, true]`, "temperal_downsample is [false, true], want 3 times true or false"},
		{"temperal_downsample", `[0, 1, 1]`, "temperal_downsample is [0, 1, 1]"},
		{"dim_mult", `[1, 2, 4]`, "dim_mult has 3 numbers, only 4 are implemented"},
		{"dim_mult", `[1, 2, 4, 4, 4]`, "dim_mult has 5 numbers"},
		{"dim_mult", `[1, 2, 0, 4]`, "dim_mult has 0 at 2"},
		{"dim_mult", `[1, 2, 700, 4]`, "dim_mult has 700 at 2"},
		{"dim_mult", `[1, 2.5, 4, 4]`, "dim_mult is [1, 2.5, 4, 4]"},
		{"base_dim", `0`, "base_dim is 0"},
		{"base_dim", `65537`, "base_dim is 65537"},
		{"base_dim", `"96"`, `base_dim is "96", want a whole number`},
		{"z_dim", `-16`, "z_dim is -16"},
		{"z_dim", `null`, "z_dim is null"},
		{"num_res_blocks", `0`, "num_res_blocks is 0"},
		{"num_res_blocks", `100000000`, "num_res_blocks is 100000000"},
	} {
		class := `"_class_name": "AutoencoderKLQwenImage", `
		if c.key == "_class_name" {
			class = ""
		}
		_, err := ParseConfig(fmt.Appendf(nil, "{%s%q: %s}", class, c.key, c.value))
		require.ErrorContains(t, err, "reading the VAE's config.json: "+c.want)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
	_, err := ParseConfig([]byte(`{"_class_name": "AutoencoderKLQwenImage", "base_dim": 3, "dim_mult": [1, 1, 2, 2]}`))
	require.ErrorContains(t, err, "the width of 3 can't be halved")
	_, err = ParseConfig([]byte(`[]`))
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}
