// Package attest writes the documents that say what an image is: for scanners, for policy
// engines and for whoever asks in a year.
//
//	SBOM          CycloneDX 1.6: model files, Debian packages, Go modules, with sums and licences
//	Provenance    in-toto statement, SLSA provenance v1: what the image was built from, and how
//	Verification  in-toto statement, test-result v0.1: what was proven about it, and by what
//
// Documents is pure: the same Input gives the same bytes anywhere. So no document holds a
// time, a host, a user or an address of a registry, and publishing an image twice adds
// nothing to it. Where a format asks for something of the kind, it is derived: a serial
// number comes from the image's digest.
//
// CycloneDX, and not SPDX 2.3, because it leaves the time of creation to whoever writes it,
// where SPDX demands one; because a model is a kind of component there, with files below
// it; and because its library brings no others along. Scanners read both: trivy, with
// --sbom-sources oci, looks among an image's referrers for an artifact of this very type.
//
// Statements are plain, neither signed nor wrapped: they are as trustworthy as the
// registry's account that wrote them. The media type is BuildKit's, which writes them so
// too. A signature is made of a predicate with tools that exist for it, such as cosign
// attest --predicate. The statements' types are this package's own: in-toto's are encoded
// by protojson, which gives other white space in other builds; in-toto's own reader checks
// them in the tests.
//
// The build type of the provenance is described in build-type-v1.md beside this file.
package attest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// The media types of documents, which are their artifact types too.
const (
	TypeCycloneDX = "application/vnd.cyclonedx+json"
	TypeInToto    = "application/vnd.in-toto+json"
)

// The predicate types of statements.
const (
	PredicateProvenance   = "https://slsa.dev/provenance/v1"
	PredicateVerification = "https://in-toto.io/attestation/test-result/v0.1"
)

// Document is one document about an image.
type Document struct {
	// Name is the document's, as a file: "sbom.cdx.json".
	Name string
	// Title is one line for people.
	Title string
	// MediaType is one of TypeCycloneDX and TypeInToto.
	MediaType string
	// Predicate is the statement's predicate type; "" for a document that is none.
	Predicate string
	// Data is indented JSON.
	Data []byte
}

// The names of documents.
const (
	NameSBOM         = "sbom.cdx.json"
	NameProvenance   = "provenance.intoto.json"
	NameVerification = "verification.intoto.json"
)

// Input is everything that is said about an image.
type Input struct {
	// Digest is that of the image's manifest, "sha256:…".
	Digest string
	// Title is the image's name for people.
	Title string
	// Layers are the image's, lowest first.
	Layers []Layer
	// Runtime is what runs in the image.
	Runtime manifests.Runtime
	// Model is the image's model.json, ModelSHA256 the sum of its bytes in hex.
	Model       *manifests.ModelConfig
	ModelSHA256 string
	// ManifestName and ManifestSHA256 are the file name and the sum of the manifest that was
	// built.
	ManifestName   string
	ManifestSHA256 string
	// PartSize is the manifest's, in bytes, 0 for none; Pack is the version of the layer
	// format.
	PartSize int64
	Pack     int
	// Packages are the Debian packages of the base layer, OS the system that it is of.
	Packages []manifests.Package
	OS       OS
	// Program is the runtime in the image; nil for none.
	Program *Program
	// Source is the sum of plimsoll's own source, "h1:…" (package gobinary).
	Source string
	// Verification is what was proven.
	Verification Verification
}

// Layer is a layer of the image.
type Layer struct {
	// Title is its title, for a model layer the path of its one file or part.
	Title  string
	Digest string
	Size   int64
	// File is the path in the image of the model file that the layer holds, or holds a part
	// of, without the leading slash; "" for other layers.
	File string
}

// Program is a Go program in the image.
type Program struct {
	// Path is where it lies, without the leading slash.
	Path   string
	SHA256 string
	// Info is what the toolchain wrote into it.
	Info *debug.BuildInfo
	// Licences are the texts that the image carries for it.
	Licences []Licence
}

// Licence is a licence text in the image.
type Licence struct {
	// Module is the Go module that it belongs to, "std" for Go itself.
	Module string
	// Path is where the text lies in the image, without the leading slash.
	Path string
	Text string
}

// Verification is the result of checks on the image's bytes. None has failed: of bytes that
// are wrong no image is built.
type Verification struct {
	// Method says in a sentence what was looked at.
	Method string
	// Passed and Warned name the checks by how they ended.
	Passed, Warned []string
}

// Weights describes the image that holds the same weights and nothing that runs.
func (in Input) Weights(digest string, layers []Layer) Input {
	in.Digest, in.Layers = digest, layers
	in.Runtime, in.Packages, in.OS, in.Program = manifests.RuntimeNone, nil, OS{}, nil
	return in
}

