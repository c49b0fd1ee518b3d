package qwen

import (
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/latents"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/schedule"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// published is the published model without the bytes of its weights: it prepares and, once
// it was told for whose memory, plans; it cannot edit.
func published(t testing.TB) (m *Model, planFor func(plan.Options)) {
	t.Helper()
	base, err := modelsettest.Base(modelsettest.Real())
	require.NoError(t, err)
	read := func(name string) []byte {
		c := base[name].Content
		data, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
		require.NoError(t, err)
		return data
	}
	describe := func(files ...modelsettest.File) *weights.Set {
		var headers []*safetensors.Header
		for _, f := range files {
			h, err := safetensors.Read(f.Content, f.Content.Size())
			require.NoError(t, err)
			headers = append(headers, h)
		}
		set, err := weights.Describe(headers...)
		require.NoError(t, err)
		return set
	}
	component := func(folder string) *weights.Set {
		var files []modelsettest.File
		for _, name := range slices.Sorted(maps.Keys(base)) {
			if strings.HasPrefix(name, folder+"/") && strings.HasSuffix(name, ".safetensors") {
				files = append(files, base[name])
			}
		}
		return describe(files...)
	}
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Real())
	require.NoError(t, err)
	s := sources{
		textConfig: read("text_encoder/config.json"), vaeConfig: read("vae/config.json"),
		text: component("text_encoder"), vae: component("vae"),
		checkpoints: []checkpoint{{"plain", describe(checkpoints[plainFile])}},
	}
	data, ok := manifests.Embedded("qwen-image-edit")
	require.True(t, ok)
	manifest, err := manifests.Parse(data)
	require.NoError(t, err)
	m = &Model{title: manifest.Title, areas: *manifest.Serve, options: Options{}, turn: make(chan struct{}, 1), time: modelTime}
	require.NoError(t, m.parseIndex(read(index)))
	require.NoError(t, m.parseTokenizer(read("processor/tokenizer.json")))
	m.processor, err = picture.ParseProcessor(read("processor/preprocessor_config.json"))
	require.NoError(t, err)
	m.scale, err = latents.ParseVAE(s.vaeConfig)
	require.NoError(t, err)
	scheduler, err := schedule.Parse(read(modelset.SchedulerConfig))
	require.NoError(t, err)
	plain, ok := manifest.Checkpoint("plain")
	require.True(t, ok)
	b, err := schedule.Bind(manifests.ModelCheckpoint{Checkpoint: plain}, scheduler)
	require.NoError(t, err)
	m.bindings = []schedule.Binding{b}
	return m, func(o plan.Options) {
		m.counter = plan.New(o)
		m.planned, err = s.load(t.Context(), m.counter)
		require.NoError(t, err)
	}
}

// BenchmarkPlan plans an edit of the published model at its own area: 50 steps with guidance.
func BenchmarkPlan(b *testing.B) {
	m, planFor := published(b)
	planFor(plan.Options{})
	j := prepared(b, m, m.Sample())
	for b.Loop() {
		_, err := m.count(b.Context(), j)
		require.NoError(b, err)
	}
}

// BenchmarkPrepare is the host's part of such an edit.
func BenchmarkPrepare(b *testing.B) {
	m, _ := published(b)
	for b.Loop() {
		prepared(b, m, m.Sample())
	}
}

// TestPlanSteps: every step is in the plan, and each takes the same.
func TestPlanSteps(t *testing.T) {
	m := goldenModel(t, editClass, ref.Options{ArenaBytes: 1 << 20})
	sample := func(steps int) plan.StageResult {
		e := wish(1)
		e.Steps = steps
		r, err := m.Plan(t.Context(), e)
		require.NoError(t, err)
		require.Equal(t, "sampling", r.Stages[2].Name)
		return r.Stages[2]
	}
	two, three, ten := sample(2), sample(3), sample(10)
	require.Equal(t, two.Launches+8*(three.Launches-two.Launches), ten.Launches)
	require.Equal(t, two.FLOPs+8*(three.FLOPs-two.FLOPs), ten.FLOPs)
	require.Greater(t, three.FLOPs, two.FLOPs*5/4)
	require.Equal(t, two.DownloadBytes, ten.DownloadBytes)
}
