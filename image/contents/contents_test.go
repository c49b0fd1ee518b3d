package contents_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/contents"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// all is what verifying the whole image reads.
func (m *model) all(o outcome) int64 { return modelfiles.Total(m.config) + o.files.Others() }

func TestLayouts(t *testing.T) {
	for name, full := range map[string]bool{"thin": false, "full": true} {
		t.Run(name, func(t *testing.T) {
			m := newModel(t)
			img, _ := m.layout(t, full)
			digest, err := m.image.Digest()
			require.NoError(t, err)
			require.Equal(t, digest, img.Digest)
			o := m.verify(t, img, m.cache(nil))
			require.Empty(t, o.found())
			require.NoError(t, o.report.Err())
			require.Equal(t, m.config, o.model)
			require.Equal(t, m.all(o), o.done, "every byte is read once")
			require.Len(t, o.layers, 2)
			for _, l := range o.layers {
				require.True(t, l.OK, l.Title)
				require.Contains(t, []string{"runtime", "config"}, l.Kind)
			}
			if full {
				require.Equal(t, []int{1, 3}, []int{o.report.Files[0].Parts, o.report.Files[1].Parts})
				require.NoError(t, os.RemoveAll(m.dir))
				require.Empty(t, m.verify(t, img, m.cache(nil)).found(), "a full layout needs no cache")
				require.Empty(t, m.verify(t, img, nil).found())
			}
		})
	}
}

// TestThinLayoutReadsTheCache: what is wrong in the cache is wrong in the image.
func TestThinLayoutReadsTheCache(t *testing.T) {
	m := newModel(t)
	img, dir := m.layout(t, false)
	memo, err := verify.OpenMemo(filepath.Join(t.TempDir(), "memo"))
	require.NoError(t, err)
	require.Empty(t, m.verify(t, img, m.cache(memo)).found())
	again := m.verify(t, img, m.cache(memo))
	require.True(t, again.report.Files[1].Remembered, "the lock proves the layers of files that did not change")

	// A lock that does not know the digests leaves them to the bytes.
	m.files[1].Digests = []string{"", "", ""}
	again = m.verify(t, img, m.cache(memo))
	require.Empty(t, again.found())
	require.False(t, again.report.Files[1].Remembered)
	d := descriptor(t, img, part(1))
	d.Digest = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("5", 64)}
	img.Config.RootFS.DiffIDs[2] = d.Digest
	require.Equal(t, []string{part(1) + ": layer-digest"}, m.verify(t, img, m.cache(memo)).found())

	img, err = contents.Pick(dir, contents.Options{})
	require.NoError(t, err)
	spoil(t, filepath.Join(m.dir, weights), flip(5))
	require.Equal(t, []string{weights + ": sha256", part(0) + ": layer-digest"}, m.verify(t, img, m.cache(memo)).found())
	require.NoError(t, os.Remove(filepath.Join(m.dir, weights)))
	require.Equal(t, []string{weights + ": missing"}, m.verify(t, img, m.cache(memo)).found())
	require.Equal(t, []string{"app/models/" + document + ": layer-missing", part(0) + ": layer-missing"}, m.verify(t, img, nil).found())
}

// TestMixedLayout: some layers are blobs, others views; a blob that is there is what counts.
func TestMixedLayout(t *testing.T) {
	m := newModel(t)
	img, dir := m.layout(t, true)
	require.NoError(t, os.Remove(blobPath(dir, descriptor(t, img, part(1)))))
	o := m.verify(t, img, m.cache(nil))
	require.Empty(t, o.found())
	require.Equal(t, m.all(o), o.done)
	spoil(t, blobPath(dir, descriptor(t, img, part(2))), func(data []byte) []byte { return data[:700] })
	require.Equal(t, []string{weights + ": size", part(2) + ": layer-framing"}, m.verify(t, img, m.cache(nil)).found(), "the cache does not stand in for a broken blob")
	require.NoError(t, os.Remove(filepath.Join(m.dir, weights)))
	require.Equal(t, []string{weights + ": missing"}, m.verify(t, img, m.cache(nil)).found())
}

