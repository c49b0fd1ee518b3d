package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Extension is that of manifest files.
const Extension = ".yaml"

// Open loads a manifest by name, out of the folder manifests below root, or by path: what
// holds a slash or ends in .yaml is a path. It returns the manifest's own path too. An
// unknown name is of kind fault.Usage, with the known ones as the hint.
func Open(root, model string) (*Manifest, string, error) {
	path := model
	if !strings.ContainsRune(model, filepath.Separator) && filepath.Ext(model) != Extension {
		names, err := Names(root)
		if err != nil {
			return nil, "", err
		}
		if !slices.Contains(names, model) {
			return nil, "", fault.Wrap(fault.Usage, "known models: "+strings.Join(names, ", ")+"; or pass the path of a manifest",
				fmt.Errorf("opening manifest: there is no model %q", model))
		}
		path = filepath.Join(root, "manifests", model+Extension)
	}
	m, err := Load(path)
	return m, path, err
}

// Names lists the models of the folder manifests below root, sorted.
func Names(root string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(root, "manifests"))
	if err != nil {
		return nil, fault.Wrap(fault.Usage, "run from the root of plimsoll's source", fmt.Errorf("listing manifests: %w", err))
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), Extension); ok {
			out = append(out, name)
		}
	}
	return out, nil
}
