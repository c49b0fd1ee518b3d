// Package diff compares two images: which layers and files one has and the other lacks, in
// bytes, and what a pull of the second costs a node that has the first. It is pure: it
// reaches neither a network nor a blob, and knows of an image what its reader found out.
//
//	image A, image B --New--> *Report --Text, Markdown, JSON-->
//
// # Layers
//
// Layers are compared by digest. Each distinct blob counts once, as a registry stores it and
// a node pulls it; config and manifest are blobs too. So for any two images
//
//	bytes of A = shared + removed
//	bytes of B = shared + added
//
// and what is added from A to B is removed from B to A. A layer that came in the place of
// another (the same file of a model, the same kind, the same instruction of a build) is
// shown as one that changed; its bytes are added, those of the one before removed.
//
// # A pull
//
// A node fetches the blobs whose digests it lacks. containerd names an unpacked layer by its
// chain id, which covers the layer and all below it, and unpacks from the first layer on
// whose chain id it lacks: what lies above a changed layer is unpacked again although its
// blob is there. A test holds both figures against containerd itself. A pull that fetches
// while it unpacks (containerd's core/unpack/unpacker.go, as Kubernetes uses it; not ctr of
// 1.6) does not even ask for a blob below that layer whose archive it has from another
// compression: Spared.
//
// # What is not known
//
// Nothing is claimed that the input does not say. The size of a compressed layer when
// unpacked is in no manifest: it is known where the reader measured it or where the other
// image has the layer uncompressed, and otherwise such layers are counted, not their bytes.
// Files are compared as far as both sides know theirs, and a lock, which holds the model
// files alone, is compared with the model layers of an image alone.
package diff

// SchemaVersion is the version of the JSON document. It grows whenever a field changes its
// meaning or goes; a new field alone does not raise it.
const SchemaVersion = 1

// Image is one side, as its reader describes it.
type Image struct {
	// Name is the image as the user named it.
	Name string
	// Digest is that of the manifest, "" for a lock.
	Digest string
	// Platform is "os/architecture", "" where it is not known.
	Platform string
	// Lock says that a lock describes model layers and model files, and nothing else of an
	// image.
	Lock bool
	// Blobs are config and manifest; none for a lock.
	Blobs []Blob
	// Layers lists every layer, lowest first.
	Layers []Layer
	// Files lists the files that are known, and Known says which those are.
	Files []File
	Known Known
	// Settings says what else the image holds, in a fixed order.
	Settings []Setting
}

// Blob is a config or a manifest.
type Blob struct {
	Name   string
	Digest string
	Size   int64
}

// KindModel is the kind of layers and files of a model; other kinds are names only.
const KindModel = "model"

// UnknownSize stands for a number of bytes that nothing says.
const UnknownSize = -1

// Layer is one layer of an image.
type Layer struct {
	// Kind is what the builder says that the layer is, such as KindModel; "" if nothing.
	Kind string
	// Title names the layer for people: its file, or the instruction that made it.
	Title string
	// Digest is that of the blob. A lock that has not seen the bytes knows none: then it is
	// "" and Content is not.
	Digest string
	// Content stands for all that a layer's digest is a function of, where that is known:
	// two layers of one Content have one Digest.
	Content string
	// DiffID is the digest of the layer's archive, uncompressed; "" if it is not known.
	DiffID string
	// Size is that of the blob in bytes, as it is pulled.
	Size int64
	// Unpacked is the size of the archive, uncompressed, or UnknownSize.
	Unpacked int64
}

// Known says which files of an image its reader could tell.
type Known int

// What is known of files, in ascending order.
const (
	KnowsNone  Known = iota // no file
	KnowsModel              // the files of model layers
	KnowsAll                // all files
)

// File is one file of an image.
type File struct {
	// Path is the path in the image, without a leading slash.
	Path string
	// Kind is KindModel for a model's file.
	Kind string
	Size int64
	// Sum stands for the content: equal sums are equal files.
	Sum string
}

// The kinds of settings. Images know sources and the configuration, locks sources and
// packages.
const (
	SettingSource  = "source"  // a repository and its commit
	SettingPackage = "package" // a package of the base layer
	SettingConfig  = "config"  // the image's configuration: user, environment, labels …
)

// Setting is one value beside layers and files.
type Setting struct {
	Kind, Name, Value string
}

// Status says what became of a layer or file on the way from A to B.
type Status string

// The values of Status.
const (
	Shared  Status = "shared"
	Added   Status = "added"
	Removed Status = "removed"
	Changed Status = "changed"
)

