package safetensors_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

func TestDTypes(t *testing.T) {
	all := safetensors.DTypes()
	require.Len(t, all, 22)
	seen := map[safetensors.DType]bool{}
	for _, d := range all {
		require.False(t, seen[d])
		seen[d] = true
		require.Contains(t, []int{4, 6, 8, 16, 32, 64}, d.Bits(), "%s", d)
	}
	require.Zero(t, safetensors.DType("bf16").Bits(), "names are case sensitive")
	require.Zero(t, safetensors.DType("").Bits())

	all[0] = "changed"
	require.Equal(t, safetensors.BOOL, safetensors.DTypes()[0], "callers get a copy")
}

// TestRanksOfTheFamily pins the order that places the tensors of a quantised checkpoint.
func TestRanksOfTheFamily(t *testing.T) {
	var specs []safetensors.Spec
	for _, d := range []safetensors.DType{safetensors.I8, safetensors.F8E4M3, safetensors.BF16, safetensors.I32, safetensors.F32, safetensors.F16} {
		specs = append(specs, safetensors.Spec{Name: string(d), DType: d})
	}
	h, _, err := safetensors.Layout(nil, specs)
	require.NoError(t, err)
	var order []string
	for _, x := range h.Tensors {
		order = append(order, x.Name)
	}
	require.Equal(t, []string{"F32", "I32", "BF16", "F16", "F8_E4M3", "I8"}, order)
}
