package main

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

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
	in := writePicture(t)
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
		"verify":      {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-verify=some"}, `verify is "some"`},
		"device":      {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-device=tpu"}, `device is "tpu"`},
		"hold":        {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-hold=fp4"}, `hold is "fp4"`},
		"hold on CPU": {[]string{"-image=" + in, "-prompt=x", "-out=x.png", "-device=cpu", "-hold=int8"}, `hold is "int8", and the CPU`},
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
