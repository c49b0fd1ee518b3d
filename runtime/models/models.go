// Package models is the folder of model files, seen the way the image's model.json
// describes it: which files there are, how they are opened, and whether they are right.
//
// A file of model.json lies in the folder whole, or cut into the parts that the image's
// layers held; Open reads both as one file. Where model.json speaks of parts and the folder
// holds the whole file instead, as a mounted volume or a download cache does, the whole
// file is taken. Nothing else is looked for: a file is found under the names of model.json
// or it is missing.
//
// Verify looks at every file, in this order, as far as the bytes allow: present, regular,
// of the right size (of each part too), a sound safetensors container, a checkpoint with all
// its tensors and the precision and rank that model.json claims, and the sha256 of all bytes.
// It reads each file once beside its header, holds one buffer and one header per file in
// work, and goes on after a fault, so that one run tells all.
//
// The package writes nothing, prints nothing and knows no network. A *Folder is safe for
// concurrent use.
package models

import (
	"fmt"
	"path/filepath"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Folder is a folder of model files together with its description.
type Folder struct {
	dir    string
	config *manifests.ModelConfig
	// claims holds what model.json says about the checkpoints, by path.
	claims map[string]manifests.ModelCheckpoint
}

// New joins a folder with its description. It looks at no file; the folder need not be
// there. An error means that model.json contradicts itself, and has kind fault.Invalid.
func New(dir string, c *manifests.ModelConfig) (*Folder, error) {
	f := &Folder{dir: dir, config: c, claims: map[string]manifests.ModelCheckpoint{}}
	if err := f.index(); err != nil {
		return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("reading model.json: %w", err))
	}
	return f, nil
}

// Dir is the folder's path as New was given it.
func (f *Folder) Dir() string { return f.dir }

// index fills claims and checks that names refer to something, once.
func (f *Folder) index() error {
	sources, files := map[string]bool{}, map[string]bool{}
	for _, s := range f.config.Sources {
		if s.Name == "" || sources[s.Name] {
			return fmt.Errorf("source name %q is empty or taken", s.Name)
		}
		sources[s.Name] = true
	}
	for _, file := range f.config.Files {
		switch {
		case files[file.Path]:
			return fmt.Errorf("file %s is listed twice", file.Path)
		case !sources[file.Source]:
			return fmt.Errorf("file %s comes from source %q, which is not listed", file.Path, file.Source)
		}
		files[file.Path] = true
	}
	for _, c := range f.config.Checkpoints {
		if !files[c.Path] {
			return fmt.Errorf("checkpoint %s is in %s, which is not listed", c.Name, c.Path)
		}
		f.claims[c.Path] = c
	}
	return nil
}

// path is where a file of model.json lies on this machine. Names were checked when
// model.json was read, so none leaves the folder.
func (f *Folder) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }
