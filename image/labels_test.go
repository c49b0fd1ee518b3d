package image_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

// build makes the fixture's image and returns its labels, which are its annotations too.
func (f *fixture) build(t *testing.T) (*image.Image, map[string]string) {
	t.Helper()
	img, err := image.Build(f.spec)
	require.NoError(t, err)
	c, err := img.ConfigFile()
	require.NoError(t, err)
	m, err := img.Manifest()
	require.NoError(t, err)
	require.Equal(t, c.Config.Labels, m.Annotations)
	return img, c.Config.Labels
}

func TestLabels(t *testing.T) {
	f := newFixture(t)
	_, got := f.build(t)
	require.Equal(t, map[string]string{
		"org.opencontainers.image.title":       "Tiny",
		"org.opencontainers.image.description": "2 model files of o/r, with the plimsoll runtime",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"io.github.plimsoll-oci.model":         "tiny",
		"io.github.plimsoll-oci.variant":       "default",
		"io.github.plimsoll-oci.runtime":       "plimsoll",
		"io.github.plimsoll-oci.base":          "libc6 1",
		"io.github.plimsoll-oci.source.base":   "o/r@c0ffee",
		"io.github.plimsoll-oci.license.base":  "Apache-2.0",
		"io.github.plimsoll-oci.parts":         "files are cut into parts that the plimsoll runtime alone reads as one",
	}, got)

	f.spec.Model.Checkpoints = []manifests.ModelCheckpoint{
		{Path: "base/weights.safetensors", Checkpoint: manifests.Checkpoint{Name: "fast", Precision: "int4", Rank: 128}},
		{Path: "base/config.json", Checkpoint: manifests.Checkpoint{Name: "slow", Precision: "int4", Rank: 32}},
	}
	f.spec.Manifest.Image.Labels = map[string]string{"org.opencontainers.image.version": "1.0", "org.opencontainers.image.title": "Mine"}
	_, got = f.build(t)
	require.Equal(t, "2 model files of o/r, with the plimsoll runtime; checkpoints: fast (int4, rank 128), slow (int4, rank 32)", got["org.opencontainers.image.description"])
	require.Equal(t, "fast,slow", got[image.LabelCheckpoints])
	require.Equal(t, "int4", got[image.LabelPrecision])
	require.Equal(t, "128,32", got[image.LabelRank])
	require.Equal(t, "1.0", got["org.opencontainers.image.version"], "the manifest's own")
	require.Equal(t, "Mine", got["org.opencontainers.image.title"], "the manifest's own come last")
}

// TestLicenseExpression: every manifest's licence makes a valid expression, which never
// hides that one is not known.
func TestLicenseExpression(t *testing.T) {
	for licence, want := range map[string]string{
		"Apache-2.0":              "Apache-2.0",
		"MIT":                     "Apache-2.0 AND MIT",
		"LicenseRef-openrail":     "Apache-2.0 AND LicenseRef-openrail",
		"MIT OR BSD-3-Clause":     "(MIT OR BSD-3-Clause) AND Apache-2.0",
		"NOASSERTION":             "Apache-2.0 AND LicenseRef-not-declared",
		"":                        "Apache-2.0 AND LicenseRef-not-declared",
		"the one on our web site": "Apache-2.0 AND LicenseRef-not-declared",
		"MIT AND":                 "Apache-2.0 AND LicenseRef-not-declared",
	} {
		f := newFixture(t)
		f.spec.Model.Sources[0].License = licence
		_, got := f.build(t)
		require.Equal(t, want, got["org.opencontainers.image.licenses"], licence)
		require.Equal(t, licence, got[image.LabelLicense+"base"])
	}
}

// TestWeights: the weights of an image are the image that is built without a runtime, and
// hold no layer that the image has not.
func TestWeights(t *testing.T) {
	f := newFixture(t)
	f.spec.Model.Sources[0].License = "MIT"
	full, labels := f.build(t)
	dir := t.TempDir()
	require.NoError(t, full.Save(dir))
	opened, err := image.Open(dir, nil)
	require.NoError(t, err)
	got, err := opened.Weights()
	require.NoError(t, err)
	require.Zero(t, f.opens, "no model file is read")

	none := *f
	none.spec.Base, none.spec.BaseName, none.spec.Runtime = nil, "", nil
	none.spec.Manifest.Runtime = manifests.RuntimeNone
	want, weights := none.build(t)
	requireSameDigest(t, want, got)
	again, err := got.Weights()
	require.NoError(t, err)
	require.Same(t, got, again)

	differ := map[string]string{}
	for k, v := range labels {
		if weights[k] != v {
			differ[k] = weights[k]
		}
	}
	require.Equal(t, map[string]string{
		image.LabelBase: "", image.LabelRuntime: "none",
		"org.opencontainers.image.description": "2 model files of o/r, weights only",
		"org.opencontainers.image.licenses":    "MIT",
	}, differ)
	has := digests(t, full)
	for digest := range digests(t, got) {
		require.Contains(t, has, digest)
	}
	require.Len(t, digests(t, got), 4)
}

// TestWeightsKeepTheManifestsLabels: what a manifest says itself is not replaced.
func TestWeightsKeepTheManifestsLabels(t *testing.T) {
	f := newFixture(t)
	f.spec.Manifest.Image.Labels = map[string]string{"org.opencontainers.image.description": "mine", "org.opencontainers.image.licenses": "MIT"}
	full, _ := f.build(t)
	got, err := full.Weights()
	require.NoError(t, err)
	f.spec.Base, f.spec.BaseName, f.spec.Runtime = nil, "", nil
	f.spec.Manifest.Runtime = manifests.RuntimeNone
	want, _ := f.build(t)
	requireSameDigest(t, want, got)
}

func requireSameDigest(t *testing.T, want, got *image.Image) {
	t.Helper()
	a, err := want.RawManifest()
	require.NoError(t, err)
	b, err := got.RawManifest()
	require.NoError(t, err)
	require.JSONEq(t, string(a), string(b))
	require.Equal(t, string(a), string(b))
}

func digests(t *testing.T, img *image.Image) map[v1.Hash]bool {
	t.Helper()
	m, err := img.Manifest()
	require.NoError(t, err)
	out := map[v1.Hash]bool{}
	for _, d := range m.Layers {
		out[d.Digest] = true
	}
	return out
}

// TestIndexSaysWhatTheManifestDoes: the index is all that some tools read.
func TestIndexSaysWhatTheManifestDoes(t *testing.T) {
	img, labels := newFixture(t).build(t)
	dir := t.TempDir()
	require.NoError(t, img.Save(dir))
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	require.NoError(t, err)
	var index v1.IndexManifest
	require.NoError(t, json.Unmarshal(data, &index))
	want := maps.Clone(labels)
	want["org.opencontainers.image.ref.name"] = "latest"
	require.Equal(t, want, index.Manifests[0].Annotations)
}
