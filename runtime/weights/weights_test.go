package weights

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// container is a file of two tensors, whose bytes count up.
func container(t *testing.T, names ...string) []byte {
	t.Helper()
	var specs []safetensors.Spec
	for _, name := range names {
		specs = append(specs, safetensors.Spec{Name: name, DType: safetensors.U16, Shape: []int64{3, 1000}})
	}
	var b bytes.Buffer
	require.NoError(t, safetensors.Write(&b, map[string]string{"config": "{}"}, specs, func(s safetensors.Tensor) io.Reader {
		data := make([]byte, s.Size())
		for i := range 3000 {
			binary.LittleEndian.PutUint16(data[2*i:], uint16(i)+uint16(len(s.Name)))
		}
		return bytes.NewReader(data)
	}))
	return b.Bytes()
}

// local lays a file out in parts of the given lengths and opens it.
func local(t *testing.T, data []byte, parts ...int64) *modelfiles.Local {
	t.Helper()
	dir := t.TempDir()
	file := manifests.ModelFile{Path: "m/w.safetensors", Size: int64(len(data)), Parts: parts}
	rest := data
	for i, name := range file.PartPaths() {
		n := int64(len(rest))
		if len(parts) > 0 {
			n = parts[i]
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, rest[:n], 0o666))
		rest = rest[n:]
	}
	content, findings, err := models.New(dir, &manifests.ModelConfig{}).Open(file)
	require.NoError(t, err)
	require.Empty(t, findings)
	t.Cleanup(func() { content.Close() })
	return content
}

// TestTensorsOfParts: wherever a file is cut, its tensors have the same bytes.
func TestTensorsOfParts(t *testing.T) {
	data := container(t, "a", "bb")
	size := int64(len(data))
	for _, parts := range [][]int64{nil, {1, size - 1}, {size - 1, 1}, {size / 2, size - size/2}, {200, 5800, size - 6000}, {10, 10, 10, size - 30}} {
		set, err := Open(local(t, data, parts...))
		require.NoError(t, err)
		for _, name := range []string{"a", "bb"} {
			w := set.Take(name, 3, Any)
			require.NoError(t, set.Err())
			require.Equal(t, 3000, w.Len())
			for i := range 3000 {
				require.Equal(t, uint16(i+len(name)), binary.LittleEndian.Uint16(w.Data[2*i:]))
			}
		}
		require.Equal(t, "{}", set.Metadata()["config"])
		require.NoError(t, set.Close())
	}
}

// TestFirstErrorStays: a constructor takes all that it needs and asks once.
func TestFirstErrorStays(t *testing.T) {
	set, err := Read(bytes.NewReader(container(t, "a")))
	require.NoError(t, err)
	require.True(t, set.Take("a", 3, 999).IsZero())
	require.True(t, set.Take("b").IsZero())
	require.False(t, set.Take("a", 3, 1000).IsZero())
	require.ErrorContains(t, set.Err(), `taking tensor "a": its shape is [3 1000], the model needs [3 999]`)
	require.Equal(t, fault.Invalid, fault.KindOf(set.Err()))
	require.False(t, set.Has("b"))
	require.True(t, set.Has("a"))
}

// TestDescribe: of a header alone a model takes the same tensors, without their bytes, and what
// it leaves shows.
func TestDescribe(t *testing.T) {
	data := container(t, "a", "bb", "c")
	read, err := Read(bytes.NewReader(data))
	require.NoError(t, err)
	set, err := Describe(read.Header())
	require.NoError(t, err)
	want, got := read.Take("bb", 3, 1000), set.Take("bb", 3, 1000)
	require.Len(t, want.Data, 6000)
	require.Nil(t, got.Data)
	want.Data = nil
	require.Equal(t, want, got)
	require.True(t, set.Take("c", 3).IsZero())
	require.Error(t, set.Err())
	require.Equal(t, []string{"a", "c"}, set.Untaken())
	require.Equal(t, "{}", set.Metadata()["config"])
	require.NoError(t, set.Close())
	_, err = Describe(read.Header(), read.Header())
	require.ErrorContains(t, err, "is in two files")
}

// TestJoin: shards are one set, unless they disagree.
func TestJoin(t *testing.T) {
	set, err := Read(bytes.NewReader(container(t, "a")), bytes.NewReader(container(t, "b")))
	require.NoError(t, err)
	require.True(t, set.Has("a") && set.Has("b"))
	require.Nil(t, set.Header())
	require.Nil(t, set.Metadata())
	_, err = Read(bytes.NewReader(container(t, "a")), bytes.NewReader(container(t, "a", "b")))
	require.ErrorContains(t, err, `tensor "a" is in two files`)
	_, err = Open(local(t, container(t, "a")[:100]))
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// mappings counts those of files of this test.
func mappings(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip("the system does not say what is mapped")
	}
	return strings.Count(string(maps), "/"+t.Name())
}

// TestMappings: as many as there are pieces, until Close; none where files are no set.
func TestMappings(t *testing.T) {
	data := container(t, "a")
	set, err := Open(local(t, data, 100, int64(len(data))-100), local(t, container(t, "b")))
	require.NoError(t, err)
	require.Equal(t, 3, mappings(t))
	require.NoError(t, set.Close())
	require.NoError(t, set.Close())
	require.Zero(t, mappings(t))
	_, err = Open(local(t, data), local(t, container(t, "a", "b")))
	require.ErrorContains(t, err, `tensor "a" is in two files`)
	_, err = Open(local(t, data), local(t, data[:100]))
	require.Error(t, err)
	require.Zero(t, mappings(t))
}
