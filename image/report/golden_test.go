package report_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// listings reads a file of testdata: source, bytes, what the size rests on, path.
func listings(t testing.TB, path string) map[string]manifests.Listing {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	out := map[string]manifests.Listing{}
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		if strings.HasPrefix(scanner.Text(), "#") {
			continue
		}
		var source, basis, path string
		var size int64
		_, err := fmt.Sscanf(scanner.Text(), "%s %d %s %s", &source, &size, &basis, &path)
		require.NoError(t, err, scanner.Text())
		l := out[source]
		l.Files = append(l.Files, manifests.File{Path: path, Size: size})
		out[source] = l
	}
	return out
}

// digest makes up the digest of a layer: reports tell layers apart by it, no more.
func digest(name string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name))) }

// layers cuts the kept files into layers, as a build does.
func layers(t require.TestingT, m *manifests.Manifest, s manifests.Selection) []report.Layer {
	var out []report.Layer
	for _, d := range s.Kept() {
		parts, err := pack.Parts(d.ImagePath, d.Size, int64(m.PartSize))
		require.NoError(t, err)
		for _, p := range parts {
			out = append(out, report.Layer{
				Kind: report.KindModel, Path: p.Name, Source: d.Source, Digest: digest(p.Name), Size: p.LayerSize(), Content: p.Length,
			})
		}
	}
	return out
}

// input selects the variant out of a listing and puts sample layers for base, runtime and
// configuration on top.
func input(t testing.TB, manifest, listing, variant string) report.Input {
	t.Helper()
	m, err := manifests.Load(manifest)
	require.NoError(t, err)
	s, err := m.Select(variant, listings(t, listing))
	require.NoError(t, err)
	ls := append(layers(t, m, s),
		report.Layer{Kind: report.KindBase, Path: "usr/lib", Digest: digest("base"), Size: 2_312_192, Content: 2_290_184},
		report.Layer{Kind: report.KindRuntime, Path: "usr/bin/plimsoll-runtime", Digest: digest("runtime"), Size: 18_212_352, Content: 18_210_816},
		report.Layer{Kind: report.KindConfig, Path: "etc/plimsoll/model.json", Digest: digest("config"), Size: 10_240, Content: 7_915})
	return report.Input{Manifest: m, Selection: s, Layers: ls, Manifests: 9_731, Image: digest("image")}
}

const (
	realManifest = "../../manifests/qwen-image-edit.yaml"
	realListing  = "testdata/qwen-image-edit.listing"
	demoManifest = "testdata/demo-scale.yaml"
	demoListing  = "testdata/demo-scale.listing"
)

// qwen is the input of Qwen-Image-Edit. The share of lm_head is exact, 544,997,376 values
// of two bytes; that of the temporal slices is a sample.
func qwen(t testing.TB, variant string) report.Input {
	in := input(t, realManifest, realListing, variant)
	in.Unused = []manifests.ModelUnused{
		{
			Path: "Qwen--Qwen-Image-Edit/vae/diffusion_pytorch_model.safetensors", Part: "temporal slices", Bytes: 160_000_000,
			Reason: "a single picture uses the last of three temporal slices of each convolution",
		},
		{
			Path: "Qwen--Qwen-Image-Edit/text_encoder/model-00004-of-00004.safetensors", Part: "lm_head", Bytes: 1_089_994_752,
			Reason: "the text encoder's hidden states are used, its next-token head is not",
		},
	}
	return in
}

// demo is the input at the demo's scale, built without a base.
func demo(t testing.TB) report.Input {
	in := input(t, demoManifest, demoListing, "lightning")
	n := len(in.Layers)
	in.Layers = append(in.Layers[:n-3:n-3], in.Layers[n-2:]...)
	in.Note = "built without a base: no Debian mirror was reachable"
	return in
}

func TestGolden(t *testing.T) {
	cases := map[string]report.Input{
		"qwen-image-edit":           qwen(t, ""),
		"qwen-image-edit-lightning": qwen(t, "lightning"),
		"demo-scale":                demo(t),
	}
	for name, in := range cases {
		t.Run(name, func(t *testing.T) {
			r, err := report.New(in)
			require.NoError(t, err)
			golden(t, name+".txt", r.Text())
			golden(t, name+".json", string(r.JSON()))
		})
	}
}

// golden compares to a file of testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// TestHeadline holds the figures that the project claims for the real model.
func TestHeadline(t *testing.T) {
	both, err := report.New(qwen(t, ""))
	require.NoError(t, err)
	one, err := report.New(qwen(t, "lightning"))
	require.NoError(t, err)
	naive, _ := both.Scope(report.ScopeNaive)
	published, _ := both.Scope(report.ScopePublished)

	require.Equal(t, int64(83_027_665_277), naive.Total.Before)
	require.Equal(t, 83.0, gigabytes(naive.Total.Before))
	require.Equal(t, 42.2, gigabytes(both.Image.ModelBytes))
	require.Equal(t, 29.5, gigabytes(one.Image.ModelBytes))
	require.InDelta(t, 205e9, published.Total.Before, 0.5e9)
	require.Less(t, both.Image.OutsideBytes, int64(25_000_000))

	require.Equal(t, "Nunchaku Models", naive.Rows[0].Component)
	require.Equal(t, int64(2*12_654_443_144), naive.Rows[0].Before)
	require.Zero(t, naive.Rows[0].Saved)
	require.Equal(t, "Base Model", naive.Rows[1].Component)
	require.Equal(t, int64(57_718_778_989), naive.Rows[1].Before)
	require.Equal(t, manifests.BecauseReplaced, naive.Savings[0].Because)
	require.GreaterOrEqual(t, naive.Savings[0].Bytes, int64(40_861_027_880))
}

// gigabytes rounds to one decimal, as the claims do.
func gigabytes(n int64) float64 { return float64((n+5e7)/1e8) / 10 }

// TestShards checks the listing against the published sum of the base transformer.
func TestShards(t *testing.T) {
	sum := int64(0)
	for _, f := range listings(t, realListing)["base"].Files {
		if strings.HasPrefix(f.Path, "transformer/") && strings.HasSuffix(f.Path, ".safetensors") {
			sum += f.Size
		}
	}
	require.Equal(t, int64(40_861_027_880), sum)
}

// TestJSONReadsBack keeps the document complete: what the type holds is in the JSON.
func TestJSONReadsBack(t *testing.T) {
	r, err := report.New(qwen(t, ""))
	require.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(r.JSON())))
	decoder.DisallowUnknownFields()
	var back report.Report
	require.NoError(t, decoder.Decode(&back))
	require.Equal(t, *r, back)
	require.Equal(t, report.SchemaVersion, back.SchemaVersion)
}
