package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFormat(t *testing.T) {
	cases := []struct {
		largest, n int64
		want       string
	}{
		{83_027_665_277, 83_027_665_277, "83.03 GB"},
		{83_027_665_277, 0, "0.00 GB"},
		{83_027_665_277, 1, "<0.01 GB"},
		{83_027_665_277, -1, "-<0.01 GB"},
		{83_027_665_277, 4_999_999, "<0.01 GB"},
		{83_027_665_277, 5_000_000, "0.01 GB"},
		{83_027_665_277, -20_600_822, "-0.02 GB"},
		{1_000_000_000, 995_000_000, "1.00 GB"},
		{1_000_000_000, 994_999_999, "0.99 GB"},
		{1_005_000_000, 1_005_000_000, "1.01 GB"},
		{5_000_000_000_000, 5_000_000_000_000, "5000.00 GB"},
		{999_999_999, 999_999_999, "1000.00 MB"},
		{150_000_000, 1_200, "<0.01 MB"},
		{-150_000_000, 15_000_000, "15.00 MB"},
		{1_000, 1_000, "1.00 kB"},
		{999, 999, "999 B"},
		{999, -7, "-7 B"},
		{0, 0, "0 B"},
		{2 * maxBytes, 2 * maxBytes, "72057594.04 GB"},
	}
	for _, c := range cases {
		require.Equal(t, c.want, UnitFor(c.largest).Format(c.n))
	}
}

func TestPercent(t *testing.T) {
	cases := []struct {
		saved, before int64
		want          string
	}{
		{1, 2, "50.0 %"},
		{40_840_639_354, 83_027_665_277, "49.2 %"},
		{-3, 2, "-150.0 %"},
		{0, 5, "0.0 %"},
		{-1, 1_000_000, "0.0 %"},
	}
	for _, c := range cases {
		require.Equal(t, c.want, formatPercent(percent(c.saved, c.before)))
	}
	require.Equal(t, "-", formatPercent(nil))
}

func TestWrap(t *testing.T) {
	cases := []struct {
		text  string
		limit int
		want  []string
	}{
		{"", 5, nil},
		{"one two", 7, []string{"one two"}},
		{"one two", 6, []string{"one", "two"}},
		{"abcdefgh", 3, []string{"abc", "def", "gh"}},
		{"x abcdefgh y", 4, []string{"x", "abcd", "efgh", "y"}},
		{"äöü äöü", 3, []string{"äöü", "äöü"}},
		{"äöüß", 2, []string{"äö", "üß"}},
	}
	for _, c := range cases {
		require.Equal(t, c.want, wrap(c.text, c.limit), c.text)
	}
}

func TestClean(t *testing.T) {
	require.Equal(t, "red [31malarm", Clean("red\x1b[31malarm"))
	require.Equal(t, "two lines", Clean(" two\r\n\tlines "))
	require.Equal(t, "a b", Clean("a\u202eb"))
	require.Equal(t, "bad bytes", Clean("bad\xff\xfebytes"))
	require.Equal(t, "Größe 模型", Clean("Größe 模型"))
}

func TestCut(t *testing.T) {
	require.Equal(t, "short", cut("short", 5))
	require.Equal(t, "sho..", cut("shorter", 5))
}

// TestAlignment: figures end where their heading ends, in every table.
func TestAlignment(t *testing.T) {
	s := Section{Title: "A title", Label: "Title", Columns: []string{"Before", "A longer heading"}, Lines: []Line{
		{Label: "a", Cells: []string{"1.00 GB", "2.00 GB"}},
		{Label: strings.Repeat("long ", 30), Cells: []string{"12345678.00 GB", "-"}, Mark: MarkKept, Notes: []string{"why"}},
		{Label: strings.Repeat("folder/", 30) + "file", Code: true, Cells: []string{"1.00 GB", "-"}, Mark: MarkDropped, Notes: []string{"why"}},
		{Label: "sum", Cells: []string{"3.00 GB", "4.00 GB"}, Total: true},
	}, Notes: []string{"below"}}
	var b strings.Builder
	s.text(&b, 24)
	long := strings.Repeat(" ", 42)
	require.Equal(t, ""+
		"A title\n"+
		"Title"+long+"                             Before  A longer heading\n"+
		strings.Repeat("-", 100)+"\n"+
		"a"+long+"                                1.00 GB           2.00 GB\n"+
		strings.Repeat("long ", 12)+"long..  12345678.00 GB                 -\n"+
		"  ✓  why\n"+
		"..der/"+strings.Repeat("folder/", 8)+"file         1.00 GB                 -\n"+
		"  ❌ why\n"+
		strings.Repeat("-", 100)+"\n"+
		"sum"+long+"                              3.00 GB           4.00 GB\n"+
		"  below\n", b.String())
}

// TestTitles: every kind of layer and every addition has words for people.
func TestTitles(t *testing.T) {
	for _, kind := range append([]string{AddedFiles}, additionKinds...) {
		require.NotEmpty(t, additionTitles[kind], kind)
	}
	for _, kind := range layerKinds {
		require.True(t, kind == KindModel || additionTitles[kind] != "", kind)
	}
	for category, title := range categoryTitles {
		require.NotEmpty(t, title, category)
	}
}
