package safetensors_test

import (
	"bytes"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// reference is a header as Python's safetensors 0.8.0 wrote it for these tensors, and
// the padding behind it.
const reference = `{"__metadata__":{"k":"v\"\n<>&é` + "\u2028" + `"},"t.U64":{"dtype":"U64","shape":[1],"data_offsets":[0,8]},` +
	`"t.C64":{"dtype":"C64","shape":[1],"data_offsets":[8,16]},"empty":{"dtype":"F32","shape":[0,5],"data_offsets":[16,16]},` +
	`"scalar":{"dtype":"F32","shape":[],"data_offsets":[16,20]},"t.I8":{"dtype":"I8","shape":[1],"data_offsets":[20,21]},` +
	`"t.BOOL":{"dtype":"BOOL","shape":[1],"data_offsets":[21,22]},"t.BOOL\n\"\\\u0001/` + "\x7f" + `":{"dtype":"BOOL","shape":[1],"data_offsets":[22,23]}}` +
	`      `

func TestLayoutMatchesTheReference(t *testing.T) {
	one := []int64{1}
	specs := []safetensors.Spec{
		{Name: "t.BOOL\n\"\\\x01/\x7f", DType: safetensors.BOOL, Shape: one},
		{Name: "t.BOOL", DType: safetensors.BOOL, Shape: one},
		{Name: "scalar", DType: safetensors.F32},
		{Name: "t.C64", DType: safetensors.C64, Shape: one},
		{Name: "t.I8", DType: safetensors.I8, Shape: one},
		{Name: "empty", DType: safetensors.F32, Shape: []int64{0, 5}},
		{Name: "t.U64", DType: safetensors.U64, Shape: one},
	}
	h, encoded, err := safetensors.Layout(map[string]string{"k": "v\"\n<>&é\u2028"}, specs)
	require.NoError(t, err)
	require.Equal(t, reference, string(encoded[8:]))
	require.Equal(t, []byte{0xd8, 1, 0, 0, 0, 0, 0, 0}, encoded[:8])
	require.EqualValues(t, len(encoded), h.DataStart)
	require.EqualValues(t, 23, h.DataBytes())
}

func TestLayoutRefuses(t *testing.T) {
	u8 := func(name string, shape ...int64) safetensors.Spec {
		return safetensors.Spec{Name: name, DType: safetensors.U8, Shape: shape}
	}
	cases := []struct {
		name  string
		meta  map[string]string
		specs []safetensors.Spec
		want  string
	}{
		{"name twice", nil, []safetensors.Spec{u8("a"), u8("a")}, `tensor name "a" is taken`},
		{"reserved name", nil, []safetensors.Spec{u8("__metadata__")}, `tensor name "__metadata__" is taken`},
		{"unknown dtype", nil, []safetensors.Spec{{Name: "a", DType: "X"}}, `unknown dtype "X"`},
		{"negative dimension", nil, []safetensors.Spec{u8("a", -1)}, "negative dimension"},
		{"overflow", nil, []safetensors.Spec{u8("a", 1<<40, 1<<40)}, "overflows"},
		{"sum overflows", nil, []safetensors.Spec{u8("a", math.MaxInt64/8), u8("b", math.MaxInt64/8), u8("c", math.MaxInt64/8), u8("d", math.MaxInt64/8),
			u8("e", math.MaxInt64/8), u8("f", math.MaxInt64/8), u8("g", math.MaxInt64/8), u8("h", math.MaxInt64/8), u8("i", math.MaxInt64/8)}, "overflow"},
		{"half a byte", nil, []safetensors.Spec{{Name: "a", DType: safetensors.F4, Shape: []int64{1}}}, "not whole bytes"},
		{"too many dimensions", nil, []safetensors.Spec{u8("a", make([]int64, 65)...)}, "65 dimensions"},
		{"name not UTF-8", nil, []safetensors.Spec{u8("a\xff")}, "not UTF-8"},
		{"metadata key not UTF-8", map[string]string{"\xff": ""}, nil, "not UTF-8"},
		{"metadata value not UTF-8", map[string]string{"k": "\xff"}, nil, "not UTF-8"},
		{"header above the limit", map[string]string{"k": strings.Repeat("x", safetensors.MaxHeader)}, nil, "the limit is 100000000"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := safetensors.Layout(c.meta, c.specs)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestWriteRefusesDataOfTheWrongLength(t *testing.T) {
	specs := []safetensors.Spec{{Name: "a", DType: safetensors.U8, Shape: []int64{4}}}
	for given, want := range map[string]string{"abc": "data ends after 3 bytes, the tensor takes 4", "abcde": "data goes on after the tensor's 4 bytes"} {
		err := safetensors.Write(io.Discard, nil, specs, func(safetensors.Tensor) io.Reader { return strings.NewReader(given) })
		require.ErrorContains(t, err, want)
	}
}

func TestWriteAsksInFileOrder(t *testing.T) {
	specs := []safetensors.Spec{
		{Name: "a", DType: safetensors.I8, Shape: []int64{1}},
		{Name: "c", DType: safetensors.I32, Shape: []int64{1}},
		{Name: "b", DType: safetensors.I32, Shape: []int64{1}},
	}
	var order []string
	err := safetensors.Write(io.Discard, nil, specs, func(x safetensors.Tensor) io.Reader {
		order = append(order, x.Name)
		return bytes.NewReader(make([]byte, x.Size()))
	})
	require.NoError(t, err)
	require.Equal(t, []string{"b", "c", "a"}, order)
}

// drawSpecs draws tensors that Layout takes: whole bytes, small sizes, distinct names.
func drawSpecs(t *rapid.T) []safetensors.Spec {
	spec := rapid.Custom(func(t *rapid.T) safetensors.Spec {
		s := safetensors.Spec{
			Name:  rapid.String().Draw(t, "name"),
			DType: rapid.SampledFrom(safetensors.DTypes()).Draw(t, "dtype"),
			Shape: rapid.SliceOfN(rapid.Int64Range(0, 5), 0, 4).Draw(t, "shape"),
		}
		if s.DType.Bits()%8 != 0 {
			s.Shape = append(s.Shape, 4)
		}
		return s
	})
	return rapid.SliceOfNDistinct(spec, 0, 12, func(s safetensors.Spec) string { return s.Name }).Draw(t, "specs")
}

// TestWrittenFilesReadBack: what Write wrote, Read describes; the bytes of each tensor
// are where its range says; and laying out what was read gives the same header bytes.
func TestWrittenFilesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		specs := drawSpecs(t)
		var meta map[string]string
		if rapid.Bool().Draw(t, "has metadata") {
			meta = rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "metadata")
		}
		var buf bytes.Buffer
		fill := func(x safetensors.Tensor) []byte {
			return bytes.Repeat([]byte{byte(len(x.Name)) + byte(x.Begin)}, int(x.Size()))
		}
		err := safetensors.Write(&buf, meta, specs, func(x safetensors.Tensor) io.Reader { return bytes.NewReader(fill(x)) })
		require.NoError(t, err)

		r := bytes.NewReader(buf.Bytes())
		h, err := safetensors.Read(r, r.Size())
		require.NoError(t, err)
		require.Zero(t, h.DataStart%8, "data is aligned")
		require.Equal(t, meta, h.Metadata)
		require.Len(t, h.Tensors, len(specs))
		again := make([]safetensors.Spec, len(specs))
		for i, x := range h.Tensors {
			got, err := io.ReadAll(h.Section(r, x))
			require.NoError(t, err)
			require.Equal(t, fill(x), got)
			again[i] = safetensors.Spec{Name: x.Name, DType: x.DType, Shape: x.Shape}
		}
		laid, encoded, err := safetensors.Layout(h.Metadata, again)
		require.NoError(t, err)
		require.Equal(t, buf.Bytes()[:h.DataStart], encoded)
		require.Equal(t, laid, h)
	})
}
