package diff_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/report/diff"
)

var update = flag.Bool("update", false, "write the golden files")

// model is a layer of a model file, as our annotations describe it.
func model(path string, size int64, digest string) diff.Layer {
	return diff.Layer{Kind: diff.KindModel, Title: path, Digest: digest, DiffID: digest, Size: size + 1024, Unpacked: size + 1024}
}

// small is a layer of another kind.
func small(kind string, size int64, digest string) diff.Layer {
	return diff.Layer{Kind: kind, Title: kind + " of " + digest, Digest: digest, DiffID: digest, Size: size, Unpacked: size}
}

// foreign is a compressed layer of somebody else's image.
func foreign(created, digest, diffID string, size int64) diff.Layer {
	return diff.Layer{Title: created, Digest: digest, DiffID: diffID, Size: size, Unpacked: diff.UnknownSize}
}

func weights(path, sum string, size int64) diff.File {
	return diff.File{Path: path, Kind: diff.KindModel, Size: size, Sum: "sha256:" + sum}
}

// ship is an image of two model files, a base and a runtime.
func ship(name string, checkpoint, runtime string) diff.Image {
	return diff.Image{
		Name: name, Digest: "sha256:" + name, Platform: "linux/amd64", Known: diff.KnowsModel,
		Blobs: []diff.Blob{{Name: "config", Digest: "sha256:config-" + name, Size: 4000}, {Name: "manifest", Digest: "sha256:" + name, Size: 9000}},
		Layers: []diff.Layer{
			model("app/models/base/vae.safetensors", 253_806_966, "sha256:vae"),
			model("app/models/q/r128.safetensors", 12_654_443_144, "sha256:"+checkpoint),
			small("base", 2_500_000, "sha256:libc"),
			small("runtime", 11_000_000, "sha256:"+runtime),
		},
		Files: []diff.File{
			weights("app/models/base/vae.safetensors", "vae", 253_806_966),
			weights("app/models/q/r128.safetensors", checkpoint, 12_654_443_144),
		},
		Settings: []diff.Setting{
			{Kind: diff.SettingSource, Name: "base", Value: "Qwen/Qwen-Image-Edit@ac7f"},
			{Kind: diff.SettingConfig, Name: "user", Value: "65532:65532"},
		},
	}
}

// locked is the lock of a ship, which has not seen the checkpoint's bytes.
func locked(name, checkpoint string) diff.Image {
	i := ship(name, checkpoint, "")
	i.Digest, i.Platform, i.Lock, i.Blobs, i.Layers = "", "", true, nil, i.Layers[:2]
	for n := range i.Layers {
		i.Layers[n].Content = "pack 1 of " + i.Layers[n].Digest
	}
	i.Layers[1].Digest, i.Layers[1].DiffID = "", ""
	i.Settings = []diff.Setting{i.Settings[0], {Kind: diff.SettingPackage, Name: "libc6", Value: "2.41-12"}}
	return i
}

func compare(t *testing.T, a, b diff.Image) *diff.Report {
	t.Helper()
	r, err := diff.New(a, b)
	require.NoError(t, err)
	return r
}

// TestRuntimeChanged: a new runtime lies above the weights, which stay where they are.
func TestRuntimeChanged(t *testing.T) {
	r := compare(t, ship("a", "one", "v1"), ship("b", "one", "v2"))
	require.Equal(t, diff.Count{Count: 3, Bytes: 11_000_000 + 13_000}, r.Pull.Download)
	require.Equal(t, 3, r.Pull.Unpack.Kept.Count.Count)
	require.Equal(t, diff.Count{Count: 1, Bytes: 11_000_000}, r.Pull.Unpack.New.Count)
	require.Zero(t, r.Pull.Unpack.Again)
	require.Empty(t, r.Files.Changes)
	last := r.Layers[3]
	require.Equal(t, diff.Changed, last.Status)
	require.Equal(t, "sha256:v1", last.Before.Digest)
	require.False(t, r.Same)
}

