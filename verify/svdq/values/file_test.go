package values_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
)

// file is a checkpoint in memory that tests may damage.
type file struct {
	bytes  []byte
	header *safetensors.Header
}

// small is the smallest checkpoint with everything in it, of three blocks.
func small(precision string) svdqtest.Params {
	return svdqtest.Params{
		Precision: precision, Rank: 16, Blocks: 3, Heads: 4, HeadDim: 32, JointDim: 96, InChannels: 64, OutChannels: 16, Seed: 5,
	}
}

func generate(t testing.TB, p svdqtest.Params) *file {
	c, err := svdqtest.New(p)
	require.NoError(t, err)
	b := make([]byte, c.Size())
	_, err = c.ReadAt(b, 0)
	require.NoError(t, err)
	return &file{b, c.Header()}
}

// tensor returns a tensor's bytes, to be read or overwritten.
func (f *file) tensor(t testing.TB, name string) []byte {
	x, ok := f.header.Tensor(name)
	require.True(t, ok, name)
	return f.bytes[f.header.DataStart+x.Begin : f.header.DataStart+x.End]
}

// check runs Check over the file as it is.
func (f *file) check(t testing.TB) (values.Stats, verify.Findings) {
	stats, findings, err := values.Check(context.Background(), f.header, bytes.NewReader(f.bytes))
	require.NoError(t, err)
	return stats, findings
}

// with changes a copy of the file.
func (f *file) with(change func(f *file)) *file {
	g := &file{bytes.Clone(f.bytes), f.header}
	change(g)
	return g
}

// put sets one bfloat16 element of a tensor.
func put(b []byte, element int, bits uint16) { binary.LittleEndian.PutUint16(b[2*element:], bits) }

// values16 decodes bfloat16.
func values16(b []byte) []uint16 {
	out := make([]uint16, len(b)/2)
	for i := range out {
		out[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return out
}
