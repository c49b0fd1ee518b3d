package svdq_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// TestVariantIsNotGuessed: of two files with equal tensors, one is known by its flag and the
// other by its name alone, which is only a claim.
func TestVariantIsNotGuessed(t *testing.T) {
	const name = "models/svdq-int4_r16-qwen-image-edit-2511-lightningv1.0-8steps.safetensors"
	for _, flag := range []bool{false, true} {
		p := svdqtest.Params{Precision: svdqtest.Int4, Rank: 16, Blocks: 1, Heads: 4, HeadDim: 32, JointDim: 64, InChannels: 64, OutChannels: 16, ZeroCondT: flag}
		f, err := svdqtest.New(p)
		require.NoError(t, err)
		h, err := safetensors.Read(f, f.Size())
		require.NoError(t, err)
		c, err := svdq.Identify(h)
		require.NoError(t, err)
		v := c.Variant(name)
		require.Equal(t, "qwen-image-edit-2511-lightningv1.0-8steps", v.Claim)
		if flag {
			require.Equal(t, svdq.Edit2511, v.Name)
			require.Contains(t, v.Evidence, "zero_cond_t")
		} else {
			require.Empty(t, v.Name, "the name says 2511, the file does not")
			require.Contains(t, v.Evidence, "cannot be told from the tensors")
		}
	}
	require.Contains(t, svdq.Checkpoint{Family: svdq.Flux}.Variant("x").Evidence, "variants of family flux are not known here")
}

func TestVariantClaims(t *testing.T) {
	for name, want := range map[string]string{
		"svdq-int4_r128-qwen-image-edit.safetensors":                    "qwen-image-edit",
		"svdq-fp4_r32-qwen-image-edit-lightningv1.0-4steps.safetensors": "qwen-image-edit-lightningv1.0-4steps",
		"SVDQ-NVFP4_R128.safetensors":                                   "",
		"balance_int4":                                                  "balance",
		"":                                                              "",
	} {
		require.Equal(t, want, svdq.Checkpoint{Family: svdq.QwenImage}.Variant(name).Claim, name)
	}
}
