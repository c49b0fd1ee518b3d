package contents_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/image/contents"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

const (
	document = "base/config.json"
	weights  = "base/weights.bin" // in three parts
)

// part is the title of a layer of weights.
func part(i int) string { return pack.PartName("app/models/"+weights, i, 3) }

// model is a small model, its image and what a lock says about it.
type model struct {
	config *manifests.ModelConfig
	files  []contents.File
	data   map[string][]byte
	image  *image.Image
	dir    string // a cache: files by path
}

func newModel(t *testing.T) *model {
	t.Helper()
	m := &model{data: map[string][]byte{}, dir: t.TempDir(), config: &manifests.ModelConfig{
		SchemaVersion: 1, Name: "tiny", Title: "Tiny", Variant: "default", ModelsDir: "/app/models",
		Sources: []manifests.ModelSource{{Name: "base", Title: "Base", Role: manifests.RoleBase, Repo: "o/r", Commit: "c", License: "MIT", Path: "base"}},
	}}
	spec := image.Spec{Manifest: &manifests.Manifest{Name: "tiny", Title: "Tiny", Runtime: manifests.RuntimePlimsoll}, Model: m.config}
	rng := rand.NewChaCha8([32]byte{7})
	for _, f := range []struct {
		path  string
		parts []int64
		size  int
	}{{document, nil, 1000}, {weights, []int64{1 << 20, 1 << 20, 12345}, 2<<20 + 12345}} {
		data := make([]byte, f.size)
		rng.Read(data)
		spec.Files = append(spec.Files, m.add(t, f.path, data, f.parts))
	}
	spec.Runtime = []archive.File{archive.Regular(image.RuntimePath, 0o755, []byte("binary"))}
	var err error
	m.image, err = image.Build(spec)
	require.NoError(t, err)
	return m
}

// add describes a file and puts it into the cache.
func (m *model) add(t *testing.T, path string, data []byte, lengths []int64) image.ModelFile {
	t.Helper()
	m.data[path] = data
	file := filepath.Join(m.dir, path)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, data, 0o644))
	sum := sha256.Sum256(data)
	f := manifests.ModelFile{Path: path, Source: "base", Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Parts: lengths}
	m.config.Files = append(m.config.Files, f)
	parts := cut("app/models/"+path, lengths)
	if lengths == nil {
		parts = []pack.Part{{Name: "app/models/" + path, Count: 1, Length: f.Size}}
	}
	c := contents.File{Path: path, Parts: parts}
	for _, p := range parts {
		c.Digests = append(c.Digests, fmt.Sprintf("sha256:%x", sha256.Sum256(layerOf(t, p, data))))
	}
	m.files = append(m.files, c)
	return image.ModelFile{
		Decision: manifests.Decision{Source: "base", Keep: true, ImagePath: "app/models/" + path, File: manifests.File{Path: strings.TrimPrefix(path, "base/"), Size: f.Size, SHA256: f.SHA256}},
		Parts:    parts, Digests: c.Digests, Open: func() (image.File, error) { return os.Open(file) },
	}
}

func cut(name string, lengths []int64) (out []pack.Part) {
	offset := int64(0)
	for i, n := range lengths {
		out = append(out, pack.Part{Name: pack.PartName(name, i, len(lengths)), Index: i, Count: len(lengths), Offset: offset, Length: n})
		offset += n
	}
	return out
}

// layerOf is the layer of a part.
func layerOf(t *testing.T, p pack.Part, data []byte) []byte {
	t.Helper()
	prefix, err := pack.Prefix(p)
	require.NoError(t, err)
	return append(append(prefix, data[p.Offset:p.Offset+p.Length]...), make([]byte, pack.SuffixLen(p.Length))...)
}

// cache is the place of the files themselves.
func (m *model) cache(memo *verify.Memo) modelfiles.Place {
	return modelfiles.Disk{Memo: memo, Pieces: func(f manifests.ModelFile) []modelfiles.Piece {
		return []modelfiles.Piece{{Name: f.Path, Path: filepath.Join(m.dir, f.Path), Size: f.Size}}
	}}
}

// layout writes the image as a layout, thin or full, and describes it.
func (m *model) layout(t *testing.T, full bool) (*contents.Image, string) {
	t.Helper()
	dir := t.TempDir()
	if full {
		require.NoError(t, m.image.Export(t.Context(), dir, nil))
	} else {
		require.NoError(t, m.image.Save(dir))
	}
	img, err := contents.Pick(dir, contents.Options{})
	require.NoError(t, err)
	return img, dir
}

// descriptor is that of the layer with the title.
func descriptor(t *testing.T, img *contents.Image, title string) *v1.Descriptor {
	t.Helper()
	for i, d := range img.Manifest.Layers {
		if d.Annotations["org.opencontainers.image.title"] == title {
			return &img.Manifest.Layers[i]
		}
	}
	require.Fail(t, "no layer is called so", title)
	return nil
}

// serve publishes the image to a registry on this machine. wrap, if not nil, stands before
// it when it is read.
func (m *model) serve(t *testing.T, wrap func(http.Handler) http.Handler) (reference string) {
	t.Helper()
	var reading http.Handler
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if reading != nil {
			reading.ServeHTTP(w, r)
		} else {
			handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	reference = strings.TrimPrefix(s.URL, "http://") + "/team/tiny:1"
	ref, err := name.ParseReference(reference)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, m.image, remote.WithContext(t.Context())))
	if wrap != nil {
		reading = wrap(handler)
	}
	return reference
}

// outcome is what verifying an image said.
type outcome struct {
	report *modelfiles.Report
	layers []contents.LayerReport
	model  *manifests.ModelConfig
	done   int64
	files  *contents.Files
}

// verify checks the image, without a cache where cache is nil.
func (m *model) verify(t *testing.T, img *contents.Image, cache modelfiles.Place) outcome {
	t.Helper()
	var o outcome
	var err error
	progress := make(chan int64, 1<<16)
	add := func(n int64) { progress <- n }
	o.files = img.Files(m.files, cache)
	o.report, err = modelfiles.Verify(t.Context(), m.config, o.files, modelfiles.Options{Progress: add})
	require.NoError(t, err)
	o.layers, o.model, err = o.files.Layers(t.Context(), add)
	require.NoError(t, err)
	close(progress)
	for n := range progress {
		o.done += n
	}
	return o
}

// found lists "object: code" of all that is wrong.
func (o outcome) found() []string {
	var out []string
	all := o.report.Findings()
	for _, l := range o.layers {
		all = append(all, l.Findings...)
	}
	for _, f := range all {
		out = append(out, f.Object+": "+f.Code)
	}
	return out
}

// spoil changes the bytes of a file.
func spoil(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, change(bytes.Clone(data)), 0o644))
}

func flip(at int) func([]byte) []byte {
	return func(data []byte) []byte {
		data[(at+len(data))%len(data)] ^= 1
		return data
	}
}

func blobPath(dir string, d *v1.Descriptor) string {
	return filepath.Join(dir, "blobs", "sha256", d.Digest.Hex)
}
