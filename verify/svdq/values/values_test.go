package values_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors/safetensorstest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
)

// TestSoundCheckpoints: nothing is found in them, and the statistics are those of the
// distributions that they were made from.
func TestSoundCheckpoints(t *testing.T) {
	for precision, want := range map[string]values.Kind{
		svdqtest.Int4:  {Min: -7, Max: 7, Std: 2.98, ZeroShare: 0.13},
		svdqtest.NVFP4: {Min: -6, Max: 6, Std: 3.35, ZeroShare: 0.055},
	} {
		f := generate(t, wide(precision))
		stats, findings := f.check(t)
		require.Empty(t, findings)
		require.Len(t, f.header.Tensors, stats.Tensors)
		kinds := map[string]values.Kind{}
		for _, k := range stats.Kinds {
			kinds[k.Kind] = k
			require.Zero(t, k.NaN+k.Inf)
		}
		q := kinds["svdq.qweight"]
		require.Equal(t, []float64{want.Min, want.Max}, []float64{q.Min, q.Max})
		require.InDelta(t, 0, q.Mean, 0.02)
		require.InDelta(t, want.Std, q.Std, 0.02)
		require.InDelta(t, want.ZeroShare, q.ZeroShare, 0.01)
		require.Equal(t, q.Codes.Groups, q.Codes.Peaked)
		require.EqualValues(t, 1, q.Codes.PeakShare)
		require.EqualValues(t, 3*8, q.Tensors)
		require.EqualValues(t, 3*24*width*width, q.Values)

		awq := kinds["awq.qweight"]
		require.Equal(t, []float64{-7, 7, 1}, []float64{awq.Min, awq.Max, awq.Codes.PeakShare})
		require.InDelta(t, 1, kinds["norm.weight"].Mean, 0.01)
		require.InDelta(t, 0.1, kinds["norm.weight"].Std, 0.01)
		require.Equal(t, kinds["svdq.smooth_factor"].Mean, kinds["svdq.smooth_factor_orig"].Mean)
		require.InEpsilon(t, -7*kinds["awq.wscales"].Mean, kinds["awq.wzeros"].Mean, 0.001)
		require.NotContains(t, kinds, "other")
	}
}

// TestCutsAgree: neither findings nor statistics depend on how the data are cut.
func TestCutsAgree(t *testing.T) {
	f := generate(t, wide(svdqtest.Int4)).with(func(f *file) {
		for _, b := range []string{"0", "1", "2"} {
			put(f.tensor(t, "transformer_blocks."+b+".attn.to_qkv.wscales"), 17, 0xffff)
		}
		put(f.tensor(t, "transformer_blocks.1.img_mod.1.wzeros"), 3000, 0x3f80)
		put(f.tensor(t, "img_in.bias"), 3, 0x7f80)
	})
	stats, findings := f.check(t)
	require.Len(t, findings, 3)
	for _, size := range []int{1009, 4096, 1 << 20, 1<<20 + 1, len(f.bytes)} {
		c := values.New(f.header)
		for data := f.bytes[f.header.DataStart:]; len(data) > 0; {
			n, err := c.Write(data[:min(size, len(data))])
			require.NoError(t, err)
			data = data[n:]
		}
		n, err := c.Write([]byte("behind the end"))
		require.NoError(t, err)
		require.Equal(t, 14, n)
		again, alike, err := c.Finish()
		require.NoError(t, err)
		require.Equal(t, stats, again)
		require.Equal(t, findings, alike)
	}
}

// TestEitherOrder: wscales and wzeros are judged together wherever they lie, and counted
// once.
func TestEitherOrder(t *testing.T) {
	const n = 1<<20 + 6 // elements: two bytes each, three pieces
	for _, order := range [][]string{{"wscales", "wzeros", "x"}, {"wzeros", "wscales", "x"}, {"wzeros", "x", "wscales"}, {"wscales", "x", "wzeros"}} {
		h, data := laidOut(t, n, order)
		at := map[string]int{"wscales": 2 * n * slices.Index(order, "wscales"), "wzeros": 2 * n * slices.Index(order, "wzeros")}
		fill(data[at["wscales"]:][:2*n], 0.5)
		fill(data[at["wzeros"]:][:2*n], -3.5)
		put(data[at["wzeros"]:], n-1, 0xc080) // -4
		c := values.New(h)
		_, err := c.Write(data)
		require.NoError(t, err)
		stats, findings, err := c.Finish()
		require.NoError(t, err)
		require.Equal(t, []string{"m.wzeros is not -7·wscales in 1 of 1048582 places, first at element 1048581 as stored, where it is -4 beside a scale of 0.5"}, messages(findings))
		require.Equal(t, 3, stats.Tensors)
		require.EqualValues(t, 3*n, stats.Values)
	}
}

// laidOut is a file of three bfloat16 tensors of n elements in the given order.
func laidOut(t *testing.T, n int64, order []string) (*safetensors.Header, []byte) {
	var entries []string
	for i, name := range order {
		entries = append(entries, fmt.Sprintf(`"m.%s":{"dtype":"BF16","shape":[%d],"data_offsets":[%d,%d]}`, name, n, 2*n*int64(i), 2*n*int64(i+1)))
	}
	json := "{" + strings.Join(entries, ",") + "}"
	head := append(binary.LittleEndian.AppendUint64(nil, uint64(len(json))), json...)
	h, err := safetensors.Read(bytes.NewReader(head), int64(len(head))+6*n)
	require.NoError(t, err)
	data := make([]byte, 6*n)
	fill(data, 1)
	return h, data
}

