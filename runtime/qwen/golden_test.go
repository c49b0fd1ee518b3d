package qwen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// goldens are the vectors of testdata/golden.safetensors.
type goldens struct {
	header *safetensors.Header
	data   []byte
	cases  map[string]struct {
		Pictures int
		Prompt   string
		Negative *string
		Scale    float64
		Steps    int
	}
	sizes [][2]int
}

func readGoldens(t *testing.T) *goldens {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.safetensors")
	require.NoError(t, err)
	h, err := safetensors.Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	g := &goldens{header: h, data: data}
	require.NoError(t, json.Unmarshal([]byte(h.Metadata["cases"]), &g.cases))
	require.NoError(t, json.Unmarshal([]byte(h.Metadata["sizes"]), &g.sizes))
	return g
}

func (g *goldens) bytes(t *testing.T, name string) []byte {
	t.Helper()
	v, ok := g.header.Tensor(name)
	require.True(t, ok, name)
	return g.data[g.header.DataStart+v.Begin : g.header.DataStart+v.End]
}

func (g *goldens) floats(t *testing.T, name string) []float32 {
	t.Helper()
	raw := g.bytes(t, name)
	out := make([]float32, len(raw)/4)
	for i := range out {
		out[i] = math.Float32frombits(uint32(raw[4*i]) | uint32(raw[4*i+1])<<8 | uint32(raw[4*i+2])<<16 | uint32(raw[4*i+3])<<24)
	}
	return out
}

// picture is reference n, as golden.py computes it.
func (g *goldens) picture(n int) *picture.RGB {
	p := &picture.RGB{W: g.sizes[n][0], H: g.sizes[n][1]}
	for y := range p.H {
		for x := range p.W {
			for c := range 3 {
				p.Pix = append(p.Pix, uint8(x*7+y*13+c*29+x*y/5+n*50))
			}
		}
	}
	return p
}

// class is the pipeline of a case.
func (g *goldens) class(name string) string {
	if g.cases[name].Pictures > 1 {
		return "QwenImageEditPlusPipeline"
	}
	return editClass
}

// run edits a case with its own noise and times and holds the latents behind every step
// against the vectors, by the largest difference in units of the largest value.
func (g *goldens) run(t *testing.T, m *Model, name string, bound float64) *picture.RGB {
	t.Helper()
	c := g.cases[name]
	m.time = func(timestep float32) float32 { return timestep / 1000 }
	e := Edit{Prompt: c.Prompt, Negative: c.Negative, Steps: c.Steps, TrueCFGScale: c.Scale}
	for i := range c.Pictures {
		e.Pictures = append(e.Pictures, g.picture(i))
	}
	j := prepared(t, m, e)
	noise := g.floats(t, name+".noise")
	require.Len(t, j.noise, len(noise))
	j.noise = noise
	j.trace = func(step int, latents []float32) {
		d := distance(latents, g.floats(t, fmt.Sprintf("%s.latents.%d", name, step)))
		t.Logf("behind step %d latents are off by %.2g", step, d)
		require.LessOrEqual(t, d, bound, "step %d", step)
	}
	got, err := j.run(t.Context(), m.real, &Times{})
	require.NoError(t, err)
	require.Len(t, got.Pix, len(g.bytes(t, name+".picture")))
	return got
}

// goldenModel loads the model of the golden vectors on ref, as the pipeline class says.
func goldenModel(t *testing.T, class string, o ref.Options) *Model {
	t.Helper()
	return goldenModelOn(t, class, onRef(o))
}

// onRef are options of a model on ref.
func onRef(o ref.Options) Options {
	return Options{Open: opens(plan.Options{ActBytes: 4}, func() (compute.Backend, int64, error) { return ref.New(o), o.ArenaBytes, nil })}
}

// opens is Options.Open of a backend that is made whatever is planned for its kind.
func opens(o plan.Options, open func() (compute.Backend, int64, error)) func(func(plan.Options) (plan.Result, error)) (compute.Backend, int64, error) {
	return func(need func(plan.Options) (plan.Result, error)) (compute.Backend, int64, error) {
		if _, err := need(o); err != nil {
			return nil, 0, err
		}
		return open()
	}
}

// goldenModelOn loads it on any backend.
func goldenModelOn(t *testing.T, class string, o Options) *Model {
	t.Helper()
	m, err := tryLoad(t, writeGolden(t, class), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// writeGolden writes that model.
func writeGolden(t *testing.T, class string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files, err := modelsettest.Base(modelsettest.Golden())
	require.NoError(t, err)
	for name, f := range files {
		save(t, filepath.Join(dir, "Qwen--Qwen-Image-Edit", name), f)
	}
	index := filepath.Join(dir, "Qwen--Qwen-Image-Edit", "model_index.json")
	data, err := os.ReadFile(index)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(index, bytes.Replace(data, []byte(editClass), []byte(class), 1), 0o666))
	checkpoint, err := modelsettest.GoldenCheckpoint()
	require.NoError(t, err)
	save(t, filepath.Join(dir, "nunchaku-qwen-image-edit", plainFile), checkpoint)
	return dir
}

// plainFile is the published name of the checkpoint that the golden one stands in for.
const plainFile = "svdq-int4_r128-qwen-image-edit.safetensors"

func save(t *testing.T, name string, f modelsettest.File) {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(f.Content, 0, f.Content.Size()))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
	require.NoError(t, os.WriteFile(name, data, 0o666))
}

// tryLoad loads the model of a folder for pictures of the golden vectors' areas.
func tryLoad(t *testing.T, dir string, o Options) (*Model, error) {
	t.Helper()
	data, ok := manifests.Embedded("qwen-image-edit")
	require.True(t, ok)
	manifest, err := manifests.Parse(data)
	require.NoError(t, err)
	folder, c, err := models.Discover(dir, manifest)
	require.NoError(t, err)
	areas := *c.Serve
	areas.PixelArea, areas.ConditionArea = 96*64, 64*64
	c.Serve = &areas
	for _, k := range c.Checkpoints {
		o.Checkpoints = append(o.Checkpoints, k.Name)
	}
	return Load(t.Context(), folder, c, o)
}

// TestGolden: latents behind every step, and the picture, are those of diffusers' pipelines.
// The bound on latents is relative to the largest; the picture's levels may differ by one
// where float32 falls on the other side of a half.
func TestGolden(t *testing.T) {
	g := readGoldens(t)
	for name := range g.cases {
		t.Run(name, func(t *testing.T) {
			m := goldenModel(t, g.class(name), ref.Options{ArenaBytes: 256 << 20, Poison: true})
			got, want := g.run(t, m, name, 1e-5), g.bytes(t, name+".picture")
			different := 0
			for i := range want {
				d := int(got.Pix[i]) - int(want[i])
				require.LessOrEqual(t, max(d, -d), 1, "value %d", i)
				if d != 0 {
					different++
				}
			}
			t.Logf("%d of %d values differ by one level", different, len(want))
			require.Less(t, different, len(want)/100)
		})
	}
}

// distance is the largest difference in units of the largest value.
func distance(got, want []float32) float64 {
	var most, largest float64
	for i := range want {
		most = max(most, math.Abs(float64(got[i])-float64(want[i])))
		largest = max(largest, math.Abs(float64(want[i])))
	}
	return most / largest
}
