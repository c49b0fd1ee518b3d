package qwen

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/runtime/weights"
)

// index is the file of the base repository that says which pipeline it is.
const index = "model_index.json"

// missingHint is the way out where a file is missing that verify does not ask for.
const missingHint = "the folder lacks it, or the model.json that describes it: download the repository again, or pull the image again"

// maxDocument bounds the JSON documents that are read whole; the tokenizer's has 11 MB.
const maxDocument = 64 << 20

// files finds the files of the base repository among those of model.json.
type files struct {
	folder *models.Folder
	byPath map[string]manifests.ModelFile
	base   string // the folder of the base repository
}

// findBase finds the base source that holds a pipeline.
func findBase(folder *models.Folder, c *manifests.ModelConfig) (*files, error) {
	f := &files{folder: folder, byPath: map[string]manifests.ModelFile{}}
	for _, file := range c.Files {
		f.byPath[file.Path] = file
	}
	for _, s := range c.Sources {
		if _, ok := f.byPath[path.Join(s.Path, index)]; ok && s.Role == manifests.RoleBase {
			f.base = s.Path
			return f, nil
		}
	}
	return nil, fault.Wrap(fault.Invalid, missingHint, fmt.Errorf("loading %s: there is no %s of a base source among the model's files", c.Name, index))
}

// open opens a file by its path in the models' folder.
func (f *files) open(name string) (*models.Content, error) {
	file, ok := f.byPath[name]
	if !ok {
		return nil, fault.Wrap(fault.Invalid, missingHint, fmt.Errorf("opening %s: it is not among the model's files", name))
	}
	content, found, err := f.folder.Open(file)
	if err != nil {
		return nil, err
	}
	if content == nil {
		worst := found[0]
		return nil, fault.Wrap(fault.Invalid, worst.Hint, fmt.Errorf("opening %s: %s", worst.Object, worst.Message))
	}
	return content, nil
}

// document reads a small file of the base repository.
func (f *files) document(name string) ([]byte, error) {
	name = path.Join(f.base, name)
	content, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if content.Size() > maxDocument {
		return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("reading %s: it has %d bytes, at most %d are expected", name, content.Size(), maxDocument))
	}
	data := make([]byte, content.Size())
	if _, err := content.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fault.Wrap(fault.Resource, "", fmt.Errorf("reading %s: %w", name, err))
	}
	return data, nil
}

// component maps the weights of a folder of the base repository.
func (f *files) component(name string) (*weights.Set, error) {
	prefix := path.Join(f.base, name) + "/"
	var names []string
	for p := range f.byPath {
		if strings.HasPrefix(p, prefix) && strings.HasSuffix(p, ".safetensors") {
			names = append(names, p)
		}
	}
	if len(names) == 0 {
		return nil, fault.Wrap(fault.Invalid, missingHint, fmt.Errorf("loading %s: there are no weights below it among the model's files", prefix))
	}
	return f.weights(names...)
}

// weights maps files of weights.
func (f *files) weights(names ...string) (*weights.Set, error) {
	var contents []*models.Content
	defer func() {
		for _, c := range contents {
			c.Close() // the mappings stay
		}
	}()
	for _, name := range names {
		c, err := f.open(name)
		if err != nil {
			return nil, err
		}
		contents = append(contents, c)
	}
	return weights.Open(contents...)
}
