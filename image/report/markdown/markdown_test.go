package markdown_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/image/report/markdown"
	"github.com/plimsoll-oci/plimsoll/image/report/reporttest"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func render(t testing.TB, in report.Input) string {
	t.Helper()
	r, err := report.New(in)
	require.NoError(t, err)
	return markdown.Render(r)
}

func TestGolden(t *testing.T) {
	for name, in := range map[string]report.Input{
		"qwen-image-edit": reporttest.Real(t, ""), "demo-scale": reporttest.Demo(t),
	} {
		t.Run(name, func(t *testing.T) {
			got, path := render(t, in), filepath.Join("testdata", name+".md")
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
			require.Less(t, len(got), 65_536, "GitHub's limit of a comment")
		})
	}
}

// parser is another implementation of GitHub's Markdown.
var parser = goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser()

// shape lists what a reader of Markdown makes of a text, without the text itself: headings,
// tables, cells, code, emphasis. Code of either form is one thing, and so are a text and an
// address that shows itself.
func shape(t testing.TB, source string) []string {
	t.Helper()
	var out []string
	err := ast.Walk(parser.Parse(text.NewReader([]byte(source))), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Text, *ast.String, *ast.AutoLink:
			return ast.WalkSkipChildren, nil
		case *ast.CodeSpan:
			if entering {
				out = append(out, "code", "code.")
			}
			return ast.WalkSkipChildren, nil
		case *ast.RawHTML:
			if entering {
				out = append(out, rawHTML[string(n.Segments.Value([]byte(source)))])
			}
			return ast.WalkSkipChildren, nil
		}
		out = append(out, n.Kind().String()+map[bool]string{false: "."}[entering])
		return ast.WalkContinue, nil
	})
	require.NoError(t, err)
	return slices.DeleteFunc(out, func(s string) bool { return s == "-" })
}

// rawHTML is the HTML inside of lines that is ours; all else becomes "".
var rawHTML = map[string]string{"<code>": "code", "</code>": "code.", "<br>": "br", "<!-- -->": "-"}

// requireHarmless: a foreign text makes the same of the report as a word of letters does.
func requireHarmless(t testing.TB, foreign string) {
	t.Helper()
	got := render(t, reporttest.Foreign(t, foreign))
	require.Equal(t, shape(t, render(t, reporttest.Foreign(t, "word"))), shape(t, got), got)
	require.NotContains(t, shape(t, got), "")
	require.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f\x{202a}-\x{202e}\x{2066}-\x{2069}\x{200e}\x{200f}]`, got)
	require.NotRegexp(t, `@[^<]`, codes.ReplaceAllString(got, ""), "a mention")
}

// codes finds what GitHub resolves no mention in.
var codes = regexp.MustCompile("`[^`\n]*`")

// TestHostile: names and reasons do nothing.
func TestHostile(t *testing.T) {
	for _, foreign := range reporttest.Hostile {
		requireHarmless(t, foreign)
	}
}

// TestOrdinaryNamesReadWell: the source of a report is readable where names are ordinary.
func TestOrdinaryNamesReadWell(t *testing.T) {
	got := render(t, reporttest.Real(t, ""))
	require.Contains(t, got, "| `text-encoder`<br>\u2713 Qwen2.5-VL turns prompt and picture")
	require.Contains(t, got, "`app/models/Qwen--Qwen-Image-Edit/text_encoder/model-00001-of-00004.safetensors`")
	require.Contains(t, got, "| **Total** | **83.03 GB** | **42.19 GB** | **40.84 GB** | **49.2 %** |")
	require.NotContains(t, got, "<code>")
}

// TestManyFiles: a comment stays one that GitHub takes, and no total is left out.
func TestManyFiles(t *testing.T) {
	in := reporttest.Foreign(t, "many")
	for i := range 3000 {
		name := fmt.Sprintf("folder/model-%05d.safetensors", i)
		in.Selection.Decisions = append(in.Selection.Decisions, manifests.Decision{
			Source: "all", File: manifests.File{Path: name, Size: 10}, Keep: true, Rule: fmt.Sprint("rule-", i), Reason: "needed", ImagePath: "app/" + name,
		})
		in.Layers = append(in.Layers, report.Layer{
			Kind: report.KindModel, Path: "app/" + name, Source: "all", Digest: reporttest.Digest(name), Size: 1536, Content: 10,
		})
	}
	got := render(t, in)
	require.Less(t, len(got), 65_536)
	require.Contains(t, got, "2941 more rows are in the report's other forms.")
	require.Contains(t, got, "| **Total** | **3001** | **730.00 kB** |")
}

func FuzzHarmless(f *testing.F) {
	for _, foreign := range reporttest.Hostile {
		f.Add(foreign)
	}
	f.Fuzz(func(t *testing.T, foreign string) {
		if report.Clean(foreign) != "" {
			requireHarmless(t, foreign)
		}
	})
}
