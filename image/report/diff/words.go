package diff

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/report"
)

// maxRows bounds the rows of files and settings in the forms for people; JSON has them all.
const maxRows = 40

// JSON returns the document, indented, with a final newline.
func (r *Report) JSON() []byte {
	out, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("encoding a diff: %v", err)) // strings and whole numbers always encode
	}
	return append(out, '\n')
}

// headline says what a pull costs, in sentences.
func (r *Report) headline() []string {
	if r.Same {
		return []string{"Nothing differs."}
	}
	out := []string{fmt.Sprintf("A node that has A downloads %s of %s for B.", size(r.Pull.Download.Bytes), size(r.B.Bytes))}
	if n := r.Pull.Spared; n.Count > 0 {
		out[0] = strings.TrimSuffix(out[0], ".") + fmt.Sprintf(", or %s where it fetches while it unpacks.", size(r.Pull.Download.Bytes-n.Bytes))
	}
	u := r.Pull.Unpack
	if u == nil {
		return out
	}
	all := u.New.plus(u.Again)
	if all.Count.Count == 0 {
		return append(out, "It unpacks nothing.")
	}
	text := fmt.Sprintf("It unpacks %s", all)
	if u.Again.Count.Count > 0 {
		text += fmt.Sprintf("; of these, it has %s unpacked already, but above a layer that changed", u.Again)
	}
	return append(out, text+".")
}

// String is a weight in words: layers, and the bytes that are known.
func (w Weight) String() string {
	layers := plural(w.Count.Count, "layer")
	switch {
	case w.Unknown == 0:
		return fmt.Sprintf("%s, %s", layers, size(w.Bytes))
	case w.Unknown == w.Count.Count:
		return layers + " of unknown size"
	}
	return fmt.Sprintf("%s, %s and %d of unknown size", layers, size(w.Bytes), w.Unknown)
}

// sums are the lines of the table of blobs.
func (t Totals) sums() []sum {
	return []sum{{"shared", t.Shared}, {"added", t.Added}, {"removed", t.Removed}}
}

type sum struct {
	name string
	Count
}

// marks stand before what changed.
var marks = map[Status]string{Added: "+", Removed: "-", Changed: "~"}

// changedLayers lists what is not shared.
func (r *Report) changedLayers() []LayerChange {
	return slices.DeleteFunc(slices.Clone(r.Layers), func(c LayerChange) bool { return c.Status == Shared })
}

// label names a layer for people.
func (c LayerChange) label() string {
	title := report.Clean(c.Title)
	switch c.Kind {
	case "":
		return cmp.Or(cut(title, 90), "(nothing names it)")
	case KindModel:
		return title
	}
	return report.Clean(c.Kind) + ": " + title
}

// detail says how a layer changed.
func (c LayerChange) detail() string {
	switch {
	case c.Before == nil:
		return short(c.Digest)
	case c.SameContent:
		return fmt.Sprintf("%s -> %s, the same content", short(c.Before.Digest), short(c.Digest))
	}
	return fmt.Sprintf("%s -> %s", short(c.Before.Digest), short(c.Digest))
}

// difference is the size that a changed layer gained; "" for others.
func (c LayerChange) difference() string {
	if c.Before == nil {
		return ""
	}
	return change(c.Before.Bytes, c.Bytes)
}

// largest returns the file changes that move most bytes, in the order of paths, and how
// many were left out.
func (f *FileChanges) largest() (rows []FileChange, left int) {
	rows = slices.Clone(f.Changes)
	slices.SortStableFunc(rows, func(a, b FileChange) int { return cmp.Compare(max(b.Bytes, b.Was), max(a.Bytes, a.Was)) })
	rows = rows[:min(len(rows), maxRows)]
	slices.SortStableFunc(rows, func(a, b FileChange) int { return cmp.Compare(a.Path, b.Path) })
	return rows, len(f.Changes) - len(rows)
}

// title heads the files.
func (f *FileChanges) title() string {
	if f.Scope == ScopeModel {
		return "Model files"
	}
	return "Files"
}

// difference is the size that a changed file gained; "" for others.
func (c FileChange) difference() string {
	if c.Status != Changed {
		return ""
	}
	return change(c.Was, c.Bytes)
}

// detail says how a file changed.
func (c FileChange) detail() string {
	if c.Status != Changed {
		return shortSum(c.Sum)
	}
	return shortSum(c.WasSum) + " -> " + shortSum(c.Sum)
}

// shortSum cuts a sum as a digest; what is none, such as a link, is shown as it is.
func shortSum(sum string) string {
	if !strings.HasPrefix(sum, "sha256:") {
		return cut(report.Clean(sum), 60)
	}
	return short(sum)
}

// name is a setting with its kind.
func (s SettingChange) name() string {
	if s.Kind == SettingConfig {
		return report.Clean(s.Name)
	}
	return s.Kind + " " + report.Clean(s.Name)
}

// value shows one side of a setting.
func value(text string) string { return cmp.Or(cut(report.Clean(text), 120), "(none)") }

// fewSettings are the settings that the forms for people show.
func (r *Report) fewSettings() (rows []SettingChange, left int) {
	rows = r.Settings[:min(len(r.Settings), maxRows)]
	return rows, len(r.Settings) - len(rows)
}
