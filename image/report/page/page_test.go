package page_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/image/report/page"
	"github.com/plimsoll-oci/plimsoll/image/report/reporttest"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func render(t testing.TB, in report.Input) string {
	t.Helper()
	r, err := report.New(in)
	require.NoError(t, err)
	return page.Render(r)
}

func TestGolden(t *testing.T) {
	for name, in := range map[string]report.Input{
		"qwen-image-edit": reporttest.Real(t, ""), "demo-scale": reporttest.Demo(t),
	} {
		t.Run(name, func(t *testing.T) {
			got, path := render(t, in), filepath.Join("testdata", name+".html")
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

// element is an element of a page with its attributes, in order.
type element struct {
	name string
	attr map[string]string
}

// elements parses a page, which is well-formed XML too, and lists what is in it.
func elements(t testing.TB, source string) []element {
	t.Helper()
	var out []element
	for d := xml.NewDecoder(strings.NewReader(source)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		if start, ok := token.(xml.StartElement); ok {
			e := element{start.Name.Local, map[string]string{}}
			for _, a := range start.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			out = append(out, e)
		}
	}
}

// shape is the names of all elements of a page outside of its pictures, whose labels
// depend on what there is room for.
func shape(t testing.TB, source string) []string {
	t.Helper()
	var out []string
	for _, e := range elements(t, pictures.ReplaceAllString(source, "")) {
		out = append(out, e.name)
	}
	return out
}

var pictures = regexp.MustCompile(`(?s)<svg class="ships.*?</svg>`)

// requireHarmless: a foreign text makes the same elements as a word does, and acts nowhere.
func requireHarmless(t testing.TB, foreign string) {
	t.Helper()
	got := render(t, reporttest.Foreign(t, foreign))
	require.Equal(t, shape(t, render(t, reporttest.Foreign(t, "word"))), shape(t, got))
	for _, e := range elements(t, got) {
		require.NotContains(t, []string{"script", "img", "iframe", "a", "link", "object", "form", "foreignObject"}, e.name)
		for name, value := range e.attr {
			require.False(t, strings.HasPrefix(name, "on") || slices.Contains([]string{"href", "src", "style", "srcset"}, name), name)
			require.NotContains(t, value, "javascript:")
		}
	}
	require.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f\x{202a}-\x{202e}\x{2066}-\x{2069}\x{200e}\x{200f}]`, got)
	require.NotRegexp(t, `(?i)@import|url\([^#]`, got, "nothing is loaded")
}

func TestHostile(t *testing.T) {
	for _, foreign := range reporttest.Hostile {
		requireHarmless(t, foreign)
	}
}

func FuzzHarmless(f *testing.F) {
	for _, foreign := range reporttest.Hostile {
		f.Add(foreign)
	}
	f.Fuzz(func(t *testing.T, foreign string) {
		if report.Clean(foreign) != "" { // a note that says nothing is left out
			requireHarmless(t, foreign)
		}
	})
}

// TestReadWithoutSeeing: pictures are images with names, tables have heads and names, ids
// are there once.
func TestReadWithoutSeeing(t *testing.T) {
	source := render(t, reporttest.Real(t, ""))
	ids, images, tables := map[string]bool{}, 0, 0
	list := elements(t, source)
	for _, e := range list {
		if id, ok := e.attr["id"]; ok {
			require.False(t, ids[id], id)
			ids[id] = true
		}
	}
	for _, e := range list {
		for id := range strings.FieldsSeq(e.attr["aria-labelledby"]) {
			require.True(t, ids[id], id)
		}
		switch {
		case e.name == "svg" && e.attr["aria-hidden"] != "true":
			images++
			require.Equal(t, "img", e.attr["role"])
			require.NotEmpty(t, e.attr["aria-labelledby"])
		case e.name == "table":
			tables++
			require.NotEmpty(t, e.attr["aria-labelledby"])
		case e.name == "th":
			require.Contains(t, []string{"row", "col"}, e.attr["scope"])
		}
	}
	require.Equal(t, 4, images, "two scopes, each for wide and for narrow windows")
	r, err := report.New(reporttest.Real(t, ""))
	require.NoError(t, err)
	require.Equal(t, len(r.Sections())+1, tables)
	for _, f := range r.Files {
		require.Contains(t, source, f.Source+"/"+f.Path)
	}
}
