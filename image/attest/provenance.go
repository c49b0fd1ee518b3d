package attest

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// buildType names the description of how parameters and dependencies are to be read.
const buildType = "https://" + home + "/blob/main/image/attest/build-type-v1.md"

// builderID names who built the image: plimsoll, on a machine that it knows nothing of. A
// build service that vouches for its machines writes a provenance of its own.
const builderID = "https://" + home

// The predicate of SLSA provenance v1 (slsa.dev/spec/v1.0/provenance), as far as it is used.
type (
	provenance struct {
		BuildDefinition buildDefinition `json:"buildDefinition"`
		RunDetails      runDetails      `json:"runDetails"`
	}
	buildDefinition struct {
		BuildType    string            `json:"buildType"`
		External     map[string]any    `json:"externalParameters"`
		Internal     map[string]string `json:"internalParameters"`
		Dependencies []resource        `json:"resolvedDependencies"`
	}
	runDetails struct {
		Builder    builder    `json:"builder"`
		Byproducts []resource `json:"byproducts"`
	}
	builder struct {
		ID string `json:"id"`
	}
)

// provenance says what the image was built from.
func (in Input) provenance() statement {
	return in.about(PredicateProvenance, provenance{
		BuildDefinition: buildDefinition{
			BuildType: buildType,
			External: map[string]any{
				"manifest": resource{Name: in.ManifestName, Digest: sum256(in.ManifestSHA256)},
				"variant":  in.Model.Variant,
				"runtime":  string(in.Runtime),
			},
			Internal:     in.internal(),
			Dependencies: slices.Concat(in.upstream(), in.debs(), in.toolchain()),
		},
		RunDetails: runDetails{Builder: builder{ID: builderID}, Byproducts: in.byproducts()},
	})
}

// internal are the parameters that plimsoll sets itself: the layer format, and how the
// program was compiled.
func (in Input) internal() map[string]string {
	out := map[string]string{"pack": fmt.Sprint(in.Pack), "partSize": fmt.Sprint(in.PartSize)}
	if in.Program == nil {
		return out
	}
	for _, s := range in.Program.Info.Settings {
		out["go."+strings.TrimPrefix(s.Key, "-")] = s.Value
	}
	return out
}

// upstream are the repositories at their commits, and the files that were taken from them.
func (in Input) upstream() (out []resource) {
	for _, s := range in.Model.Sources {
		if slices.ContainsFunc(in.Model.Files, func(f manifests.ModelFile) bool { return f.Source == s.Name }) {
			out = append(out, resource{Name: s.Repo, URI: modelURL(s), Digest: map[string]string{"gitCommit": s.Commit}})
		}
	}
	for _, f := range in.Model.Files {
		s := in.source(f)
		out = append(out, resource{Name: f.Path, URI: fileURL(s, strings.TrimPrefix(f.Path, s.Path+"/")), Digest: sum256(f.SHA256)})
	}
	return out
}

// debs are the Debian packages of the base layer.
func (in Input) debs() (out []resource) {
	for _, p := range in.Packages {
		out = append(out, resource{Name: path.Base(p.Path), URI: in.debianURL(p), Digest: sum256(p.SHA256)})
	}
	return out
}

// toolchain is what decides about the bytes that come from nobody else: plimsoll's source,
// and for the program the Go toolchain and the modules.
func (in Input) toolchain() []resource {
	out := []resource{in.plimsoll()}
	if in.Program == nil {
		return out
	}
	out = append(out, resource{Name: in.Program.Info.GoVersion, URI: moduleURL("golang.org/toolchain", "v0.0.1-"+in.Program.Info.GoVersion+".linux-amd64")})
	for _, m := range in.Program.Info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		r := resource{Name: m.Path, URI: moduleURL(m.Path, m.Version)}
		if sum, err := dirHash(m.Sum); err == nil {
			r.Digest = map[string]string{"dirHash1": sum}
		}
		out = append(out, r)
	}
	return out
}

// byproducts are files of the image that are plimsoll's own.
func (in Input) byproducts() []resource {
	out := []resource{in.modelJSON()}
	if in.Runtime == manifests.RuntimePlimsoll {
		out = append(out, resource{Name: in.Program.Path, Digest: sum256(in.Program.SHA256)})
	}
	return out
}
