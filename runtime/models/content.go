package models

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// Content is an opened model file, whole or in parts: one file to its reader. Its Size is
// the size that model.json gives. It is safe for concurrent use until Close.
type Content struct {
	*verify.Joined
	// Paths are the names under which the bytes lie in the folder, in order.
	Paths []string
	files []*os.File
}

// Close closes the files behind the content.
func (c *Content) Close() error {
	var problems []error
	for _, f := range c.files {
		problems = append(problems, f.Close())
	}
	return errors.Join(problems...)
}

// Open opens a file of model.json. Findings say what is wrong with it on disk: their codes
// are "missing", "not-regular" and "size", their objects the names in the folder. Without
// an error in them the content is open and the caller closes it; with one it is nil. An
// error means that the disk or a permission kept the file from being looked at.
func (f *Folder) Open(file manifests.ModelFile) (*Content, verify.Findings, error) {
	c, found := &Content{Paths: f.paths(file)}, verify.Findings(nil)
	var sections []verify.Section
	for i, name := range c.Paths {
		size := file.Size
		if len(c.Paths) == len(file.Parts) {
			size = file.Parts[i]
		}
		piece, problems, err := f.openPiece(name, size)
		if err != nil {
			return nil, nil, errors.Join(err, c.Close())
		}
		found = append(found, problems...)
		if piece != nil {
			c.files = append(c.files, piece)
			sections = append(sections, io.NewSectionReader(piece, 0, size))
		}
	}
	if found.Worst() == verify.Error {
		return nil, found, c.Close()
	}
	c.Joined = verify.Concat(sections...)
	return c, found, nil
}

// paths are the names that hold the file: its parts, unless only the whole file is there.
func (f *Folder) paths(file manifests.ModelFile) []string {
	if len(file.Parts) > 0 && f.absent(file.PartPaths()...) && !f.absent(file.Path) {
		return []string{file.Path}
	}
	return file.PartPaths()
}

// absent reports whether none of the names is in the folder.
func (f *Folder) absent(names ...string) bool {
	for _, name := range names {
		if _, err := os.Stat(f.path(name)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// openPiece opens one whole file or part if it is what it should be. It looks before it
// opens, because opening a pipe would wait for a writer.
func (f *Folder) openPiece(name string, size int64) (*os.File, verify.Findings, error) {
	var found verify.Findings
	info, err := os.Stat(f.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		found.Add(verify.Error, "missing", name, "file is missing")
		return nil, found, nil
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		found.Add(verify.Error, "not-regular", name, "not a regular file but %s", info.Mode().Type())
		return nil, found, nil
	case info.Size() != size:
		found.Add(verify.Error, "size", name, "%s", sizeMessage(info.Size(), size))
		return nil, found, nil
	}
	piece, err := os.Open(f.path(name))
	return piece, nil, err
}

func sizeMessage(is, want int64) string {
	if is < want {
		return fmt.Sprintf("%d bytes short: %d of %d", want-is, is, want)
	}
	return fmt.Sprintf("%d bytes too long: %d instead of %d", is-want, is, want)
}
