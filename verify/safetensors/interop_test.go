package safetensors_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// described is a file as either side describes it.
type described struct {
	Metadata map[string]string
	Tensors  map[string]describedTensor
}

type describedTensor struct {
	DType  string
	Shape  []int64
	SHA256 string
}

// describe reads a file with this package.
func describe(t *testing.T, path string) described {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	h, err := safetensors.Read(f, info.Size())
	require.NoError(t, err)
	out := described{Metadata: h.Metadata, Tensors: map[string]describedTensor{}}
	for _, tensor := range h.Tensors {
		sum := sha256.New()
		_, err := io.Copy(sum, h.Section(f, tensor))
		require.NoError(t, err)
		out.Tensors[tensor.Name] = describedTensor{string(tensor.DType), tensor.Shape, fmt.Sprintf("%x", sum.Sum(nil))}
	}
	return out
}

// pythonDescribe reads a file with the format's own library.
const pythonDescribe = `
import hashlib, json, sys
from safetensors import deserialize, safe_open
with safe_open(sys.argv[1], framework="np") as f:
    metadata = f.metadata()
tensors = {name: {"DType": t["dtype"], "Shape": t["shape"], "SHA256": hashlib.sha256(t["data"]).hexdigest()}
           for name, t in deserialize(open(sys.argv[1], "rb").read())}
print(json.dumps({"Metadata": metadata, "Tensors": tensors}))
`

func describeInPython(t *testing.T, path string) described {
	t.Helper()
	var out described
	text := interoptest.Output(t, interoptest.Script(t, pythonDescribe, []string{path}))
	require.NoError(t, json.Unmarshal([]byte(text), &out))
	return out
}

// every is one tensor of each dtype, an empty one of each, and a scalar.
func every(dtypes []safetensors.DType) []safetensors.Spec {
	out := []safetensors.Spec{{Name: "scalar", DType: safetensors.F32, Shape: []int64{}}}
	for _, d := range dtypes {
		out = append(out,
			safetensors.Spec{Name: "t." + string(d), DType: d, Shape: []int64{3, 1, 8}},
			safetensors.Spec{Name: "leer ü\n\"\\." + string(d), DType: d, Shape: []int64{5, 0}})
	}
	return out
}

// counting gives a tensor bytes that differ from tensor to tensor.
func counting(t safetensors.Tensor) io.Reader {
	out := make([]byte, t.Size())
	for i := range out {
		out[i] = byte(i*7 + len(t.Name) + int(t.Begin))
	}
	return bytes.NewReader(out)
}

func writeFile(t *testing.T, path string, metadata map[string]string, specs []safetensors.Spec) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, safetensors.Write(f, metadata, specs, counting))
	require.NoError(t, f.Close())
}

// TestInteropPythonReadsOurs: what Write writes, the format's own library reads.
func TestInteropPythonReadsOurs(t *testing.T) {
	interoptest.Python(t)
	for name, metadata := range map[string]map[string]string{
		"without metadata": nil,
		"with metadata":    {"format": "pt", "config": `{"a": ["ü", "\u2028"]}`, "": "\x00\x1f\x7f"},
	} {
		path := filepath.Join(t.TempDir(), "ours.safetensors")
		writeFile(t, path, metadata, every(safetensors.DTypes()))
		want := describe(t, path)
		require.Equal(t, metadata, want.Metadata, name)
		require.Len(t, want.Tensors, 2*len(safetensors.DTypes())+1)
		require.Equal(t, want, describeInPython(t, path), name)
	}
}

// pythonWrite writes every dtype that the format's own library can write. A 4-bit tensor is
// given as pairs, and the library doubles its last dimension.
const pythonWrite = `
import ctypes, sys
from safetensors import TensorSpec, serialize_file
widths = {"bool": 1, "float4_e2m1fn_x2": 1, "uint8": 1, "int8": 1, "float8_e5m2": 1, "float8_e4m3fn": 1, "float8_e8m0fnu": 1,
          "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2, "int32": 4,
          "uint32": 4, "float32": 4, "complex64": 8, "float64": 8, "int64": 8, "uint64": 8}
data = ctypes.create_string_buffer(bytes(range(255, -1, -1)), 256)
at = ctypes.addressof(data)
tensors = {}
for i, (name, width) in enumerate(widths.items()):
    tensors["t." + name] = TensorSpec(dtype=name, shape=[2, 3], data_ptr=at + i, data_len=6 * width)
    tensors["empty\n" + name] = TensorSpec(dtype=name, shape=[0, 3], data_ptr=at, data_len=0)
tensors["scalar"] = TensorSpec(dtype="float64", shape=[], data_ptr=at, data_len=8)
serialize_file(tensors, sys.argv[1], {"format": "np \u00fc\""})
`

