package pack_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

const (
	// checkpoint is a 12.65 GB file that a layer of 9.5 GB cannot hold.
	checkpoint     = "app/models/nunchaku-qwen-image-edit/svdq-int4_r128-qwen-image-edit.safetensors"
	checkpointSize = 12_654_443_144
	partSize       = 9_500_000_000
)

func TestPartsOfACheckpoint(t *testing.T) {
	parts, err := pack.Parts(checkpoint, checkpointSize, partSize)
	require.NoError(t, err)
	require.Equal(t, []pack.Part{
		{Name: checkpoint + ".part-00-of-02", Index: 0, Count: 2, Offset: 0, Length: 9_462_349_824},
		{Name: checkpoint + ".part-01-of-02", Index: 1, Count: 2, Offset: 9_462_349_824, Length: 3_192_093_320},
	}, parts)
	require.Equal(t, int64(9_462_349_824+512+1024), parts[0].LayerSize())
	require.Equal(t, int64(3_192_093_320+512+376+1024), parts[1].LayerSize())
}

func TestPartsAreWholeWhereTheLayerFits(t *testing.T) {
	long := strings.Repeat("n", 101)
	cases := []struct {
		name           string
		size, partSize int64
		count          int
	}{
		{"f", 0, 0, 1},
		{"f", 0, pack.MinPartSize, 1},
		{"f", checkpointSize, 0, 1},
		{"f", pack.MinPartSize - 512 - 1024, pack.MinPartSize, 1},       // exactly the limit
		{"f", pack.MinPartSize - 512 - 1024 + 1, pack.MinPartSize, 2},   // one byte over
		{"f", pack.MinPartSize - 512 - 1024 - 511, pack.MinPartSize, 1}, // padding reaches the limit
		{long, pack.MinPartSize - 1536 - 1024, pack.MinPartSize, 1},     // a long name's header counts
		{long, pack.MinPartSize - 1536 - 1024 + 1, pack.MinPartSize, 2}, //
		{"f", partSize - 512 - 1024 - partSize%512, partSize, 1},        // a limit that is no multiple of a block
		{"f", partSize - 512 - 1024 - partSize%512 + 1, partSize, 2},    //
		{"f", pack.MaxSize, math.MaxInt64, 1},                           //
		{"f", 99 * pack.SmallAlign, pack.MinPartSize, 99},               // as many as two digits number
		{"f", 3 * 15 * pack.Align, pack.LargePart, 3},                   // 64 MiB less for the header
		{"f", 3 * 1022 * pack.SmallAlign, pack.LargePart - 1<<20, 3},    // 1 MiB less
		{"f", 3*1022*pack.SmallAlign + 1, pack.LargePart - 1<<20, 4},    //
		{"f", 2 * pack.LargePart, 2*pack.LargePart + 512 + 1024, 1},     //
		{"f", 2*pack.LargePart + 1, 2*pack.LargePart + 512 + 1024, 2},   //
		{"f", 10 * 7 << 20, 8_000_000, 10},                              // a small registry's limit
		{strings.Repeat("n", 86), 4 << 20, 2<<20 + 512 + 1024, 2},       // the parts' names have 100 bytes
		{strings.Repeat("n", 87), 4 << 20, 2<<20 + 512 + 1024, 4},       // and 101: a longer header
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%d bytes in %d", c.size, c.partSize), func(t *testing.T) {
			parts, err := pack.Parts(c.name, c.size, c.partSize)
			require.NoError(t, err)
			require.Len(t, parts, c.count)
			if c.count == 1 {
				require.Equal(t, pack.Part{Name: c.name, Count: 1, Length: c.size}, parts[0])
			}
		})
	}
}

func TestPartsRefuses(t *testing.T) {
	cases := []struct {
		name           string
		size, partSize int64
		want           string
		kind           fault.Kind
	}{
		{"../f", 1, 0, `packing "../f": the name is not clean, "../f" is`, fault.Internal},
		{"f", -1, 0, "packing f: size is -1, allowed are 0 to 4611686018427387904", fault.Internal},
		{"f", pack.MaxSize + 1, 0, "packing f: size is 4611686018427387905, allowed are 0 to 4611686018427387904", fault.Internal},
		{"f", math.MaxInt64, pack.MinPartSize, "packing f: size is 9223372036854775807, allowed are 0 to 4611686018427387904", fault.Internal},
		{"f", 1 << 20, 1 << 20, "packing f: partSize is 1048576, less than one part of 1048576 bytes with its header", fault.Usage},
		{"f", 1, -1, "packing f: partSize is -1, less than one part of 1048576 bytes with its header", fault.Usage},
		{"f", 99*pack.SmallAlign + 1, pack.MinPartSize, "packing f: partSize 2097152 cuts 103809025 bytes into 100 parts, at most 99 are allowed", fault.Usage},
		{"f", pack.MaxSize, pack.MinPartSize, "packing f: partSize 2097152 cuts 4611686018427387904 bytes into 4398046511104 parts, at most 99 are allowed", fault.Usage},
	}
	for _, c := range cases {
		t.Run(c.want, func(t *testing.T) {
			_, err := pack.Parts(c.name, c.size, c.partSize)
			require.EqualError(t, err, c.want)
			require.Equal(t, c.kind, fault.KindOf(err))
		})
	}
}

// layer is the whole layer of one part of the file.
func layer(t require.TestingT, p pack.Part, file []byte) []byte {
	prefix, err := pack.Prefix(p)
	require.NoError(t, err)
	out := append(prefix, file[p.Offset:p.Offset+p.Length]...)
	return append(out, make([]byte, pack.SuffixLen(p.Length))...)
}

