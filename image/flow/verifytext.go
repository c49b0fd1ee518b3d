package flow

import (
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify"
)

// Text is in the form of the replaced verifier's report, with real checks behind it; the
// image's other layers and a count of all files are added.
func (r *VerifyResult) Text() string {
	var layers strings.Builder
	for _, l := range r.Layers {
		fmt.Fprintf(&layers, "%s layer %s, %s: %s\n", mark(l.OK), l.Kind, l.Title, size(l.Size))
		for _, f := range l.Findings {
			if f.Severity == verify.Error {
				fmt.Fprintf(&layers, "✗ %s\n", f)
			} else {
				fmt.Fprintf(&layers, "⚠ %s\n", f)
			}
		}
	}
	good := len(r.Files) - len(r.Wrong())
	text := r.Report.Text(r.config, layers.String()) + fmt.Sprintf("%d of %d files verified in %s\n", good, len(r.Files), r.In)
	if r.Image != "" {
		text += fmt.Sprintf("image %s\n", r.Image) // what a tag named when it was looked at
	}
	return text
}

func mark(ok bool) string {
	if ok {
		return "✓"
	}
	return "✗"
}
