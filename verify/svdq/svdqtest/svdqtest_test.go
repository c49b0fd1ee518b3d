package svdqtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// small returns the smallest parameters with everything in them.
func small(precision string) Params {
	return Params{
		Precision: precision, Rank: 32, Blocks: 2, Heads: 4, HeadDim: 32, JointDim: 96,
		InChannels: 64, OutChannels: 16, Seed: 1,
	}
}

func make1(t testing.TB, p Params) *Checkpoint {
	c, err := New(p)
	require.NoError(t, err)
	return c
}

// TestRealSizes: the counts and bytes of the published files. Sizes of data are those of
// two public files less their headers; the entries' bytes are the part of those headers
// that the tensors account for.
func TestRealSizes(t *testing.T) {
	cases := []struct {
		precision        string
		rank             int
		tensors          int
		data, entryBytes int64
	}{
		{Int4, 32, 4093, 11_521_481_856, 497_319},
		{Int4, 64, 4093, 11_898_969_216, 0},
		{Int4, 128, 4093, 12_653_943_936, 498_439},
		{NVFP4, 32, 4573, 11_948_367_696, 0},
		{NVFP4, 128, 4573, 13_080_829_776, 0},
	}
	for _, c := range cases {
		h := make1(t, Real(c.precision, c.rank)).Header()
		require.Len(t, h.Tensors, c.tensors)
		require.Equal(t, c.data, h.DataBytes(), "%s rank %d", c.precision, c.rank)
		if c.entryBytes != 0 {
			require.Equal(t, c.entryBytes, entryBytes(t, h), "%s rank %d", c.precision, c.rank)
		}
		if c.precision == Int4 {
			require.EqualValues(t, 11_143_994_496+11_796_480*c.rank, h.DataBytes(), "the closed formula")
		}
	}
}

// entryBytes is the size of the header's JSON without metadata and padding.
func entryBytes(t *testing.T, h *safetensors.Header) int64 {
	specs := make([]safetensors.Spec, len(h.Tensors))
	for i, x := range h.Tensors {
		specs[i] = safetensors.Spec{Name: x.Name, DType: x.DType, Shape: x.Shape}
	}
	_, encoded, err := safetensors.Layout(nil, specs)
	require.NoError(t, err)
	n := len(encoded)
	for encoded[n-1] == ' ' {
		n--
	}
	return int64(n - 8)
}

// TestTableOfABlock spells out every tensor of one block and the globals at the real size.
func TestTableOfABlock(t *testing.T) {
	type row struct {
		dtype safetensors.DType
		shape []int64
	}
	bf := func(shape ...int64) row { return row{safetensors.BF16, shape} }
	want := map[string]row{
		"img_in.weight": bf(3072, 64), "img_in.bias": bf(3072), "txt_norm.weight": bf(3584),
		"txt_in.weight": bf(3072, 3584), "txt_in.bias": bf(3072),
		"time_text_embed.timestep_embedder.linear_1.weight": bf(3072, 256), "time_text_embed.timestep_embedder.linear_1.bias": bf(3072),
		"time_text_embed.timestep_embedder.linear_2.weight": bf(3072, 3072), "time_text_embed.timestep_embedder.linear_2.bias": bf(3072),
		"norm_out.linear.weight": bf(6144, 3072), "norm_out.linear.bias": bf(6144), "proj_out.weight": bf(64, 3072), "proj_out.bias": bf(64),
	}
	for _, n := range []string{"norm_q", "norm_k", "norm_added_q", "norm_added_k"} {
		want["transformer_blocks.0.attn."+n+".weight"] = bf(128)
	}
	for name, io := range map[string][2]int64{
		"attn.to_qkv": {3072, 9216}, "attn.add_qkv_proj": {3072, 9216}, "attn.to_out.0": {3072, 3072}, "attn.to_add_out": {3072, 3072},
		"img_mlp.net.0.proj": {3072, 12288}, "txt_mlp.net.0.proj": {3072, 12288}, "img_mlp.net.2": {12288, 3072}, "txt_mlp.net.2": {12288, 3072},
	} {
		p, in, out := "transformer_blocks.0."+name, io[0], io[1]
		want[p+".qweight"], want[p+".wscales"], want[p+".bias"] = row{safetensors.I8, []int64{out, in / 2}}, bf(in/64, out), bf(out)
		want[p+".smooth_factor"], want[p+".smooth_factor_orig"] = bf(in), bf(in)
		want[p+".proj_down"], want[p+".proj_up"] = bf(in, 128), bf(out, 128)
	}
	for _, n := range []string{"img_mod.1", "txt_mod.1"} {
		p := "transformer_blocks.0." + n
		want[p+".qweight"], want[p+".bias"] = row{safetensors.I32, []int64{4608, 1536}}, bf(18432)
		want[p+".wscales"], want[p+".wzeros"] = bf(48, 18432), bf(48, 18432)
	}
	require.Len(t, want, 68+13)
	p := Real(Int4, 128)
	p.Blocks = 1
	got := map[string]row{}
	for _, x := range make1(t, p).Header().Tensors {
		got[x.Name] = row{x.DType, x.Shape}
	}
	require.Equal(t, want, got)
}

