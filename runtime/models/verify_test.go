package models_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/models/modelstest"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/svdqtest"
)

func verifyFolder(t *testing.T, c *manifests.ModelConfig) *models.Report {
	t.Helper()
	r, err := folder(t, c).Verify(t.Context(), models.Options{})
	require.NoError(t, err)
	return r
}

func TestVerifyAllRight(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	f := folder(t, c)
	for _, jobs := range []int{0, 1, 9} {
		var done atomic.Int64
		r, err := f.Verify(t.Context(), models.Options{Jobs: jobs, Progress: func(n int64) { done.Add(n) }})
		require.NoError(t, err)
		require.NoError(t, r.Err())
		require.Empty(t, r.Wrong())
		require.Empty(t, r.Warnings)
		require.Equal(t, f.Total(), done.Load())
		require.Equal(t, f.Total(), r.Bytes())

		var paths []string
		var parts []int
		for _, file := range r.Files {
			paths, parts = append(paths, file.Path), append(parts, file.Parts)
			require.True(t, file.OK)
		}
		require.Equal(t, []string{modelstest.Index, modelstest.VAE, modelstest.Fast, modelstest.Plain}, paths)
		require.Equal(t, []int{1, 1, 3, 1}, parts)
		require.Nil(t, r.Files[1].Checkpoint)
		fast := r.Files[2].Checkpoint
		require.NotNil(t, fast)
		require.NotEmpty(t, fast.Family)
		require.Equal(t, "variant fast by its sum alone", fast.Variant.String())
		fast.Variant = modelfiles.VariantReport{}
		require.Equal(t, modelfiles.CheckpointReport{Name: "fast", Family: fast.Family, Precision: modelstest.Precision, Rank: modelstest.Rank, Blocks: 1}, *fast)
	}
}

func TestVerifyTakesTheWholeFileForItsParts(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	modelstest.Join(t, c, modelstest.Fast)
	r := verifyFolder(t, c)
	require.NoError(t, r.Err())
	require.Empty(t, r.Warnings)
	require.Equal(t, 1, r.Files[2].Parts)
}

// replace puts other bytes in a file's place, on disk and, if described, in model.json too:
// then the sums are right and only the content is wrong.
func replace(path string, data []byte, described bool) func(*testing.T, *manifests.ModelConfig) {
	return func(t *testing.T, c *manifests.ModelConfig) {
		t.Helper()
		require.NoError(t, os.WriteFile(modelstest.Name(c, path), data, 0o644))
		if described {
			f, sum := modelstest.File(t, c, path), sha256.Sum256(data)
			f.Size, f.SHA256 = int64(len(data)), hex.EncodeToString(sum[:])
		}
	}
}

