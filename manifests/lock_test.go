package manifests_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// fullLock is the lock of testdata/tiny.yaml with layers and unused shares, added out of
// order.
func fullLock(t testing.TB) *manifests.Lock {
	t.Helper()
	m, l := load(t, "testdata/tiny.yaml"), tinyLock(t)
	s, err := m.Select("", l.Listings())
	require.NoError(t, err)
	digest := 'a'
	for _, d := range slices.Backward(s.Kept()) {
		parts, err := pack.Parts(d.ImagePath, d.Size, int64(m.PartSize))
		require.NoError(t, err)
		for _, p := range slices.Backward(parts) {
			l.SetLayer(d.Source, d.Path, p, "sha256:"+strings.Repeat(string(digest), 64))
		}
		digest++
	}
	l.SetUnused("checkpoints", "tiny-r128.safetensors", []manifests.Unused{
		{Part: "smooth_factor_orig", Bytes: 4096, Reason: "kept by the packer, read by nothing"},
		{Part: "bias", Bytes: 0, Reason: "all zeros"},
	})
	return l
}

func TestLockIsTheGoldenFile(t *testing.T) {
	want, err := os.ReadFile("testdata/tiny.lock")
	require.NoError(t, err)
	require.Equal(t, string(want), string(fullLock(t).Encode()))
}

func TestLockRoundTrip(t *testing.T) {
	for name, l := range map[string]*manifests.Lock{"fresh": tinyLock(t), "full": fullLock(t)} {
		t.Run(name, func(t *testing.T) {
			back, err := manifests.DecodeLock(l.Encode())
			require.NoError(t, err)
			require.Equal(t, string(l.Encode()), string(back.Encode()))
			require.Equal(t, l.Files, back.Files)
			require.Equal(t, l.Packages, back.Packages)
			require.ElementsMatch(t, l.Layers, back.Layers)
			require.Empty(t, back.Stale(load(t, "testdata/tiny.yaml")))
		})
	}
}

// A lock replaces the listings: the same selection follows from it, offline.
func TestLockGivesTheSameSelection(t *testing.T) {
	m := load(t, "qwen-image-edit.yaml")
	listings := qwenListings()
	for name, l := range listings {
		for i := range l.Files {
			l.Files[i].SHA256 = large(l.Files[i].Path, 0).SHA256
		}
		slices.SortFunc(l.Files, func(a, b manifests.File) int { return strings.Compare(a.Path, b.Path) })
		listings[name] = l
	}
	l, err := manifests.NewLock(m, listings, nil)
	require.NoError(t, err)
	for _, variant := range []string{"", "lightning", "plain"} {
		want, err := m.Select(variant, listings)
		require.NoError(t, err)
		got, err := m.Select(variant, l.Listings())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	all, err := m.Select("", listings)
	require.NoError(t, err)
	for i, d := range all.Decisions {
		require.Equal(t, []any{d.Source, d.File, d.Keep, d.Rule}, []any{l.Files[i].Source, l.Files[i].File, l.Files[i].Keep, l.Files[i].Rule})
	}
}

func TestNewLockRefuses(t *testing.T) {
	cases := map[string]struct {
		change func(map[string]manifests.Listing, *[]manifests.Package)
		want   string
		kind   fault.Kind
	}{
		"unknown sum of a kept file": {func(l map[string]manifests.Listing, _ *[]manifests.Package) {
			l["base"].Files[1].SHA256 = ""
		}, "locking tiny: the sha256 of config.json is not known", fault.Internal},
		"no sum of a dropped file": {func(l map[string]manifests.Listing, _ *[]manifests.Package) {
			l["base"].Files[0].SHA1 = ""
		}, "locking tiny: file README.md of base: its sum is missing", fault.Lock},
		"short commit": {func(l map[string]manifests.Listing, _ *[]manifests.Package) {
			b := l["base"]
			b.Commit = "1111111"
			l["base"] = b
		}, `locking tiny: file README.md of base: commit "1111111" is not 40 hex digits`, fault.Lock},
		"unclaimed file": {func(l map[string]manifests.Listing, _ *[]manifests.Package) {
			l["base"].Files[0].Path = "new"
		}, "selecting files of maker/tiny: no rule claims new", fault.Usage},
		"bad package": {func(_ map[string]manifests.Listing, p *[]manifests.Package) {
			(*p)[0].Path = "../x.deb"
		}, `locking tiny: package libc6: path "../x.deb", size 2847000 or sha256 "` + strings.Repeat("c", 64) + `" is malformed`, fault.Lock},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			listings, packages := tinyListings(), tinyPackages()
			c.change(listings, &packages)
			_, err := manifests.NewLock(load(t, "testdata/tiny.yaml"), listings, packages)
			require.EqualError(t, err, c.want)
			require.Equal(t, c.kind, fault.KindOf(err))
		})
	}
}

