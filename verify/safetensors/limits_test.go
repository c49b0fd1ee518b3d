package safetensors_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// allocated returns the bytes that f allocates, freed or not.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// TestMemoryFollowsTheHeader: headers built to make a parser allocate cost a bounded
// multiple of their own size, accepted or not. The length field alone costs nothing.
func TestMemoryFollowsTheHeader(t *testing.T) {
	const size = 1 << 20
	repeat := func(s string) string { return strings.Repeat(s, size/len(s)) }
	var tiny strings.Builder
	for i := 0; tiny.Len() < size; i++ {
		fmt.Fprintf(&tiny, `,"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, i)
	}
	for name, header := range map[string]string{
		"many tensors":    "{" + tiny.String()[1:] + "}",
		"one long name":   `{"` + repeat("x") + `":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`,
		"escapes":         `{"` + repeat(`\u00e9`) + `":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`,
		"one long shape":  `{"a":{"shape":[` + repeat("1,") + `1]}}`,
		"unknown arrays":  `{"a":{"x":[` + repeat("[],") + `[]]}}`,
		"unknown objects": `{"a":{"x":[` + repeat("{},") + `{}]}}`,
		"metadata":        `{"__metadata__":{"k":"` + repeat("v") + `"}}`,
		"spaces":          "{" + repeat(" ") + "}",
	} {
		b := file(header, 0)
		used := allocated(func() { _, _ = read(b) })
		require.Less(t, used, 40*int64(len(b)), name)
	}
	claim := append([]byte{0xff, 0xe0, 0xf5, 5, 0, 0, 0, 0}, '{') // 99,999,999 bytes, says the file
	require.Less(t, allocated(func() { _, _ = read(claim) }), int64(1<<16))
}

// TestLargeHeader: as many tensors as no real model has are read in linear time.
func TestLargeHeader(t *testing.T) {
	var b strings.Builder
	b.WriteString("{")
	const n = 60_000
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"model.layers.%d.weight":{"dtype":"BF16","shape":[2,1],"data_offsets":[%d,%d]}`, i, 4*(n-1-i), 4*(n-i))
	}
	h, err := read(file(b.String()+"}", 4*n))
	require.NoError(t, err)
	require.Len(t, h.Tensors, n)
	require.Equal(t, fmt.Sprintf("model.layers.%d.weight", n-1), h.Tensors[0].Name, "sorted by offset, not by the text")
	x, ok := h.Tensor("model.layers.0.weight")
	require.True(t, ok)
	require.EqualValues(t, 4*(n-1), x.Begin)
}
