package modelset

import (
	"fmt"
	"io/fs"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// Check says what is wrong with a set, as the package comment lists it. Objects are paths
// in the file system, with a tensor's name behind a colon. Codes are "component", "json",
// "container", "shards", "dimension", "tokens" and "unreadable" (the file system failed,
// so nothing is proven). Findings come in the order of the steps and, within one, of paths.
//
// A component that a Replacement stands for may be absent; its configuration takes part in
// the comparison of dimensions.
func Check(fsys fs.FS, replacements ...Replacement) verify.Findings {
	s, err := openSet(fsys)
	if err != nil {
		var found verify.Findings
		found.Add(verify.Error, "unreadable", ".", "%v", err)
		return found
	}
	c := &checker{set: s, replacements: replacements, broken: map[string]bool{}}
	c.checkIndex()
	c.checkContainers()
	c.checkShards()
	c.checkDimensions()
	c.checkTokens()
	c.checkComplete()
	return c.found
}

// checker collects findings about a set.
type checker struct {
	*set
	index        pipelineIndex
	replacements []Replacement
	broken       map[string]bool // files that were reported as unreadable or broken
	found        verify.Findings
}

func (c *checker) add(severity verify.Severity, code, object, format string, args ...any) {
	c.found.Add(severity, code, object, format, args...)
}

// replaced reports whether a component comes from elsewhere.
func (c *checker) replaced(name string) bool {
	for _, r := range c.replacements {
		if r.Component == name {
			return true
		}
	}
	return false
}

// failed reports a file that could not be read: with code if its content is to blame,
// "unreadable" otherwise, and only once for each file.
func (c *checker) failed(code, object string, err error) {
	if c.broken[object] {
		return
	}
	c.broken[object] = true
	if fault.KindOf(err) != fault.Invalid {
		code = "unreadable"
	}
	c.add(verify.Error, code, object, "%v", err)
}

// config decodes the configuration of a component, or of what replaces it. ok is false,
// and v may be half filled, where there is none or where it is broken; a broken one is a
// finding.
func (c *checker) config(name string, v any) (object string, ok bool) {
	for _, r := range c.replacements {
		if r.Component == name {
			return c.replacement(r, v)
		}
	}
	return c.document(name+"/config.json", v)
}

func (c *checker) replacement(r Replacement, v any) (object string, ok bool) {
	object = r.Component + " (replaced)"
	if r.Config == nil {
		return object, false
	}
	if err := decodeJSON(r.Config, v); err != nil {
		c.failed("json", object, err)
		return object, false
	}
	return object, true
}

// document decodes a file that may be absent.
func (c *checker) document(p string, v any) (object string, ok bool) {
	if !c.has(p) {
		return p, false
	}
	if err := c.decode(p, v); err != nil {
		c.failed("json", p, err)
		return p, false
	}
	return p, true
}

// invalid is an error about content.
func invalid(format string, args ...any) error {
	return fault.Wrap(fault.Invalid, "", fmt.Errorf(format, args...))
}