// flip changes one byte of a file.
func flip(path string, at int64) func(*testing.T, *manifests.ModelConfig) {
	return func(t *testing.T, c *manifests.ModelConfig) {
		t.Helper()
		f, err := os.OpenFile(modelstest.Name(c, path), os.O_RDWR, 0)
		require.NoError(t, err)
		defer f.Close()
		b := make([]byte, 1)
		_, err = f.ReadAt(b, at)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{b[0] ^ 1}, at)
		require.NoError(t, err)
	}
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	lastPart := modelstest.Fast + ".part-02-of-03"
	cases := map[string]struct {
		change func(t *testing.T, c *manifests.ModelConfig)
		path   string
		codes  []string
		text   string // in the first finding
	}{
		"missing":           {remove(modelstest.VAE), modelstest.VAE, []string{"missing"}, "file is missing"},
		"truncated":         {resize(modelstest.Plain, 1000), modelstest.Plain, []string{"size"}, "bytes short: 1000 of "},
		"part truncated":    {resize(lastPart, 7), modelstest.Fast, []string{"size"}, lastPart},
		"wrong sum":         {flip(modelstest.Index, 3), modelstest.Index, []string{"sha256"}, "sha256 is "},
		"wrong sum in part": {flip(lastPart, 5), modelstest.Fast, []string{"sha256"}, "sha256 is "},
		"header damaged":    {flip(modelstest.VAE, 8), modelstest.VAE, []string{"sha256", "container"}, "sha256 is "},
		"not safetensors":   {replace(modelstest.VAE, []byte("<html>no such page</html>"), true), modelstest.VAE, []string{"container"}, "not a safetensors file"},
		"not a checkpoint":  {replace(modelstest.Plain, modelstest.Container(t, 64), true), modelstest.Plain, []string{"checkpoint"}, ""},
		"wrong rank": {
			replace(modelstest.Plain, modelstest.Checkpoint(t, svdqtest.Int4, 32, 1), true), modelstest.Plain,
			[]string{"rank"}, "tensors have rank 32, claimed is 16",
		},
		"wrong precision": {
			replace(modelstest.Plain, modelstest.Checkpoint(t, svdqtest.NVFP4, modelstest.Rank, 1), true), modelstest.Plain,
			[]string{"precision"}, "tensors are nvfp4, claimed is int4",
		},
		"wrong rank and bytes": {
			replace(modelstest.Plain, modelstest.Checkpoint(t, svdqtest.NVFP4, 32, 1), true), modelstest.Plain,
			[]string{"precision", "rank"}, "",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := modelstest.Write(t, t.TempDir())
			tc.change(t, c)
			r := verifyFolder(t, c)
			wrong := r.Wrong()
			require.Len(t, wrong, 1)
			require.Equal(t, tc.path, wrong[0].Path)
			var codes []string
			for _, f := range wrong[0].Findings {
				require.Equal(t, verify.Error, f.Severity)
				codes = append(codes, f.Code)
			}
			require.Equal(t, tc.codes, codes)
			require.Contains(t, wrong[0].Findings[0].String(), tc.text)
			require.EqualError(t, r.Err(), "verifying models in "+c.ModelsDir+": 1 of 4 files is wrong")
			require.Equal(t, fault.Invalid, fault.KindOf(r.Err()))
			require.NotContains(t, fault.HintOf(r.Err()), "run fetch", "an image cannot run fetch")
			require.Equal(t, folder(t, c).Total()-wrong[0].Size, r.Bytes())
		})
	}
}

// rewritten is a checkpoint with zeros for weights, without one of its tensors and with other
// metadata.
func rewritten(t *testing.T, without string, metadata map[string]string) []byte {
	t.Helper()
	data := modelstest.Checkpoint(t, modelstest.Precision, modelstest.Rank, 1)
	h, err := safetensors.Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	var specs []safetensors.Spec
	for _, tensor := range h.Tensors {
		if tensor.Name != without {
			specs = append(specs, safetensors.Spec{Name: tensor.Name, DType: tensor.DType, Shape: tensor.Shape})
		}
	}
	var out bytes.Buffer
	zeros := func(tensor safetensors.Tensor) io.Reader { return bytes.NewReader(make([]byte, tensor.Size())) }
	require.NoError(t, safetensors.Write(&out, metadata, specs, zeros))
	return out.Bytes()
}

func TestVerifyMissingTensor(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	name := "transformer_blocks.0.attn.to_out.0.bias"
	replace(modelstest.Plain, rewritten(t, name, nil), true)(t, c)
	r := verifyFolder(t, c)
	require.Len(t, r.Wrong(), 1)
	first := r.Wrong()[0].Findings[0]
	require.Equal(t, "checkpoint-missing", first.Code)
	require.Equal(t, modelstest.Plain, first.Object)
	require.Contains(t, first.Message, "attn.to_out.0.bias")
}

// Tensors that prove everything outweigh metadata that says nothing.
func TestVerifyCheckpointWithoutMetadata(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	replace(modelstest.Plain, rewritten(t, "", nil), true)(t, c)
	r := verifyFolder(t, c)
	require.NoError(t, r.Err())
	require.Equal(t, modelstest.Rank, r.Files[3].Checkpoint.Rank)
	require.NotEmpty(t, r.Files[3].Findings)
	for _, f := range r.Files[3].Findings {
		require.Equal(t, verify.Warning, f.Severity)
		require.Equal(t, "checkpoint-metadata", f.Code)
	}
}

