package picture_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/image/report/picture"
	"github.com/plimsoll-oci/plimsoll/image/report/reporttest"
)

var update = flag.Bool("update", false, "rewrite image/report/line.svg")

// readmePicture is the picture at the top of the README, made here with -update.
const readmePicture = "../line.svg"

func build(t testing.TB, in report.Input) *report.Report {
	t.Helper()
	r, err := report.New(in)
	require.NoError(t, err)
	return r
}

// TestReadmePicture: the README shows the real model's report.
func TestReadmePicture(t *testing.T) {
	got := picture.Standalone(build(t, reporttest.Real(t, "")))
	if *update {
		require.NoError(t, os.WriteFile(readmePicture, []byte(got), 0o644))
	}
	want, err := os.ReadFile(readmePicture)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
	require.Less(t, len(got), 64_000)
	for _, text := range []string{"83.03 GB", "42.19 GB", "40.84 GB less", "49.2 % saved", "base-transformer"} {
		require.Contains(t, got, ">"+text+"<")
	}
}

// elements parses a picture as XML and counts its elements; everything in it must be known.
func elements(t testing.TB, svg string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err, svg)
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		out[start.Name.Local]++
		for _, a := range start.Attr {
			require.NotContains(t, []string{"href", "src", "style", "onload"}, a.Name.Local)
			require.Regexp(t, `^(url\(#[a-z0-9-]+\)|[^(]*|rotate\(45\))$`, a.Value)
		}
	}
}

var known = []string{"svg", "title", "desc", "style", "defs", "pattern", "rect", "g", "path", "circle", "text"}

// TestHostile: whatever a name is, the picture has the elements that a word would give.
func TestHostile(t *testing.T) {
	for _, foreign := range reporttest.Hostile {
		requireHarmless(t, foreign)
	}
}

func requireHarmless(t testing.TB, foreign string) {
	t.Helper()
	r := build(t, reporttest.Foreign(t, foreign))
	for _, svg := range []string{picture.Standalone(r), picture.Inline(r, r.Scopes[0], picture.Narrow, "a")} {
		for name := range elements(t, svg) {
			require.Contains(t, known, name)
		}
		require.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f\x{202a}-\x{202e}\x{2066}-\x{2069}]`, svg)
	}
}

func FuzzHarmless(f *testing.F) {
	for _, foreign := range reporttest.Hostile {
		f.Add(foreign)
	}
	f.Fuzz(func(t *testing.T, foreign string) { requireHarmless(t, foreign) })
}

// TestOneImage: to a screen reader a picture is one image with a title and a description.
func TestOneImage(t *testing.T) {
	r := build(t, reporttest.Real(t, ""))
	svg := picture.Inline(r, r.Scopes[0], picture.Wide, "naive")
	require.Contains(t, svg, `role="img" aria-labelledby="naive-title naive-text"`)
	require.Contains(t, svg, `<title id="naive-title">83.03 GB before, 42.19 GB after</title>`)
	require.Contains(t, svg, `<desc id="naive-text">Two ships in one water. Before, naive image: 83.03 GB. After, this image: 42.19 GB, 49.2 % less. Gone: base-transformer, 40.86 GB, the quantised checkpoint replaces`)
	require.NotContains(t, svg, "http://www.w3.org/1999")
}

// TestCaption names what nobody can see, and no more.
func TestCaption(t *testing.T) {
	r := build(t, reporttest.Real(t, ""))
	text := picture.Caption(r, r.Scopes[0])
	require.Contains(t, text, "Too small to be seen: ")
	require.Contains(t, text, "processor, tokenizer, pipeline, scheduler of Base Model, 0.02 GB; docs of Base Model, <0.01 GB; all that is outside the model files, 0.02 GB.")
	require.NotContains(t, text, "text-encoder")
	require.NotContains(t, picture.Caption(build(t, reporttest.Demo(t)), r.Scopes[0]), "outside the model files")
}
