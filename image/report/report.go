// Package report says what an image weighs, what it would have weighed, and where the
// difference went. It is pure: it reaches neither a network nor a model file, and the same
// input gives the same report anywhere.
//
//	manifest + selection + layers --New--> *Report --JSON--> the documented document
//	                                               --Text--> tables for a terminal; Brief has the essential ones
//	                                           package markdown: for pull requests
//	                                           package page:     one HTML page
//	                                           package picture:  SVG, before and after
//
// A *Report is the one data type. Every form is a renderer over it and adds no figure of
// its own: what a form says in tables comes from Sections, how it looks from the form.
// report.schema.json describes the document for other programs.
//
// # What is counted
//
// Before is counted in two scopes, both exact from the lock: what a naive image takes (the
// manifest's before.naive, or everything where the manifest has none) and all that the
// sources publish. After is the image, exact to the byte: every layer, the config and the
// manifest. In each scope
//
//	before - after = sum of savings - sum of additions
//
// A dropped file of the scope is a saving, under the category of its rule. Everything in
// the image that is no file of the scope is an addition: base, runtime and configuration
// layers at their size in the registry, the tar bytes around model files, the config and
// manifest blobs, and a kept file that the scope lacks.
//
// Software that the image does without is an estimate of the manifest. It never enters an
// exact figure: Estimated holds it, with its source and a total of its own.
//
// # What is computed
//
// What follows is no measurement, and each figure says what it is made of. A node keeps
// blobs and unpacked snapshots. A pull takes at least wire bytes / rate: see Pull. A
// registry takes the image if no limit that it publishes is passed: see Headroom. GPU
// generations and memory are package verify/gpu's, the same that labels and devices use.
package report

import "github.com/plimsoll-oci/plimsoll/manifests"

// SchemaVersion is the version of the JSON document. It grows whenever a field changes its
// meaning or goes; a new field alone does not raise it.
const SchemaVersion = 2

// The kinds of layers.
const (
	KindModel   = "model"   // a file of a source, or a part of one
	KindBase    = "base"    // shared libraries and what else lies under the runtime
	KindRuntime = "runtime" // the runtime's binary
	KindConfig  = "config"  // the model's configuration
)

// Layer is one layer of the image, in the order of the image's manifest.
type Layer struct {
	// Kind is one of the Kind constants.
	Kind string `json:"kind"`
	// Path is the path in the image that the layer holds, without a leading slash; for a
	// part of a file, the part's name.
	Path string `json:"path"`
	// Source is the name of the manifest's source of a model layer, "" for other kinds.
	Source string `json:"source,omitempty"`
	// Digest is the layer's digest in the registry. Layers may share one.
	Digest string `json:"digest"`
	// Size is the number of bytes of the layer in the registry.
	Size int64 `json:"size"`
	// Content is the number of payload bytes: the bytes of files, without tar's own.
	Content int64 `json:"content"`
	// Unpacked is the number of bytes of the layer's archive when it is decompressed; Size
	// for a layer that is not compressed, for which 0 may stand in an Input.
	Unpacked int64 `json:"unpacked"`
	// Shared says that the image of Report.Shared has the layer too. In an Input it counts
	// for nothing.
	Shared bool `json:"shared,omitempty"`
}

// Report is the JSON document. All sizes are in bytes.
type Report struct {
	// SchemaVersion is the constant of that name.
	SchemaVersion int   `json:"schemaVersion"`
	Model         Model `json:"model"`
	Image         Image `json:"image"`
	// Note says what a reader must know about this build, "" if nothing.
	Note string `json:"note,omitempty"`
	// Scopes holds ScopeNaive and ScopePublished, in this order.
	Scopes []Scope `json:"scopes"`
	// Estimated holds what is not exact; nil if the manifest estimates nothing.
	Estimated *Estimate `json:"estimated,omitempty"`
	// Kept lists what the rules kept, in the order of rows, then of files.
	Kept []Group `json:"kept"`
	// Unused lists what is aboard but never read by inference, largest first.
	Unused []Unused `json:"unused"`
	// UnusedBytes is the sum of Unused.
	UnusedBytes int64 `json:"unusedBytes"`
	// Shared compares to another image; nil if none was given.
	Shared *Shared `json:"shared,omitempty"`
	// Pull lists the least time of a pull, slowest rate first.
	Pull []Pull `json:"pull"`
	// Limits holds the image against the limits of registries, in the order given.
	Limits []Headroom `json:"limits"`
	// GPU says what the checkpoints aboard are for; nil without a checkpoint.
	GPU *GPU `json:"gpu,omitempty"`
	// Layers lists the image's layers in its own order.
	Layers []Layer `json:"layers"`
	// Files lists every published file with the verdict on it, in the manifest's order.
	Files []File `json:"files"`
	// Budget holds the image against the manifest's limits; nil where it sets none. New
	// leaves it nil: NewBudget makes it.
	Budget *Budget `json:"budget,omitempty"`
}

// Model names what the image carries.
type Model struct {
	Name string `json:"name"`
	// Title is the model's name for people; the name where the manifest has no title.
	Title   string `json:"title"`
	Variant string `json:"variant"`
}

