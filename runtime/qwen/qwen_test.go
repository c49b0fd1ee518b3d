package qwen

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/compute"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/plan"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

const editClass = "QwenImageEditPipeline"

// wish is a small edit of the golden model.
func wish(seed uint64) Edit {
	return Edit{Pictures: []*picture.RGB{(&goldens{sizes: [][2]int{{40, 60}}}).picture(0)}, Prompt: "a red hat", Steps: 2, TrueCFGScale: 1, Seed: seed}
}

// prepared is an edit's job with pictures and noise.
func prepared(t testing.TB, m *Model, e Edit) *job {
	t.Helper()
	j, err := m.outline(e)
	require.NoError(t, err)
	require.NoError(t, m.fill(j, e))
	return j
}

// TestSeed: the same wish is the same picture, whoever else edits at the time, and another
// seed is another.
func TestSeed(t *testing.T) {
	m := goldenModel(t, editClass, ref.Options{ArenaBytes: 256 << 20})
	var edits sync.WaitGroup
	got := make([]*Edited, 3)
	for i := range got {
		edits.Go(func() {
			var err error
			got[i], err = m.Edit(t.Context(), wish(uint64(i/2)))
			require.NoError(t, err)
		})
	}
	edits.Wait()
	require.Equal(t, got[0].Picture, got[1].Picture)
	require.NotEqual(t, got[0].Picture, got[2].Picture)
	require.Equal(t, "plain", got[0].Checkpoint)
	require.Equal(t, 2, got[0].Steps)
	require.False(t, got[0].Guided)
	require.Positive(t, got[0].Times.Sample)
}

// TestDefaults: steps and guidance come from the checkpoint, and guidance takes a negative
// prompt, empty or not.
func TestDefaults(t *testing.T) {
	m := goldenModel(t, editClass, ref.Options{ArenaBytes: 256 << 20})
	e := wish(1)
	e.Steps, e.TrueCFGScale = 0, 0
	j, err := m.outline(e)
	require.NoError(t, err)
	require.Equal(t, 50, j.schedule.Steps())
	require.InDelta(t, 4.0, j.scale, 0)
	require.False(t, j.guided())
	empty := ""
	e.Negative = &empty
	j, err = m.outline(e)
	require.NoError(t, err)
	require.True(t, j.guided())
	e.TrueCFGScale = 1
	j, err = m.outline(e)
	require.NoError(t, err)
	require.False(t, j.guided())
	e.Size = picture.Size{W: 50, H: 40}
	j, err = m.outline(e)
	require.NoError(t, err)
	require.Equal(t, picture.Size{W: 48, H: 32}, j.plan.Output)
}

// TestRefusals: what is wrong with a wish is said before anything is computed.
func TestRefusals(t *testing.T) {
	m := goldenModel(t, editClass, ref.Options{ArenaBytes: 256 << 20})
	for name, c := range map[string]struct {
		change func(e *Edit)
		text   string
	}{
		"checkpoint":   {func(e *Edit) { e.Checkpoint = "lightning" }, `"lightning" is not loaded`},
		"no picture":   {func(e *Edit) { e.Pictures = nil }, "0 pictures are given; Qwen-Image-Edit"},
		"two pictures": {func(e *Edit) { e.Pictures = append(e.Pictures, e.Pictures[0]) }, "2 pictures are given"},
		"prompt":       {func(e *Edit) { e.Prompt = strings.Repeat("x ", 1025) }, "tokens, at most 1024"},
		"not text":     {func(e *Edit) { e.Prompt = "\xff" }, "UTF-8"},
		"steps":        {func(e *Edit) { e.Steps = 1001 }, "1001"},
		"scale":        {func(e *Edit) { e.TrueCFGScale = -1 }, "true_cfg_scale is -1"},
		"no scale":     {func(e *Edit) { e.TrueCFGScale = math.NaN() }, "true_cfg_scale is NaN"},
		"endless":      {func(e *Edit) { e.TrueCFGScale = 1e39 }, "true_cfg_scale is 1e+39"},
		"one step":     {func(e *Edit) { e.Steps = 1 }, "schedule of 1 step"},
		"area":         {func(e *Edit) { e.Size = picture.Size{W: 6160, H: 17} }, "6160×16 has 98560 pixels, at most 98304"},
		"size":         {func(e *Edit) { e.Size = picture.Size{W: 8, H: 8} }, "a side is 16 to"},
		"no pixels":    {func(e *Edit) { e.Pictures = []*picture.RGB{{W: 61, H: 67}} }, "preparing picture 1: resizing picture: 61×67 pixels have 12261 samples, it has 0"},
		"no sides":     {func(e *Edit) { e.Pictures = []*picture.RGB{{}} }, "preparing picture 1: resizing picture: 0×0 pixels are no picture"},
	} {
		t.Run(name, func(t *testing.T) {
			e := wish(1)
			c.change(&e)
			_, err := m.Edit(t.Context(), e)
			require.ErrorContains(t, err, c.text)
			require.Equal(t, fault.Usage, fault.KindOf(err))
			_, planErr := m.Plan(t.Context(), e)
			require.EqualError(t, planErr, err.Error())
		})
	}
}