// Documents writes all documents about an image. An error means that the input contradicts
// itself.
func Documents(in Input) ([]Document, error) {
	if err := in.check(); err != nil {
		return nil, fmt.Errorf("describing image %s: %w", in.Digest, err)
	}
	sbom, err := in.sbom()
	if err != nil {
		return nil, fmt.Errorf("writing the SBOM of image %s: %w", in.Digest, err)
	}
	provenance, err := encode(in.provenance())
	if err != nil {
		return nil, fmt.Errorf("writing the provenance of image %s: %w", in.Digest, err)
	}
	verification, err := encode(in.verification())
	if err != nil {
		return nil, fmt.Errorf("writing the verification of image %s: %w", in.Digest, err)
	}
	return []Document{
		{Name: NameSBOM, Title: "SBOM (CycloneDX 1.6)", MediaType: TypeCycloneDX, Data: sbom},
		{Name: NameProvenance, Title: "SLSA provenance v1", MediaType: TypeInToto, Predicate: PredicateProvenance, Data: provenance},
		{Name: NameVerification, Title: "verification of the model", MediaType: TypeInToto, Predicate: PredicateVerification, Data: verification},
	}, nil
}

// check refuses what would make a document say something untrue.
func (in Input) check() error {
	hexDigest, ok := strings.CutPrefix(in.Digest, "sha256:")
	if !ok || len(hexDigest) != 64 {
		return fmt.Errorf("its digest is %q, want sha256:…", in.Digest)
	}
	if _, err := dirHash(in.Source); err != nil {
		return err
	}
	for _, f := range in.Model.Files {
		if want, got := max(1, len(f.Parts)), len(in.layersOf(f)); got != want {
			return fmt.Errorf("%s is in %d layers, want %d", f.Path, got, want)
		}
	}
	if (in.Program == nil) != (in.Runtime != manifests.RuntimePlimsoll) {
		return fmt.Errorf("its runtime is %q, and a program is described: %t", in.Runtime, in.Program != nil)
	}
	return nil
}

// imagePath is where a model file lies in the image, without the leading slash.
func (in Input) imagePath(f manifests.ModelFile) string {
	return strings.TrimPrefix(in.Model.ModelsDir, "/") + "/" + f.Path
}

// layersOf lists the layers of a model file, in the order of parts.
func (in Input) layersOf(f manifests.ModelFile) (out []Layer) {
	name := in.imagePath(f)
	for _, l := range in.Layers {
		if l.File == name {
			out = append(out, l)
		}
	}
	return out
}

// source is where a model file comes from.
func (in Input) source(f manifests.ModelFile) manifests.ModelSource {
	i := slices.IndexFunc(in.Model.Sources, func(s manifests.ModelSource) bool { return s.Name == f.Source })
	return in.Model.Sources[i] // DecodeModelConfig refuses a file without a source
}

// encode marshals a document: indented, without HTML escapes.
func encode(v any) ([]byte, error) {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return []byte(out.String()), err
}

// dirHash turns a sum as go.sum has it into hex, as in-toto wants it (digest_set.md,
// dirHash1).
func dirHash(sum string) (string, error) {
	text, ok := strings.CutPrefix(sum, "h1:")
	raw, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(raw) != 32 {
		return "", fmt.Errorf("reading the sum %q: it is none of the form h1:…", sum)
	}
	return hex.EncodeToString(raw), nil
}

// Package URLs (github.com/package-url/purl-spec).

func modelURL(s manifests.ModelSource) string {
	return "pkg:huggingface/" + escape(s.Repo) + "@" + escape(s.Commit)
}

func fileURL(s manifests.ModelSource, name string) string { return modelURL(s) + "#" + escape(name) }

// debianURL has the qualifiers by which scanners know which release's advisories hold for a
// package, and under which source they are listed.
func (in Input) debianURL(p manifests.Package) string {
	distro := p.Suite
	if in.OS != (OS{}) {
		distro = in.OS.ID + "-" + in.OS.Version
	}
	return "pkg:deb/debian/" + escape(p.Name) + "@" + escape(p.Version) + "?arch=" + p.Arch + "&distro=" + distro + "&upstream=" + escape(debianSource(p))
}

// debianSource is the source package: a pool has a folder for each (Debian's archive puts
// libc6 into pool/main/g/glibc).
func debianSource(p manifests.Package) string { return path.Base(path.Dir(p.Path)) }

func moduleURL(module, version string) string {
	u := "pkg:golang/" + escape(strings.ToLower(module))
	if version != "" {
		u += "@" + escape(version)
	}
	return u
}

// escape escapes every element of a path. A plus sign would be a blank to some readers.
func escape(name string) string {
	elements := strings.Split(name, "/")
	for i, e := range elements {
		elements[i] = strings.ReplaceAll(url.PathEscape(e), "+", "%2B")
	}
	return strings.Join(elements, "/")
}
