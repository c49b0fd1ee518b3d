package manifests

import (
	"fmt"
	"os"
	"reflect"

	"github.com/goccy/go-yaml"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// maxManifest bounds a manifest in bytes: what a person writes and the parser's memory.
const maxManifest = 1 << 20

// Load reads and parses the manifest at path.
func Load(path string) (*Manifest, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		kind, hint := fault.Usage, "-model takes a name out of manifests/ or the path of a manifest"
		return nil, fault.Wrap(kind, hint, fmt.Errorf("reading manifest: %w", err))
	}
	m, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", path, err)
	}
	return m, nil
}

// Parse reads one manifest. Errors of syntax, unknown or duplicate keys and wrong types
// carry line, column and an excerpt; errors of meaning name the key. Both are of kind
// fault.Usage. The manifest that it returns is valid in every respect that does not depend
// on upstream files.
func Parse(data []byte) (*Manifest, error) {
	m, err := decode(data)
	if err == nil {
		err = m.validate()
	}
	if err != nil {
		return nil, fault.Wrap(fault.Usage, "", err)
	}
	return m, nil
}

// decode fills a manifest and checks what YAML and the Go types say.
func decode(data []byte) (*Manifest, error) {
	if len(data) > maxManifest {
		return nil, fmt.Errorf("the manifest has %d bytes, at most %d are read", len(data), maxManifest)
	}
	body, err := document(data)
	if err != nil {
		return nil, err
	}
	if err := checkTypes(body, reflect.TypeFor[Manifest]()); err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := yaml.NodeToValue(body, m, yaml.Strict()); err != nil {
		return nil, excerpt(err)
	}
	return m, nil
}
