package flow_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/report/diff"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// countedRegistry is a registry that counts the bytes of blobs and manifests that it sends.
func countedRegistry(t *testing.T) (host string, sent *atomic.Int64) {
	t.Helper()
	sent = &atomic.Int64{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path != "/v2/" {
			w = countingWriter{ResponseWriter: w, n: sent}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), sent
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// layerOf is an archive of files, gzipped or not, as a layer of Docker's.
func layerOf(t testing.TB, zip bool, files map[string]string) v1.Layer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644}))
		_, err := io.WriteString(w, content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	if !zip {
		return static.NewLayer(out.Bytes(), types.DockerUncompressedLayer)
	}
	return zipped(t, out.Bytes(), gzip.DefaultCompression)
}

// zipped is a gzip layer of an archive.
func zipped(t testing.TB, archive []byte, level int) v1.Layer {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, level)
	require.NoError(t, err)
	_, err = z.Write(archive)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return zippedLayer{Layer: static.NewLayer(out.Bytes(), types.DockerLayer), archive: sha256.Sum256(archive)}
}

// zippedLayer is a layer whose diff id is known.
type zippedLayer struct {
	v1.Layer
	archive [32]byte
}

func (l zippedLayer) DiffID() (v1.Hash, error) {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", l.archive)}, nil
}

// docker is an image of Docker's media types.
func docker(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	var adds []mutate.Addendum
	for i, l := range layers {
		adds = append(adds, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: fmt.Sprintf("RUN step-%d", i)}})
	}
	img, err := mutate.Append(empty.Image, adds...)
	require.NoError(t, err)
	return mutate.ConfigMediaType(mutate.MediaType(img, types.DockerManifestSchema2), types.DockerConfigJSON)
}

// write publishes an image.
func write(t *testing.T, reference string, img v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(reference)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img))
}

// TestDiffReadsNoLayer: of two images in a registry, manifests and configs alone are read.
func TestDiffReadsNoLayer(t *testing.T) {
	host, sent := countedRegistry(t)
	base := layerOf(t, true, map[string]string{"etc/os": "old"})
	low := layerOf(t, true, map[string]string{"etc/os": "new"})
	top := layerOf(t, false, map[string]string{"app": strings.Repeat("x", 1<<20)})
	want := int64(0)
	for tag, img := range map[string]v1.Image{"a": docker(t, base, top), "b": docker(t, low, top)} {
		write(t, host+"/them/image:"+tag, img)
		config, err := img.RawConfigFile()
		require.NoError(t, err)
		manifest, err := img.RawManifest()
		require.NoError(t, err)
		want += int64(len(config) + len(manifest))
	}
	sent.Store(0)
	r, err := flow.Diff(t.Context(), "docker://"+host+"/them/image:a", "docker://"+host+"/them/image:b", flow.DiffOptions{})
	require.NoError(t, err)
	require.Equal(t, want, sent.Load())
	require.Equal(t, diff.Changed, r.Layers[0].Status)
	require.Equal(t, "RUN step-0", r.Layers[0].Title)
	require.Equal(t, 1, r.Pull.Unpack.New.Unknown, "the size of a gzip layer unpacked is in no manifest")
	require.Equal(t, 1, r.Pull.Unpack.Again.Count.Count)
	require.Greater(t, r.Pull.Unpack.Again.Bytes, int64(1<<20))
	require.Nil(t, r.Files)
}

// TestDiffMarkdown: a file is replaced, the runner's summary is added to, as report does.
func TestDiffMarkdown(t *testing.T) {
	dir := t.TempDir()
	l, err := layout.Write(filepath.Join(dir, "image"), empty.Index)
	require.NoError(t, err)
	require.NoError(t, l.AppendImage(docker(t, layerOf(t, true, map[string]string{"a": "1"}))))
	place, summary, file := "oci:"+filepath.Join(dir, "image"), filepath.Join(dir, "summary.md"), filepath.Join(dir, "new", "diff.md")
	t.Setenv("GITHUB_STEP_SUMMARY", summary)
	for _, path := range []string{summary, file, summary, file} {
		_, err := flow.Diff(t.Context(), place, place, flow.DiffOptions{Markdown: path})
		require.NoError(t, err)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), "Nothing differs."))
	added, err := os.ReadFile(summary)
	require.NoError(t, err)
	require.Equal(t, string(text)+"\n"+string(text), string(added))
}

// TestDiffOfPlatforms: an index with platforms, attestations and a second image, as BuildKit
// and others write it, with layers in Docker's and OCI's types.
func TestDiffOfPlatforms(t *testing.T) {
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	amd, arm := docker(t, layerOf(t, true, map[string]string{"a": "1"})), docker(t, layerOf(t, true, map[string]string{"a": "2"}))
	platforms := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: docker(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}})
	require.NoError(t, l.AppendIndex(platforms, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "multi"})))
	require.NoError(t, l.AppendImage(arm, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "arm"})))
	place := "oci:" + dir

	same, err := flow.Diff(t.Context(), place+":multi", place+":arm", flow.DiffOptions{Platform: "linux/arm64"})
	require.NoError(t, err)
	require.True(t, same.Same)
	other, err := flow.Diff(t.Context(), place+":multi", place+":arm", flow.DiffOptions{Files: true})
	require.NoError(t, err)
	require.Equal(t, []diff.FileChange{{
		Status: diff.Changed, Path: "a", Bytes: 1, Was: 1,
		Sum: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("2"))), WasSum: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("1"))),
	}}, other.Files.Changes)
	require.Zero(t, other.Pull.Unpack.New.Unknown, "it was measured")
	digest, err := arm.Digest()
	require.NoError(t, err)
	_, err = flow.Diff(t.Context(), place+"@"+digest.String(), place+":arm", flow.DiffOptions{})
	require.NoError(t, err)
	_, err = flow.Diff(t.Context(), place+":multi", place+":arm", flow.DiffOptions{Platform: "linux/s390x"})
	require.Equal(t, fault.Usage, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), `"multi" for linux/amd64, "multi" for linux/arm64, "arm"`)
}

