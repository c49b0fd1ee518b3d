package values_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"sync/atomic"
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

// TestWorkersAgree: neither findings nor statistics depend on how the work is shared.
func TestWorkersAgree(t *testing.T) {
	f := generate(t, small(svdqtest.Int4)).with(func(f *file) {
		for _, b := range []string{"0", "1", "2"} {
			put(f.tensor(t, "transformer_blocks."+b+".attn.to_qkv.wscales"), 17, 0xffff)
		}
		put(f.tensor(t, "img_in.bias"), 3, 0x7f80)
	})
	stats, findings := f.check(t)
	require.Len(t, findings, 2)
	for _, workers := range []int{1, 2, 7, 1000} {
		again, alike, err := values.Check(context.Background(), f.header, bytes.NewReader(f.bytes), values.Options{Workers: workers})
		require.NoError(t, err)
		require.Equal(t, stats, again)
		require.Equal(t, findings, alike)
	}
}

func TestProgressAddsUp(t *testing.T) {
	f, total := generate(t, small(svdqtest.NVFP4)), atomic.Int64{}
	_, _, err := values.Check(context.Background(), f.header, bytes.NewReader(f.bytes), values.Options{Progress: func(n int64) { total.Add(n) }})
	require.NoError(t, err)
	require.Equal(t, f.header.DataBytes(), total.Load())
}

func TestReadingFails(t *testing.T) {
	f := generate(t, small(svdqtest.Int4))
	_, _, err := values.Check(context.Background(), f.header, bytes.NewReader(f.bytes[:len(f.bytes)-1]), values.Options{})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, "checking values of transformer_blocks.2.")

	broken := errors.New("the disk failed")
	_, _, err = values.Check(context.Background(), f.header, readerAt(func([]byte, int64) (int, error) { return 0, broken }), values.Options{})
	require.ErrorIs(t, err, broken)

	ctx, cancel := context.WithCancel(context.Background())
	calls := atomic.Int64{}
	_, _, err = values.Check(ctx, f.header, readerAt(func(p []byte, off int64) (int, error) {
		if calls.Add(1) == 5 {
			cancel()
		}
		return bytes.NewReader(f.bytes).ReadAt(p, off)
	}), values.Options{})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, calls.Load(), int64(5+runtime.GOMAXPROCS(0)), "the rest is not read")
}

type readerAt func(p []byte, off int64) (int, error)

func (r readerAt) ReadAt(p []byte, off int64) (int, error) { return r(p, off) }

// TestMemoryIsFlat: 96 MiB of tensors, three of them larger than a piece, cost two pieces
// a worker.
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
	stats, findings, err := values.Check(context.Background(), file.Header(), file, values.Options{Workers: 2})
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
	stats, findings, err := values.Check(context.Background(), file.Header(), file, values.Options{})
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
