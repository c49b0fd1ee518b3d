package picture_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
)

func realConfig(t testing.TB) string {
	return string(read(t, filepath.Join("testdata", "preprocessor_config.json")))
}

// TestProcessorGrid: the counts of patches of the real model's sizes.
func TestProcessorGrid(t *testing.T) {
	p, err := picture.ParseProcessor([]byte(realConfig(t)))
	require.NoError(t, err)
	require.Equal(t, 28, p.Factor())
	require.Equal(t, 1176, p.PatchLen())
	for side, tokens := range map[int]int{1024: 1369, 384: 196} {
		g, err := p.Grid(size{W: side, H: side})
		require.NoError(t, err)
		require.Equal(t, tokens, g.Patches()/p.MergeSize/p.MergeSize)
	}
	_, err = p.Grid(size{W: 1, H: 201})
	require.Error(t, err)
	_, _, err = p.Append(nil, &picture.RGB{W: 1, H: 2})
	require.EqualError(t, err, "resizing picture: 1×2 pixels have 6 samples, it has 0")
}

// TestParseProcessor: newer files say the same in more words.
func TestParseProcessor(t *testing.T) {
	want, err := picture.ParseProcessor([]byte(realConfig(t)))
	require.NoError(t, err)
	newer := strings.Replace(realConfig(t), "{", `{"do_resize": true, "do_rescale": true, "do_normalize": true, "do_convert_rgb": true,
		"do_center_crop": null, "do_pad": false, "resample": 3, "rescale_factor": 0.00392156862745098, "data_format": "channels_first",
		"size": {"shortest_edge": 3136, "longest_edge": 12845056},`, 1)
	got, err := picture.ParseProcessor([]byte(newer))
	require.NoError(t, err)
	require.Equal(t, want, got)
	newer = strings.Replace(strings.Replace(newer, `"min_pixels": 3136,`, "", 1), `"max_pixels": 12845056,`, "", 1)
	newer = strings.Replace(newer, `"Qwen2VLImageProcessor"`, `"Qwen2VLImageProcessorFast"`, 1)
	got, err = picture.ParseProcessor([]byte(newer))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestParseProcessorErrors(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"{", "[", "invalid character ':' after array element"},
		{`"patch_size": 14`, `"patch_size": "14"`, "cannot unmarshal string"},
		{`"max_pixels"`, `"most_pixels"`, "max_pixels is missing"},
		{`"merge_size"`, `"merges"`, "merge_size is missing"},
		{`"min_pixels": 3136`, `"min_pixels": 20000000`, "min_pixels is 20000000, it is 1 to 12845056"},
		{`"patch_size": 14`, `"patch_size": 0`, "patch_size is 0, it is 1 to 256"},
		{`"patch_size": 14`, `"patch_size": 14, "size": {"shortest_edge": 1}`, "min_pixels is 3136, but size says 1"},
		{"0.48145466, ", "", "image_mean has 2 numbers and image_std 3, each has 3"},
		{"0.26130258", "0", "image_mean and image_std of channel 1 are 0.4578275 and 0, within ±255, and above 0"},
		{"{", `{"rescale_factor": 0,`, "rescale_factor is 0, it is above 0 and at most 1"},
		{"{", `{"resample": 1,`, "resample is 1, only 3, bicubic, is known"},
		{"{", `{"do_resize": false,`, "do_resize is false, only true is known"},
		{"{", `{"do_center_crop": true,`, "do_center_crop is true, only false is known"},
		{"Qwen2VLImageProcessor", "CLIPImageProcessor", `image_processor_type is "CLIPImageProcessor", only Qwen2VLImageProcessor is known`},
	} {
		require.Contains(t, realConfig(t), c.old)
		_, err := picture.ParseProcessor([]byte(strings.Replace(realConfig(t), c.old, c.new, 1)))
		require.ErrorContains(t, err, "reading preprocessor_config.json: ")
		require.ErrorContains(t, err, c.want)
	}
}

// FuzzParseProcessor: a configuration that is accepted prepares a picture.
func FuzzParseProcessor(f *testing.F) {
	f.Add([]byte(realConfig(f)))
	f.Add([]byte(strings.ReplaceAll(realConfig(f), "14", "3")))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := picture.ParseProcessor(data)
		if err != nil {
			return
		}
		g, err := p.Grid(size{W: 3, H: 5})
		if err != nil || g.Patches()*p.PatchLen() > 1<<20 {
			return
		}
		x, _, err := p.Append(nil, &picture.RGB{W: 3, H: 5, Pix: make([]uint8, 45)})
		require.NoError(t, err)
		require.Len(t, x, g.Patches()*p.PatchLen())
	})
}
