package gobinary_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/gobinary"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// TestSource: the sum is that of what is compiled in, wherever it lies and whatever the
// machine is set to.
func TestSource(t *testing.T) {
	source := func(dir string) string {
		t.Helper()
		o := options(dir, "main")
		o.Package = "./run"
		sum, err := gobinary.Source(t.Context(), o)
		require.NoError(t, err)
		require.Regexp(t, "^h1:[A-Za-z0-9+/]{43}=$", sum)
		return sum
	}
	dir := write(t, "a")
	first := source(dir)
	change := func(name, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	change("main/run/README.md", "another")
	change("main/run/evil.go", "//go:build evil\n\npackage main\n")
	change("main/run/main_test.go", "package main\n")
	change("dep/linked/dep.go", "package dep\n\nconst Name = \"another\"\n")
	require.Equal(t, first, source(dir), "none of it is the program's own source")

	other := write(t, "b")
	hostile(t, other)
	require.Equal(t, first, source(other))

	change("main/run/plain.go", "//go:build !evil\n\npackage main\n\nconst marker = \"other\"\n")
	require.NotEqual(t, first, source(dir))

	o := options(dir, "main")
	o.Package = "./nowhere"
	_, err := gobinary.Source(t.Context(), o)
	require.ErrorContains(t, err, "summing up the source of ./nowhere")
	o.Dir = filepath.Join(dir, "unpinned")
	_, err = gobinary.Source(t.Context(), o)
	require.Equal(t, fault.Usage, fault.KindOf(err))
}