// TestLowLayerChanged: what lies above a changed layer is unpacked again, though its blobs
// are there.
func TestLowLayerChanged(t *testing.T) {
	r := compare(t, ship("a", "one", "v1"), ship("b", "two", "v1"))
	require.Equal(t, int64(12_654_443_144+1024+13_000), r.Pull.Download.Bytes)
	require.Equal(t, diff.Count{Count: 2, Bytes: 13_500_000}, r.Pull.Unpack.Again.Count)
	require.Equal(t, diff.Count{Count: 1, Bytes: 12_654_443_144 + 1024}, r.Pull.Unpack.New.Count)
	require.Equal(t, []diff.FileChange{{
		Status: diff.Changed, Path: "app/models/q/r128.safetensors", Bytes: 12_654_443_144, Sum: "sha256:two", Was: 12_654_443_144, WasSum: "sha256:one",
	}}, r.Files.Changes)
}

// TestRecompressed: the same archives in another compression are other blobs to a registry
// and nothing to a node.
func TestRecompressed(t *testing.T) {
	a := diff.Image{Name: "gzip", Layers: []diff.Layer{foreign("COPY", "sha256:gz", "sha256:tar", 100), foreign("RUN x", "sha256:gz2", "sha256:tar2", 10)}}
	b := diff.Image{Name: "zstd", Layers: []diff.Layer{foreign("COPY", "sha256:zst", "sha256:tar", 90), foreign("RUN y", "sha256:zst2", "sha256:tar3", 9)}}
	r := compare(t, a, b)
	require.Equal(t, diff.Count{Count: 2, Bytes: 99}, r.Blobs.Added)
	require.Equal(t, diff.Count{Count: 2, Bytes: 99}, r.Pull.Download)
	require.Equal(t, diff.Count{Count: 1, Bytes: 90}, r.Pull.Spared)
	require.Contains(t, r.Text(), "downloads 99 B of 99 B for B, or 9 B where it fetches while it unpacks.")
	require.True(t, r.Layers[0].SameContent)
	require.Equal(t, diff.Added, r.Layers[1].Status, "another instruction is another layer")
	require.Equal(t, 1, r.Pull.Unpack.New.Unknown)
	require.Nil(t, r.Files)
	require.Contains(t, r.Text(), "the files of gzip are not known")
	require.Contains(t, r.Text(), "1 layer of unknown size")
}

// TestNoDiffIDs: an artifact that no container runtime unpacks.
func TestNoDiffIDs(t *testing.T) {
	a := diff.Image{Name: "a", Layers: []diff.Layer{foreign("", "sha256:one", "", 100)}}
	b := diff.Image{Name: "b", Layers: []diff.Layer{foreign("", "sha256:one", "", 100), foreign("", "sha256:two", "", 10)}}
	r := compare(t, a, b)
	require.Nil(t, r.Pull.Unpack)
	require.Equal(t, int64(10), r.Pull.Download.Bytes)
	require.Contains(t, r.Text(), "(nothing names it)")
}

// TestUnpackedSizeFromTheOtherSide: where one side has an archive uncompressed, its size is
// known on both.
func TestUnpackedSizeFromTheOtherSide(t *testing.T) {
	plain := diff.Layer{Digest: "sha256:tar", DiffID: "sha256:tar", Size: 1000, Unpacked: 1000}
	base := diff.Layer{Digest: "sha256:new", DiffID: "sha256:new", Size: 1, Unpacked: 1}
	r := compare(t, diff.Image{Layers: []diff.Layer{plain}}, diff.Image{Layers: []diff.Layer{base, foreign("", "sha256:gz", "sha256:tar", 400)}})
	require.Equal(t, diff.Weight{Count: diff.Count{Count: 1, Bytes: 1000}}, r.Pull.Unpack.Again)
}

// TestLocks: a lock that has not seen the bytes is compared by what the digest would follow
// from.
func TestLocks(t *testing.T) {
	same := compare(t, locked("old", "one"), locked("new", "one"))
	require.True(t, same.Same)
	require.Contains(t, same.Text(), "Nothing differs.")
	other := locked("new", "two")
	other.Settings[1].Value = "2.41-13"
	r := compare(t, locked("old", "one"), other)
	require.Equal(t, int64(12_654_443_144+1024), r.Pull.Download.Bytes)
	require.Equal(t, []diff.SettingChange{{Kind: diff.SettingPackage, Name: "libc6", A: "2.41-12", B: "2.41-13"}}, r.Settings)
	require.Empty(t, r.Layers[1].Digest)
	require.Contains(t, r.Text(), "not known yet -> not known yet")
}