// Report is the JSON document. All sizes are in bytes.
type Report struct {
	// SchemaVersion is the constant of that name.
	SchemaVersion int  `json:"schemaVersion"`
	A             Side `json:"a"`
	B             Side `json:"b"`
	// Same says that nothing differs, as far as it was compared.
	Same bool `json:"same"`
	// ModelOnly says that model layers and files were compared and nothing else, since one
	// side is a lock.
	ModelOnly bool `json:"modelOnly"`
	// Blobs counts layers with config and manifest, each distinct one once.
	Blobs Totals `json:"blobs"`
	// Pull is what a pull of B costs a node that has A.
	Pull Pull `json:"pull"`
	// Layers lists the distinct layers of B in their order, then those of A that went.
	Layers []LayerChange `json:"layers"`
	// Files compares files; nil where one side knows none.
	Files *FileChanges `json:"files,omitempty"`
	// Settings lists what else changed.
	Settings []SettingChange `json:"settings"`
	// Notes say what was not compared or not known.
	Notes []string `json:"notes"`
}

// Side names one of the images and weighs it.
type Side struct {
	Name     string `json:"name"`
	Digest   string `json:"digest,omitempty"`
	Platform string `json:"platform,omitempty"`
	// Layers is the number of layers that were compared, Bytes the sum of the distinct
	// blobs: layers, config and manifest.
	Layers int   `json:"layers"`
	Bytes  int64 `json:"bytes"`
	// LeftOut is the bytes of blobs that were not compared, since the other side is a lock.
	LeftOut int64 `json:"leftOut,omitempty"`
}

// Count is a number of things and their bytes.
type Count struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"`
}

func (c *Count) add(n int64) { c.Count, c.Bytes = c.Count+1, c.Bytes+n }

// Totals adds up one kind of things. Changed ones are in Added, as they are in B, and in
// Removed, as they were in A.
type Totals struct {
	Shared  Count `json:"shared"`
	Added   Count `json:"added"`
	Removed Count `json:"removed"`
}

// LayerChange is one layer.
type LayerChange struct {
	Status Status `json:"status"`
	Kind   string `json:"kind,omitempty"`
	Title  string `json:"title,omitempty"`
	// Digest and Bytes are B's, or A's of a layer that went. A digest is "" where only a
	// lock that has not seen the bytes knows the layer.
	Digest string `json:"digest,omitempty"`
	Bytes  int64  `json:"bytes"`
	// Before is what a changed layer came in the place of.
	Before *LayerBefore `json:"before,omitempty"`
	// SameContent says that a changed layer holds what was there before, compressed in
	// another way.
	SameContent bool `json:"sameContent,omitempty"`
}

// LayerBefore is a layer of A.
type LayerBefore struct {
	Title  string `json:"title,omitempty"`
	Digest string `json:"digest,omitempty"`
	Bytes  int64  `json:"bytes"`
}

// Pull is what a pull of B costs a node that has A, pulled and unpacked, under containerd.
type Pull struct {
	// Download counts the blobs that go over the wire: those of B that A lacks.
	Download Count `json:"download"`
	// Spared is the share of Download that a pull leaves out which fetches while it unpacks.
	Spared Count `json:"spared"`
	// Unpack is what the node unpacks; nil where the diff ids are not known.
	Unpack *Unpack `json:"unpack,omitempty"`
}

// Unpack counts the layers that a node unpacks.
type Unpack struct {
	// Kept is the layers that stay unpacked as they are.
	Kept Weight `json:"kept"`
	// New is the layers that A lacks, Again those that A has and that lie above one that
	// changed.
	New   Weight `json:"new"`
	Again Weight `json:"again"`
}

// Weight is a number of layers and what they weigh uncompressed.
type Weight struct {
	Count
	// Unknown is how many of them have a size that nothing says; Bytes leaves them out.
	Unknown int `json:"unknown,omitempty"`
}

// FileChanges compares the files.
type FileChanges struct {
	// Scope is "model" where only model files are known on both sides, else "all".
	Scope string `json:"scope"`
	Totals
	// Changes lists the files that are not shared, by path.
	Changes []FileChange `json:"changes"`
}

// FileChange is one file. Size and Sum are B's, or A's of a file that went; those of a
// changed file before are Was and WasSum.
type FileChange struct {
	Status Status `json:"status"`
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	Sum    string `json:"sum"`
	Was    int64  `json:"wasBytes,omitempty"`
	WasSum string `json:"wasSum,omitempty"`
}

// SettingChange is one value that differs; "" where a side has none.
type SettingChange struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	A    string `json:"a,omitempty"`
	B    string `json:"b,omitempty"`
}
