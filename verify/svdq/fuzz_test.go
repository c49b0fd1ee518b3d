package svdq_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

// table writes tensors as lines "name dtype dim dim", which is what FuzzIdentify reads:
// offsets, which only the container cares for, would make nearly every input a broken one.
func table(specs []safetensors.Spec) string {
	var out strings.Builder
	for _, s := range specs {
		fmt.Fprintf(&out, "%s %s", s.Name, s.DType)
		for _, d := range s.Shape {
			fmt.Fprintf(&out, " %d", d)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// readTable is the inverse of table, as far as its text is one.
func readTable(text string) (specs []safetensors.Spec) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		s := safetensors.Spec{Name: words[0], DType: safetensors.DType(words[1]), Shape: []int64{}}
		for _, w := range words[2:] {
			var d int64
			fmt.Sscan(w, &d)
			s.Shape = append(s.Shape, d)
		}
		specs = append(specs, s)
	}
	return specs
}

// sorted are a file's tensors by name.
func (x file) sorted() (specs []safetensors.Spec) {
	for _, name := range slices.Sorted(maps.Keys(x.specs)) {
		specs = append(specs, x.specs[name])
	}
	return specs
}

// FuzzIdentify: whatever tensors a file lists, family, precision, rank and dimensions come
// out, or a refusal that says why; the order of the list changes nothing; and a file that
// passes has exactly the tensors and the bytes that its own dimensions demand.
func FuzzIdentify(f *testing.F) {
	for _, precision := range []string{svdq.Int4, svdq.NVFP4} {
		f.Add(table(generate(f, small(precision)).sorted()))
	}
	one := small(svdq.Int4)
	one.Blocks = 1
	whole := generate(f, one).sorted()
	f.Add(table(whole))
	f.Add(table(whole[:len(whole)/2]))
	f.Add(strings.ReplaceAll(table(whole), "transformer_blocks.0", "single_transformer_blocks.9"))
	f.Add(strings.ReplaceAll(table(whole), "img_mod.1.qweight I32", "img_mod.1.weight F16"))
	f.Add("a.qweight I8 0 0\na.wscales BF16 0 0\nb.context_refiner.x.proj_down BF16 1 -3\n")
	f.Add("transformer_blocks.1023.attn.add_qkv_proj.qweight I8 4611686018427387904 1\ntransformer_blocks.1023.attn.add_qkv_proj.wscales F8_E4M3 1 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		specs := readTable(text)
		h, _, err := safetensors.Layout(nil, specs)
		if err != nil {
			return // no file can hold this
		}
		c, err := svdq.Identify(h)
		findings := svdq.Check(h)
		if err != nil {
			require.Zero(t, c)
			require.Equal(t, verify.Error, findings.Worst())
			require.Equal(t, svdq.CodeUnknown, findings[0].Code)
			return
		}
		require.Contains(t, []string{svdq.QwenImage, svdq.Flux, svdq.ZImage}, c.Family)
		require.Contains(t, []string{svdq.Int4, svdq.NVFP4}, c.Precision)
		require.Equal(t, h.DataBytes(), c.DataBytes)
		total := 0
		for _, x := range findings {
			require.NotEmpty(t, x.Message)
			total += len(x.Message)
		}
		require.Less(t, total, 1<<20, "a report is short")

		turned := reversed(t, h)
		again, err := svdq.Identify(turned)
		require.NoError(t, err)
		require.Equal(t, c, again)
		require.Len(t, svdq.Check(turned), len(findings))
		require.Equal(t, findings.Worst(), svdq.Check(turned).Worst())
		if c.Family == svdq.QwenImage && findings.Worst() < verify.Error {
			requireExact(t, c)
		}
	})
}

// reversed is the header of a file with the same tensors, the last one first.
func reversed(t *testing.T, h *safetensors.Header) *safetensors.Header {
	t.Helper()
	type entry struct {
		DType   safetensors.DType `json:"dtype"`
		Shape   []int64           `json:"shape"`
		Offsets [2]int64          `json:"data_offsets"`
	}
	entries, at := map[string]entry{}, int64(0)
	for _, x := range slices.Backward(h.Tensors) {
		entries[x.Name] = entry{x.DType, x.Shape, [2]int64{at, at + x.Size()}}
		at += x.Size()
	}
	head, err := json.Marshal(entries)
	require.NoError(t, err)
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(head))), head...)
	out, err := safetensors.Read(bytes.NewReader(file), int64(len(file))+at)
	require.NoError(t, err)
	return out
}

// requireExact holds a checkpoint that passed against the closed formulas for its number of
// tensors and, in INT4, its bytes.
func requireExact(t *testing.T, c svdq.Checkpoint) {
	t.Helper()
	const perBlock, globals = 68, 13
	if c.Precision == svdq.NVFP4 {
		require.GreaterOrEqual(t, c.Tensors, c.Blocks*perBlock+globals, "and second-level scales")
		return
	}
	require.Equal(t, c.Blocks*perBlock+globals, c.Tensors)
	require.Equal(t, dataBytes(c), c.DataBytes)
}

// dataBytes is the closed formula for the bytes of an INT4 checkpoint's tensors. Per block:
// weights in half a byte and a scale of two bytes for 64 of them, two bytes for each bias,
// for each smooth factor twice, and for each row and column of the low-rank branch; in the
// modulation linears scales and zeros.
func dataBytes(c svdq.Checkpoint) int64 {
	d, rank := int64(c.Hidden), int64(c.Rank)
	joint, in, out := int64(c.JointDim), int64(c.InChannels), int64(4*c.OutChannels)
	var block int64
	for _, l := range []struct{ in, out, times int64 }{{d, 3 * d, 2}, {d, d, 2}, {d, 4 * d, 2}, {4 * d, d, 2}} {
		block += l.times * (l.in*l.out/2 + l.in*l.out/64*2 + 2*l.out + 4*l.in + 2*rank*(l.in+l.out))
	}
	block += 2 * (d*6*d/2 + 2*2*d*6*d/64 + 2*6*d)
	block += 4 * 2 * int64(c.HeadDim)
	const timestep = 256
	globals := 2 * (d*in + d + joint + d*joint + d + d*timestep + d + d*d + d + 2*d*d + 2*d + out*d + out)
	return int64(c.Blocks)*block + globals
}

// TestDataBytes: the closed formula at the published dimensions.
func TestDataBytes(t *testing.T) {
	for _, rank := range []int64{32, 64, 128} {
		c := svdq.Checkpoint{Rank: int(rank), Blocks: 60, Hidden: 3072, HeadDim: 128, JointDim: 3584, InChannels: 64, OutChannels: 16}
		require.Equal(t, 11_143_994_496+11_796_480*rank, dataBytes(c))
	}
}