func TestNVFP4Scales(t *testing.T) {
	h := make1(t, Real(NVFP4, 32)).Header()
	for name, want := range map[string][]int64{
		"attn.to_qkv.wscales": {192, 9216}, "attn.to_qkv.wcscales": {9216}, "attn.add_qkv_proj.wcscales": {9216},
		"attn.to_out.0.wtscale": {1}, "img_mlp.net.2.wscales": {768, 3072}, "txt_mlp.net.2.wtscale": {1},
	} {
		x, ok := h.Tensor("transformer_blocks.59." + name)
		require.True(t, ok, name)
		require.Equal(t, want, x.Shape, name)
	}
}

func TestMetadata(t *testing.T) {
	p := Real(NVFP4, 128)
	p.ZeroCondT = true
	m := make1(t, p).Header().Metadata
	require.Equal(t, "NunchakuQwenImageTransformer2DModel", m["model_class"])
	var c map[string]any
	require.NoError(t, json.Unmarshal([]byte(m["config"]), &c))
	require.Equal(t, map[string]any{
		"_class_name": "QwenImageTransformer2DModel", "_diffusers_version": "0.35.0", "patch_size": 2.0, "in_channels": 64.0, "out_channels": 16.0,
		"num_layers": 60.0, "attention_head_dim": 128.0, "num_attention_heads": 24.0, "joint_attention_dim": 3584.0,
		"guidance_embeds": false, "axes_dims_rope": []any{16.0, 56.0, 56.0}, "zero_cond_t": true,
	}, c)
	require.Equal(t, `{"method": "svdquant", "weight": {"dtype": "fp4_e2m1_all", "scale_dtype": [null, "fp8_e4m3_nan"], "group_size": 16}, `+
		`"activation": {"dtype": "fp4_e2m1_all", "scale_dtype": "fp8_e4m3_nan", "group_size": 16}, "rank": 128}`, m["quantization_config"])
	require.Equal(t, `{"method": "svdquant", "weight": {"dtype": "int4", "scale_dtype": null, "group_size": 64}, `+
		`"activation": {"dtype": "int4", "scale_dtype": null, "group_size": 64}, "rank": 32}`, make1(t, Real(Int4, 32)).Header().Metadata["quantization_config"])
	require.NotContains(t, make1(t, small(Int4)).Header().Metadata["config"], "zero_cond_t", "older models lack the flag")
}

