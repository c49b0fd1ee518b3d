package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/models/modelstest"
)

// readSettings runs config and returns the settings that it shows.
func readSettings(t *testing.T, env map[string]string, args ...string) settings {
	t.Helper()
	got := runProgram(t, env, append([]string{"config", "-json"}, args...)...)
	require.Zero(t, got.code, got.stderr)
	var c configuration
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &c))
	require.Equal(t, 1, c.SchemaVersion)
	return c.Settings
}

func TestSettingsPrecedence(t *testing.T) {
	c, config := writeImage(t)
	env := map[string]string{"MODEL_CACHE_DIR": "./models", "CUDA_VISIBLE_DEVICES": "1"}
	all := setting{"all", "default"}
	from := setting{config, "-config"}
	cases := map[string]struct {
		env  map[string]string
		args []string
		want settings
	}{
		"image":       {nil, nil, settings{from, setting{c.ModelsDir, "model.json"}, all}},
		"environment": {env, nil, settings{from, setting{"./models", "MODEL_CACHE_DIR"}, setting{"1", "CUDA_VISIBLE_DEVICES"}}},
		"flag":        {env, []string{"-models=/x"}, settings{from, setting{"/x", "-models"}, setting{"1", "CUDA_VISIBLE_DEVICES"}}},
		"empty":       {map[string]string{"MODEL_CACHE_DIR": "", "CUDA_VISIBLE_DEVICES": ""}, nil, settings{from, setting{c.ModelsDir, "model.json"}, setting{"", "CUDA_VISIBLE_DEVICES"}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, readSettings(t, tc.env, append(tc.args, "-config="+config)...))
		})
	}
}

// The folder that wins is the folder that is read.
func TestModelsFolderIsUsed(t *testing.T) {
	c, config := writeImage(t)
	moved := filepath.Join(t.TempDir(), "elsewhere")
	require.NoError(t, os.Rename(c.ModelsDir, moved))
	require.Equal(t, 5, runProgram(t, nil, "verify", "-config="+config).code)
	require.Zero(t, runProgram(t, nil, "verify", "-config="+config, "-models="+moved).code)
	require.Zero(t, runProgram(t, map[string]string{"MODEL_CACHE_DIR": moved}, "verify", "-config="+config).code)
	require.Equal(t, 5, runProgram(t, map[string]string{"MODEL_CACHE_DIR": moved}, "verify", "-config="+config, "-models=/nowhere").code)
}

func TestBadConfig(t *testing.T) {
	c, config := writeImage(t)
	none := filepath.Join(t.TempDir(), "none.json")
	broken := filepath.Join(t.TempDir(), "broken.json")
	require.NoError(t, os.WriteFile(broken, []byte(`{"schemaVersion":1,"surprise":true}`), 0o644))
	c.Checkpoints[0].Path = "gone"
	writeConfig(t, c, config)
	homeless := filepath.Join(t.TempDir(), "homeless.json")
	c.Checkpoints, c.ModelsDir = nil, ""
	writeConfig(t, c, homeless)
	cases := []struct {
		path, want string
		code       int
	}{
		{none, "plimsoll-runtime: loading model.json: open " + none + ": no such file or directory\nhint: -config=PATH names it; an image has it at /etc/plimsoll/model.json\n", 2},
		{filepath.Dir(none), "plimsoll-runtime: loading model.json: read " + filepath.Dir(none) + ": is a directory\n", 6},
		{broken, "plimsoll-runtime: loading " + broken + ": reading model.json: ", 5},
		{config, "plimsoll-runtime: loading " + config + ": reading model.json: checkpoint fast is in gone, which is not listed\n", 5},
		{homeless, "plimsoll-runtime: loading " + homeless + ": modelsDir is empty\nhint: set -models or MODEL_CACHE_DIR\n", 5},
	}
	for _, tc := range cases {
		for _, command := range []string{"config", "verify"} {
			got := runProgram(t, nil, command, "-config="+tc.path)
			require.Equal(t, tc.code, got.code, got.stderr)
			require.Empty(t, got.stdout)
			require.Contains(t, got.stderr, tc.want)
		}
	}
}

func TestConfigText(t *testing.T) {
	c, config := writeImage(t)
	got := runProgram(t, nil, "config", "-config="+config)
	require.Zero(t, got.code, got.stderr)
	for _, want := range []string{
		"model       Small-Edit\n", "variant     default\n", "models      " + c.ModelsDir + " ", "(model.json)\n",
		"checkpoint  fast ", "int4 rank 16", "8 steps", "priority    fast, plain, hub\n",
		megabytes(modelstest.File(t, c, modelstest.Fast).Size) + " in 3 parts", modelstest.Index,
	} {
		require.Contains(t, got.stdout, want)
	}
	c.Serve = nil
	writeConfig(t, c, config)
	require.NotContains(t, runProgram(t, nil, "config", "-config="+config).stdout, "priority")
}

func TestConfigJSONHoldsModelJSON(t *testing.T) {
	c, config := writeImage(t)
	got := runProgram(t, nil, "config", "-json", "-config="+config)
	var out struct{ Model json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &out))
	require.JSONEq(t, string(c.Encode()), string(out.Model))
}