// TestManyPictures: a model that takes several pictures takes as many as it has positions for,
// and refuses more before it looks at one.
func TestManyPictures(t *testing.T) {
	m := goldenModel(t, "QwenImageEditPlusPipeline", ref.Options{ArenaBytes: 1 << 20})
	e := wish(1)
	black := &picture.RGB{W: 61, H: 67, Pix: make([]uint8, 3*61*67)}
	e.Pictures = slices.Repeat([]*picture.RGB{black}, 2000)
	_, err := m.outline(e)
	require.ErrorContains(t, err, "with 2000 pictures it has")
	require.ErrorContains(t, err, "tokens, the model has positions for 4093")
	require.Equal(t, fault.Usage, fault.KindOf(err))
	require.Equal(t, "use fewer pictures or a shorter prompt", fault.HintOf(err))

	kept := func(n int) (int, error) {
		j := &job{}
		e.Pictures = slices.Repeat([]*picture.RGB{black}, n)
		require.NoError(t, m.planPictures(j, e))
		if err := m.preparePrompts(j, []string{""}); err != nil {
			return 0, err
		}
		return len(j.prompts[0].IDs) - m.template.Drop(), nil
	}
	most := 1
	for _, err := kept(most + 1); err == nil; _, err = kept(most + 1) {
		most++
	}
	last, err := kept(most)
	require.NoError(t, err)
	before, err := kept(most - 1)
	require.NoError(t, err)
	require.LessOrEqual(t, last, 4093)
	require.Greater(t, last+last-before, 4093, "one more fits")
}

// TestNotFinite: a prediction that is not finite ends its edit, and no other.
func TestNotFinite(t *testing.T) {
	m := goldenModel(t, editClass, ref.Options{ArenaBytes: 256 << 20})
	e, b := wish(1), m.real.backend
	e.Progress = func(int, int) {
		defer b.Reset(b.Mark())
		x := b.Alloc(compute.F32, 1, 1)
		b.Upload(x, []float32{float32(math.NaN())})
		b.Finite(x, "what the test broke")
	}
	_, err := m.Edit(t.Context(), e)
	require.ErrorContains(t, err, "checking what the test broke")
	require.NotErrorIs(t, err, ErrUnusable)
	_, err = m.Edit(t.Context(), wish(1))
	require.NoError(t, err)
}

// lost is a backend whose machine breaks at the first check.
type lost struct {
	compute.Backend
	broken *error
}

func (l lost) Finite(compute.Tensor, string) { *l.broken = errors.New("the device is lost") }

func (l lost) Sync() error { return errors.Join(l.Backend.Sync(), *l.broken) }

func (l lost) Download(values []float32, src compute.Tensor) error {
	return errors.Join(l.Backend.Download(values, src), *l.broken)
}

func (l lost) Renew() error { return *l.broken }

// broken is a backend with a defect.
type broken struct{ compute.Backend }

func (broken) Mark() compute.Mark { panic("shapes do not fit") }

// TestDefect: a panic beside an edit ends the edit that it belongs to, says where it comes from,
// and leaves the model able to edit.
func TestDefect(t *testing.T) {
	m := goldenModel(t, editClass, ref.Options{ArenaBytes: 256 << 20})
	right := m.planned.backend
	m.planned.backend = broken{right}
	func() {
		defer func() {
			err, ok := recover().(error)
			require.True(t, ok, "it does not panic")
			require.ErrorContains(t, err, "shapes do not fit")
			require.ErrorContains(t, err, "broken.Mark", "the stack is that of the defect")
		}()
		_, _ = m.Edit(t.Context(), wish(1))
	}()
	m.planned.backend = right
	_, err := m.Edit(t.Context(), wish(1))
	require.NoError(t, err)
}

