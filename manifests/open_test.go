package manifests_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

func TestOpen(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "manifests"), 0o755))
	for _, name := range []string{"one", "two"} {
		text := edited(t, "testdata/tiny.yaml", "name: tiny", "name: "+name)
		require.NoError(t, os.WriteFile(filepath.Join(root, "manifests", name+".yaml"), text, 0o644))
	}
	elsewhere := filepath.Join(root, "elsewhere.yaml")
	require.NoError(t, os.WriteFile(elsewhere, edited(t, "testdata/tiny.yaml", "name: tiny", "name: three"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(root, "manifests", "one.lock"), nil, 0o644))

	names, err := manifests.Names(root)
	require.NoError(t, err)
	require.Equal(t, []string{"one", "two"}, names)

	for model, want := range map[string]string{
		"one":     filepath.Join(root, "manifests", "one.yaml"),
		elsewhere: elsewhere,
	} {
		m, path, err := manifests.Open(root, model)
		require.NoError(t, err)
		require.Equal(t, want, path)
		require.NotEmpty(t, m.Name)
	}

	t.Chdir(root)
	m, path, err := manifests.Open(root, "elsewhere.yaml")
	require.NoError(t, err, "a name with the extension is a path too")
	require.Equal(t, []string{"three", "elsewhere.yaml"}, []string{m.Name, path})
}

func TestOpenRefuses(t *testing.T) {
	root := t.TempDir()
	_, _, err := manifests.Open(root, "one")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, fault.Usage, fault.KindOf(err))
	require.Equal(t, "run from the root of plimsoll's source", fault.HintOf(err))

	_, _, err = manifests.Open("..", "qwen")
	require.EqualError(t, err, `opening manifest: there is no model "qwen"`)
	require.Equal(t, fault.Usage, fault.KindOf(err))
	require.Equal(t, "known models: demo, qwen-image-edit; or pass the path of a manifest", fault.HintOf(err))

	for _, model := range []string{"", ".", "..", "demo.lock"} {
		_, _, err = manifests.Open("..", model)
		require.ErrorContains(t, err, "there is no model", model)
	}
	_, _, err = manifests.Open("..", "./demo")
	require.ErrorIs(t, err, fs.ErrNotExist, "a path is taken as it is")
	require.Equal(t, fault.Usage, fault.KindOf(err))
}

func TestEmbedded(t *testing.T) {
	names, err := manifests.Names("..")
	require.NoError(t, err)
	require.Equal(t, names, manifests.EmbeddedNames(), "every manifest of the folder is compiled in")
	for _, name := range names {
		data, ok := manifests.Embedded(name)
		require.True(t, ok)
		m, err := manifests.Parse(data)
		require.NoError(t, err)
		require.Equal(t, name, m.Name, "a manifest is named like its file")
		want, err := os.ReadFile(name + ".yaml")
		require.NoError(t, err)
		require.Equal(t, string(want), string(data))
		data[0] = 'X'
		again, _ := manifests.Embedded(name)
		require.Equal(t, string(want), string(again))
	}
	for _, name := range []string{"", "gone", "../demo", "demo.yaml"} {
		_, ok := manifests.Embedded(name)
		require.False(t, ok, name)
	}
}

// The demo is the real model's manifest at another size: whatever decides about files is
// the same.
func TestDemoHasTheShapeOfTheRealModel(t *testing.T) {
	demo, real := load(t, "demo.yaml"), load(t, "qwen-image-edit.yaml")
	for i := range real.Sources {
		s, r := &demo.Sources[i], &real.Sources[i]
		require.Equal(t, "main", s.Revision)
		s.Revision, r.Hints = r.Revision, nil
		for j := range r.Rules {
			// Reasons may speak of the real model's sizes.
			require.NotRegexp(t, `[0-9] ?GB`, s.Rules[j].Reason)
			s.Rules[j].Reason = r.Rules[j].Reason
		}
	}
	demo.Name, demo.Title, demo.PartSize = real.Name, real.Title, real.PartSize
	demo.Serve.PixelArea, demo.Serve.ConditionArea = real.Serve.PixelArea, real.Serve.ConditionArea
	require.Less(t, *demo.Budget.Image, *real.Budget.Image)
	require.Equal(t, real.Budget.Outside, demo.Budget.Outside)
	demo.Budget = real.Budget
	require.Equal(t, real, demo)
}

// The demo's checkpoints have 11 MB, and must show what parts are.
func TestDemoCutsCheckpoints(t *testing.T) {
	m := load(t, "demo.yaml")
	for _, area := range []int{m.Serve.PixelArea, m.Serve.ConditionArea} {
		require.Equal(t, 64*64, area, "sides of pictures are multiples of 32")
	}
	s, ok := m.Source("checkpoints")
	require.True(t, ok)
	parts, err := pack.Parts(s.ImagePath(m.Checkpoints[0].File), 11_032_976, int64(m.PartSize))
	require.NoError(t, err)
	require.Len(t, parts, 2)
	require.Equal(t, int64(7<<20), parts[0].Length)
}
