package push

import (
	"fmt"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Strategy is a way of sending one blob.
type Strategy string

// The strategies, from the one that loses least in a cut to the one that every registry
// takes. A registry that refuses one is asked with the next.
const (
	// Flowing sends as much with each PATCH as leaves in a minute, and leaves its end open until
	// then: an interrupt ends it well, and its answer says what has arrived. It takes the place
	// of Chunked at a registry that nothing is known of but that it is Docker's, and that
	// nothing stands before which would collect requests.
	Flowing Strategy = "flowing"
	// Chunked sends ranges, each with a PATCH whose answer says what has arrived.
	Chunked Strategy = "chunked"
	// Streamed sends all bytes with one PATCH, and closes with an empty PUT.
	Streamed Strategy = "streamed"
	// Monolithic sends all bytes with the closing PUT.
	Monolithic Strategy = "monolithic"
)

// fallback is the strategy after a refused one, "" after the last.
func (s Strategy) fallback() Strategy {
	switch s {
	case Flowing:
		return Chunked
	case Chunked:
		return Streamed
	case Streamed:
		return Monolithic
	}
	return ""
}

const (
	// defaultChunk is the size of a chunk where nothing else is known: large enough for
	// registries that store chunks as parts of an S3 upload (5 MiB at least), and below the
	// 100 MB of a request that Cloudflare passes.
	defaultChunk = 32 << 20
	// largestChunk is what chunks grow to, but not over a share of the layer, so that a cut
	// costs little. Registries store each, which takes time, so that the fewer there are the
	// better; docker itself sends a whole layer with one request, so that registries take them.
	largestChunk = 512 << 20
	chunkShare   = 8
	// minChunk is the smallest chunk that a 413 is answered with.
	minChunk = 1 << 20
	// manifestLimit is the size of a manifest that registries have to take, by the OCI
	// distribution specification ("should enforce some limit of at least 4 megabytes").
	manifestLimit = 4 << 20
)

// Registry is what is known about a registry: its limits, and how it wants its bytes. Zero
// limits are unknown ones.
type Registry struct {
	// Host is the registry's host, a path.Match pattern.
	Host string `json:"host"`
	// Layer is the largest layer, Manifest the largest manifest in bytes; Layers is how many
	// layers an image may have.
	Layer    int64 `json:"layer,omitempty"`
	Manifest int64 `json:"manifest"`
	Layers   int   `json:"layers,omitempty"`
	// Strategy is the first to be tried; Chunk the size of the first ranged PATCH. Later
	// ones grow while they are quick, up to LargestChunk.
	Strategy     Strategy `json:"strategy"`
	Chunk        int64    `json:"chunk"`
	LargestChunk int64    `json:"largestChunk"`
	// Restart says that an upload that was cut cannot go on.
	Restart bool `json:"restart,omitempty"`
	// Source says where figures and quirks come from.
	Source string `json:"source,omitempty"`
}

// Registries is the table of registries with limits or quirks of their own.
var Registries = []Registry{
	{Host: "ghcr.io", Layer: 10_000_000_000, Strategy: Streamed, Chunk: 4 << 20,
		Source: "GitHub's documentation: 10 GB a layer, 10 minutes an upload; a ranged PATCH takes 4 MiB"},
	{Host: "public.ecr.aws", Layer: 10_000 << 20, Strategy: Streamed, Restart: true,
		Source: "AWS service quotas: 10,000 MiB; aws/containers-roadmap#2831: PATCH bodies after the first are dropped"},
	{Host: "*.dkr.ecr.*.amazonaws.com", Layer: 52_000 << 20, Strategy: Streamed, Restart: true,
		Source: "AWS service quotas: 52,000 MiB; aws/containers-roadmap#2831: PATCH bodies after the first are dropped"},
	{Host: "*-docker.pkg.dev", Strategy: Monolithic, Restart: true, Source: "Artifact Registry's documentation: monolithic uploads only"},
	{Host: "*.azurecr.io", Layer: 195 << 30, Source: "Azure's documentation: about 195 GiB a layer, 4 MiB a manifest"},
	{Host: "index.docker.io", Layers: 125, Source: "moby: the deepest image that docker runs has 125 layers; no limit of a layer is published"},
	{Host: "quay.io", Layer: 20_000_000_000, Source: "Quay's default: 20 GB a layer"},
}

// Registry returns what the table knows about the target's registry, and defaults for
// everything else.
func (t Target) Registry() Registry {
	out := Registry{Host: t.ref.RegistryStr()}
	for _, r := range Registries {
		if match, _ := path.Match(r.Host, t.ref.RegistryStr()); match {
			out = r
			break
		}
	}
	if out.Strategy == "" {
		out.Strategy = Chunked
	}
	if out.Chunk == 0 {
		out.Chunk, out.LargestChunk = defaultChunk, largestChunk
	}
	if out.Manifest == 0 {
		out.Manifest = manifestLimit
	}
	return out
}

// mostChunk is what the chunks of a layer may grow to.
func (r Registry) mostChunk(size int64) int64 {
	return max(r.Chunk, min(r.LargestChunk, size/chunkShare))
}

// Check refuses an image that is over one of the registry's limits, before any byte is
// sent. Errors are of kind fault.Usage and name the setting to change.
func (t Target) Check(img v1.Image) error {
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	return t.Registry().check(t, m, int64(len(raw)))
}

// CheckLayer is Check for one layer of a size in bytes.
func (t Target) CheckLayer(title string, size int64) error {
	r := t.Registry()
	if r.Layer == 0 || size <= r.Layer {
		return nil
	}
	return fault.Wrap(fault.Usage, fmt.Sprintf("set partSize in the manifest to %d or less and build again", r.PartSize()), fmt.Errorf(
		"publishing %s: layer %s has %d bytes, %s takes %d", t, title, size, r.Host, r.Layer))
}

// check compares an image with the limits.
func (r Registry) check(t Target, m *v1.Manifest, size int64) error {
	for _, d := range m.Layers {
		if err := t.CheckLayer(d.Annotations["org.opencontainers.image.title"], d.Size); err != nil {
			return err
		}
	}
	const fewer = "set a larger partSize in the manifest, or drop files by its rules, and build again"
	if r.Layers > 0 && len(m.Layers) > r.Layers {
		return fault.Wrap(fault.Usage, fewer, fmt.Errorf("publishing %s: the image has %d layers, %s takes %d", t, len(m.Layers), r.Host, r.Layers))
	}
	if size > r.Manifest {
		return fault.Wrap(fault.Usage, fewer, fmt.Errorf("publishing %s: the image's manifest has %d bytes, %s takes %d", t, size, r.Host, r.Manifest))
	}
	return nil
}

// PartSize is the largest multiple of 64 MiB whose layer, with its tar header and padding,
// stays within Layer, for a registry that has that limit.
func (r Registry) PartSize() int64 {
	const step = 64 << 20
	return max((r.Layer-(1<<20))/step, 1) * step
}
