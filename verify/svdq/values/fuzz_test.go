package values_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
)

// written makes a file of these tensors whose data are the bytes of pattern, repeated.
func written(t testing.TB, pattern string, specs ...safetensors.Spec) []byte {
	var out bytes.Buffer
	err := safetensors.Write(&out, nil, specs, func(x safetensors.Tensor) io.Reader {
		return bytes.NewReader(bytes.Repeat([]byte(pattern), int(x.Size())/len(pattern)+1)[:x.Size()])
	})
	require.NoError(t, err)
	return out.Bytes()
}

// oddSpecs are tensors whose names and dtypes promise a quantised linear and whose sizes
// fit none.
var oddSpecs = []safetensors.Spec{
	{Name: "a.qweight", DType: "I8", Shape: []int64{3, 50}}, {Name: "a.wscales", DType: "BF16", Shape: []int64{1}},
	{Name: "b.qweight", DType: "I32", Shape: []int64{1, 1}}, {Name: "b.wscales", DType: "BF16", Shape: []int64{5}},
	{Name: "b.wzeros", DType: "BF16", Shape: []int64{4}}, {Name: "b.bias", DType: "BF16", Shape: []int64{1}},
	{Name: "c.qweight", DType: "U8", Shape: []int64{64}}, {Name: "c.wscales", DType: "I32", Shape: []int64{1}},
	{Name: "d.qweight", DType: "I8", Shape: []int64{64}}, {Name: "d.wscales", DType: "F8_E4M3", Shape: []int64{3}},
	{Name: "qweight", DType: "F16", Shape: []int64{3}}, {Name: ".weight", DType: "F32", Shape: []int64{1, 1}},
}

// TestTensorsOfOddSizes: shapes are the business of the checkpoint's table, but none makes
// this check fail, and what cannot be judged is named.
func TestTensorsOfOddSizes(t *testing.T) {
	b := written(t, "\x3f", oddSpecs...)
	h, err := safetensors.Read(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	stats, findings, err := values.Check(context.Background(), h, bytes.NewReader(b))
	require.NoError(t, err)
	require.Equal(t, 10, stats.Tensors)
	require.Subset(t, messages(findings), []string{
		"c.qweight is U8, for whose values there is no rule",
		"c.wscales is I32, for whose values there is no rule",
		"a.qweight has 150 bytes, which are no whole number of 64-byte fragments",
		"b.qweight has 4 bytes, which are no whole number of 64-byte fragments",
	})
}

// FuzzCheck: whatever a container holds, the check ends without an error, counts every
// value and has statistics that can be written as JSON.
func FuzzCheck(f *testing.F) {
	f.Add(written(f, "\x3f", oddSpecs...))
	f.Add(written(f, "\x00\x80\xff\x7f\x01"))
	for _, pattern := range []string{"\x00", "\xff", "\x80\x7f", "weights!", "\xff\xff\x7f\x7f"} {
		f.Add(written(f, pattern,
			safetensors.Spec{Name: "l.0.qweight", DType: "I8", Shape: []int64{128, 64}}, safetensors.Spec{Name: "l.0.wscales", DType: "BF16", Shape: []int64{2, 128}},
			safetensors.Spec{Name: "l.1.qweight", DType: "I32", Shape: []int64{3, 64}}, safetensors.Spec{Name: "l.1.wscales", DType: "BF16", Shape: []int64{12}},
			safetensors.Spec{Name: "l.1.wzeros", DType: "BF16", Shape: []int64{12}}, safetensors.Spec{Name: "l.1.bias", DType: "BF16", Shape: []int64{12}},
			safetensors.Spec{Name: "l.2.weight", DType: "F32", Shape: []int64{9}}, safetensors.Spec{Name: "l.3.weight", DType: "F16", Shape: []int64{2, 9}},
		))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := safetensors.Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		stats, findings, err := values.Check(context.Background(), h, bytes.NewReader(b))
		require.NoError(t, err)
		_, err = json.Marshal(stats)
		require.NoError(t, err)
		_, err = json.Marshal(findings)
		require.NoError(t, err)
		total := int64(0)
		for _, k := range stats.Kinds {
			require.True(t, k.Min <= k.Mean+1e-6*max(1, k.Max) && k.Mean <= k.Max+1e-6*max(1, k.Max) && k.Std >= 0, "%+v", k)
			total += k.Values
		}
		require.Equal(t, total, stats.Values)
	})
}
