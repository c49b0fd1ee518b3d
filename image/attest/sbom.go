package attest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/licensecheck"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// home is plimsoll's module, by which its purl is formed too.
const home = "github.com/plimsoll-oci/plimsoll"

// The properties of components, in a namespace of plimsoll's own.
const (
	propertyPath       = "plimsoll:path"       // the absolute path in the image
	propertySize       = "plimsoll:size"       // bytes
	propertyLayer      = "plimsoll:layer"      // digest of the layer; one for each part, in order
	propertyLicence    = "plimsoll:licence"    // absolute path of a licence text in the image
	propertyRole       = "plimsoll:role"       // what a source is to the model
	propertyCheckpoint = "plimsoll:checkpoint" // name of the checkpoint
	propertyPrecision  = "plimsoll:precision"
	propertyRank       = "plimsoll:rank"
	propertyUnused     = "plimsoll:unused" // share of a file that inference never reads
	propertySource     = "plimsoll:source" // sum of a program's own source, h1:…
)

// sbom lists what is in the image.
func (in Input) sbom() ([]byte, error) {
	bom := cdx.NewBOM()
	bom.SerialNumber = serial(in.Digest)
	root := in.root()
	bom.Metadata = &cdx.Metadata{
		Component: &root,
		Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{{
			Type: cdx.ComponentTypeApplication, Name: "plimsoll", PackageURL: moduleURL(home, ""),
		}}},
	}
	components, parts := in.models(), [][]cdx.Component{in.debian(), in.program()}
	for _, p := range parts {
		components = append(components, p...)
	}
	bom.Components = &components
	bom.Dependencies = in.dependencies(root.BOMRef, components)
	var out bytes.Buffer
	err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cdx.SpecVersion1_6)
	return out.Bytes(), err
}

// serial is a UUID of version 8 (RFC 9562, 5.8) made of the image's digest: one image has one
// SBOM, whoever writes it.
func serial(digest string) string {
	u := sha256.Sum256([]byte("plimsoll SBOM of " + digest))
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// root is the image itself.
func (in Input) root() cdx.Component {
	return cdx.Component{
		BOMRef: "image", Type: cdx.ComponentTypeContainer, Name: in.Model.Name, Version: in.Digest, Description: in.Title,
		PackageURL: "pkg:oci/" + escape(in.Model.Name) + "@" + strings.Replace(in.Digest, ":", "%3A", 1),
		Properties: properties("plimsoll:variant", in.Model.Variant, "plimsoll:runtime", string(in.Runtime)),
	}
}

// models are the repositories that model files come from, with the files.
func (in Input) models() (out []cdx.Component) {
	for _, s := range in.Model.Sources {
		var files []cdx.Component
		for _, f := range in.Model.Files {
			if f.Source == s.Name {
				files = append(files, in.file(s, f))
			}
		}
		if files == nil {
			continue
		}
		owner, name := path.Split(s.Repo)
		out = append(out, cdx.Component{
			BOMRef: "model:" + s.Name, Type: cdx.ComponentTypeMachineLearningModel,
			Group: strings.TrimSuffix(owner, "/"), Name: name, Version: s.Commit, Description: s.Title,
			Licenses: licence(s.License), PackageURL: modelURL(s), Components: &files,
			Properties: properties(propertyRole, string(s.Role), propertyPath, in.Model.ModelsDir+"/"+s.Path),
		})
	}
	return out
}

// file is one model file, whether the image holds it whole or in parts.
func (in Input) file(s manifests.ModelSource, f manifests.ModelFile) cdx.Component {
	list := []string{propertyPath, "/" + in.imagePath(f), propertySize, fmt.Sprint(f.Size)}
	for _, l := range in.layersOf(f) {
		list = append(list, propertyLayer, l.Digest)
	}
	for _, c := range in.Model.Checkpoints {
		if c.Path == f.Path {
			list = append(list, propertyCheckpoint, c.Name, propertyPrecision, c.Precision, propertyRank, fmt.Sprint(c.Rank))
		}
	}
	for _, u := range in.Model.Unused {
		if u.Path == f.Path {
			list = append(list, propertyUnused, fmt.Sprintf("%s, %d bytes", u.Part, u.Bytes))
		}
	}
	name := strings.TrimPrefix(f.Path, s.Path+"/")
	return cdx.Component{
		BOMRef: "file:" + f.Path, Type: cdx.ComponentTypeFile, Name: name, Version: s.Commit,
		Hashes: sha256Hash(f.SHA256), Licenses: licence(s.License), PackageURL: fileURL(s, name), Properties: properties(list...),
	}
}

// trivySource is the property by which trivy learns a package's source, under which
// Debian's advisories are listed.
const trivySource = "aquasecurity:trivy:SrcName"

// debian are the system and the packages of the base layer; their sums are those of the
// .deb files.
func (in Input) debian() (out []cdx.Component) {
	if in.OS != (OS{}) {
		out = append(out, cdx.Component{BOMRef: "os", Type: cdx.ComponentTypeOS, Name: in.OS.ID, Version: in.OS.Version})
	}
	for _, p := range in.Packages {
		out = append(out, cdx.Component{
			BOMRef: "deb:" + p.Name, Type: cdx.ComponentTypeLibrary, Name: p.Name, Version: p.Version,
			Hashes: sha256Hash(p.SHA256), PackageURL: in.debianURL(p),
			Properties: properties(propertyLicence, "/usr/share/doc/"+p.Name+"/copyright", "plimsoll:deb", p.Path, trivySource, debianSource(p)),
		})
	}
	return out
}

// program is the Go program, the toolchain's library and the modules in it.
func (in Input) program() (out []cdx.Component) {
	p := in.Program
	if p == nil {
		return nil
	}
	out = append(out, cdx.Component{
		BOMRef: "program", Type: cdx.ComponentTypeApplication, Name: path.Base(p.Path),
		Hashes: sha256Hash(p.SHA256), Licenses: licence("Apache-2.0"), PackageURL: moduleURL(home, "") + "#runtime",
		Properties: properties(propertyPath, "/"+p.Path, propertySource, in.Source),
	})
	out = append(out, p.module("std", "stdlib", strings.TrimPrefix(p.Info.GoVersion, "go")))
	for _, m := range p.Info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		out = append(out, p.module(m.Path, m.Path, m.Version))
	}
	return out
}

