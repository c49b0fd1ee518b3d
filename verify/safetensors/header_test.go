package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// file puts a length field before a header's text and n zero bytes behind it.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

func read(b []byte) (*safetensors.Header, error) {
	return safetensors.Read(bytes.NewReader(b), int64(len(b)))
}

func TestReadGivesEveryField(t *testing.T) {
	const text = "{ \"b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[6,10]}\n," +
		`"a":{"data_offsets":[0,6],"shape":[3,1],"dtype":"BF16"},"__metadata__":{"k":"v","":""}}` + " \t\r\n"
	h, err := read(file(text, 10))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"k": "v", "": ""}, h.Metadata)
	require.Equal(t, []safetensors.Tensor{
		{Name: "a", DType: safetensors.BF16, Shape: []int64{3, 1}, Begin: 0, End: 6},
		{Name: "b", DType: safetensors.F32, Shape: []int64{}, Begin: 6, End: 10},
	}, h.Tensors)
	require.EqualValues(t, 8+len(text), h.DataStart)
	require.EqualValues(t, 8+len(text)+10, h.FileSize)
	require.EqualValues(t, 10, h.DataBytes())

	b, ok := h.Tensor("b")
	require.True(t, ok)
	require.EqualValues(t, 1, b.Elements())
	require.EqualValues(t, 4, b.Size())
	_, ok = h.Tensor("c")
	require.False(t, ok)
}

func TestReadAccepts(t *testing.T) {
	const scalar = `{"dtype":"U8","shape":[],"data_offsets":[0,1]}`
	cases := []struct {
		name, header string
		data         int
	}{
		{"no tensor", `{}`, 0},
		{"null metadata", `{"__metadata__":null}`, 0},
		{"empty name", `{"":` + scalar + `}`, 1},
		{"unknown keys of an entry", `{"a":{"x":[{"y":[1.5e3,-2,true,false,null,"z"]}],"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1},
		{"empty tensors between others", `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"F32","shape":[0,7],"data_offsets":[2,2]},"c":{"dtype":"I8","shape":[1],"data_offsets":[2,3]},"d":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}`, 3},
		{"escaped name", `{"\u0061\ud83d\ude00\n\/":` + scalar + `}`, 1},
		{"packed 4-bit and 6-bit", `{"a":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]},"b":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[3,6]}}`, 6},
		{"zero before a huge dimension", `{"a":{"dtype":"U8","shape":[0,9223372036854775807],"data_offsets":[0,0]}}`, 0},
		{"deep unknown value", `{"a":{"x":` + strings.Repeat("[", 125) + strings.Repeat("]", 125) + `,"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h, err := read(file(c.header, c.data))
			require.NoError(t, err)
			require.EqualValues(t, c.data, h.DataBytes())
		})
	}
}

