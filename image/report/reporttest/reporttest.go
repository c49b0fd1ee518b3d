// Package reporttest makes inputs of storage reports for the tests of every form: the real
// model at its published sizes, the demo's scale, and one whose names are hostile.
//
// Digests are made up, since reports tell layers apart by them and no more; the layers of
// base, runtime and configuration are samples.
package reporttest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"testing"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
	"github.com/plimsoll-oci/plimsoll/verify/gpu"
)

var (
	//go:embed qwen-image-edit.listing
	realListing []byte
	//go:embed demo-scale.listing
	demoListing []byte
	//go:embed demo-scale.yaml
	demoManifest []byte
)

// Listings reads a listing of Real: source, bytes, what the size rests on, path.
func Listings(t testing.TB) map[string]manifests.Listing { return listings(t, realListing) }

func listings(t testing.TB, data []byte) map[string]manifests.Listing {
	t.Helper()
	out := map[string]manifests.Listing{}
	for scanner := bufio.NewScanner(bytes.NewReader(data)); scanner.Scan(); {
		if bytes.HasPrefix(scanner.Bytes(), []byte("#")) {
			continue
		}
		var source, basis, path string
		var size int64
		if _, err := fmt.Sscanf(scanner.Text(), "%s %d %s %s", &source, &size, &basis, &path); err != nil {
			t.Fatalf("reading listing: %q: %v", scanner.Text(), err)
		}
		l := out[source]
		l.Files = append(l.Files, manifests.File{Path: path, Size: size})
		out[source] = l
	}
	return out
}

// Digest makes up the digest of a layer.
func Digest(name string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name))) }

// Fatal is what a test can be ended with: testing.TB and rapid.TB have it.
type Fatal interface {
	Fatalf(format string, args ...any)
}

// Layers cuts the kept files into layers, as a build does.
func Layers(t Fatal, m *manifests.Manifest, s manifests.Selection) []report.Layer {
	var out []report.Layer
	for _, d := range s.Kept() {
		parts, err := pack.Parts(d.ImagePath, d.Size, int64(m.PartSize))
		if err != nil {
			t.Fatalf("cutting %s: %v", d.ImagePath, err)
		}
		for _, p := range parts {
			out = append(out, report.Layer{
				Kind: report.KindModel, Path: p.Name, Source: d.Source, Digest: Digest(p.Name), Size: p.LayerSize(), Content: p.Length,
			})
		}
	}
	return out
}

// input selects the variant out of a listing and puts sample layers on top.
func input(t testing.TB, m *manifests.Manifest, files map[string]manifests.Listing, variant string) report.Input {
	t.Helper()
	s, err := m.Select(variant, files)
	if err != nil {
		t.Fatal(err)
	}
	return report.Input{
		Manifest: m, Selection: s, Manifests: 9_731, Image: Digest("image"),
		Layers: append(Layers(t, m, s),
			report.Layer{Kind: report.KindBase, Path: "usr/lib", Digest: Digest("base"), Size: 2_312_192, Content: 2_290_184},
			report.Layer{Kind: report.KindRuntime, Path: "usr/bin/plimsoll-runtime", Digest: Digest("runtime"), Size: 18_212_352, Content: 18_210_816},
			report.Layer{Kind: report.KindConfig, Path: "etc/plimsoll/model.json", Digest: Digest("config"), Size: 10_240, Content: 7_915}),
	}
}

// Real is the input of Qwen-Image-Edit. Unused shares and GPU memory are what packages
// modelset and gpu compute from tensors of the real shapes; the limits are a few of package
// push's table.
func Real(t testing.TB, variant string) report.Input {
	t.Helper()
	data, _ := manifests.Embedded("qwen-image-edit")
	m, err := manifests.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	in := input(t, m, Listings(t), variant)
	const base = "Qwen--Qwen-Image-Edit/"
	in.Unused = []manifests.ModelUnused{
		{Path: base + "text_encoder/model-00004-of-00004.safetensors", Part: "lm_head.*", Bytes: 1_089_994_752, Reason: "the pipeline takes hidden states and never asks for the next token"},
		{Path: base + "vae/diffusion_pytorch_model.safetensors", Part: "*.time_conv.*", Bytes: 4_649_088, Reason: "a single image has no frames to merge or to add"},
		{Path: base + "vae/diffusion_pytorch_model.safetensors", Part: "kernels of 3 frames, slices 0 and 1", Bytes: 159_936_768, Reason: "a single image meets only the last slice of a causal kernel"},
	}
	in.Limits = []report.Limit{
		{Registry: "ghcr.io", Layer: 10_000_000_000, PartSize: 9_932_111_872, Source: "GitHub's documentation: 10 GB a layer"},
		{Registry: "public.ecr.aws", Layer: 10_000 << 20, PartSize: 10_468_982_784, Source: "AWS service quotas: 10,000 MiB"},
		{Registry: "*-docker.pkg.dev", Source: "Artifact Registry's documentation names no limit"},
		{Registry: "index.docker.io", Layers: 125, Source: "moby: the deepest image that docker runs has 125 layers"},
	}
	const step = 8_847_360 // bytes of modulations
	for _, c := range m.Checkpoints {
		if _, ok := find(in.Selection, c.File); ok {
			in.Checkpoints = append(in.Checkpoints, gpu.Checkpoint{Name: c.Name, File: c.File, Precision: c.Precision, Rank: c.Rank, Needs: []gpu.Need{
				{Mode: gpu.ResidentInt8, Bytes: 35_387_143_142 + step*int64(c.Steps)},
				{Mode: gpu.Resident, Bytes: 30_526_993_382 + step*int64(c.Steps)},
				{Mode: gpu.Streamed, Bytes: 3_484_137_958 + step*int64(c.Steps), HostBytes: 27_975_086_592},
			}})
		}
	}
	return in
}

// find returns the kept file of a name.
func find(s manifests.Selection, file string) (manifests.Decision, bool) {
	for _, d := range s.Kept() {
		if d.Path == file {
			return d, true
		}
	}
	return manifests.Decision{}, false
}

// Demo is the input at the demo's scale, built without a base; a registry has the image of
// another variant, and one takes no layer of this size.
func Demo(t testing.TB) report.Input {
	t.Helper()
	m, err := manifests.Parse(demoManifest)
	if err != nil {
		t.Fatal(err)
	}
	in := input(t, m, listings(t, demoListing), "lightning")
	n := len(in.Layers)
	in.Layers = append(in.Layers[:n-3:n-3], in.Layers[n-2:]...)
	in.Note = "built without a base: no Debian mirror was reachable"
	in.Other = &report.Other{Name: "registry.example/demo:1", Digest: Digest("another image")}
	for _, l := range in.Layers[:2] {
		in.Other.Layers = append(in.Other.Layers, report.OtherLayer{Digest: l.Digest, Size: l.Size})
	}
	in.Limits = []report.Limit{
		{Registry: "small.example", Layer: 100_000_000, PartSize: 67_108_864, Source: "made up"},
		{Registry: "shallow.example", Layers: 3, Source: "made up"},
	}
	return in
}
