package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/qwen/picture"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// The published names of the demo's two checkpoints.
const (
	plainFile     = "svdq-int4_r128-qwen-image-edit.safetensors"
	lightningFile = "svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors"
)

// writeSet writes a small model of the demo's architecture as the predecessor had the real
// one.
func writeSet(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	base, err := modelsettest.Base(modelsettest.Tiny())
	require.NoError(t, err)
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(t, err)
	put := func(name string, f modelsettest.File) {
		data, err := io.ReadAll(io.NewSectionReader(f.Content, 0, f.Content.Size()))
		require.NoError(t, err)
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, data, 0o666))
	}
	for name, f := range base {
		put("Qwen--Qwen-Image-Edit/"+name, f)
	}
	for _, name := range []string{plainFile, lightningFile} {
		put("nunchaku-qwen-image-edit/"+name, checkpoints[name])
	}
	return dir
}

// writePicture writes a small picture.
func writePicture(t *testing.T) string {
	t.Helper()
	p := image.NewRGBA(image.Rect(0, 0, 50, 40))
	for y := range 40 {
		for x := range 50 {
			p.Set(x, y, color.RGBA{uint8(5 * x), uint8(6 * y), uint8(x * y), 255})
		}
	}
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, p))
	name := filepath.Join(t.TempDir(), "in.png")
	require.NoError(t, os.WriteFile(name, b.Bytes(), 0o666))
	return name
}

// call runs a command line in an environment that remembers sums in a folder of the test's.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	state := t.TempDir()
	env := func(name string) (string, bool) {
		if name == envState {
			return state, true
		}
		return "", false
	}
	var out, errs bytes.Buffer
	code = run(t.Context(), args, env, &out, &errs)
	return code, out.String(), errs.String()
}

// TestEdit: a picture comes out, the same for the same seed, and the result says what made it.
func TestEdit(t *testing.T) {
	models, in := writeSet(t), writePicture(t)
	edit := func(out string, more ...string) (editResult, string) {
		args := append([]string{"edit", "-device=cpu", "-models=" + models, "-model=demo", "-image=" + in, "-prompt=a red hat", "-out=" + out, "-json"}, more...)
		code, stdout, stderr := call(t, args...)
		require.Equal(t, 0, code, stderr)
		var r editResult
		require.NoError(t, json.Unmarshal([]byte(stdout), &r))
		return r, stderr
	}
	dir := t.TempDir()
	one, stderr := edit(filepath.Join(dir, "one.png"), "-seed=5")
	require.Contains(t, stderr, "step 8 of 8")
	require.Equal(t, editResult{
		SchemaVersion: 1, Out: filepath.Join(dir, "one.png"), Width: one.Width, Height: one.Height, Checkpoint: "lightning", Steps: 8,
		TrueCFGScale: 1, Seed: 5, Seconds: one.Seconds, ArenaBytes: one.ArenaBytes, Warnings: []string{},
	}, one)
	again, _ := edit(filepath.Join(dir, "two.png"), "-seed=5", "-verify=full")
	require.Equal(t, one.Seed, again.Seed)
	a, err := os.ReadFile(one.Out)
	require.NoError(t, err)
	b, err := os.ReadFile(again.Out)
	require.NoError(t, err)
	require.Equal(t, a, b)
	p, err := picture.Decode(a, editLimits)
	require.NoError(t, err)
	require.Equal(t, picture.Size{W: one.Width, H: one.Height}, p.Size())

	guided, stderr := edit(filepath.Join(dir, "three.jpg"), "-checkpoint=plain", "-steps=2", "-size=48x32")
	require.True(t, guided.Guided)
	require.Equal(t, picture.Size{W: 48, H: 32}, picture.Size{W: guided.Width, H: guided.Height})
	require.NotContains(t, stderr, "warning")
	spoiled, _ := edit(filepath.Join(dir, "four.png"), "-steps=2", "-cfg=4")
	require.Len(t, spoiled.Warnings, 2)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 4, "nothing unfinished stays behind")
}

