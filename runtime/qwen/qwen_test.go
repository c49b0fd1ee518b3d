package qwen

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/runtime/ref"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

const editClass = "QwenImageEditPipeline"

// wish is a small edit of the golden model.
func wish(seed uint64) Edit {
	return Edit{Pictures: []*picture.RGB{(&goldens{sizes: [][2]int{{40, 60}}}).picture(0)}, Prompt: "a red hat", Steps: 2, TrueCFGScale: 1, Seed: seed}
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
	j, err := m.prepare(e)
	require.NoError(t, err)
	require.Equal(t, 50, j.schedule.Steps())
	require.InDelta(t, 4.0, j.scale, 0)
	require.False(t, j.guided())
	empty := ""
	e.Negative = &empty
	j, err = m.prepare(e)
	require.NoError(t, err)
	require.True(t, j.guided())
	e.Size = picture.Size{W: 50, H: 40}
	j, err = m.prepare(e)
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
		"size":         {func(e *Edit) { e.Size = picture.Size{W: 8, H: 8} }, "a side is 16 to"},
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
			dir := t.TempDir()
			files, err := modelsettest.Base(modelsettest.Golden())
			require.NoError(t, err)
			for name, f := range files {
				save(t, filepath.Join(dir, "Qwen--Qwen-Image-Edit", name), f)
			}
			checkpoint, err := modelsettest.GoldenCheckpoint()
			require.NoError(t, err)
			save(t, filepath.Join(dir, "nunchaku-qwen-image-edit", plainFile), checkpoint)
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
		})
	}
}
