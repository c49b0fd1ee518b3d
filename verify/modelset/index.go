package modelset

import (
	"encoding/json"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify"
)

// pipelineIndex is what model_index.json says.
type pipelineIndex struct {
	class      string
	components map[string]component
}

// component is one entry: a class of a Python library.
type component struct{ library, class string }

// names lists the components in ascending order.
func (i pipelineIndex) names() []string {
	var names []string
	for name := range i.components {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s *set) readIndex(p string) (pipelineIndex, error) {
	content, err := s.read(p)
	if err != nil {
		return pipelineIndex{}, err
	}
	return parseIndex(content)
}

// parseIndex reads a model_index.json. Keys that begin with an underscore describe the
// pipeline; [null, null] is an optional component that is left out; a value that is no
// pair is a plain setting of the pipeline.
func parseIndex(content []byte) (pipelineIndex, error) {
	var raw map[string]json.RawMessage
	if err := decodeJSON(content, &raw); err != nil {
		return pipelineIndex{}, err
	}
	index := pipelineIndex{components: map[string]component{}}
	_ = json.Unmarshal(raw["_class_name"], &index.class)
	if index.class == "" {
		return pipelineIndex{}, invalid("decoding JSON: _class_name is missing")
	}
	for name, value := range raw {
		var pair []*string
		if strings.HasPrefix(name, "_") || json.Unmarshal(value, &pair) != nil || len(pair) != 2 {
			continue
		}
		if pair[0] == nil || pair[1] == nil {
			continue
		}
		if !isFolderName(name) {
			return pipelineIndex{}, invalid("decoding JSON: component %q is no name of a folder", name)
		}
		index.components[name] = component{library: *pair[0], class: *pair[1]}
	}
	return index, nil
}

// isFolderName keeps names from outside inside the set.
func isFolderName(name string) bool {
	return fs.ValidPath(name) && name != "." && !strings.ContainsAny(name, "/\\\x00")
}

// role is what a component consists of.
type role struct {
	config  string // the file that names the class
	weights bool   // .safetensors beside it
}

// roleOf tells a component's files from its class, by the suffixes that diffusers and
// transformers use for everything that has no weights.
func roleOf(class string) role {
	switch {
	case strings.HasSuffix(class, "Scheduler"):
		return role{config: "scheduler_config.json"}
	case strings.HasSuffix(class, "Tokenizer"), strings.HasSuffix(class, "TokenizerFast"):
		return role{config: "tokenizer_config.json"}
	case strings.HasSuffix(class, "Processor"), strings.HasSuffix(class, "FeatureExtractor"):
		return role{config: "preprocessor_config.json"}
	}
	return role{config: "config.json", weights: true}
}

// Replacement says that a component comes from somewhere else than the set, such as a
// quantised transformer in a file of its own.
type Replacement struct {
	// Component is the name in model_index.json.
	Component string
	// Config is the JSON configuration that goes with it, nil if there is none: dimensions
	// are then not compared.
	Config []byte
}

// checkIndex looks for the components that model_index.json promises.
func (c *checker) checkIndex() {
	if !c.has(indexName) {
		c.add(verify.Error, "component", indexName, "file is missing: the folder is not a diffusers model set")
		return
	}
	index, err := c.readIndex(indexName)
	if err != nil {
		c.failed("json", indexName, err)
		return
	}
	c.index = index
	for _, name := range index.names() {
		if !c.replaced(name) {
			c.checkComponent(name, index.components[name])
		}
	}
}

// checkComponent looks at one folder.
func (c *checker) checkComponent(name string, want component) {
	r := roleOf(want.class)
	config := path.Join(name, r.config)
	if !c.has(config) {
		c.add(verify.Error, "component", name, "%s is missing, %s names the component as %s", config, indexName, want.class)
		return
	}
	if got := c.classIn(config); got != "" && got != want.class {
		c.add(verify.Error, "component", config, "class is %s, %s says %s", got, indexName, want.class)
	}
	if r.weights && len(c.under(name, ".safetensors")) == 0 {
		c.add(verify.Error, "component", name, "no .safetensors file is there, %s needs weights", want.class)
	}
}

// classIn is the class that a configuration file claims, "" if it claims none. Tokenizers
// and processors are not asked: transformers lets fast and slow classes stand for each
// other.
func (c *checker) classIn(config string) string {
	var doc struct {
		Class         string   `json:"_class_name"`
		Architectures []string `json:"architectures"`
	}
	if err := c.decode(config, &doc); err != nil {
		c.failed("json", config, err)
		return ""
	}
	if doc.Class == "" && len(doc.Architectures) > 0 {
		return doc.Architectures[0]
	}
	return doc.Class
}
