// Package models is the folder of model files, seen the way the image's model.json
// describes it: which files there are, how they are opened, and whether they are right.
//
// A file of model.json lies in the folder whole, or cut into the parts that the image's
// layers held; Open reads both as one file. Where model.json speaks of parts and the folder
// holds the whole file instead, as a mounted volume does, the whole file is taken. Where a file
// is not there and the folder is a Hugging Face cache, it is looked for in the snapshot of the
// commit that model.json names. Nothing else is looked for: a file is found under these names
// or it is missing.
//
// What a file must be is package verify/modelfiles' matter, and the same in the toolchain
// that built the image. Here it gets the folder, the ways out that the holder of an image
// has, and what only a folder can have: files that nobody needs, which are warnings.
//
// The package writes nothing, prints nothing and knows no network. A *Folder is safe for
// concurrent use.
package models

import (
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// Folder is a folder of model files together with its description.
type Folder struct {
	dir    string
	config *manifests.ModelConfig
	disk   modelfiles.Disk
	// foreign says that the folder is not ours: what else lies in it is nobody's business.
	foreign bool
}

// Content is an opened model file, whole or in parts: one file to its reader.
type Content = modelfiles.Local

// New joins a folder with its description, which must be one that
// manifests.DecodeModelConfig accepts. It looks at no file; the folder need not be there.
func New(dir string, c *manifests.ModelConfig) *Folder {
	disk := modelfiles.Folder(dir, nil)
	disk.Pieces = orCached(dir, c, disk.Pieces)
	return &Folder{dir: dir, config: c, disk: disk}
}

// Remember makes Verify keep the sums of files that were found right in a memo, and spare
// the second reading of what the memo knows. It is to be called before Verify.
func (f *Folder) Remember(memo *verify.Memo) { f.disk.Memo = memo }

// Dir is the folder's path as New was given it.
func (f *Folder) Dir() string { return f.dir }

// Has reports whether all of a file is there, whatever is in it.
func (f *Folder) Has(file manifests.ModelFile) bool {
	return !slices.ContainsFunc(f.disk.Pieces(file), func(p modelfiles.Piece) bool { return !isThere(p) })
}

// With is the folder under another description of what is in it, such as one of fewer files.
func (f *Folder) With(c *manifests.ModelConfig) *Folder {
	out := *f
	out.config = c
	return &out
}

// Open opens a file of model.json. Findings say what is wrong with it on disk: their codes
// are "missing", "not-regular" and "size", their objects the names in the folder. Without
// an error in them the content is open and the caller closes it; with one it is nil. An
// error means that the disk or a permission kept the file from being looked at.
func (f *Folder) Open(file manifests.ModelFile) (*Content, verify.Findings, error) {
	return f.disk.OpenLocal(file)
}
