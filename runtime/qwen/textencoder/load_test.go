package textencoder

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
)

// headers are those of the shards.
func (m modelFiles) headers(t testing.TB) (all []*safetensors.Header) {
	t.Helper()
	for _, shard := range m.shards {
		h, err := safetensors.Read(shard, shard.Size())
		require.NoError(t, err)
		all = append(all, h)
	}
	return all
}

// TestEveryTensorIsTaken: all but the head, also of the published sizes.
func TestEveryTensorIsTaken(t *testing.T) {
	for n, p := range map[int]modelsettest.Params{69: modelsettest.Golden(), 729: modelsettest.Real()} {
		files := generate(t, p)
		headers := files.headers(t)
		count := 0
		for _, h := range headers {
			count += len(h.Tensors)
		}
		require.Equal(t, n, count)
		set, err := weights.Describe(headers...)
		require.NoError(t, err)
		s := files.settings(t)
		l := &loading{set: set}
		newTower(l, s.vision)
		newDecoder(l, s.language)
		require.NoError(t, set.Err())
		require.Equal(t, []string{"lm_head.weight"}, set.Untaken())
	}
}

// TestTensorThatIsMissing leaves out, and makes larger, each tensor in turn: the error names
// it, and nothing is loaded, for there is not even a backend.
func TestTensorThatIsMissing(t *testing.T) {
	files := generate(t, modelsettest.Golden())
	var all []safetensors.Tensor
	for _, h := range files.headers(t) {
		all = append(all, h.Tensors...)
	}
	construct := func(tensors []safetensors.Tensor) error {
		set, err := weights.Describe(&safetensors.Header{Tensors: tensors})
		require.NoError(t, err)
		_, err = New(nil, files.config, set)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		return err
	}
	refused := 0
	for i, tensor := range all {
		if tensor.Name == "lm_head.weight" {
			continue
		}
		err := construct(slices.Delete(slices.Clone(all), i, i+1))
		require.EqualError(t, err, `loading the text encoder: taking tensor "`+tensor.Name+`": it is not there`)
		for axis := range tensor.Shape {
			larger := slices.Clone(all)
			larger[i].Shape = slices.Clone(tensor.Shape)
			larger[i].Shape[axis]++
			require.ErrorContains(t, construct(larger), `taking tensor "`+tensor.Name+`": its shape is [`)
			refused++
		}
	}
	require.Greater(t, refused, 100)
}

// generated are the golden model's tensors, to be changed, with weights so small that
// nothing grows.
func (m modelFiles) generated(t testing.TB) (all []safetensorstest.Tensor) {
	t.Helper()
	for _, h := range m.headers(t) {
		for _, x := range h.Tensors {
			spec := safetensors.Spec{Name: x.Name, DType: x.DType, Shape: x.Shape}
			all = append(all, safetensorstest.Tensor{Spec: spec, Fill: safetensorstest.Normal(0, 0.05)})
		}
	}
	return all
}

// open is a set of generated tensors.
func open(t testing.TB, tensors []safetensorstest.Tensor) *weights.Set {
	t.Helper()
	file, err := safetensorstest.New(nil, tensors, 1)
	require.NoError(t, err)
	set, err := weights.Read(file)
	require.NoError(t, err)
	return set
}

// change replaces one tensor's format and content.
func change(t testing.TB, tensors []safetensorstest.Tensor, name string, d safetensors.DType, f safetensorstest.Fill) {
	t.Helper()
	i := slices.IndexFunc(tensors, func(x safetensorstest.Tensor) bool { return x.Spec.Name == name })
	require.GreaterOrEqual(t, i, 0)
	tensors[i].Spec.DType, tensors[i].Fill = d, f
}

// TestFormat: a tensor of a format that the backend can't take is the backend's error.
func TestFormat(t *testing.T) {
	files := generate(t, modelsettest.Golden())
	tensors := files.generated(t)
	change(t, tensors, "model.norm.weight", safetensors.F16, safetensorstest.Bytes(make([]byte, 2*128)))
	b := ref.New(ref.Options{ArenaBytes: 1 << 20})
	defer b.Close()
	_, err := New(b, files.config, open(t, tensors))
	require.ErrorContains(t, err, "loading the text encoder: loading model.norm.weight F16[128]")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}