// TestEditRefuses: what is wrong with a command line is said before the model is loaded.
func TestEditRefuses(t *testing.T) {
	in, folder := writePicture(t), filepath.Join(t.TempDir(), "out.png")
	require.NoError(t, os.Mkdir(folder, 0o777))
	for name, c := range map[string]struct {
		args []string
		text string
	}{
		"no prompt":   {[]string{"-image=" + in, "-out=x.png"}, "-prompt is not given"},
		"no picture":  {[]string{"-prompt=x", "-out=x.png"}, "-image is not given"},
		"no result":   {[]string{"-image=" + in, "-prompt=x"}, "-out is not given"},
		"format":      {[]string{"-image=" + in, "-prompt=x", "-out=x.gif"}, ".png, .jpg and .jpeg"},
		"seed":        {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-seed=-1"}, `seed is "-1"`},
		"size":        {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-size=64"}, `size is "64"`},
		"not there":   {[]string{"-image=nowhere.png", "-prompt=x", "-out=x.png"}, "nowhere.png"},
		"no model":    {[]string{"-image=" + in, "-prompt=x", "-out=x.png"}, "loading model.json"},
		"steps":       {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-steps=-1"}, "steps is -1, want 1 to 1000"},
		"scale":       {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-cfg=NaN"}, "cfg is NaN"},
		"no folder":   {[]string{"-image=" + in, "-prompt=x", "-out=nowhere/x.png"}, `out is "nowhere/x.png", and nowhere is no folder`},
		"a folder":    {[]string{"-image=" + in, "-prompt=x", "-out=" + folder}, "which is a folder"},
		"no cache":    {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-models=" + t.TempDir()}, "for Qwen/Qwen-Image-Edit"},
		"verify":      {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-verify=some"}, `verify is "some"`},
		"device":      {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-device=tpu"}, `device is "tpu"`},
		"no such set": {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-models=" + t.TempDir(), "-model=flux"}, `"flux" is not known`},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := call(t, append([]string{"edit"}, c.args...)...)
			require.Equal(t, 2, code)
			require.Empty(t, stdout)
			require.Contains(t, stderr, c.text)
		})
	}
}

// TestEditOneCheckpoint: the one that is asked for is looked for before the model is read, and
// an empty prompt is one.
func TestEditOneCheckpoint(t *testing.T) {
	models, in, out := writeSet(t), writePicture(t), filepath.Join(t.TempDir(), "out.png")
	args := []string{"edit", "-device=cpu", "-models=" + models, "-model=demo", "-image=" + in, "-prompt=", "-out=" + out, "-steps=2", "-cfg=3"}
	code, _, stderr := call(t, append(args, "-checkpoint=fast")...)
	require.Equal(t, 2, code)
	require.Equal(t, "plimsoll-runtime: reading the flags: checkpoint is \"fast\", which is not aboard\nhint: aboard are [\"lightning\" \"plain\"]\n", stderr)

	code, _, stderr = call(t, append(args, "-checkpoint=lightning")...)
	require.Equal(t, 0, code, stderr)
	warned := strings.Index(stderr, "warning: checkpoint lightning was distilled without guidance")
	require.Positive(t, warned)
	require.Less(t, warned, strings.Index(stderr, "step 0 of 2"), "a warning comes before the work")

	// A checkpoint that is not asked for need not be right.
	name := filepath.Join(models, "nunchaku-qwen-image-edit", plainFile)
	require.NoError(t, os.Remove(name))
	code, _, stderr = call(t, append(args, "-checkpoint=plain")...)
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "hint: aboard are [\"lightning\"]\n")
}

// TestEditWithImage: a model.json is gone by, in a cache too; one without a priority list has
// nothing to edit with.
func TestEditWithImage(t *testing.T) {
	dir, in := writeSet(t), writePicture(t)
	data, ok := manifests.Embedded("demo")
	require.True(t, ok)
	m, err := manifests.Parse(data)
	require.NoError(t, err)
	_, c, err := models.Discover(dir, m)
	require.NoError(t, err)
	for i := range c.Sources {
		c.Sources[i].Commit = strings.Repeat(string(rune('a'+i)), 40)
		snapshots := filepath.Join(dir, "models--"+strings.ReplaceAll(c.Sources[i].Repo, "/", "--"), "snapshots")
		require.NoError(t, os.MkdirAll(snapshots, 0o777))
		require.NoError(t, os.Rename(filepath.Join(dir, c.Sources[i].Path), filepath.Join(snapshots, c.Sources[i].Commit)))
	}
	for i, f := range c.Files {
		source := c.Sources[slices.IndexFunc(c.Sources, func(s manifests.ModelSource) bool { return s.Name == f.Source })]
		path := filepath.Join(dir, "models--"+strings.ReplaceAll(source.Repo, "/", "--"), "snapshots", source.Commit, strings.TrimPrefix(f.Path, source.Path))
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		sum := sha256.Sum256(data)
		c.Files[i].SHA256 = hex.EncodeToString(sum[:])
	}
	c.ModelsDir = "/app/models"
	config := filepath.Join(t.TempDir(), "model.json")
	writeConfig(t, c, config)
	state := t.TempDir()
	args := []string{"edit", "-device=cpu", "-config=" + config, "-models=" + dir, "-image=" + in, "-prompt=x", "-out=" + filepath.Join(dir, "out.png"), "-steps=2", "-state=" + state, "-verify=full"}
	code, _, stderr := call(t, args...)
	require.Equal(t, 0, code, stderr)
	require.NotContains(t, stderr, "no-sum")
	sums, err := os.ReadFile(filepath.Join(state, "verified.jsonl"))
	require.NoError(t, err)
	require.Contains(t, string(sums), c.Files[0].SHA256)

	// One bit of a weight: full sees it, structure does not.
	vae := filepath.Join(dir, "models--Qwen--Qwen-Image-Edit", "snapshots", c.Sources[0].Commit, "vae", "diffusion_pytorch_model.safetensors")
	data, err = os.ReadFile(vae)
	require.NoError(t, err)
	data[len(data)-2] ^= 1
	require.NoError(t, os.WriteFile(vae, data, 0o666))
	code, _, stderr = call(t, args...)
	require.Equal(t, 5, code)
	require.Contains(t, stderr, "code=sha256 object=Qwen--Qwen-Image-Edit/vae/diffusion_pytorch_model.safetensors")
	code, _, stderr = call(t, append(args, "-verify=structure")...)
	require.Equal(t, 0, code, stderr)

	c.Serve = nil
	writeConfig(t, c, config)
	code, _, stderr = call(t, args...)
	require.Equal(t, 5, code)
	require.Contains(t, stderr, "has no priority list")
}

// TestStepsOnTerminal: a bar is drawn over itself; what comes after one that did not end has a
// line of its own.
func TestStepsOnTerminal(t *testing.T) {
	var out strings.Builder
	s := steps{w: &out, tty: true}
	s.show(0, 2)
	s.show(1, 2)
	s.end()
	s.end()
	require.Equal(t, 2, strings.Count(out.String(), "\r"))
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
	require.True(t, strings.HasSuffix(out.String(), "\x1b[K\n"))
	out.Reset()
	s.show(2, 2)
	s.end()
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
	out.Reset()
	s = steps{w: &out}
	s.show(1, 2)
	s.end()
	require.Regexp(t, "^editing .* step 1 of 2, .*\n$", out.String())
}
