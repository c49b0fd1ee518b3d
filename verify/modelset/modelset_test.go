package modelset_test

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/modelset"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// base is a generated set as a file system.
func base(t testing.TB, p modelsettest.Params) modelset.Map {
	t.Helper()
	files, err := modelsettest.Base(p)
	require.NoError(t, err)
	m := modelset.Map{}
	for name, f := range files {
		m[name] = f.Content
	}
	return m
}

// content reads a file of a set.
func content(t testing.TB, m modelset.Map, name string) []byte {
	t.Helper()
	require.Contains(t, m, name)
	b := make([]byte, m[name].Size())
	_, err := m[name].ReadAt(b, 0)
	if err != io.EOF {
		require.NoError(t, err)
	}
	return b
}

func section(content string) *io.SectionReader {
	return io.NewSectionReader(strings.NewReader(content), 0, int64(len(content)))
}

// edit changes a JSON file: change gets its top object.
func edit(t testing.TB, m modelset.Map, name string, change func(doc map[string]any)) {
	t.Helper()
	var doc map[string]any
	require.NoError(t, json.Unmarshal(content(t, m, name), &doc))
	change(doc)
	b, err := json.Marshal(doc)
	require.NoError(t, err)
	m[name] = section(string(b))
}

func TestMapIsAFileSystem(t *testing.T) {
	m := modelset.Map{"a.txt": section("a"), "d/b.txt": section("bb"), "d/e/c.txt": section("")}
	require.NoError(t, fstest.TestFS(m, "a.txt", "d/b.txt", "d/e/c.txt"))
	require.NoError(t, fstest.TestFS(modelset.Map{}))
	_, err := m.Open("../a.txt")
	require.Error(t, err)
}

// unusedOf sums what is unused by group.
func unusedOf(t *testing.T, parts []modelset.UnusedPart) map[string]int64 {
	t.Helper()
	sums := map[string]int64{}
	for _, p := range parts {
		require.NotEmpty(t, p.Path)
		require.NotEmpty(t, p.Reason)
		require.Positive(t, p.Tensors)
		require.Positive(t, p.Bytes)
		sums[p.Group] += p.Bytes
	}
	return sums
}

// TestUnusedOfTheRealModel is gated by published numbers: lm_head has 544,997,376
// parameters of two bytes. The VAE's numbers follow from its widths: of 239,905,152 bytes
// in kernels of three frames two thirds, and 4 time convolutions.
func TestUnusedOfTheRealModel(t *testing.T) {
	parts, err := modelset.Unused(base(t, modelsettest.Real()))
	require.NoError(t, err)
	require.Equal(t, map[string]int64{
		"lm_head.*":                           1_089_994_752,
		"*.time_conv.*":                       4_649_088,
		"kernels of 3 frames, slices 0 and 1": 159_936_768,
	}, unusedOf(t, parts))
	require.Equal(t, "text_encoder/model-00004-of-00004.safetensors", parts[0].Path)
	require.Equal(t, 1, parts[0].Tensors)
	require.Equal(t, 8, parts[1].Tensors, "4 time convolutions with a bias each")
}

func TestUnusedWhereverTheSetLies(t *testing.T) {
	m := base(t, modelsettest.Tiny())
	want, err := modelset.Unused(m)
	require.NoError(t, err)
	require.Len(t, want, 3)

	moved := modelset.Map{"other/file.safetensors": section("not looked at")}
	dir := t.TempDir()
	for name := range m {
		moved["models/Qwen--Qwen-Image-Edit/"+name] = m[name]
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, content(t, m, name), 0o644))
	}
	got, err := modelset.Unused(moved)
	require.NoError(t, err)
	require.Equal(t, unusedOf(t, want), unusedOf(t, got))
	require.True(t, strings.HasPrefix(got[0].Path, "models/Qwen--Qwen-Image-Edit/text_encoder/"))
	got, err = modelset.Unused(os.DirFS(dir))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestUnusedKnowsWhatItKnows(t *testing.T) {
	m := base(t, modelsettest.Tiny())
	edit(t, m, "model_index.json", func(doc map[string]any) { doc["_class_name"] = "QwenImageLayeredPipeline" })
	parts, err := modelset.Unused(m)
	require.NoError(t, err)
	require.Empty(t, parts, "nothing is known about another pipeline")

	m = base(t, modelsettest.Tiny())
	edit(t, m, "model_index.json", func(doc map[string]any) { doc["vae"] = []string{"diffusers", "AutoencoderKLWan"} })
	parts, err = modelset.Unused(m)
	require.NoError(t, err)
	require.Len(t, parts, 1)

	delete(m, "model_index.json")
	parts, err = modelset.Unused(m)
	require.NoError(t, err)
	require.Empty(t, parts)

	m = base(t, modelsettest.Tiny())
	m["vae/diffusion_pytorch_model.safetensors"] = section("short")
	_, err = modelset.Unused(m)
	require.ErrorContains(t, err, "vae/diffusion_pytorch_model.safetensors")
	m["model_index.json"] = section("{")
	_, err = modelset.Unused(m)
	require.ErrorContains(t, err, "model_index.json")
}