// TestLockAndImage: what a lock cannot know is left out and said.
func TestLockAndImage(t *testing.T) {
	image := ship("built", "one", "v1")
	image.Layers[1].Content = "pack 1 of sha256:one"
	r := compare(t, locked("lock", "one"), image)
	require.True(t, r.Same)
	require.True(t, r.ModelOnly)
	require.Equal(t, int64(13_500_000+13_000), r.B.LeftOut)
	require.Empty(t, r.Settings)
	require.Contains(t, strings.Join(r.Notes, "\n"), "are not compared")
}

func TestContradictions(t *testing.T) {
	cases := map[string]struct {
		spoil func(i *diff.Image)
		want  string
	}{
		"size":   {func(i *diff.Image) { i.Layers[0].Size = -1 }, "-1 bytes"},
		"sum":    {func(i *diff.Image) { i.Layers[0].Size = 1 << 55 }, "add up to at most"},
		"nobody": {func(i *diff.Image) { i.Layers[0].Digest = "" }, "nothing identifies it"},
		"blob":   {func(i *diff.Image) { i.Blobs[0].Digest = "" }, "the digest of the config is missing"},
		"sizes":  {func(i *diff.Image) { i.Layers[0].Size++ }, "253807991 bytes in one place and 253807990 in another"},
		"twice":  {func(i *diff.Image) { i.Files = append(i.Files, i.Files[0]) }, "is there twice"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := ship("b", "one", "v1")
			c.spoil(&b)
			_, err := diff.New(ship("a", "one", "v1"), b)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestOutsideText: names from outside reach neither the terminal's state nor the markup of
// a pull request.
func TestOutsideText(t *testing.T) {
	evil := "RUN \x1b[2J`x` | @everyone <img src=x> \\|\u202e"
	r := compare(t, diff.Image{Name: "a"}, diff.Image{Name: "b\n| x |", Layers: []diff.Layer{foreign(evil, "sha256:one", "sha256:tar", 1)}})
	require.NotContains(t, r.Text(), "\x1b")
	require.NotContains(t, r.Text(), "\u202e")
	const layer = "| added | `RUN [2J'x' \\| @everyone <img src=x> \\|` | 1 B |  | `one` |\n"
	require.Contains(t, r.Markdown(), layer)
	require.Equal(t, 6, strings.Count(strings.ReplaceAll(layer, `\|`, ""), "|"), "one row of five cells")
}

// TestGolden shows the forms. Write them with -update.
func TestGolden(t *testing.T) {
	many := ship("b", "two", "v2")
	many.Layers = append(many.Layers, small("config", 31_000, "sha256:model-json"))
	many.Settings[0].Value, many.Settings[1].Value = "Qwen/Qwen-Image-Edit@bd80", "0:0"
	old := foreign("RUN apt-get update && apt-get install -y python3 | tee log", "sha256:apt", "sha256:apt-tar", 181_000_000)
	cases := map[string]*diff.Report{
		"image":   compare(t, ship("a", "one", "v1"), many),
		"same":    compare(t, ship("a", "one", "v1"), ship("a", "one", "v1")),
		"lock":    compare(t, locked("lock:old.lock", "one"), locked("lock:new.lock", "two")),
		"foreign": compare(t, diff.Image{Name: "theirs", Digest: "sha256:theirs", Layers: []diff.Layer{old}}, ship("b", "two", "v2")),
	}
	for name, r := range cases {
		for ext, text := range map[string]string{"txt": r.Text(), "md": r.Markdown(), "json": string(r.JSON())} {
			path := filepath.Join("testdata", name+"."+ext)
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), text, path)
		}
		require.True(t, json.Valid(r.JSON()))
	}
}