// TestDiffWithoutThePlatform: an index in a registry that lacks the platform says so.
func TestDiffWithoutThePlatform(t *testing.T) {
	host, _ := countedRegistry(t)
	arm := mutate.IndexAddendum{Add: docker(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}}
	ref, err := name.ParseReference(host + "/them/image:1")
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(ref, mutate.AppendManifests(empty.Index, arm)))
	place := "docker://" + ref.String()
	_, err = flow.Diff(t.Context(), place, place, flow.DiffOptions{})
	require.Equal(t, fault.Usage, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "none for linux/amd64")
	r, err := flow.Diff(t.Context(), place, place, flow.DiffOptions{Platform: "linux/arm64"})
	require.NoError(t, err)
	require.True(t, r.Same)
}

// TestDiffOfFiles: a file is no layout.
func TestDiffOfFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image.tar")
	require.NoError(t, os.WriteFile(path, []byte("tar"), 0o644))
	for _, place := range []string{"oci:" + path, "oci:" + path + ":name", "oci:" + path + "/", "oci:nothing@sha256:abc"} {
		_, err := flow.Diff(t.Context(), place, place, flow.DiffOptions{})
		require.Equal(t, fault.Usage, fault.KindOf(err), "%s: %v", place, err)
		require.Contains(t, fault.HintOf(err), "folder of an OCI layout")
	}
}

// TestDiffRefusesSpoiledLayers: a layer that is read must be what manifest and config say.
func TestDiffRefusesSpoiledLayers(t *testing.T) {
	dir := t.TempDir()
	img, err := random.Image(1000, 1)
	require.NoError(t, err)
	l, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	require.NoError(t, l.AppendImage(img))
	m, err := img.Manifest()
	require.NoError(t, err)
	path := filepath.Join(dir, "blobs", "sha256", m.Layers[0].Digest.Hex)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, spoiled := range map[string][]byte{"cut": data[:len(data)/2], "longer": append(bytes.Clone(data), 0), "other": []byte("no archive"), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, spoiled, 0o644))
			_, err := flow.Diff(t.Context(), "oci:"+dir, "oci:"+dir, flow.DiffOptions{Files: true})
			require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
		})
	}
}

// foreignLayout writes a layout of one manifest and one config, whatever they hold. CONFIG
// in the manifest stands for the config's digest.
func foreignLayout(t testing.TB, manifest, config string) string {
	t.Helper()
	dir := t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	require.NoError(t, os.MkdirAll(blobs, 0o755))
	write := func(data string) string {
		hex := fmt.Sprintf("%x", sha256.Sum256([]byte(data)))
		require.NoError(t, os.WriteFile(filepath.Join(blobs, hex), []byte(data), 0o644))
		return "sha256:" + hex
	}
	digest := write(strings.ReplaceAll(manifest, "CONFIG", write(config)))
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{map[string]any{
		"mediaType": types.OCIManifestSchema1, "digest": digest, "size": 1,
	}}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644))
	return "oci:" + dir
}

// FuzzForeignManifest: whatever a manifest and a config hold, comparing them ends in a
// report that adds up, or in an error that is not ours.
func FuzzForeignManifest(f *testing.F) {
	const layer = `{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":2048,"digest":"sha256:` +
		`aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","annotations":{"io.github.plimsoll-oci.kind":"model",` +
		`"io.github.plimsoll-oci.file":"app/f","io.github.plimsoll-oci.file.size":"12","io.github.plimsoll-oci.pack":"1",` +
		`"io.github.plimsoll-oci.file.sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}`
	const head = `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"CONFIG"},"layers":[`
	f.Add(head+layer+`]}`, `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]},"history":[{"created_by":"x"}]}`)
	f.Add(head+layer+","+strings.Replace(layer, "2048", "-1", 1)+`]}`, `{}`)
	f.Add(head+`]}`, `null`)
	f.Add(`{"schemaVersion":1,"fsLayers":[]}`, ``)
	f.Add(`[]`, `"x"`)
	f.Fuzz(func(t *testing.T, manifest, config string) {
		place := foreignLayout(t, manifest, config)
		r, err := flow.Diff(t.Context(), place, place, flow.DiffOptions{})
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
			return
		}
		require.True(t, r.Same)
		require.Equal(t, r.A.Bytes, r.Blobs.Shared.Bytes)
		require.True(t, json.Valid(r.JSON()))
	})
}

// TestDiffOfArtifacts: what is no image is compared by its blobs, and nothing is said about
// unpacking it.
func TestDiffOfArtifacts(t *testing.T) {
	const hex = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	manifest := `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"CONFIG"},"layers":[` +
		`{"mediaType":"application/x-weights","size":12,"digest":"sha256:` + hex + `","annotations":{"org.opencontainers.image.title":"w.bin"}}]}`
	r, err := flow.Diff(t.Context(), foreignLayout(t, manifest, "{}"), foreignLayout(t, strings.ReplaceAll(manifest, hex, strings.Repeat("c", 64)), "{}"), flow.DiffOptions{})
	require.NoError(t, err)
	require.Nil(t, r.Pull.Unpack)
	require.Equal(t, diff.Changed, r.Layers[0].Status)
	require.Equal(t, "w.bin", r.Layers[0].Title)
}
