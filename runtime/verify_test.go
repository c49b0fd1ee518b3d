package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/models/modelstest"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// writeImage writes models and their model.json, and returns the path of the latter.
func writeImage(t *testing.T) (c *manifests.ModelConfig, config string) {
	t.Helper()
	dir := t.TempDir()
	c = modelstest.Write(t, filepath.Join(dir, "models"))
	config = filepath.Join(dir, "model.json")
	writeConfig(t, c, config)
	return c, config
}

func writeConfig(t *testing.T, c *manifests.ModelConfig, path string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, c.Encode(), 0o644))
}

// sizes formats the figures that a report of c holds.
func sizes(t *testing.T, c *manifests.ModelConfig) (fast, plain, total string) {
	t.Helper()
	var sum int64
	for _, f := range c.Files {
		sum += f.Size
	}
	return megabytes(modelstest.File(t, c, modelstest.Fast).Size), megabytes(modelstest.File(t, c, modelstest.Plain).Size), gigabytes(sum)
}

func TestVerifyReport(t *testing.T) {
	c, config := writeImage(t)
	fast, plain, total := sizes(t, c)
	want := "✓ Base Model found (Maker/Small-Edit, 2 files, 0.00 MB)\n" +
		"✓ fast.safetensors: " + fast + " (qwen-image int4 rank 16, variant fast by its sum alone, 3 parts)\n" +
		"✓ plain.safetensors: " + plain + " (qwen-image int4 rank 16, variant plain by its sum alone)\n" +
		"Found 2/2 Quantised Models\n" +
		"Total model cache size: " + total + "\n"
	require.Equal(t, outcome{0, want, ""}, runProgram(t, nil, "verify", "-config="+config))
	require.Equal(t, outcome{0, want, ""}, runProgram(t, nil, "verify", "-config", config, "-jobs=1"))
	require.NotContains(t, runProgram(t, nil, "verify", "-config="+config, "-json").stdout, `"values"`)
	require.Contains(t, runProgram(t, nil, "verify", "-config="+config, "-deep", "-json").stdout, `"kind": "svdq.qweight"`)

	require.NoError(t, os.WriteFile(modelstest.Name(c, "quantised/old.bin"), nil, 0o644))
	got := runProgram(t, nil, "verify", "-config="+config)
	require.Zero(t, got.code, "a stranger is a warning")
	require.Contains(t, got.stdout, "⚠ quantised/old.bin: not listed in model.json\nTotal")
}

// A warning about a file that is right stands beside it and changes nothing else.
func TestReportShowsWarnings(t *testing.T) {
	c, _ := writeImage(t)
	file := modelfiles.FileReport{Path: modelstest.Plain, Source: "checkpoints", Size: 1_000_000, Parts: 1, OK: true}
	r := &models.Report{Report: modelfiles.Report{Files: []modelfiles.FileReport{file}}}
	r.Files[0].Findings.Add(verify.Warning, "checkpoint-metadata", modelstest.Plain, "metadata has no config")
	require.Equal(t, "✓ plain.safetensors: 1.00 MB\n⚠ plain.safetensors: metadata has no config\n"+
		"Found 1/1 Quantised Models\nTotal model cache size: 0.00 GB\n", reportText(c, r))
}

func TestVerifyReportsWhatIsWrong(t *testing.T) {
	const wrong = "plimsoll-runtime: verifying models in %s: %s\nhint: %s\n"
	const changed = "the file changed after the image was built: pull the image again, or fetch the file again"
	const lost = "set -models or MODEL_CACHE_DIR if the models are elsewhere, else pull the image again"
	cases := map[string]struct {
		change func(t *testing.T, c *manifests.ModelConfig)
		lines  []string
		stderr [2]string // text and hint
	}{
		"missing checkpoint": {
			func(t *testing.T, c *manifests.ModelConfig) {
				require.NoError(t, os.Remove(modelstest.Name(c, modelstest.Plain)))
			},
			[]string{"✓ Base Model found (Maker/Small-Edit, 2 files, 0.00 MB)\n", "✗ Missing: plain.safetensors\n", "Found 1/2 Quantised Models\n"},
			[2]string{"1 of 4 files is wrong", lost},
		},
		"missing part": {
			func(t *testing.T, c *manifests.ModelConfig) {
				require.NoError(t, os.Remove(modelstest.Name(c, modelstest.Fast+".part-01-of-03")))
			},
			[]string{"✗ Missing: fast.safetensors.part-01-of-03\n", "Found 1/2 Quantised Models\n"},
			[2]string{"1 of 4 files is wrong", lost},
		},
		"base": {
			func(t *testing.T, c *manifests.ModelConfig) {
				require.NoError(t, os.Remove(modelstest.Name(c, modelstest.Index)))
				require.NoError(t, os.WriteFile(modelstest.Name(c, modelstest.VAE), []byte("short"), 0o644))
			},
			[]string{
				"✗ Missing: Maker--Small-Edit/model_index.json\n✗ Maker--Small-Edit/vae/model.safetensors: ", " bytes short: 5 of ",
				"✗ Base Model: 2 of 2 files are wrong\n", "Found 2/2 Quantised Models\n",
			},
			[2]string{"2 of 4 files are wrong", lost},
		},
		"wrong bytes in a part": {
			func(t *testing.T, c *manifests.ModelConfig) {
				require.NoError(t, os.WriteFile(modelstest.Name(c, modelstest.Fast+".part-01-of-03"), []byte{0xa5}, 0o644))
			},
			[]string{"✗ fast.safetensors: sha256 is ", "Found 1/2 Quantised Models\n"},
			[2]string{"1 of 4 files is wrong", changed},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c, config := writeImage(t)
			tc.change(t, c)
			got := runProgram(t, nil, "verify", "-config="+config)
			require.Equal(t, 5, got.code)
			for _, line := range tc.lines {
				require.Contains(t, got.stdout, line)
			}
			require.Equal(t, fmt.Sprintf(wrong, c.ModelsDir, tc.stderr[0], tc.stderr[1]), got.stderr)
			require.Equal(t, 5, runProgram(t, nil, "verify", "-json", "-config="+config).code)
		})
	}
}

