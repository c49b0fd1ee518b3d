package vae

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// described is a set of the header of a generated VAE alone, after an edit.
func described(t testing.TB, file modelsettest.File, edit func([]safetensors.Tensor) []safetensors.Tensor) *weights.Set {
	t.Helper()
	h, err := safetensors.Read(file.Content, file.Content.Size())
	require.NoError(t, err)
	set, err := weights.Describe(&safetensors.Header{Tensors: edit(h.Tensors)})
	require.NoError(t, err)
	return set
}

// unused are the tensors that a single picture has no use for.
func unused(at ...string) (names []string) {
	for _, a := range at {
		names = append(names, a+".time_conv.bias", a+".time_conv.weight")
	}
	return names
}

// TestTensors: at the published size the model takes every tensor but those of the
// convolutions over time.
func TestTensors(t *testing.T) {
	config, file := files(t, published())
	set := described(t, file, slices.Clone)
	m, err := New(plan.New(plan.Options{}), config, set)
	require.NoError(t, err)
	require.Equal(t, Config{Base: 96, Mult: []int{1, 2, 4, 4}, Blocks: 2, Latents: 16}, m.Config())
	require.Equal(t, unused("decoder.up_blocks.0.upsamplers.0", "decoder.up_blocks.1.upsamplers.0", "encoder.down_blocks.5", "encoder.down_blocks.8"), set.Untaken())
}

// TestNewRefuses: a tensor that is missing or has another shape is named, and nothing is
// loaded: there is not even a backend.
func TestNewRefuses(t *testing.T) {
	config, file := files(t, modelsettest.Golden())
	all := described(t, file, slices.Clone)
	h, err := safetensors.Read(file.Content, file.Content.Size())
	require.NoError(t, err)
	refused := 0
	for i, broken := range h.Tensors {
		if strings.Contains(broken.Name, "time_conv") {
			continue
		}
		refused++
		_, err := New(nil, config, described(t, file, func(l []safetensors.Tensor) []safetensors.Tensor {
			return slices.Delete(slices.Clone(l), i, i+1)
		}))
		require.EqualError(t, err, fmt.Sprintf("taking tensor %q: it is not there", broken.Name))
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		wider := slices.Clone(broken.Shape)
		wider[0]++
		_, err = New(nil, config, described(t, file, func(l []safetensors.Tensor) []safetensors.Tensor {
			l = slices.Clone(l)
			l[i].Shape = wider
			return l
		}))
		require.ErrorContains(t, err, fmt.Sprintf("taking tensor %q: its shape is %v, the model needs %v", broken.Name, wider, broken.Shape))
	}
	require.Greater(t, refused, 150)
	_, err = New(nil, []byte(`{"_class_name": "AutoencoderKL"}`), all)
	require.ErrorContains(t, err, "reading the VAE's config.json")
}

// TestNewOfABackendsRefusal: what the backend can't take is the backend's to say.
func TestNewOfABackendsRefusal(t *testing.T) {
	config, file := files(t, modelsettest.Golden())
	set := described(t, file, func(l []safetensors.Tensor) []safetensors.Tensor {
		l = slices.Clone(l)
		for i := range l {
			l[i].DType = safetensors.I32
		}
		return l
	})
	b := ref.New(ref.Options{ArenaBytes: 1 << 10})
	defer b.Close()
	_, err := New(b, config, set)
	require.ErrorContains(t, err, "encoder.conv_in")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// TestFirstRows: of quant_conv only the means are loaded, and a header alone has no bytes to
// cut.
func TestFirstRows(t *testing.T) {
	w := compute.Weight{Name: "w", DType: safetensors.BF16, Shape: []int64{4, 3, 1}, Data: make([]byte, 24)}
	half := firstRows(w, 2)
	require.Equal(t, []int64{2, 3, 1}, half.Shape)
	require.Len(t, half.Data, 12)
	w.Data = nil
	require.Nil(t, firstRows(w, 2).Data)
	require.True(t, firstRows(compute.Weight{}, 2).IsZero())
}
