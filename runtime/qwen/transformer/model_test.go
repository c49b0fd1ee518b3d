package transformer

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

// golden is testdata/golden.safetensors, which testdata/golden.py writes with diffusers.
type golden struct {
	set      *weights.Set
	Versions map[string]string
	Pictures map[string][][2]int
	Cases    map[string]goldenCase
}

type goldenCase struct {
	Picture string
	Text    int
	Times   []float32
	Zero    bool
}

func readGolden(t testing.TB) (g golden) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "golden.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	info, err := file.Stat()
	require.NoError(t, err)
	g.set, err = weights.Read(section{file, info.Size()})
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(g.set.Metadata()["golden"]), &g))
	require.Equal(t, "0.42.1", g.Versions["diffusers"])
	return g
}

type section struct {
	*os.File
	size int64
}

func (s section) Size() int64 { return s.size }

// values are a golden tensor's, and its number of columns.
func (g golden) values(t testing.TB, name string) (values []float32, columns int) {
	t.Helper()
	shape := []int64{weights.Any, weights.Any}
	if name == "rotary.positions" {
		shape = shape[:1]
	}
	w := g.set.Take(name, shape...)
	require.NoError(t, g.set.Err())
	values = make([]float32, w.Len())
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(w.Data[4*i:]))
	}
	return values, int(w.Shape[len(w.Shape)-1])
}

// pictures are the shapes of a case's target and references.
func (g golden) pictures(name string) (target latents.Shape, references []latents.Shape) {
	for _, p := range g.Pictures[name] {
		references = append(references, latents.Shape{Channels: 16, Height: 2 * p[0], Width: 2 * p[1]})
	}
	return references[0], references[1:]
}

// checkpoint is the golden model's, after a change of its parameters.
func checkpoint(t testing.TB, change func(*svdqtest.Params)) *svdqtest.Checkpoint {
	t.Helper()
	file, err := modelsettest.GoldenCheckpoint()
	require.NoError(t, err)
	p := file.Content.(*svdqtest.Checkpoint).Params
	if change != nil {
		change(&p)
	}
	c, err := svdqtest.New(p)
	require.NoError(t, err)
	return c
}

// scene is a model with a backend for it.
type scene struct {
	t       testing.TB
	backend *ref.Backend
	model   *Model
}

// newScene loads the golden model.
func newScene(t testing.TB, o ref.Options, zero bool) *scene {
	t.Helper()
	set, err := weights.Read(checkpoint(t, func(p *svdqtest.Params) { p.ZeroCondT = zero }))
	require.NoError(t, err)
	b := ref.New(o)
	m, err := New(b, set)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, set.Close()) })
	return &scene{t, b, m}
}

// upload makes a tensor of a golden one.
func (s *scene) upload(g golden, kind compute.Kind, name string) compute.Tensor {
	values, columns := g.values(s.t, name)
	out := s.backend.Alloc(kind, len(values)/columns, columns)
	s.backend.Upload(out, values)
	return out
}

// inputs are what Forward reads in a golden case.
type inputs struct {
	run     *Run
	x, refs compute.Tensor
	text    Text
}

// begin begins a golden case.
func (s *scene) begin(g golden, name string, kind compute.Kind) (in inputs) {
	s.t.Helper()
	c := g.Cases[name]
	target, references := g.pictures(c.Picture)
	var err error
	in.run, err = s.model.Begin(Edit{Target: target, References: references, Times: c.Times, Debug: true})
	require.NoError(s.t, err)
	tokens := s.upload(g, kind, c.Picture+".x")
	in.x = tokens.Slice(0, target.Tokens())
	if len(references) > 0 {
		in.refs = tokens.Slice(target.Tokens(), tokens.Rows)
	}
	in.text = s.text(g, in.run, kind, c.Text)
	return in
}

// text prepares a golden text.
func (s *scene) text(g golden, r *Run, kind compute.Kind, rows int) Text {
	s.t.Helper()
	out, err := r.Text(s.upload(g, kind, map[int]string{7: "text.7", 13: "text.13"}[rows]))
	require.NoError(s.t, err)
	return out
}

// forward predicts a step.
func (s *scene) forward(in inputs, step int) []float32 {
	s.t.Helper()
	v, err := in.run.Forward(s.t.Context(), step, in.x, in.refs, in.text)
	require.NoError(s.t, err)
	return s.download(v)
}

func (s *scene) download(t compute.Tensor) []float32 {
	s.t.Helper()
	values := make([]float32, t.Len())
	require.NoError(s.t, s.backend.Download(values, t))
	return values
}

// distance is the largest difference over the largest wanted value.
func distance(t testing.TB, want, got []float32) float64 {
	t.Helper()
	require.Len(t, got, len(want))
	var most, largest float64
	for i, w := range want {
		d := math.Abs(float64(got[i]) - float64(w))
		if math.IsNaN(d) {
			return d
		}
		most, largest = max(most, d), max(largest, math.Abs(float64(w)))
	}
	return most / largest
}
