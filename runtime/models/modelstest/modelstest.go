// Package modelstest writes small folders of model files, with the model.json that
// describes them, for tests of the runtime.
//
// A folder has the shape of a real image's: a base source with a JSON file and a
// safetensors file below a folder, and a source of two checkpoints, "fast" cut into parts
// and "plain" whole. The checkpoints are generated with the architecture, names and packing
// of published ones at a small width, so that all checks of their headers run for real.
package modelstest

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// The files of the folder, as model.json names them.
const (
	Index = "Maker--Small-Edit/model_index.json"
	VAE   = "Maker--Small-Edit/vae/model.safetensors"
	Fast  = "quantised/fast.safetensors"
	Plain = "quantised/plain.safetensors"
)

// Rank is the rank of both checkpoints, Precision their precision.
const (
	Rank      = 16
	Precision = svdqtest.Int4
)

// Write writes the files into dir and returns their description, whose ModelsDir is dir.
// Fast lies in three unequal parts.
func Write(t testing.TB, dir string) *manifests.ModelConfig {
	t.Helper()
	c := &manifests.ModelConfig{
		SchemaVersion: manifests.ModelConfigVersion, Name: "small-edit", Title: "Small-Edit", Variant: "default", ModelsDir: dir,
		Sources: []manifests.ModelSource{
			{Name: "base", Title: "Base Model", Role: manifests.RoleBase, Repo: "Maker/Small-Edit", Commit: strings.Repeat("a", 40), License: "MIT", Path: "Maker--Small-Edit"},
			{Name: "checkpoints", Title: "Quantised Models", Role: manifests.RoleCheckpoints, Repo: "packer/Quantised", Commit: strings.Repeat("b", 40), License: "MIT", Path: "quantised"},
		},
		Serve: &manifests.Serve{
			Priority: []string{"fast", "plain", manifests.PriorityHub}, SupportedRanks: []int{Rank}, DefaultRank: Rank,
			DefaultSteps: 8, PixelArea: 4096, ConditionArea: 1024,
		},
	}
	AddFile(t, c, "base", Index, []byte(`{"_class_name":"Pipeline"}`))
	AddFile(t, c, "base", VAE, Container(t, 64))
	for i, path := range []string{Fast, Plain} {
		name := strings.TrimSuffix(filepath.Base(path), ".safetensors")
		data := Checkpoint(t, Precision, Rank, uint64(i))
		AddFile(t, c, "checkpoints", path, data)
		c.Checkpoints = append(c.Checkpoints, manifests.ModelCheckpoint{Path: path, Checkpoint: manifests.Checkpoint{
			Name: name, Source: "checkpoints", File: filepath.Base(path), Precision: Precision, Rank: Rank, Steps: 8, TrueCFGScale: 1,
		}})
	}
	Split(t, c, Fast, 100_000, 1)
	return c
}

// AddFile writes a file and lists it in c.
func AddFile(t testing.TB, c *manifests.ModelConfig, source, path string, data []byte) {
	t.Helper()
	name := Name(c, path)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, data, 0o644))
	sum := sha256.Sum256(data)
	c.Files = append(c.Files, manifests.ModelFile{Path: path, Source: source, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])})
}

// Split cuts a file that lies whole in the folder into parts of the given lengths and one
// more with the rest.
func Split(t testing.TB, c *manifests.ModelConfig, path string, lengths ...int64) {
	t.Helper()
	data, err := os.ReadFile(Name(c, path))
	require.NoError(t, err)
	f, rest := File(t, c, path), int64(len(data))
	for _, n := range lengths {
		rest -= n
	}
	f.Parts = append(slices.Clone(lengths), rest)
	for i, name := range f.PartPaths() {
		n := f.Parts[i]
		require.NoError(t, os.WriteFile(Name(c, name), data[:n], 0o644))
		data = data[n:]
	}
	require.Empty(t, data)
	require.NoError(t, os.Remove(Name(c, path)))
}

// Join undoes Split on disk: the file lies whole, and model.json still says parts.
func Join(t testing.TB, c *manifests.ModelConfig, path string) {
	t.Helper()
	var data []byte
	for _, name := range File(t, c, path).PartPaths() {
		part, err := os.ReadFile(Name(c, name))
		require.NoError(t, err)
		data = append(data, part...)
		require.NoError(t, os.Remove(Name(c, name)))
	}
	require.NoError(t, os.WriteFile(Name(c, path), data, 0o644))
}

// Name is where a file lies on this machine.
func Name(c *manifests.ModelConfig, path string) string {
	return filepath.Join(c.ModelsDir, filepath.FromSlash(path))
}

// File returns c's entry of that path, to be changed in place.
func File(t testing.TB, c *manifests.ModelConfig, path string) *manifests.ModelFile {
	t.Helper()
	for i := range c.Files {
		if c.Files[i].Path == path {
			return &c.Files[i]
		}
	}
	require.Fail(t, "no such file in model.json", path)
	return nil
}

// Container is a safetensors file with one tensor of n bytes.
func Container(t testing.TB, n int64) []byte {
	t.Helper()
	var out strings.Builder
	specs := []safetensors.Spec{{Name: "w", DType: safetensors.U8, Shape: []int64{n}}}
	zeros := func(tensor safetensors.Tensor) io.Reader {
		return strings.NewReader(strings.Repeat("\x00", int(tensor.Size())))
	}
	require.NoError(t, safetensors.Write(&out, nil, specs, zeros))
	return []byte(out.String())
}

// Checkpoint is a small generated checkpoint.
func Checkpoint(t testing.TB, precision string, rank int, seed uint64) []byte {
	t.Helper()
	c, err := svdqtest.New(svdqtest.Params{
		Precision: precision, Rank: rank, Blocks: 1, Heads: 1, HeadDim: 128, JointDim: 64, InChannels: 16, OutChannels: 4, Seed: seed,
	})
	require.NoError(t, err)
	data, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	require.NoError(t, err)
	return data
}