// TestInteropWeReadPythons: what the format's own library writes, Read reads; and Layout
// gives the same tensors the same header, byte for byte.
func TestInteropWeReadPythons(t *testing.T) {
	path := filepath.Join(t.TempDir(), "theirs.safetensors")
	interoptest.Output(t, interoptest.Script(t, pythonWrite, []string{path}))
	got := describe(t, path)
	require.Len(t, got.Tensors, 41)
	require.Equal(t, describeInPython(t, path), got)

	var specs []safetensors.Spec
	for name, tensor := range got.Tensors {
		specs = append(specs, safetensors.Spec{Name: name, DType: safetensors.DType(tensor.DType), Shape: tensor.Shape})
	}
	_, head, err := safetensors.Layout(got.Metadata, specs)
	require.NoError(t, err)
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(file[:min(len(head), len(file))]), string(head))
}

// pythonRefuses prints for each file whether the format's own library refuses it.
const pythonRefuses = `
import json, sys
from safetensors import SafetensorError, safe_open
def refused(path):
    try:
        safe_open(path, framework="np").__enter__()
    except SafetensorError:
        return True
    return False
print(json.dumps([refused(path) for path in sys.argv[1:]]))
`

// TestInteropBothRefuse: damage that one side sees, the other sees.
func TestInteropBothRefuse(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "good"), nil, every(safetensors.DTypes()))
	good, err := os.ReadFile(filepath.Join(dir, "good"))
	require.NoError(t, err)
	replaced := func(old, with string) []byte {
		require.Len(t, with, len(old))
		out := bytes.Replace(good, []byte(old), []byte(with), 1)
		require.NotEqual(t, good, out)
		return out
	}
	broken := map[string][]byte{
		"short": good[:len(good)-1], "long": append(bytes.Clone(good), 0), "no header": good[:8], "empty": {},
		"shape": replaced("[3,1,8]", "[3,1,7]"), "dtype": replaced(`"U64"`, `"X64"`), "hole": replaced("[0,192]", "[8,192]"),
		"length": append([]byte{0xff}, good[1:]...), "JSON": replaced(`{"dtype"`, `["dtype"`),
	}
	var paths []string
	for name, data := range broken {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o644))
		_, err := safetensors.Read(bytes.NewReader(data), int64(len(data)))
		require.Error(t, err, name)
		paths = append(paths, path)
	}
	var refused []bool
	text := interoptest.Output(t, interoptest.Script(t, pythonRefuses, append([]string{filepath.Join(dir, "good")}, paths...)))
	require.NoError(t, json.Unmarshal([]byte(text), &refused))
	require.False(t, refused[0], "the whole file")
	for i, path := range paths {
		require.True(t, refused[i+1], path)
	}
}

// TestInteropCheckpoints: a generated checkpoint is a file like any other.
func TestInteropCheckpoints(t *testing.T) {
	interoptest.Python(t)
	for _, precision := range []string{svdqtest.Int4, svdqtest.NVFP4} {
		c, err := svdqtest.New(svdqtest.Params{
			Precision: precision, Rank: 32, Blocks: 1, Heads: 4, HeadDim: 32, JointDim: 128, InChannels: 64, OutChannels: 16,
		})
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "checkpoint.safetensors")
		f, err := os.Create(path)
		require.NoError(t, err)
		_, err = io.Copy(f, io.NewSectionReader(c, 0, c.Size()))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		got := describeInPython(t, path)
		require.Equal(t, describe(t, path), got)
		require.Len(t, got.Tensors, len(c.Header().Tensors))
		require.Contains(t, got.Metadata, "quantization_config")
	}
}
