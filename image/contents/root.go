package contents

import (
	"archive/tar"
	"path"
	"strings"
)

// Whiteouts, as the OCI image specification has them: a file of this name takes one of a
// lower layer away, and the opaque one all that lower layers put into its folder.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// maxLinks bounds the symbolic links on the way to a folder.
const maxLinks = 40

// Root is the root file system that layers make together. The zero value is empty. It is
// not safe for concurrent use.
type Root struct {
	top   node
	layer int
	// done holds the whiteouts of the layer, so that a second one does not walk again.
	done map[string]bool
}

// node is a name in a folder: a file, a folder, or a folder that nobody named.
type node struct {
	children map[string]*node
	file     *Entry
	layer    int // that added file
}

// Files returns what is no folder, by path, without a leading slash.
func (r *Root) Files() map[string]Entry {
	out := map[string]Entry{}
	r.top.each("", func(name string, n *node) {
		if n.file != nil {
			out[name] = *n.file
		}
	})
	return out
}

// each calls do for the node and all below it.
func (n *node) each(name string, do func(string, *node)) {
	do(name, n)
	for base, child := range n.children {
		child.each(path.Join(name, base), do)
	}
}

// Next begins the next layer: its whiteouts reach what was added before.
func (r *Root) Next() {
	r.layer++
	r.done = nil
}

// Add takes over one entry of the layer. A folder that a symbolic link stands for is the one
// that the link leads to, as it is when a layer is unpacked.
func (r *Root) Add(e Entry) {
	name := path.Clean("/" + e.Name)[1:]
	if name == "" {
		return
	}
	dir, base := path.Split(name)
	dir = r.resolve(strings.TrimSuffix(dir, "/"))
	gone, is := strings.CutPrefix(base, whiteout)
	switch {
	case base == opaque:
		r.takeAway(dir, opaque)
	case is && gone != "":
		r.takeAway(path.Join(dir, gone), "")
	case e.Type == tar.TypeDir:
		// A folder takes the place of a file, but not that of a link to a folder: unpackers
		// differ there, and either way it is the link's own folder that is filled.
		if n := r.find(path.Join(dir, base), true); n.file != nil && n.file.Type != tar.TypeSymlink {
			n.file = nil
		}
	default:
		n := r.find(path.Join(dir, base), true)
		n.file, n.layer, n.children = &e, r.layer, nil
	}
}

// find returns the node of a path; nil where there is none, unless it is made.
func (r *Root) find(name string, make bool) *node {
	n := &r.top
	for rest := name; rest != ""; {
		var base string
		base, rest, _ = strings.Cut(rest, "/")
		child := n.children[base]
		if child == nil {
			if !make {
				return nil
			}
			child = n.add(base)
		}
		n = child
	}
	return n
}

func (n *node) add(base string) *node {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[base] = &node{}
	return n.children[base]
}

// takeAway removes what lower layers put at a path and below it or, with opaque, below it.
func (r *Root) takeAway(name, form string) {
	key := name + "\x00" + form
	n := r.find(name, false)
	if n == nil || r.done[key] {
		return
	}
	if r.done == nil {
		r.done = map[string]bool{}
	}
	r.done[key] = true
	n.each("", func(below string, n *node) {
		if n.file != nil && n.layer < r.layer && (below != "" || form != opaque) {
			n.file = nil
		}
	})
}

// resolve follows the symbolic links of a folder's path.
func (r *Root) resolve(dir string) string {
	at, rest := "", dir
	for links := 0; rest != ""; {
		var next string
		next, rest, _ = strings.Cut(rest, "/")
		full := path.Join(at, next)
		n := r.find(full, false)
		if n == nil || n.file == nil || n.file.Type != tar.TypeSymlink || links == maxLinks {
			at = full
			continue
		}
		links++
		target := n.file.Link
		if !strings.HasPrefix(target, "/") {
			target = at + "/" + target
		}
		rest = strings.TrimPrefix(path.Join(path.Clean("/"+target), rest), "/")
		at = ""
	}
	return at
}
