package picture

import (
	"cmp"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/report"
)

// node is a part of the cargo: a source, a component of it, or a file.
type node struct {
	name string
	// reason is why a component is aboard, or why it goes.
	reason string
	bytes  int64
	gone   bool
	// hue chooses the colour: a source's number, or outside.
	hue      int
	children []*node
}

// outside is the hue of what is no model file.
const outside = -1

// cargo is what the two ships carry: in the hold before, what is kept lies below what goes;
// after, what is added lies on top of what is kept.
type cargo struct {
	before, after, kept, gone, aboard, added []*node
}

// load sorts the files of a scope into the two holds.
func load(r *report.Report, s report.Scope) cargo {
	before := sources(r, s, func(f report.File) bool { return s.Name != report.ScopeNaive || f.Naive })
	c := cargo{kept: pick(before, false), gone: pick(before, true)}
	c.aboard = pick(sources(r, s, func(f report.File) bool { return f.Keep }), false)
	for _, a := range s.Additions {
		if a.Kind != report.AddedFiles {
			c.added = append(c.added, &node{name: a.Title, bytes: a.Bytes, hue: outside})
		}
	}
	c.before, c.after = slices.Concat(c.kept, c.gone), slices.Concat(c.aboard, c.added)
	return c
}

// sources groups files by source and verdict, then by rule and reason; the order is that of
// the scope's rows.
func sources(r *report.Report, s report.Scope, in func(report.File) bool) []*node {
	var out []*node
	for hue, row := range s.Rows {
		if row.Source == "" {
			continue
		}
		for _, gone := range []bool{false, true} {
			n := &node{name: report.Clean(row.Component), gone: gone, hue: hue}
			for _, f := range r.Files {
				if f.Source == row.Source && f.Keep != gone && in(f) {
					n.add(f)
				}
			}
			if n.bytes > 0 {
				out = append(out, n)
			}
		}
	}
	return out
}

// add puts a file into its component.
func (n *node) add(f report.File) {
	rule, reason := report.Clean(f.Rule), report.Clean(f.Reason)
	i := slices.IndexFunc(n.children, func(c *node) bool { return c.name == rule && c.reason == reason })
	if i < 0 {
		i = len(n.children)
		n.children = append(n.children, &node{name: rule, reason: reason, gone: n.gone, hue: n.hue})
	}
	c := n.children[i]
	c.children = append(c.children, &node{name: report.Clean(f.Path), reason: reason, bytes: f.Bytes, gone: n.gone, hue: n.hue})
	c.bytes += f.Bytes
	n.bytes += f.Bytes
}

func pick(nodes []*node, gone bool) []*node {
	var out []*node
	for _, n := range nodes {
		if n.gone == gone {
			out = append(out, n)
		}
	}
	return out
}

func sum(nodes []*node) (bytes int64) {
	for _, n := range nodes {
		bytes += n.bytes
	}
	return bytes
}

// largestFirst is the order that squarify wants; nodes without bytes have no area.
func largestFirst(nodes []*node) []*node {
	out := slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n.bytes == 0 })
	slices.SortStableFunc(out, func(a, b *node) int { return cmp.Compare(b.bytes, a.bytes) })
	return out
}

// short is a file's name for a small area: the last of its path, without the extension
// that all weights share.
func (n *node) short() string {
	name := n.name[strings.LastIndexByte(n.name, '/')+1:]
	return strings.TrimSuffix(name, ".safetensors")
}