// Image is the weight of the built image.
type Image struct {
	// Digest is the digest of the image's manifest, "" if it is not known.
	Digest string `json:"digest,omitempty"`
	// Bytes is the image: all layers with the config and manifest blobs.
	Bytes int64 `json:"bytes"`
	// ModelBytes is the share of Bytes that is content of model files.
	ModelBytes int64 `json:"modelBytes"`
	// OutsideBytes is the rest: everything outside the model files.
	OutsideBytes int64 `json:"outsideBytes"`
	// ManifestBytes is the share of Bytes in the config and manifest blobs.
	ManifestBytes int64 `json:"manifestBytes"`
	// RegistryBytes is what a registry stores: as Bytes, but a digest counts once.
	RegistryBytes int64 `json:"registryBytes"`
	// UpdateBytes is the share of RegistryBytes in what is no model layer: what a node that
	// has the weights pulls of a new build.
	UpdateBytes int64 `json:"updateBytes"`
	// UnpackedBytes is as Bytes, with every layer decompressed.
	UnpackedBytes int64 `json:"unpackedBytes"`
	// NodeBytes is what a node keeps: Bytes and UnpackedBytes, twice the image where no layer
	// is compressed, since containerd by default keeps a layer's blob beside its unpacked
	// snapshot.
	NodeBytes int64 `json:"nodeBytes"`
	// Layers is the number of layers.
	Layers int `json:"layers"`
}

// ScopeName identifies a scope.
type ScopeName string

// The scopes.
const (
	// ScopeNaive is the model files of an image that picks nothing out.
	ScopeNaive ScopeName = "naive"
	// ScopePublished is every file that the sources publish.
	ScopePublished ScopeName = "published"
)

// Scope compares the image to one meaning of "before". All figures are exact, and
// Total.Before - Total.After = Total.Saved = SavedBytes - AddedBytes.
type Scope struct {
	Name ScopeName `json:"name"`
	// Title names the scope for people.
	Title string `json:"title"`
	// Files is the number of files in the scope.
	Files int `json:"files"`
	// Rows holds one row for each source, those of role checkpoints first, then one for
	// everything outside the model files.
	Rows []Row `json:"rows"`
	// Total is the sum of Rows.
	Total Row `json:"total"`
	// Savings lists what the scope holds and the image does not, largest first.
	Savings []Saving `json:"savings"`
	// SavedBytes is the sum of Savings.
	SavedBytes int64 `json:"savedBytes"`
	// Additions lists what the image holds and the scope does not, in a fixed order.
	Additions []Addition `json:"additions"`
	// AddedBytes is the sum of Additions.
	AddedBytes int64 `json:"addedBytes"`
}

// Row is one line of a comparison.
type Row struct {
	// Component names the row for people.
	Component string `json:"component"`
	// Source is the name of the manifest's source, "" for other rows.
	Source string `json:"source,omitempty"`
	Before int64  `json:"before"`
	After  int64  `json:"after"`
	// Saved is Before - After, below zero where the image holds more.
	Saved int64 `json:"saved"`
	// Percent is Saved in percent of Before, to one decimal; nil if Before is 0.
	Percent *float64 `json:"percent,omitempty"`
}

// Saving is what one category of drops leaves out.
type Saving struct {
	Because manifests.Category `json:"because"`
	// Title is the category for people.
	Title string `json:"title"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	// Rules splits the saving by rule and reason.
	Rules []Group `json:"rules"`
}

// Group is the files that one rule decided about for one reason.
type Group struct {
	Source string `json:"source"`
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
}

// The kinds of additions beside those of layers.
const (
	// AddedFormat is what tar puts around the content of model files.
	AddedFormat = "format"
	// AddedManifests is the config and manifest blobs.
	AddedManifests = "manifests"
	// AddedFiles is kept files that the scope lacks. Alone among the additions they count
	// as model files.
	AddedFiles = "files"
)

// Addition is what the image holds and the scope does not.
type Addition struct {
	// Kind is KindBase, KindRuntime, KindConfig or one of the Added constants.
	Kind string `json:"kind"`
	// Title is the kind for people.
	Title string `json:"title"`
	Bytes int64  `json:"bytes"`
}

// Estimate is what the image does without but nobody measured here.
type Estimate struct {
	// Software lists the components with the sources of their figures.
	Software []Software `json:"software"`
	// Row compares the software, unpacked, to its absence. What runs instead of it is
	// counted among the exact figures, outside the model files.
	Row Row `json:"row"`
	// Total is Row and the total of the naive scope together.
	Total Row `json:"total"`
}

// Software is one estimated component.
type Software struct {
	Name string `json:"name"`
	// Bytes is the size unpacked.
	Bytes int64 `json:"bytes"`
	// CompressedBytes is the size as pulled, 0 if unknown.
	CompressedBytes int64 `json:"compressedBytes,omitempty"`
	// Source says where the figures come from.
	Source string `json:"source"`
}

// Unused is a share of a file that is aboard but never read by inference.
type Unused struct {
	// Path is the file's path below the models folder.
	Path   string `json:"path"`
	Part   string `json:"part"`
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"`
}

// File is one published file and the verdict on it.
type File struct {
	Source string `json:"source"`
	// Path is the file's path in its repository.
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
	// Naive says whether the file is in the naive scope.
	Naive bool `json:"naive"`
	// Keep says whether the image carries the file.
	Keep bool   `json:"keep"`
	Rule string `json:"rule"`
	// Because is the category of a drop, "" for a kept file.
	Because manifests.Category `json:"because,omitempty"`
	Reason  string             `json:"reason"`
}

// Scope returns the scope of the given name; ok is false for an unknown one.
func (r *Report) Scope(name ScopeName) (s Scope, ok bool) {
	for _, s := range r.Scopes {
		if s.Name == name {
			return s, true
		}
	}
	return Scope{}, false
}