func TestNewRefuses(t *testing.T) {
	for want, change := range map[string]func(*Params){
		"Rank is 24":                     func(p *Params) { p.Rank = 24 },
		"Rank is 0":                      func(p *Params) { p.Rank = 0 },
		"Blocks is -1":                   func(p *Params) { p.Blocks = -1 },
		"HeadDim is 48":                  func(p *Params) { p.HeadDim = 48 },
		"Heads·HeadDim is 96":            func(p *Params) { p.Heads = 3 },
		"JointDim is 0":                  func(p *Params) { p.JointDim = 0 },
		"InChannels is 0":                func(p *Params) { p.InChannels = 0 },
		"OutChannels is 0":               func(p *Params) { p.OutChannels = 0 },
		`precision is "fp4", want "int4`: func(p *Params) { p.Precision = "fp4" },
	} {
		p := small(Int4)
		change(&p)
		_, err := New(p)
		require.ErrorContains(t, err, want)
	}
}

// digest hashes a whole checkpoint.
func digest(t *testing.T, c *Checkpoint) string {
	h := sha256.New()
	n, err := io.CopyBuffer(h, io.NewSectionReader(c, 0, c.Size()), make([]byte, 777_777))
	require.NoError(t, err)
	require.Equal(t, c.Size(), n)
	return hex.EncodeToString(h.Sum(nil))
}

// TestGoldenBytes pins whole files: a change here changes every generated checkpoint, and
// with it digests that users of the demo may compare.
func TestGoldenBytes(t *testing.T) {
	require.Equal(t, "a6499bd3af070c217546297580176c09803fef3c18e5efa8b41f2f71f38cb6d9", digest(t, make1(t, small(Int4))))
	require.Equal(t, "7672141c788fed504492b5467b227e82afad2e35fc82f60ac9ee3938d3f885ed", digest(t, make1(t, small(NVFP4))))
}

func TestBytesAreAFunctionOfTheParameters(t *testing.T) {
	c := make1(t, small(Int4))
	require.Equal(t, digest(t, c), digest(t, make1(t, small(Int4))))
	h, err := safetensors.Read(c, c.Size())
	require.NoError(t, err)
	require.Equal(t, c.Header(), h)

	other := small(Int4)
	other.Seed = 2
	d := make1(t, other)
	require.Equal(t, c.Size(), d.Size())
	for _, x := range h.Tensors {
		require.NotEqual(t, section(t, c, x.Name), section(t, d, x.Name), "%s depends on the seed", x.Name)
	}
}

// section reads one tensor.
func section(t testing.TB, c *Checkpoint, name string) []byte {
	x, ok := c.Header().Tensor(name)
	require.True(t, ok, name)
	b, err := io.ReadAll(c.Header().Section(c, x))
	require.NoError(t, err)
	return b
}

// TestReadAcrossTensors: a read that begins in the header of a full-size file and one
// that crosses from tensor to tensor give the same bytes as small reads.
func TestReadAcrossTensors(t *testing.T) {
	c := make1(t, Real(Int4, 128))
	last := c.Header().Tensors[len(c.Header().Tensors)-2]
	for _, from := range []int64{0, c.Header().DataStart + last.Begin - 1_000_003, c.Size() - 3_000_001} {
		whole := make([]byte, 2_000_000)
		_, err := c.ReadAt(whole, from)
		require.NoError(t, err)
		for off := 0; off < len(whole); {
			p := make([]byte, min(len(whole)-off, 1+off%9_973))
			_, err := c.ReadAt(p, from+int64(off))
			require.NoError(t, err)
			require.Equal(t, whole[off:off+len(p)], p)
			off += len(p)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, precision := range []string{Int4, NVFP4} {
		b.Run(precision, func(b *testing.B) {
			c := make1(b, Real(precision, 128))
			p := make([]byte, 1<<20)
			b.SetBytes(int64(len(p)))
			for i := range b.N {
				// A stride through the whole file meets every kind of tensor by its share.
				_, err := c.ReadAt(p, int64(i)*1_000_003_000%(c.Size()-int64(len(p))))
				require.NoError(b, err)
			}
		})
	}
}
