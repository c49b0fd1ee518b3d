package manifests

import (
	"embed"
	"slices"
	"strings"
)

//go:embed demo.yaml qwen-image-edit.yaml
var embedded embed.FS

// Embedded returns a manifest that is compiled into the program, by name, such as "demo".
// The bytes are a copy.
func Embedded(name string) ([]byte, bool) {
	data, err := embedded.ReadFile(name + Extension)
	return data, err == nil
}

// EmbeddedNames lists the manifests that are compiled into the program, sorted.
func EmbeddedNames() []string {
	entries, err := embedded.ReadDir(".")
	if err != nil {
		panic(err) // the root of an embedded file system can always be listed
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), Extension)
	}
	slices.Sort(names)
	return names
}