func TestLayersReassembleToTheFile(t *testing.T) {
	file := make([]byte, 5<<20+3)
	source := rand.NewChaCha8([32]byte{1})
	_, err := source.Read(file)
	require.NoError(t, err)
	parts, err := pack.Parts("app/models/m/"+strings.Repeat("w", 90), int64(len(file)), pack.MinPartSize)
	require.NoError(t, err)
	require.Len(t, parts, 6)
	var back bytes.Buffer
	for i, p := range parts {
		reader := tar.NewReader(bytes.NewReader(layer(t, p, file)))
		header, err := reader.Next()
		require.NoError(t, err)
		name, index, count, ok := pack.SplitPartName(header.Name)
		require.True(t, ok)
		require.Equal(t, []any{"app/models/m/" + strings.Repeat("w", 90), i, 6}, []any{name, index, count})
		_, err = io.Copy(&back, reader)
		require.NoError(t, err)
		_, err = reader.Next()
		require.ErrorIs(t, err, io.EOF)
	}
	require.True(t, bytes.Equal(file, back.Bytes()))
}

// The digest of a layer is what locks record, so it must never change within a Version.
// The sums are those of GNU tar's archives (see TestHeaderGoldenBytes) with one block of
// blocking (-b1).
func TestLayerDigestsAreThoseOfTheVersion(t *testing.T) {
	require.Equal(t, 1, pack.Version)
	cases := map[string]string{
		"app/models/m/config.json":                 "a3c0dfc31afe20c2d666d9e29fd938ff5cac1a15993494d86a62d5f2699e82e6",
		"app/models/m/" + strings.Repeat("w", 100): "04b1c7283575907977547371157baff18f5275a91b6983fe4ccc7d2cdd8be0e9",
	}
	for name, want := range cases {
		parts, err := pack.Parts(name, 12, 0)
		require.NoError(t, err)
		require.Equal(t, want, fmt.Sprintf("%x", sha256.Sum256(layer(t, parts[0], []byte("twelve bytes")))), name)
	}
}

func TestPartsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := strings.Repeat("n", rapid.IntRange(1, 300).Draw(t, "name"))
		size := rapid.Int64Range(0, 90<<30).Draw(t, "size")
		limit := rapid.OneOf(rapid.Int64Range(1<<30, 20<<30), rapid.Int64Range(pack.MinPartSize, 1<<30)).Draw(t, "partSize")
		parts, err := pack.Parts(name, size, limit)
		if err != nil {
			require.Equal(t, fault.Usage, fault.KindOf(err))
			require.Greater(t, size, limit*40, "only a file of very many parts may be refused")
			return
		}
		next := int64(0)
		for i, p := range parts {
			prefix, err := pack.Prefix(p)
			require.NoError(t, err)
			require.Equal(t, int64(len(prefix))+p.Length+pack.SuffixLen(p.Length), p.LayerSize())
			require.Zero(t, p.LayerSize()%pack.Block)
			require.LessOrEqual(t, p.LayerSize(), limit)
			require.Equal(t, []any{i, len(parts), next}, []any{p.Index, p.Count, p.Offset})
			next += p.Length
			if i < len(parts)-1 {
				require.Equal(t, parts[0].Length, p.Length)
				require.Zero(t, p.Length%granularity(limit))
				require.Greater(t, p.LayerSize()+granularity(limit), limit, "a longer part would fit")
			}
		}
		require.Equal(t, size, next)
		require.True(t, size == 0 || parts[len(parts)-1].Length > 0)
	})
}

// granularity is the documented step of cuts.
func granularity(partSize int64) int64 {
	if partSize >= 1<<30 {
		return 64 << 20
	}
	return 1 << 20
}

func TestSplitPartName(t *testing.T) {
	cases := []struct {
		entry string
		name  string
		index int
		count int
		ok    bool
	}{
		{"a.part-00-of-02", "a", 0, 2, true},
		{"a.part-01-of-02", "a", 1, 2, true},
		{"a.part-00-of-01", "a", 0, 1, true},
		{"d/a.bin.part-98-of-99", "d/a.bin", 98, 99, true},
		{"a.part-00-of-02.part-01-of-02", "a.part-00-of-02", 1, 2, true},
		{entry: "a"},
		{entry: ""},
		{entry: ".part-00-of-02"},
		{entry: "a.part-02-of-02"},
		{entry: "a.part-0-of-2"},
		{entry: "a.part-000-of-002"},
		{entry: "a.part--1-of-02"},
		{entry: "a.part-00-of-00"},
		{entry: "a.part-00-of-100"},
		{entry: "a.part-00-of-02x"},
		{entry: "a.part-00-of-"},
		{entry: "a.part-+0-of-02"},
		{entry: "a.part- 0-of-02"},
		{entry: "a.part-99999999999999999999-of-02"},
	}
	for _, c := range cases {
		name, index, count, ok := pack.SplitPartName(c.entry)
		require.Equal(t, []any{c.name, c.index, c.count, c.ok}, []any{name, index, count, ok}, c.entry)
	}
}

func FuzzSplitPartName(f *testing.F) {
	f.Add(pack.PartName("a", 0, 2))
	f.Add(pack.PartName("d/"+strings.Repeat("n", 100), 98, 99))
	f.Add("a.part-1-of-2")
	f.Fuzz(func(t *testing.T, entry string) {
		name, index, count, ok := pack.SplitPartName(entry)
		if !ok {
			require.Zero(t, name+fmt.Sprint(index + count)[1:])
			return
		}
		require.Equal(t, entry, pack.PartName(name, index, count))
		require.True(t, 0 <= index && index < count && count <= pack.MaxParts)
	})
}