// module is a Go module; stdlib is the name by which scanners know Go's own library.
func (p *Program) module(module, name, version string) cdx.Component {
	c := cdx.Component{BOMRef: "go:" + name, Type: cdx.ComponentTypeLibrary, Name: name, Version: version, PackageURL: moduleURL(name, version)}
	var list []string
	var ids []string
	for _, l := range p.Licences {
		if l.Module == module {
			list = append(list, propertyLicence, "/"+l.Path)
			ids = append(ids, identify(l.Text)...)
		}
	}
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) > 0 {
		c.Licenses = licence(strings.Join(ids, " AND "))
	}
	c.Properties = properties(list...)
	return c
}

// covered is the share of a text, in percent, that must be known licences before it is
// named after them; the rest is names of authors and headings.
const covered = 75

// commonLicences are those that Go modules of a program of ours come with: a scanner for all
// that licensecheck knows takes 110 MB and seconds. A text of another stays without a name.
var commonLicences = []string{
	"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BlueOak-1.0.0", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "OpenSSL", "Unlicense", "Zlib",
}

// scanner finds common licences in a text.
var scanner = sync.OnceValue(func() *licensecheck.Scanner {
	all := slices.DeleteFunc(licensecheck.BuiltinLicenses(), func(l licensecheck.License) bool {
		return !slices.Contains(commonLicences, l.ID) && !strings.HasPrefix(l.ID, "GooglePatent")
	})
	s, err := licensecheck.NewScanner(all)
	if err != nil {
		panic(fmt.Sprintf("compiling licensecheck's own licences: %v", err))
	}
	return s
})

// identify names the licences that a text holds, none where too much of it is unknown.
func identify(text string) (ids []string) {
	found := scanner().Scan([]byte(text))
	if found.Percent < covered {
		return nil
	}
	for _, m := range found.Match {
		// Google's grant of patents comes with a licence, is none, and has no SPDX identifier.
		if !m.IsURL && !strings.HasPrefix(m.ID, "GooglePatent") {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// dependencies say that the image depends on all, and the program on its modules.
func (in Input) dependencies(root string, components []cdx.Component) *[]cdx.Dependency {
	var direct, modules []string
	for _, c := range components {
		if strings.HasPrefix(c.BOMRef, "go:") {
			modules = append(modules, c.BOMRef)
		} else {
			direct = append(direct, c.BOMRef)
		}
	}
	out := []cdx.Dependency{{Ref: root, Dependencies: &direct}}
	if in.Program != nil {
		out = append(out, cdx.Dependency{Ref: "program", Dependencies: &modules})
	}
	return &out
}

// licence is an SPDX expression, or the name of a licence that is none; nil where no licence
// is known.
func licence(text string) *cdx.Licenses {
	if text == "" || text == manifests.NoAssertion {
		return nil
	}
	if _, ok := manifests.LicenceExpression(text); ok {
		return &cdx.Licenses{{Expression: text}}
	}
	return &cdx.Licenses{{License: &cdx.License{Name: text}}}
}

func sha256Hash(sum string) *[]cdx.Hash {
	return &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}}
}

// properties pairs names and values; nil for none.
func properties(list ...string) *[]cdx.Property {
	if len(list) == 0 {
		return nil
	}
	var out []cdx.Property
	for pair := range slices.Chunk(list, 2) {
		out = append(out, cdx.Property{Name: pair[0], Value: pair[1]})
	}
	return &out
}