// TestDamagedBlobs: a blob of a full layout is spoiled in one place.
func TestDamagedBlobs(t *testing.T) {
	whole := "app/models/" + document
	cases := map[string]struct {
		title string
		do    func([]byte) []byte
		found []string
		text  string
	}{
		"tar name":      {whole, flip(0), []string{whole + ": layer-framing", whole + ": layer-digest"}, "does not begin with a tar header"},
		"runtime entry": {"plimsoll runtime", flip(600), []string{"plimsoll runtime: layer-framing", "plimsoll runtime: layer-digest"}, "reading the archive"},
		"tar mode":      {part(1), func(data []byte) []byte { return rename(data, "0000644", "0000600") }, []string{part(1) + ": layer-framing", part(1) + ": layer-digest"}, "does not begin with a tar header"},
		"content":       {part(1), flip(600), []string{weights + ": sha256", part(1) + ": layer-digest"}, "the layer's digest is sha256:"},
		"padding":       {part(2), flip(-1), []string{part(2) + ": layer-framing", part(2) + ": layer-digest"}, "not zeros"},
		"tail missing":  {whole, func(data []byte) []byte { return data[:len(data)-3] }, []string{whole + ": layer-framing"}, "3 bytes short"},
		"tail added":    {whole, func(data []byte) []byte { return append(data, 0) }, []string{whole + ": layer-framing"}, "goes on behind its"},
		"cut in bytes":  {part(0), func(data []byte) []byte { return data[:5000] }, []string{weights + ": size", part(0) + ": layer-framing"}, "before the end of the file's share of 1048576"},
		"cut in head":   {part(1), func(data []byte) []byte { return data[:100] }, []string{weights + ": size", part(1) + ": layer-framing"}, "ends after 100 bytes"},
		"empty":         {whole, func(data []byte) []byte { return nil }, []string{document + ": size", whole + ": layer-framing"}, "ends after 0 bytes"},
		"runtime":       {"plimsoll runtime", flip(1537), []string{"plimsoll runtime: layer-digest"}, "the manifest says"},
		"config cut":    {"model configuration", func(data []byte) []byte { return data[:len(data)-1000] }, []string{"model configuration: layer-framing", "model configuration: layer-form"}, "the manifest says"},
		"config long":   {"model configuration", func(data []byte) []byte { return append(data, 0) }, []string{"model configuration: layer-form"}, "goes on"},
		"config JSON":   {"model configuration", func(data []byte) []byte { return rename(data, `"files"`, `"filez"`) }, []string{"model configuration: model-config", "model configuration: layer-digest"}, `unknown field "filez"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newModel(t)
			img, dir := m.layout(t, true)
			spoil(t, blobPath(dir, descriptor(t, img, tc.title)), tc.do)
			o := m.verify(t, img, m.cache(nil))
			require.ElementsMatch(t, tc.found, o.found())
			all := o.report.Findings()
			for _, l := range o.layers {
				all = append(all, l.Findings...)
			}
			require.ErrorContains(t, all.Err(), tc.text)
		})
	}
}

// rename replaces the first occurrence of a word of the same length.
func rename(data []byte, old, new string) []byte {
	return []byte(strings.Replace(string(data), old, new, 1))
}

// TestMissingBlobs: a blob that is not there is named, and the rest goes on.
func TestMissingBlobs(t *testing.T) {
	m := newModel(t)
	img, dir := m.layout(t, true)
	for _, title := range []string{part(0), "plimsoll runtime", "model configuration"} {
		require.NoError(t, os.Remove(blobPath(dir, descriptor(t, img, title))))
	}
	o := m.verify(t, img, nil)
	require.Equal(t, []string{part(0) + ": layer-missing", "plimsoll runtime: layer-missing", "model configuration: layer-missing"}, o.found())
	require.Nil(t, o.model)
	require.True(t, o.report.Files[0].OK)

	img, dir = m.layout(t, true)
	blob := blobPath(dir, descriptor(t, img, part(0)))
	require.NoError(t, os.Remove(blob))
	require.NoError(t, os.Mkdir(blob, 0o755))
	require.Equal(t, []string{weights + ": unreadable"}, m.verify(t, img, nil).found())
}

// TestManifestAgainstLock: what manifest, config and lock say must agree, whatever the
// bytes are.
func TestManifestAgainstLock(t *testing.T) {
	var other v1.Hash
	cases := map[string]struct {
		do    func(m *model, img *contents.Image)
		found []string
	}{
		"digest that the lock does not have": {
			func(m *model, img *contents.Image) { m.files[1].Digests[1] = "sha256:" + strings.Repeat("0", 64) },
			[]string{part(1) + ": layer-digest"},
		},
		"lock without digests": {func(m *model, img *contents.Image) { m.files[1].Digests = []string{"", "", ""} }, nil},
		"diff id":              {func(m *model, img *contents.Image) { img.Config.RootFS.DiffIDs[0] = other }, []string{"app/models/" + document + ": layer-form"}},
		"too few diff ids": {
			func(m *model, img *contents.Image) { img.Config.RootFS.DiffIDs = img.Config.RootFS.DiffIDs[:4] },
			[]string{"plimsoll runtime: layer-form", "model configuration: layer-form"},
		},
		"compressed": {
			func(m *model, img *contents.Image) { img.Manifest.Layers[0].MediaType = types.OCILayer },
			[]string{"app/models/" + document + ": layer-form"},
		},
		"other size": {func(m *model, img *contents.Image) { img.Manifest.Layers[0].Size++ }, []string{"app/models/" + document + ": layer-form"}},
		"layer missing": {
			func(m *model, img *contents.Image) { img.Manifest.Layers[2].Annotations = nil },
			[]string{part(1) + ": layer-missing"}, // what it was is a layer like any other now
		},
		"layer of another model": {
			func(m *model, img *contents.Image) {
				img.Manifest.Layers = append(img.Manifest.Layers, *img.Manifest.Layers[0].DeepCopy())
			},
			[]string{"app/models/" + document + ": layer-extra"},
		},
		"layers under each other's names": {
			func(m *model, img *contents.Image) {
				a, b := img.Manifest.Layers[1].Annotations, img.Manifest.Layers[2].Annotations
				img.Manifest.Layers[1].Annotations, img.Manifest.Layers[2].Annotations = b, a
			},
			[]string{weights + ": sha256", part(0) + ": layer-digest", part(0) + ": layer-framing", part(1) + ": layer-digest", part(1) + ": layer-framing"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newModel(t)
			img, _ := m.layout(t, true)
			other = img.Digest
			tc.do(m, img)
			require.ElementsMatch(t, tc.found, m.verify(t, img, nil).found())
		})
	}
}

// TestUnknownFile: a file that the lock has no layers for is not guessed at.
func TestUnknownFile(t *testing.T) {
	m := newModel(t)
	img, _ := m.layout(t, true)
	m.files = m.files[:1]
	require.Equal(t, []string{weights + ": unreadable", part(0) + ": layer-extra", part(1) + ": layer-extra", part(2) + ": layer-extra"}, m.verify(t, img, nil).found())
}

func TestBrokenLayouts(t *testing.T) {
	_, err := contents.Pick(filepath.Join(t.TempDir(), "none"), contents.Options{})
	require.Equal(t, fault.Usage, fault.KindOf(err))
	m := newModel(t)
	img, dir := m.layout(t, true)
	spoil(t, filepath.Join(dir, "blobs", "sha256", img.Digest.Hex), flip(20))
	_, err = contents.Pick(dir, contents.Options{})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, "its digest is")
	_, dir = m.layout(t, true)
	spoil(t, filepath.Join(dir, "blobs", "sha256", img.Manifest.Config.Digest.Hex), flip(20))
	_, err = contents.Pick(dir, contents.Options{})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}