func TestNewLockSortsPackages(t *testing.T) {
	packages := tinyPackages()
	second := packages[0]
	second.Name = "gcc-14-base"
	l, err := manifests.NewLock(load(t, "testdata/tiny.yaml"), tinyListings(), append(packages, second))
	require.NoError(t, err)
	require.Equal(t, []string{"gcc-14-base", "libc6"}, []string{l.Packages[0].Name, l.Packages[1].Name})
}

func TestLockSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tiny.lock")
	_, err := manifests.LoadLock(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, fault.Lock, fault.KindOf(err))
	require.Equal(t, "run the lock target once and commit the lock beside the manifest", fault.HintOf(err))

	l := fullLock(t)
	require.NoError(t, l.Save(path))
	back, err := manifests.LoadLock(path)
	require.NoError(t, err)
	require.Equal(t, string(l.Encode()), string(back.Encode()))

	require.NoError(t, os.WriteFile(path, []byte("{}\n"), 0o644))
	_, err = manifests.LoadLock(path)
	require.EqualError(t, err, "reading lock "+path+`: line 1: kind is "": the header, kind "plimsoll.lock", must be the first line and no other`)
	require.Equal(t, fault.Lock, fault.KindOf(err))

	_, err = manifests.LoadLock(t.TempDir())
	require.ErrorContains(t, err, "is a directory")
	require.Equal(t, fault.Lock, fault.KindOf(err))
	require.Empty(t, fault.HintOf(err))
}

func TestWriteFileIsAtomic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.lock")
	require.NoError(t, manifests.WriteFile(path, []byte("old")))
	reader, err := os.Open(path)
	require.NoError(t, err)
	defer reader.Close()
	require.NoError(t, manifests.WriteFile(path, []byte("new content")))

	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new content", string(data))
	old := make([]byte, 20)
	n, err := reader.Read(old)
	require.NoError(t, err)
	require.Equal(t, "old", string(old[:n]), "a reader of the old file sees all of it and nothing else")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o644), info.Mode())

	// The rename fails: a folder bears the name. Nothing is left behind, nothing is lost.
	taken := filepath.Join(dir, "taken")
	require.NoError(t, os.MkdirAll(filepath.Join(taken, "inner"), 0o755))
	require.Error(t, manifests.WriteFile(taken, []byte("x")))
	require.Error(t, manifests.WriteFile(filepath.Join(dir, "gone", "x"), []byte("x")))
	require.ErrorContains(t, fullLock(t).Save(filepath.Join(dir, "gone", "x")), "writing lock: ")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

func TestLockPath(t *testing.T) {
	for manifest, want := range map[string]string{
		"manifests/demo.yaml": "manifests/demo.lock",
		"/a.b/model.yml":      "/a.b/model.lock",
		"model":               "model.lock",
		"v1.5/model":          "v1.5/model.lock",
		"model-1.5":           "model-1.5.lock",
		"odd.lock":            "odd.lock.lock",
	} {
		require.Equal(t, want, manifests.LockPath(manifest))
	}
}

func FuzzDecodeLock(f *testing.F) {
	f.Add(fullLock(f).Encode())
	f.Add(tinyLock(f).Encode())
	f.Add([]byte(`{"kind":"plimsoll.lock","version":1,"manifest":"m","pack":1,"partSize":0}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := manifests.DecodeLock(data)
		if err != nil {
			require.Nil(t, l)
			require.Equal(t, fault.Lock, fault.KindOf(err))
			return
		}
		again, err := manifests.DecodeLock(l.Encode())
		require.NoError(t, err)
		require.Equal(t, string(l.Encode()), string(again.Encode()))
		l.Stale(&manifests.Manifest{Name: "m"})
	})
}