func TestCheckpointThatIsNoContainer(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	c.Checkpoints[0].Path = modelstest.Index
	r := verifyFolder(t, c)
	require.Len(t, r.Wrong(), 1)
	require.Equal(t, modelstest.Index+": checkpoint fast is no .safetensors file", r.Wrong()[0].Findings[0].String())
}

func TestVerifyWithoutFolder(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	f := models.New(filepath.Join(c.ModelsDir, "nowhere"), c)
	r, err := f.Verify(t.Context(), models.Options{})
	require.NoError(t, err)
	require.Len(t, r.Wrong(), 4)
	require.Empty(t, r.Warnings)
	require.EqualError(t, r.Err(), "verifying models in "+f.Dir()+": 4 of 4 files are wrong")
	require.Contains(t, fault.HintOf(r.Err()), "MODEL_CACHE_DIR")
}

func TestVerifyUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("needs a user whom permissions bind; root reads everything")
	}
	c := modelstest.Write(t, t.TempDir())
	require.NoError(t, os.Chmod(modelstest.Name(c, modelstest.Index), 0))
	r := verifyFolder(t, c)
	require.Equal(t, "unreadable", r.Wrong()[0].Findings[0].Code)
	require.Equal(t, fault.Resource, fault.KindOf(r.Err()))
	require.Contains(t, fault.HintOf(r.Err()), "read permission")
}

// A name that is a loop of links cannot be looked at, not even by root.
func TestVerifyLinkLoop(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	name := modelstest.Name(c, modelstest.Index)
	require.NoError(t, os.Remove(name))
	require.NoError(t, os.Symlink(name, name))
	r := verifyFolder(t, c)
	require.Equal(t, "unreadable", r.Wrong()[0].Findings[0].Code)
	require.Equal(t, fault.Resource, fault.KindOf(r.Err()))

	remove(modelstest.VAE)(t, c)
	require.Equal(t, fault.Invalid, fault.KindOf(verifyFolder(t, c).Err()), "a missing file weighs more")
}

func TestVerifyFollowsLinks(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	elsewhere := filepath.Join(t.TempDir(), "blobs")
	require.NoError(t, os.Rename(modelstest.Name(c, "Maker--Small-Edit"), elsewhere))
	require.NoError(t, os.Symlink(elsewhere, modelstest.Name(c, "Maker--Small-Edit")))
	r := verifyFolder(t, c)
	require.NoError(t, r.Err())
	require.Empty(t, r.Warnings)
}

func TestVerifyWarnsOfStrangers(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	// A whole file beside its parts is not needed either.
	for _, name := range []string{"quantised/old.safetensors", "Maker--Small-Edit/bad\nname", modelstest.Fast} {
		require.NoError(t, os.WriteFile(modelstest.Name(c, name), nil, 0o644))
	}
	r := verifyFolder(t, c)
	require.NoError(t, r.Err())
	var got []string
	for _, w := range r.Warnings {
		require.Equal(t, verify.Warning, w.Severity)
		got = append(got, w.String())
	}
	require.ElementsMatch(t, []string{
		"quantised/old.safetensors: not listed in model.json",
		`"Maker--Small-Edit/bad\nname": not listed in model.json`,
		modelstest.Fast + ": not listed in model.json",
	}, got)
}

func TestVerifyBoundsWarnings(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	for i := range 130 {
		require.NoError(t, os.WriteFile(filepath.Join(c.ModelsDir, strconv.Itoa(i)), nil, 0o644))
	}
	r := verifyFolder(t, c)
	require.Len(t, r.Warnings, 101)
	require.Equal(t, "and 30 more", r.Warnings[100].String())
}

func TestVerifyCanceled(t *testing.T) {
	c := modelstest.Write(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	r, err := folder(t, c).Verify(ctx, models.Options{Jobs: 1, Progress: func(int64) { cancel() }})
	require.Nil(t, r)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fault.Canceled, fault.KindOf(err))
}