func fill(b []byte, v float64) {
	for i := range len(b) / 2 {
		put(b, i, safetensorstest.BF16(v))
	}
}

func TestReadingFails(t *testing.T) {
	f := generate(t, small(svdqtest.Int4))
	_, _, err := values.Check(context.Background(), f.header, bytes.NewReader(f.bytes[:len(f.bytes)-1]))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, "checking values of transformer_blocks.2.")

	_, _, err = values.New(f.header).Finish()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)

	broken := errors.New("the disk failed")
	_, _, err = values.Check(context.Background(), f.header, readerAt(func([]byte, int64) (int, error) { return 0, broken }))
	require.ErrorIs(t, err, broken)

	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	_, _, err = values.Check(ctx, f.header, readerAt(func(p []byte, off int64) (int, error) {
		if calls++; calls == 2 {
			cancel()
		}
		return bytes.NewReader(f.bytes).ReadAt(p[:1000], off)
	}))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 2, calls, "the rest is not read")
}

type readerAt func(p []byte, off int64) (int, error)

func (r readerAt) ReadAt(p []byte, off int64) (int, error) { return r(p, off) }

// TestMemoryIsFlat: 96 MiB of tensors, three of them larger than a piece, cost a few pieces.
func TestMemoryIsFlat(t *testing.T) {
	var tensors []safetensorstest.Tensor
	for _, name := range []string{"a.weight", "b.weight", "c.weight"} {
		tensors = append(tensors, safetensorstest.Tensor{
			Spec: safetensors.Spec{Name: name, DType: safetensors.BF16, Shape: []int64{1 << 12, 1 << 12}}, Fill: safetensorstest.Constant(0.5),
		})
	}
	file, err := safetensorstest.New(nil, tensors, 0)
	require.NoError(t, err)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	stats, findings, err := values.Check(context.Background(), file.Header(), file)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.Empty(t, findings)
	require.EqualValues(t, 3<<24, stats.Values)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(5<<20))
}

// TestPlainFiles: a file without quantised linears is held against the rules for values,
// and dtypes without a rule are named.
func TestPlainFiles(t *testing.T) {
	spec := func(name string, d safetensors.DType, v float64) safetensorstest.Tensor {
		return safetensorstest.Tensor{Spec: safetensors.Spec{Name: name, DType: d, Shape: []int64{2, 3}}, Fill: safetensorstest.Constant(v)}
	}
	file, err := safetensorstest.New(nil, []safetensorstest.Tensor{
		spec("layers.0.weight", "BF16", 2), spec("layers.1.weight", "F32", -4), spec("layers.0.bias", "F32", 1e6),
		spec("layers.0.ids", "I64", 7), spec("layers.1.ids", "I64", 7), spec("mask", "U8", 1), spec("scale", "F32", 0),
		{Spec: safetensors.Spec{Name: "empty", DType: "BF16", Shape: []int64{0}}, Fill: safetensorstest.Constant(0)},
	}, 0)
	require.NoError(t, err)
	stats, findings, err := values.Check(context.Background(), file.Header(), file)
	require.NoError(t, err)
	require.Equal(t, values.Stats{Tensors: 4, Values: 24, Kinds: []values.Kind{
		{Kind: "other", Tensors: 1, Values: 6, ZeroShare: 1},
		{Kind: "plain.bias", Tensors: 1, Values: 6, Min: 1e6, Max: 1e6, Mean: 1e6},
		{Kind: "plain.weight", Tensors: 2, Values: 12, Min: -4, Max: 2, Mean: -1, Std: 3},
	}}, stats)
	require.Equal(t, []string{
		"2 × layers.*.ids (0-1): the first, layers.0.ids, is I64, for whose values there is no rule",
		"mask is U8, for whose values there is no rule",
		"layers.0.bias reaches from 1e+06 to 1e+06, float16 ends at 65504",
	}, messages(findings))
	require.Equal(t, verify.Warning, findings.Worst())
}

func messages(findings verify.Findings) (out []string) {
	for _, f := range findings {
		out = append(out, f.Message)
	}
	return out
}

// TestStatsAsJSON pins the names in the JSON.
func TestStatsAsJSON(t *testing.T) {
	b, err := json.Marshal(values.Stats{Kinds: []values.Kind{{Codes: &values.Codes{}}}})
	require.NoError(t, err)
	require.JSONEq(t, `{"tensors":0,"values":0,"kinds":[{"kind":"","tensors":0,"values":0,"min":0,"max":0,"mean":0,"std":0,"zeroShare":0,"nan":0,"inf":0,
		"codes":{"histogram":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"groups":0,"peaked":0,"peakShare":0,"constantRows":0}}]}`, string(b))
	b, err = json.Marshal(values.Stats{Kinds: []values.Kind{}})
	require.NoError(t, err)
	require.JSONEq(t, `{"tensors":0,"values":0,"kinds":[]}`, string(b))
}