// TestBroken: an error of the machine is said to stay.
func TestBroken(t *testing.T) {
	o, broken := ref.Options{ArenaBytes: 256 << 20}, error(nil)
	m := goldenModelOn(t, editClass, Options{Open: opens(plan.Options{ActBytes: 4}, func() (compute.Backend, int64, error) {
		return lost{ref.New(o), &broken}, o.ArenaBytes, nil
	})})
	for range 2 {
		_, err := m.Edit(t.Context(), wish(1))
		require.ErrorIs(t, err, ErrUnusable)
		require.ErrorContains(t, err, "the device is lost")
	}
}

// TestOverflow: predictions that are finite and lead to latents that are not make no picture.
func TestOverflow(t *testing.T) {
	m := goldenModel(t, editClass, ref.Options{ArenaBytes: 256 << 20})
	e, negative := wish(1), "a blue hat"
	e.TrueCFGScale, e.Negative = 2, &negative
	j := prepared(t, m, e)
	j.scale = math.Inf(1)
	_, err := j.run(t.Context(), m.real, &Times{})
	require.ErrorContains(t, err, "checking the latents behind step 1")
	require.ErrorContains(t, m.Close(), "checking the latents behind step 1")
}

// TestReferencesShareTheArena: encoding a further picture takes no more memory than its tokens of
// text.
func TestReferencesShareTheArena(t *testing.T) {
	m := goldenModel(t, "QwenImageEditPlusPipeline", ref.Options{ArenaBytes: 1 << 20})
	encoding := func(n int) plan.StageResult {
		e := wish(1)
		e.Pictures = slices.Repeat(e.Pictures, n)
		r, err := m.Plan(t.Context(), e)
		require.NoError(t, err)
		require.Equal(t, "encoding the picture", r.Stages[1].Name)
		return r.Stages[1]
	}
	one, three := encoding(1), encoding(3)
	require.Equal(t, 3*one.FLOPs, three.FLOPs)
	require.Less(t, three.ArenaPeak-one.ArenaPeak, one.UploadBytes, "a picture stays in the arena")
}

// inMemory is how many files below a folder are mapped, and how many are open.
func inMemory(t *testing.T, dir string) (mapped, open int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip("the system does not say what is mapped")
	}
	handles, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, h := range handles {
		if name, err := os.Readlink(filepath.Join("/proc/self/fd", h.Name())); err == nil && strings.HasPrefix(name, dir) {
			open++
		}
	}
	return strings.Count(string(maps), dir+"/"), open
}

// TestMappings: weights are mapped while a model is loaded, their files closed at once.
func TestMappings(t *testing.T) {
	dir := writeGolden(t, editClass)
	m, err := tryLoad(t, dir, onRef(ref.Options{ArenaBytes: 1 << 20}))
	require.NoError(t, err)
	mapped, open := inMemory(t, dir)
	require.Equal(t, 6, mapped)
	require.Zero(t, open)
	require.NoError(t, m.Close())
	mapped, _ = inMemory(t, dir)
	require.Zero(t, mapped)
}