func TestReadResolvesEscapes(t *testing.T) {
	h, err := read(file(`{"\u0061\ud83d\uDE00\n\/\\\"\b\f\r\t":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1))
	require.NoError(t, err)
	require.Equal(t, "a😀\n/\\\"\b\f\r\t", h.Tensors[0].Name)
}

// entry is a header with one tensor "a".
func entry(dtype, shape, offsets string) string {
	return `{"a":{"dtype":` + dtype + `,"shape":` + shape + `,"data_offsets":` + offsets + `}}`
}

func TestReadRefuses(t *testing.T) {
	u8 := `"U8"`
	cases := []struct {
		name, header string
		data         int
		want         string
	}{
		{"empty header", ``, 0, "does not begin with '{'"},
		{"leading space", ` {}`, 0, "does not begin with '{'"},
		{"array", `[]`, 0, "does not begin with '{'"},
		{"not UTF-8", "{\"\xff\":1}", 0, "not UTF-8"},
		{"unfinished", `{`, 0, "want '\"', have the end of the header"},
		{"two documents", `{}{}`, 0, `want the end of the header, have '{'`},
		{"NUL padding", "{}\x00", 0, `want the end of the header`},
		{"trailing comma", `{"__metadata__":{},}`, 0, "want a member after the comma"},
		{"missing comma", `{"__metadata__":{} "a":1}`, 0, `want ',', have '"'`},
		{"missing colon", `{"a" 1}`, 0, `want ':', have '1'`},
		{"string without end", `{"a`, 0, "a string has no end"},
		{"string ending in a backslash", `{"a\`, 0, "a string has no end"},
		{"control character", "{\"a\nb\":1}", 0, "unescaped control character 0x0a"},
		{"lone high surrogate", `{"\ud800":1}`, 0, "bad escape"},
		{"lone low surrogate", `{"\udc00\ud800":1}`, 0, "bad escape"},
		{"short unicode escape", `{"\u12":1}`, 0, "bad escape"},
		{"unknown escape", `{"\x41":1}`, 0, "bad escape"},
		{"tensor twice", `{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1, `key "a" occurs twice`},
		{"metadata twice", `{"__metadata__":{},"__metadata__":{}}`, 0, `key "__metadata__" occurs twice`},
		{"metadata key twice", `{"__metadata__":{"k":"1","k":"2"}}`, 0, `key "k" occurs twice`},
		{"entry key twice", `{"a":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1, `key "dtype" occurs twice`},
		{"fifth key twice", `{"__metadata__":{"a":"","b":"","c":"","d":"","e":"","f":"","e":""}}`, 0, `key "e" occurs twice`},
		{"first of many keys twice", `{"__metadata__":{"a":"","b":"","c":"","d":"","e":"","f":"","a":""}}`, 0, `key "a" occurs twice`},
		{"unknown key twice", `{"a":{"x":{"y":1,"y":1},"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1, `key "y" occurs twice`},
		{"metadata not strings", `{"__metadata__":{"k":1}}`, 0, `want '"', have '1'`},
		{"metadata a list", `{"__metadata__":[]}`, 0, `want '{', have '['`},
		{"entry not an object", `{"a":["U8",[],[0,1]]}`, 1, `want '{', have '['`},
		{"no dtype", `{"a":{"shape":[],"data_offsets":[0,1]}}`, 1, `tensor "a" has no dtype`},
		{"no shape", `{"a":{"dtype":"U8","data_offsets":[0,1]}}`, 1, `tensor "a" has no shape`},
		{"no offsets", `{"a":{"dtype":"U8","shape":[]}}`, 1, `no pair of data_offsets`},
		{"one offset", entry(u8, "[]", "[0]"), 1, `no pair of data_offsets`},
		{"three offsets", entry(u8, "[]", "[0,1,2]"), 1, "more than 2 numbers"},
		{"unknown dtype", entry(`"F7"`, "[]", "[0,1]"), 1, `unknown dtype "F7"`},
		{"dtype a number", entry(`8`, "[]", "[0,1]"), 1, `want '"'`},
		{"negative dimension", entry(u8, "[-1]", "[0,1]"), 1, `have "-1"`},
		{"negative zero", entry(u8, "[-0]", "[0,0]"), 0, `have "-0"`},
		{"fraction", entry(u8, "[1.0]", "[0,1]"), 1, `have "1.0"`},
		{"exponent", entry(u8, "[1e0]", "[0,1]"), 1, `have "1e0"`},
		{"leading zero", entry(u8, "[01]", "[0,1]"), 1, `have "01"`},
		{"dimension beyond int64", entry(u8, "[9223372036854775808]", "[0,1]"), 1, "from 0 to 2^63-1"},
		{"dimension not a number", entry(u8, "[x]", "[0,1]"), 1, "from 0 to 2^63-1"},
		{"too many dimensions", entry(u8, "[1"+strings.Repeat(",1", 64)+"]", "[0,1]"), 1, "more than 64 numbers"},
		{"elements overflow", entry(u8, "[4294967296,4294967296]", "[0,1]"), 1, "overflows"},
		{"overflow hidden by zero", entry(u8, "[4294967296,4294967296,0]", "[0,0]"), 0, "overflows"},
		{"bits overflow", entry(`"F64"`, "[2305843009213693952]", "[0,0]"), 0, "overflows"},
		{"not whole bytes", entry(`"F4"`, "[3]", "[0,2]"), 2, "takes 12 bits, not whole bytes"},
		{"end before begin", entry(u8, "[1]", "[1,0]"), 1, "ends at 0, before it begins at 1"},
		{"range too long", entry(u8, "[1]", "[0,2]"), 2, `tensor "a" has 2 bytes, U8 [1] takes 1`},
		{"first range not at 0", entry(u8, "[1]", "[1,2]"), 2, "a hole of 1 bytes"},
		{"hole", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 4, "begins at 3, the one before ends at 1: a hole of 2 bytes"},
		{"overlap", `{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}`, 4, "they overlap"},
		{"same range twice", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, "they overlap"},
		{"short file", entry(u8, "[5]", "[0,5]"), 2, "file is 3 bytes short"},
		{"trailing bytes", entry(u8, "[5]", "[0,5]"), 9, "4 trailing bytes"},
		{"nested too deep", `{"a":{"x":` + strings.Repeat("[", 200_000), 0, "nested deeper than 127"},
		{"objects too deep", `{"a":` + strings.Repeat(`{"x":`, 200_000), 0, "nested deeper than 127"},
		{"bad number in an unknown key", `{"a":{"x":1-2}}`, 0, `"1-2" is not a number`},
		{"number out of range", `{"a":{"x":1e999}}`, 0, `number "1e999" is out of range`},
		{"bad word", `{"a":{"x":nul}}`, 0, "want null"},
		{"no value", `{"a":{"x":}}`, 0, "want a value, have '}'"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(file(c.header, c.data))
			require.ErrorContains(t, err, c.want)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.NotEmpty(t, fault.HintOf(err))
			require.Less(t, len(err.Error()), 500, "a hostile header must not flood the log")
		})
	}
}

func TestReadRefusesHostileLengths(t *testing.T) {
	length := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	cases := []struct {
		name string
		file []byte
		want string
	}{
		{"empty file", nil, "file has 0 bytes"},
		{"seven bytes", make([]byte, 7), "file has 7 bytes"},
		{"above the limit", append(length(100_000_001), '{'), "the limit is 100000000"},
		{"above int64", append(length(1<<63), '{'), "the limit is 100000000"},
		{"all ones", length(1<<64 - 1), "the limit is 100000000"},
		{"beyond the file", append(length(100_000_000), '{'), "file is at least 99999999 bytes short"},
		{"a pointer", []byte("version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"},
		{"a web page", []byte("<!DOCTYPE html><html></html>"), "not a safetensors file"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.file)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
		})
	}
}

// TestReadEveryTruncation cuts a good file at every byte: none of the pieces passes.
func TestReadEveryTruncation(t *testing.T) {
	whole := file(`{"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}`, 12)
	for n := range whole {
		_, err := read(whole[:n])
		require.Equal(t, fault.Invalid, fault.KindOf(err), "first %d of %d bytes", n, len(whole))
	}
	_, err := read(whole)
	require.NoError(t, err)
}

func TestReadBelievesTheBytesNotTheSize(t *testing.T) {
	whole := file(`{"a":{"dtype":"U8","shape":[1000],"data_offsets":[0,1000]}}`, 0)
	_, err := safetensors.Read(bytes.NewReader(whole[:20]), int64(len(whole)+1000))
	require.ErrorContains(t, err, "file ends at byte 20")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// broken is a reader whose device fails.
type broken struct{ err error }

func (b broken) ReadAt([]byte, int64) (int, error) { return 0, b.err }

func TestReadKeepsTheReadersError(t *testing.T) {
	device := fault.Wrap(fault.Resource, "change the disk", errors.New("input/output error"))
	_, err := safetensors.Read(broken{device}, 100)
	require.ErrorIs(t, err, device)
	require.Equal(t, fault.Resource, fault.KindOf(err))
}

func TestSection(t *testing.T) {
	b := file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[3],"data_offsets":[2,5]}}`, 0)
	b = append(b, 1, 2, 3, 4, 5)
	h, err := read(b)
	require.NoError(t, err)
	got, err := io.ReadAll(h.Section(bytes.NewReader(b), h.Tensors[1]))
	require.NoError(t, err)
	require.Equal(t, []byte{3, 4, 5}, got)
}

// countingReader notes how far into the file anyone looked.
type countingReader struct {
	r    io.ReaderAt
	last int64
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.last = max(c.last, off+int64(len(p)))
	return c.r.ReadAt(p, off)
}

func TestReadTouchesOnlyTheHeader(t *testing.T) {
	b := file(`{"a":{"dtype":"U8","shape":[100],"data_offsets":[0,100]}}`, 100)
	c := &countingReader{r: bytes.NewReader(b)}
	h, err := safetensors.Read(c, int64(len(b)))
	require.NoError(t, err)
	require.Equal(t, h.DataStart, c.last)
}

// BenchmarkRead reads a header of as many tensors as a published checkpoint has, 0.5 MB.
func BenchmarkRead(b *testing.B) {
	var specs []safetensors.Spec
	for i := range 4093 {
		specs = append(specs, safetensors.Spec{Name: fmt.Sprintf("transformer_blocks.%d.attn.add_qkv_proj.tensor_%d", i/68, i%68), DType: safetensors.BF16, Shape: []int64{3072, 128}})
	}
	h, head, err := safetensors.Layout(nil, specs)
	require.NoError(b, err)
	b.SetBytes(h.DataStart)
	b.ReportAllocs()
	for b.Loop() {
		_, err := safetensors.Read(bytes.NewReader(head), h.FileSize)
		require.NoError(b, err)
	}
}