func TestVerifyJSON(t *testing.T) {
	c, config := writeImage(t)
	require.NoError(t, os.Remove(modelstest.Name(c, modelstest.Index)))
	require.NoError(t, os.WriteFile(filepath.Join(c.ModelsDir, "x"), nil, 0o644))
	got := runProgram(t, nil, "verify", "-json", "-config="+config)
	require.Equal(t, 5, got.code)
	var v struct {
		SchemaVersion             int
		OK                        bool
		Model, Variant, ModelsDir string
		Bytes                     int64
		Files                     []struct {
			Path, Source, SHA256 string
			Size                 int64
			Parts                int
			OK                   bool
			Checkpoint           *struct {
				Name, Family, Precision string
				Rank, Blocks            int
				Variant                 struct{ Name, Evidence, Claim, Locked string }
			}
			Findings []struct{ Severity, Code, Object, Message, Hint string }
		}
		Sets []struct {
			Source, Skipped string
			OK              bool
			Findings        []struct{ Severity, Code, Object, Message, Hint string }
		}
		Warnings []struct{ Severity, Code, Object, Message string }
	}
	decoder := json.NewDecoder(strings.NewReader(got.stdout))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&v))
	require.Equal(t, 1, v.SchemaVersion)
	require.False(t, v.OK)
	require.Equal(t, []string{"small-edit", "default", c.ModelsDir}, []string{v.Model, v.Variant, v.ModelsDir})
	require.Len(t, v.Files, 4)
	require.Equal(t, "missing", v.Files[0].Findings[0].Code)
	require.Equal(t, "error", v.Files[0].Findings[0].Severity)
	require.NotNil(t, v.Files[1].Findings, "an empty list is a list")
	require.Equal(t, 3, v.Files[2].Parts)
	require.Equal(t, "fast", v.Files[2].Checkpoint.Name)
	require.Equal(t, 16, v.Files[2].Checkpoint.Rank)
	require.Empty(t, v.Files[2].Checkpoint.Variant.Name, "no tensor shows it")
	require.Equal(t, "fast", v.Files[2].Checkpoint.Variant.Claim)
	require.Equal(t, "packer/Quantised@"+strings.Repeat("b", 40), v.Files[2].Checkpoint.Variant.Locked)
	require.Equal(t, v.Files[1].Size+v.Files[2].Size+v.Files[3].Size, v.Bytes)
	require.Len(t, v.Warnings, 1)
	require.Equal(t, "x", v.Warnings[0].Object)
	require.Len(t, v.Sets, 1)
	require.Equal(t, "base", v.Sets[0].Source)
	require.NotEmpty(t, v.Sets[0].Skipped, "a set with a file missing is not looked at")
	require.False(t, v.Sets[0].OK)

	require.NoError(t, os.WriteFile(modelstest.Name(c, modelstest.Index), []byte(`{"_class_name":"Pipeline"}`), 0o644))
	got = runProgram(t, nil, "verify", "-json", "-config="+config)
	require.Zero(t, got.code, got.stderr)
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &v))
	require.True(t, v.OK)
	require.True(t, v.Sets[0].OK)
}

// Files that are right one by one may still be no model.
func TestVerifyFilesThatDoNotFit(t *testing.T) {
	c, config := writeImage(t)
	data := []byte(`{"_class_name":"Pipeline","vae":["diffusers","AutoencoderKLQwenImage"]}`)
	require.NoError(t, os.WriteFile(modelstest.Name(c, modelstest.Index), data, 0o644))
	f, sum := modelstest.File(t, c, modelstest.Index), sha256.Sum256(data)
	f.Size, f.SHA256 = int64(len(data)), hex.EncodeToString(sum[:])
	writeConfig(t, c, config)
	got := runProgram(t, nil, "verify", "-config="+config)
	require.Equal(t, 5, got.code)
	require.Contains(t, got.stdout, "✗ Maker--Small-Edit/vae: vae/config.json is missing, model_index.json names the component as AutoencoderKLQwenImage\n"+
		"✗ Base Model: its files do not fit together\n")
	require.Contains(t, got.stderr, "verifying models in "+c.ModelsDir+": the files of source base do not fit together\n")
}

func TestVerifyInterrupted(t *testing.T) {
	c, config := writeImage(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, outcome{130, "", "plimsoll-runtime: verifying models in " + c.ModelsDir + ": context canceled\n"},
		runContext(ctx, nil, "verify", "-config="+config))
}
