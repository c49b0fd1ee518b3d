package reporttest

import (
	"testing"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

// Hostile lists names and sentences that break out of a form which does not escape them:
// markup, table cells, line ends, code spans, mentions, control characters and letters that
// turn the direction of text.
var Hostile = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`'--></style></title></svg><script>alert(1)</script>`,
	"a | b || c",
	"line\nbreak\r\n| new | row |",
	"`code` ``code`` ```",
	"**bold** _under_ ~~gone~~ [link](javascript:alert(1)) ![i](http://x.example/i.png)",
	"@everyone #1 https://x.example/ &lt;b&gt; &amp;",
	"right\u202eto\u2066left\u200f",
	"bell\x07 escape\x1b[31m null\x00 bad\xff\xfe",
	`\| \\ \<b\>`,
	"{{.}} ${x} $(x) $$x$$",
	"# heading", "- item", "1. item", "> quote", "    indented", "---",
}

// Foreign is an input in which text is whatever text came from outside: titles, names,
// paths, rules, reasons, notes and sources of figures.
func Foreign(t testing.TB, text string) report.Input {
	t.Helper()
	m := &manifests.Manifest{
		Name: "foreign", Title: text, Runtime: manifests.RuntimeNone,
		Sources: []manifests.Source{{Name: "all", Path: "all", Title: text, Role: manifests.RoleBase}},
	}
	m.Before.Software = []manifests.Software{{Name: text, Bytes: 5_000_000, CompressedBytes: 1_000_000, Source: text}}
	keep := manifests.Decision{
		Source: "all", File: manifests.File{Path: "kept/" + text, Size: 700_000}, Keep: true, Rule: text,
		Reason: text, ImagePath: "app/models/all/" + text,
	}
	drop := manifests.Decision{
		Source: "all", File: manifests.File{Path: "dropped/" + text, Size: 900_000}, Rule: text + "2",
		Because: manifests.BecauseDuplicate, Reason: text,
	}
	layer := report.Layer{Kind: report.KindModel, Path: keep.ImagePath, Source: "all", Digest: Digest("kept"), Size: 702_560, Content: 700_000}
	return report.Input{
		Manifest: m, Manifests: 5000, Note: text, Image: Digest("foreign"), Layers: []report.Layer{layer},
		Selection: manifests.Selection{Variant: text, Decisions: []manifests.Decision{drop, keep}},
		Unused:    []manifests.ModelUnused{{Path: "all/" + text, Part: text, Bytes: 70_000, Reason: text}},
		Other:     &report.Other{Name: text, Digest: text, Layers: []report.OtherLayer{{Digest: layer.Digest, Size: layer.Size}}},
		Limits:    []report.Limit{{Registry: text, Layer: 5, PartSize: 3, Source: text}},
	}
}
