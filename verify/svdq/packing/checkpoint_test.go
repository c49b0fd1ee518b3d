package packing_test

import (
	"encoding/binary"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

func generate(t testing.TB, p svdqtest.Params) *svdqtest.Checkpoint {
	c, err := svdqtest.New(p)
	require.NoError(t, err)
	return c
}

func section(t testing.TB, c *svdqtest.Checkpoint, name string) []byte {
	x, ok := c.Header().Tensor(name)
	require.True(t, ok, name)
	b, err := io.ReadAll(c.Header().Section(c, x))
	require.NoError(t, err)
	return b
}

// TestGeneratedCheckpoint: the generator puts the largest code of each group where its own
// description of the layout says; unpacked here, every group of every row has one.
func TestGeneratedCheckpoint(t *testing.T) {
	p := svdqtest.Params{
		Precision: svdqtest.Int4, Rank: 16, Blocks: 1, Heads: 8, HeadDim: 32, JointDim: 96, InChannels: 64, OutChannels: 16,
	}
	c := generate(t, p)
	const h = 256
	for name, dims := range map[string][2]int{"attn.to_qkv": {3 * h, h}, "img_mlp.net.2": {h, 4 * h}} {
		codes := make([]int8, dims[0]*dims[1])
		require.NoError(t, packing.UnpackInt4(codes, section(t, c, "transformer_blocks.0."+name+".qweight"), dims[0], dims[1]))
		requirePeaks(t, codes, 64, func(c int8) bool { return c == 7 || c == -7 })
	}
	codes := make([]uint8, 6*h*h)
	require.NoError(t, packing.UnpackAWQ(codes, section(t, c, "transformer_blocks.0.txt_mod.1.qweight"), 6*h, h))
	requirePeaks(t, codes, 64, func(c uint8) bool { return c == 0 || c == 14 })

	p.Precision = svdqtest.NVFP4
	codes = make([]uint8, h*4*h)
	require.NoError(t, packing.UnpackE2M1(codes, section(t, generate(t, p), "transformer_blocks.0.txt_mlp.net.2.qweight"), h, 4*h))
	requirePeaks(t, codes, 16, func(c uint8) bool { return c&7 == 7 })
}

func requirePeaks[T any](t *testing.T, codes []T, group int, peak func(T) bool) {
	for g := 0; g < len(codes); g += group {
		found := false
		for _, c := range codes[g : g+group] {
			found = found || peak(c)
		}
		require.True(t, found, "group at element %d has no peak", g)
	}
}

// linear finds the dimensions of a tensor's linear in the nominal shapes of its header.
func linear(t testing.TB, c *svdqtest.Checkpoint, module string) (out, in int) {
	q, ok := c.Header().Tensor(module + ".qweight")
	require.True(t, ok, module)
	out, in = int(q.Shape[0]), int(2*q.Shape[1])
	if q.DType == "I32" {
		out *= 4
	}
	return out, in
}

// plain holds room for the largest tensor in every plain type.
type plain struct {
	codes  []int8
	bytes  []uint8
	values []uint16
}

func newPlain(n int) *plain { return &plain{make([]int8, n), make([]uint8, n), make([]uint16, n)} }

// unpack unpacks one tensor of an int4 checkpoint.
func (p *plain) unpack(t testing.TB, c *svdqtest.Checkpoint, name string, b []byte) error {
	dot := strings.LastIndexByte(name, '.')
	module, suffix := name[:dot], name[dot+1:]
	if strings.Contains(name, ".norm_") {
		return nil // 128 elements as they are
	}
	out, in := linear(t, c, module)
	awq := strings.Contains(name, "_mod.1.")
	switch {
	case awq && suffix == "qweight":
		return packing.UnpackAWQ(p.bytes[:out*in], b, out, in)
	case awq: // rows of wscales and wzeros, or a bias: interleaved, not packed
		for len(b) > 0 {
			if err := packing.Deinterleave(p.values[:out], bits(b[:2*out]), out); err != nil {
				return err
			}
			b = b[2*out:]
		}
		return nil
	case suffix == "qweight":
		return packing.UnpackInt4(p.codes[:out*in], b, out, in)
	case suffix == "wscales":
		return packing.UnpackScales(p.values[:out*in/64], b, out, in)
	case suffix == "proj_up":
		return packing.UnpackUp(p.values[:len(b)/2], b, out, len(b)/2/out)
	case suffix == "proj_down":
		return packing.UnpackDown(p.values[:len(b)/2], b, in, len(b)/2/in)
	}
	return packing.UnpackVector(p.values[:len(b)/2], b)
}

// bits decodes bfloat16.
func bits(b []byte) []uint16 {
	out := make([]uint16, len(b)/2)
	for i := range out {
		out[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return out
}

// TestEveryTensorUnpacks: the dimensions in the header of a checkpoint are all that it
// takes to unpack it.
func TestEveryTensorUnpacks(t *testing.T) {
	c := generate(t, svdqtest.Params{
		Precision: svdqtest.Int4, Rank: 48, Blocks: 2, Heads: 4, HeadDim: 96, JointDim: 96, InChannels: 64, OutChannels: 16,
	})
	p := newPlain(4 * 384 * 6 * 384)
	for _, x := range c.Header().Tensors {
		if strings.HasPrefix(x.Name, "transformer_blocks.") {
			require.NoError(t, p.unpack(t, c, x.Name, section(t, c, x.Name)), x.Name)
		}
	}
}

// BenchmarkUnpack unpacks one block of the published int4 r128 dimensions into codes and
// values, its tensors on two cores. Sixty such blocks are 99.4 % of a checkpoint.
func BenchmarkUnpack(b *testing.B) {
	p := svdqtest.Real(svdqtest.Int4, 128)
	p.Blocks = 1
	c := generate(b, p)
	var names []string
	var data [][]byte
	total := int64(0)
	for _, x := range c.Header().Tensors {
		if strings.HasPrefix(x.Name, "transformer_blocks.") {
			names, data, total = append(names, x.Name), append(data, section(b, c, x.Name)), total+x.Size()
		}
	}
	const workers = 2
	var rooms [workers]*plain
	for i := range rooms {
		rooms[i] = newPlain(3072 * 18432)
	}
	b.SetBytes(total)
	for b.Loop() {
		var next atomic.Int64
		var wg sync.WaitGroup
		for _, room := range rooms {
			wg.Go(func() {
				for i := int(next.Add(1)) - 1; i < len(names); i = int(next.Add(1)) - 1 {
					if err := room.unpack(b, c, names[i], data[i]); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
}
