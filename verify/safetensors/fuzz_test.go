package safetensors_test

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// seeds are files of our own writer, one for each feature of the format.
func seeds(f *testing.F) {
	sets := []struct {
		meta  map[string]string
		specs []safetensors.Spec
	}{
		{nil, nil},
		{map[string]string{}, nil},
		{map[string]string{"config": `{"a":1}`, "é\n": "\x01"}, []safetensors.Spec{{Name: "w", DType: safetensors.BF16, Shape: []int64{2, 3}}}},
		{nil, []safetensors.Spec{{Name: "empty", DType: safetensors.F32, Shape: []int64{0}}, {Name: "scalar", DType: safetensors.F32}}},
	}
	var all []safetensors.Spec
	for _, d := range safetensors.DTypes() {
		all = append(all, safetensors.Spec{Name: "t." + string(d), DType: d, Shape: []int64{4}})
	}
	for _, s := range append(sets, struct {
		meta  map[string]string
		specs []safetensors.Spec
	}{nil, all}) {
		var buf bytes.Buffer
		err := safetensors.Write(&buf, s.meta, s.specs, func(t safetensors.Tensor) io.Reader { return bytes.NewReader(make([]byte, t.Size())) })
		require.NoError(f, err)
		f.Add(buf.Bytes())
	}
	f.Add(file(`{"a":{"x":[1,{"y":null}],"dtype":"U8","shape":[],"data_offsets":[0,1]},"__metadata__":null}`, 1))
}

// FuzzRead holds every accepted file against independent statements of what a good file
// is, and every refusal against its kind.
func FuzzRead(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := read(b)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		require.True(t, json.Valid(b[8:h.DataStart]), "accepted headers are JSON")
		require.EqualValues(t, len(b), h.FileSize)
		end := int64(0)
		for _, x := range h.Tensors {
			require.Equal(t, end, x.Begin)
			require.Equal(t, x.Size()*8, x.Elements()*int64(x.DType.Bits()))
			end = x.End
			got, ok := h.Tensor(x.Name)
			require.True(t, ok)
			require.Equal(t, x, got)
		}
		require.Equal(t, h.DataBytes(), end)
		requireSameMembers(t, b[8:h.DataStart], h)
	})
}

// requireSameMembers compares the header with encoding/json's view of the same text.
func requireSameMembers(t *testing.T, raw []byte, h *safetensors.Header) {
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(raw, &members))
	delete(members, "__metadata__")
	require.Len(t, members, len(h.Tensors))
	for _, x := range h.Tensors {
		var e struct {
			DType   string  `json:"dtype"`
			Shape   []int64 `json:"shape"`
			Offsets []int64 `json:"data_offsets"`
		}
		var fields map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(members[x.Name], &fields))
		require.NoError(t, json.Unmarshal(fields["dtype"], &e.DType))
		require.NoError(t, json.Unmarshal(fields["shape"], &e.Shape))
		require.NoError(t, json.Unmarshal(fields["data_offsets"], &e.Offsets))
		require.Equal(t, string(x.DType), e.DType)
		require.Equal(t, x.Shape, e.Shape)
		require.Equal(t, []int64{x.Begin, x.End}, e.Offsets)
	}
}
