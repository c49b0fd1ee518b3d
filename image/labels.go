package image

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// What an image says about itself stands in three places with one content: in the config as
// labels, where docker, podman and schedulers look; on the manifest as annotations, where
// registries and OCI tools look; and on the layout's index, where whoever copies it looks.
// All of it follows from manifest and model.json, and all of it is part of the digest: so
// there is no time of creation, and no revision of plimsoll, which would give equal images
// different digests.
//
// The keys of OCI (image-spec, annotations.md) hold what is true of the image as a whole.
// Of the others, revision and version belong to whoever publishes: a manifest may set them
// under image.labels, as it may set any key. base.name and base.digest name a base image,
// and there is none: the base is Debian packages, see LabelBase.
const (
	ociTitle       = "org.opencontainers.image.title"
	ociDescription = "org.opencontainers.image.description"
	ociLicenses    = "org.opencontainers.image.licenses"
)

// labelPrefix is the namespace of plimsoll's own labels.
const labelPrefix = annotation

// Labels about what is in the image; those about GPUs are LabelGPU and its neighbours.
const (
	// LabelModel and LabelVariant are the manifest's name and the variant that was built.
	LabelModel   = labelPrefix + "model"
	LabelVariant = labelPrefix + "variant"
	// LabelRuntime says what runs in the image: "plimsoll", or "none" where it holds weights
	// only.
	LabelRuntime = labelPrefix + "runtime"
	// LabelBase describes the base layer, with the versions of its packages.
	LabelBase = labelPrefix + "base"
	// LabelSource and a source's name is "REPOSITORY@COMMIT"; LabelLicense likewise is the
	// licence of its files.
	LabelSource  = labelPrefix + "source."
	LabelLicense = labelPrefix + "license."
	// LabelCheckpoints, LabelPrecision and LabelRank list the checkpoints aboard, in the
	// order of the priority list, and their different precisions and ranks.
	LabelCheckpoints = labelPrefix + "checkpoints"
	LabelPrecision   = labelPrefix + "precision"
	LabelRank        = labelPrefix + "rank"
	// LabelParts is there if files are cut, and says who reads the parts.
	LabelParts = labelPrefix + "parts"
)

// labels describe the image to tools that never pull it. The manifest's own come last: they
// may replace any.
func labels(m *manifests.Manifest, c *manifests.ModelConfig, base string) map[string]string {
	out := map[string]string{
		ociTitle:       m.Title,
		ociDescription: sentence(c, m.Runtime),
		ociLicenses:    licences(c, m.Runtime),
		LabelModel:     c.Name,
		LabelVariant:   c.Variant,
		LabelRuntime:   string(m.Runtime),
	}
	if base != "" {
		out[LabelBase] = base
	}
	for _, s := range c.Sources {
		out[LabelSource+s.Name] = s.Repo + "@" + s.Commit
		out[LabelLicense+s.Name] = s.License
	}
	if len(c.Checkpoints) > 0 {
		out[LabelCheckpoints] = distinct(c, func(c manifests.ModelCheckpoint) string { return c.Name })
		out[LabelPrecision] = distinct(c, func(c manifests.ModelCheckpoint) string { return c.Precision })
		out[LabelRank] = distinct(c, func(c manifests.ModelCheckpoint) string { return fmt.Sprint(c.Rank) })
	}
	if slices.ContainsFunc(c.Files, func(f manifests.ModelFile) bool { return len(f.Parts) > 0 }) {
		out[LabelParts] = "files are cut into parts that the plimsoll runtime alone reads as one"
	}
	addGPU(out, c)
	maps.Copy(out, m.Image.Labels)
	return out
}

// sentence says in one what is aboard.
func sentence(c *manifests.ModelConfig, runtime manifests.Runtime) string {
	var from, checkpoints []string
	for _, s := range c.Sources {
		from = append(from, s.Repo)
	}
	for _, p := range c.Checkpoints {
		checkpoints = append(checkpoints, fmt.Sprintf("%s (%s, rank %d)", p.Name, p.Precision, p.Rank))
	}
	with := "weights only"
	if runtime == manifests.RuntimePlimsoll {
		with = "with the plimsoll runtime"
	}
	text := fmt.Sprintf("%d model files of %s, %s", len(c.Files), strings.Join(from, " and "), with)
	if len(checkpoints) > 0 {
		text += "; checkpoints: " + strings.Join(checkpoints, ", ")
	}
	return text
}

// licences is the SPDX expression over the licences of the model files and of plimsoll's
// runtime. What is below the runtime brings its licences as texts and in the SBOM. A licence
// that is not known, or not by an expression, is LicenseRef-not-declared: an expression
// without it would promise too much.
func licences(c *manifests.ModelConfig, runtime manifests.Runtime) string {
	var ids []string
	if runtime == manifests.RuntimePlimsoll {
		ids = append(ids, "Apache-2.0")
	}
	for _, s := range c.Sources {
		switch n, ok := manifests.LicenceExpression(s.License); {
		case !ok:
			ids = append(ids, "LicenseRef-not-declared")
		case n > 1:
			ids = append(ids, "("+s.License+")")
		default:
			ids = append(ids, s.License)
		}
	}
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), " AND ")
}

// distinct joins the different values of a property, in the order of checkpoints.
func distinct(m *manifests.ModelConfig, of func(manifests.ModelCheckpoint) string) string {
	var out []string
	for _, c := range m.Checkpoints {
		if v := of(c); !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return strings.Join(out, ",")
}
