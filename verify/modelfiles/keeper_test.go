package modelfiles

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
)

// container is a container with the given header and data.
func container(json string, data int) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(json)))
	return append(append(out, json...), make([]byte, data)...)
}

const header = `{"w":{"dtype":"U8","shape":[100],"data_offsets":[0,100]}}`

// FuzzKeeper: however a file is cut into writes, the header that was kept is judged as the
// file itself is.
func FuzzKeeper(f *testing.F) {
	f.Add(container(header, 100), 1)
	f.Add(container(header, 99), 7)
	f.Add(container("{}", 0), 1000)
	f.Add(binary.LittleEndian.AppendUint64(nil, 1<<63), 3)
	f.Add(binary.LittleEndian.AppendUint64(nil, safetensors.MaxHeader), 8)
	f.Add([]byte("version https://git-lfs.github.com/spec/v1\n"), 9)
	f.Add([]byte{}, 1)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		size := int64(len(data))
		k := keepHeader(size)
		for rest := data; len(rest) > 0; {
			n := min(max(step, 1), len(rest))
			_, err := k.Write(rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		want, wantErr := safetensors.Read(bytes.NewReader(data), size)
		got, err := safetensors.Read(k, size)
		require.Equal(t, want, got)
		if wantErr != nil {
			require.EqualError(t, err, wantErr.Error())
		}
		filled := keepHeader(size)
		require.NoError(t, filled.fill(bytes.NewReader(data)))
		require.Equal(t, k.bytes, filled.bytes)
	})
}

// FuzzJudge: however a file is cut into writes, its values are judged as those of the whole
// file are, and a file that is cut or no container is not judged.
func FuzzJudge(f *testing.F) {
	const scales = `{"a.qweight":{"dtype":"I32","shape":[1,32],"data_offsets":[0,128]},` +
		`"a.wscales":{"dtype":"BF16","shape":[6],"data_offsets":[128,140]},"a.wzeros":{"dtype":"BF16","shape":[6],"data_offsets":[140,152]}}`
	for step, data := range [][]byte{container(header, 100), container(header, 99), container("{}", 0), container(scales, 152), container(scales, 151), {}, {1, 2}} {
		f.Add(data, step)
		f.Add(data, 1000)
	}
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		size := int64(len(data))
		j := &judge{keeper: keepHeader(size)}
		defer j.close()
		for rest := data; len(rest) > 0; {
			n := min(max(step, 1), len(rest))
			_, err := j.Write(rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		h, wantErr := safetensors.Read(bytes.NewReader(data), size)
		got, err := j.parse()
		require.Equal(t, h, got)
		if wantErr != nil {
			require.EqualError(t, err, wantErr.Error())
			return
		}
		stats, found, err := j.finish()
		require.NoError(t, err)
		wantStats, wantFound, err := values.Check(t.Context(), h, bytes.NewReader(data))
		require.NoError(t, err)
		require.Equal(t, wantStats, stats)
		require.Equal(t, wantFound, found)
	})
}

// TestKeeperIsBounded: a header keeps its own bytes alone, and a length that cannot be is
// not followed.
func TestKeeperIsBounded(t *testing.T) {
	file := container(header, 1<<20)
	k := keepHeader(int64(len(file)))
	k.Write(file)
	require.Len(t, k.bytes, 8+len(header))
	require.Equal(t, 8+len(header), cap(k.bytes))

	for _, n := range []uint64{safetensors.MaxHeader + 1, 1 << 63, uint64(len(file))} {
		k := keepHeader(int64(len(file)))
		k.Write(binary.LittleEndian.AppendUint64(nil, n))
		k.Write(make([]byte, 1<<20))
		require.Len(t, k.bytes, 8)
	}
	huge := keepDocument(maxDocument + 1)
	huge.Write([]byte("{}"))
	require.Empty(t, huge.bytes)
	require.Equal(t, int64(maxDocument+1), huge.Size())
}

func TestKeeperFill(t *testing.T) {
	k := keepDocument(10)
	require.NoError(t, k.fill(iotest.OneByteReader(strings.NewReader("0123456789 and more"))))
	require.Equal(t, "0123456789", string(k.bytes))
	short := keepDocument(10)
	require.NoError(t, short.fill(strings.NewReader("012")))
	n, err := short.ReadAt(make([]byte, 10), 0)
	require.Equal(t, 3, n)
	require.ErrorContains(t, err, "EOF")
	require.ErrorIs(t, keepDocument(10).fill(iotest.ErrReader(iotest.ErrTimeout)), iotest.ErrTimeout)
}
