package flow

import (
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// Text is in the form of the replaced verifier's report, with real checks behind it.
func (r *VerifyResult) Text() string {
	var out strings.Builder
	good := 0
	for _, f := range r.Files {
		if f.OK {
			good++
		}
		fmt.Fprintf(&out, "%s %s: %s%s\n", mark(f.OK), f.Path, size(f.Size), remarks(f))
	}
	for _, s := range r.Sets {
		if s.Skipped != "" {
			fmt.Fprintf(&out, "- set %s: not checked: %s\n", s.Source, s.Skipped)
		} else {
			fmt.Fprintf(&out, "%s set %s\n", mark(s.OK), s.Source)
		}
	}
	for _, l := range r.Layers {
		fmt.Fprintf(&out, "%s layer %s, %s: %s\n", mark(l.OK), l.Kind, l.Title, size(l.Size))
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&out, "%s: %s\n", f.Severity, f)
	}
	fmt.Fprintf(&out, "%d of %d files verified in %s, %s\n", good, len(r.Files), r.In, size(r.Bytes))
	return out.String()
}

func mark(ok bool) string {
	if ok {
		return "✓"
	}
	return "✗"
}

// remarks says what a checkpoint is, and how a file was looked at.
func remarks(f modelfiles.FileReport) string {
	var out []string
	if c := f.Checkpoint; c != nil {
		out = append(out, fmt.Sprintf("%s %s rank %d", c.Family, c.Precision, c.Rank), c.Variant.String())
	}
	if f.Parts > 1 {
		out = append(out, fmt.Sprintf("%d parts", f.Parts))
	}
	if f.Remembered {
		out = append(out, "unchanged since it was read")
	}
	if out == nil {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}