// TestClose: it waits for the edit that runs and ends those that wait and come.
func TestClose(t *testing.T) {
	m := goldenModel(t, editClass, ref.Options{ArenaBytes: 256 << 20})
	running, closed := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	e := wish(1)
	e.Progress = func(step, _ int) {
		if step == 0 {
			close(running)
			<-ctx.Done()
		}
	}
	done := make(chan error, 1)
	go func() { _, err := m.Edit(ctx, e); done <- err }()
	<-running
	go func() { closed <- m.Close() }()
	select {
	case <-closed:
		require.Fail(t, "the model is closed under a running edit")
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.NoError(t, <-closed)
	_, err := m.Edit(t.Context(), wish(1))
	require.ErrorContains(t, err, "the model is closed")
	_, err = m.Plan(t.Context(), wish(1))
	require.ErrorContains(t, err, "the model is closed")
	require.NoError(t, m.Close())
}

// TestMemory: an edit takes exactly the arena that was planned for it; with a byte less it
// is refused, and the model goes on serving smaller ones.
func TestMemory(t *testing.T) {
	m := goldenModel(t, editClass, ref.Options{ArenaBytes: 256 << 20})
	r, err := m.Plan(t.Context(), wish(1))
	require.NoError(t, err)
	require.Positive(t, r.WeightBytes)
	require.Positive(t, r.Total.FLOPs)

	m = goldenModel(t, editClass, ref.Options{ArenaBytes: r.Total.ArenaPeak})
	done, err := m.Edit(t.Context(), wish(1))
	require.NoError(t, err)
	require.Equal(t, r.Total.ArenaPeak, done.ArenaBytes)

	m = goldenModel(t, editClass, ref.Options{ArenaBytes: r.Total.ArenaPeak - 256})
	_, err = m.Edit(t.Context(), wish(1))
	require.ErrorIs(t, err, ErrMemory)
	require.Equal(t, fault.Resource, fault.KindOf(err))
	small := wish(1)
	small.Size = picture.Size{W: 16, H: 16}
	_, err = m.Edit(t.Context(), small)
	require.NoError(t, err)
}

// TestCancel: an edit whose context ends stops between two steps or inside of one, and leaves
// the model able to edit.
func TestCancel(t *testing.T) {
	m := goldenModel(t, editClass, ref.Options{ArenaBytes: 256 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	e := wish(1)
	e.Progress = func(step, steps int) {
		if step == 1 {
			cancel()
		}
	}
	_, err := m.Edit(ctx, e)
	require.ErrorIs(t, err, context.Canceled)
	_, err = m.Edit(ctx, wish(1))
	require.ErrorIs(t, err, context.Canceled)
	_, err = m.Edit(t.Context(), wish(1))
	require.NoError(t, err)
}

// stopping ends a context when the third linear is loaded.
type stopping struct {
	compute.Backend
	stop  func()
	loads *int
}

func (s stopping) LoadLinear(l compute.LinearSpec) (compute.Linear, error) {
	if *s.loads++; *s.loads == 3 {
		s.stop()
	}
	return s.Backend.LoadLinear(l)
}

// TestLoadStops: loading ends within a layer of its context.
func TestLoadStops(t *testing.T) {
	m := goldenModel(t, editClass, ref.Options{ArenaBytes: 1 << 20})
	s := sources{textConfig: textConfig(t), text: m.sets[0]}
	ctx, cancel := context.WithCancel(t.Context())
	loads := 0
	_, err := s.load(ctx, stopping{m.backend, cancel, &loads})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 3, loads)
}

// textConfig is the text encoder's configuration of the golden model.
func textConfig(t *testing.T) []byte {
	t.Helper()
	files, err := modelsettest.Base(modelsettest.Golden())
	require.NoError(t, err)
	c := files["text_encoder/config.json"].Content
	data, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	require.NoError(t, err)
	return data
}

// TestLoadNeedsAreas: a model.json that says nothing of pictures serves none.
func TestLoadNeedsAreas(t *testing.T) {
	data, ok := manifests.Embedded("qwen-image-edit")
	require.True(t, ok)
	manifest, err := manifests.Parse(data)
	require.NoError(t, err)
	folder, c, err := models.Discover(writeGolden(t, editClass), manifest)
	require.NoError(t, err)
	for want, serve := range map[string]*manifests.Serve{
		"it has no checkpoint to serve":       nil,
		"pixelArea is 0 and conditionArea 1,": {ConditionArea: 1},
		"pixelArea is 1 and conditionArea 0,": {PixelArea: 1},
	} {
		c.Serve = serve
		o := onRef(ref.Options{ArenaBytes: 1 << 10})
		o.Checkpoints = []string{"plain"}
		_, err = Load(t.Context(), folder, c, o)
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}

// TestLoadErrors: files that are no model of this pipeline are named.
func TestLoadErrors(t *testing.T) {
	for name, c := range map[string]struct {
		file, content string // the base repository's file, "" removes it
		text          string
	}{
		"another pipeline": {"model_index.json", `{"_class_name":"FluxPipeline"}`, `the pipeline is "FluxPipeline"`},
		"no tokenizer":     {"processor/tokenizer.json", "", "processor/tokenizer.json"},
		"broken tokenizer": {"processor/tokenizer.json", "{", "reading processor/tokenizer.json"},
		"another VAE":      {"vae/config.json", `{"_class_name":"AutoencoderKL"}`, "vae/config.json"},
		"no schedule":      {"scheduler/scheduler_config.json", "{}", "scheduler_config.json"},
		"shard missing":    {"text_encoder/model-00002-of-00004.safetensors", "", "is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeGolden(t, editClass)
			path := filepath.Join(dir, "Qwen--Qwen-Image-Edit", c.file)
			require.NoError(t, os.Remove(path))
			if c.content != "" {
				require.NoError(t, os.WriteFile(path, []byte(c.content), 0o666))
			}
			m, err := tryLoad(t, dir, onRef(ref.Options{ArenaBytes: 1 << 20}))
			require.Nil(t, m)
			require.ErrorContains(t, err, c.text)
			require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
			require.False(t, errors.Is(err, os.ErrClosed))
			mapped, open := inMemory(t, dir)
			require.Zero(t, mapped+open)
		})
	}
}
