package latents_test

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
)

// vaeConfig is vae/config.json as it was published, changed.
func vaeConfig(t testing.TB, change map[string]any) []byte {
	t.Helper()
	g := readGolden(t)
	d := map[string]any{
		"_class_name": "AutoencoderKLQwenImage", "_diffusers_version": "0.35.0.dev0", "attn_scales": []float64{}, "base_dim": 96,
		"dim_mult": []int{1, 2, 4, 4}, "dropout": 0.0, "latents_mean": g.Mean, "latents_std": g.Std, "num_res_blocks": 2,
		"temperal_downsample": []bool{false, true, true}, "z_dim": 16,
	}
	maps.Copy(d, change)
	maps.DeleteFunc(d, func(_ string, v any) bool { return v == absent{} })
	text, err := json.Marshal(d)
	require.NoError(t, err)
	return text
}

// absent takes a key away.
type absent struct{}

func TestStatisticsOfDiffusers(t *testing.T) {
	g := readGolden(t).Statistics
	s, err := latents.ParseVAE(vaeConfig(t, nil))
	require.NoError(t, err)
	require.Equal(t, 16, s.Channels())
	s.Normalise(g.Z)
	require.Equal(t, g.Normal, g.Z)
	s.Denormalise(g.Latents)
	require.InDeltaSlice(t, g.Denormal, g.Latents, 1e-6)
}

// TestStatistics: what is normalised comes back, channel by channel.
func TestStatistics(t *testing.T) {
	s, err := latents.ParseVAE([]byte(`{"_class_name": "AutoencoderKLQwenImage", "z_dim": 2, "latents_mean": [1, -2], "latents_std": [2, 0.5]}`))
	require.NoError(t, err)
	z := []float32{1, 3, -1, -2, -1.5, -3}
	s.Normalise(z)
	require.Equal(t, []float32{0, 1, -1, 0, 1, -2}, z)
	s.Denormalise(z)
	require.Equal(t, []float32{1, 3, -1, -2, -1.5, -3}, z)
	rapid.Check(t, func(t *rapid.T) {
		n := 2 * rapid.IntRange(0, 5).Draw(t, "n")
		z := rapid.SliceOfN(rapid.Float32Range(-100, 100), n, n).Draw(t, "z")
		back := append([]float32{}, z...)
		s.Normalise(back)
		s.Denormalise(back)
		for i := range z {
			require.InDelta(t, z[i], back[i], 2e-5)
		}
	})
}

func TestParseVAERefuses(t *testing.T) {
	list := func(n int, v any) []any {
		out := make([]any, n)
		for i := range out {
			out[i] = v
		}
		return out
	}
	for want, change := range map[string]map[string]any{
		`_class_name is "AutoencoderKL", only "AutoencoderKLQwenImage" is implemented`: {"_class_name": "AutoencoderKL"},
		"_class_name is nothing":                        {"_class_name": absent{}},
		"latents_mean is missing":                       {"latents_mean": absent{}},
		"latents_std is null, want a list of numbers":   {"latents_std": nil},
		"latents_mean has 15 numbers, z_dim is 16":      {"latents_mean": list(15, 0)},
		"latents_mean has 16 numbers, z_dim is 48":      {"z_dim": 48},
		"latents_mean has 0 numbers, z_dim is 0":        {"z_dim": 0, "latents_mean": list(0, 0)},
		`z_dim is "16", want a whole number`:            {"z_dim": "16"},
		"latents_std is 0 in channel 0":                 {"latents_std": list(16, 0)},
		"latents_std is -1 in channel 0":                {"latents_std": list(16, -1)},
		"latents_std is 0 in channel 0, want a number ": {"latents_std": list(16, 1e-60)},
		"latents_mean is 1e+60 in channel 0, beyond":    {"latents_mean": list(16, 1e60)},
		"latents_mean has null at 0":                    {"latents_mean": list(16, nil)},
		"want a list of numbers":                        {"latents_mean": list(16, "0")},
	} {
		_, err := latents.ParseVAE(vaeConfig(t, change))
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "reading the VAE's config.json: ")
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
	_, err := latents.ParseVAE([]byte(`{"z_dim": 16, "z_dim": 4}`))
	require.ErrorContains(t, err, `"z_dim" is there twice`)
}

// FuzzParseVAE: what passes normalises zeros to finite numbers of as many channels.
func FuzzParseVAE(f *testing.F) {
	f.Add(vaeConfig(f, nil))
	f.Add(vaeConfig(f, map[string]any{"z_dim": -1}))
	f.Add([]byte(`{"_class_name":"AutoencoderKLQwenImage","z_dim":1,"latents_mean":[1e38],"latents_std":[1e-40]}`))
	f.Add([]byte(`{"_class_name":"AutoencoderKLQwenImage","latents_mean":[null]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		s, err := latents.ParseVAE(document)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.Zero(t, s)
			return
		}
		require.Positive(t, s.Channels())
		z := make([]float32, 2*s.Channels())
		s.Denormalise(z)
		for _, v := range z {
			require.Equal(t, v, v, "not NaN")
		}
	})
}
