package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/flow/magetest"
)

const module = "github.com/plimsoll-oci/plimsoll/"

// graph maps an import path to its direct imports, without those of tests.
type graph map[string][]string

func imports(t *testing.T) graph {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports", "./...").Output()
	require.NoError(t, err)
	g := graph{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return g
		} else {
			require.NoError(t, err)
		}
		g[p.ImportPath] = p.Imports
	}
}

// reach returns everything that a package imports, directly or not, itself included.
func (g graph) reach(from string) map[string]bool {
	seen := map[string]bool{}
	var walk func(string)
	walk = func(p string) {
		if seen[p] {
			return
		}
		seen[p] = true
		for _, i := range g[p] {
			walk(i)
		}
	}
	walk(from)
	return seen
}

// own lists plimsoll's packages in the folders.
func (g graph) own(folders ...string) []string {
	var out []string
	for p := range g {
		rel, ok := strings.CutPrefix(p, module)
		if ok && slices.ContainsFunc(folders, func(f string) bool { return rel == f || strings.HasPrefix(rel, f+"/") }) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

const registryLibrary = "github.com/google/go-containerregistry"

// TestWalls keeps the rooms of the house apart: what a package can reach, through whatever
// import, is what a reader has to keep in mind for it.
func TestWalls(t *testing.T) {
	g := imports(t)
	walls := []struct {
		why     string
		folders []string
		except  []string
		not     []string // import paths, or trees when they end with /
	}{
		{"what we want is pure", []string{"manifests"}, nil, []string{"net/http", module + "verify/", module + "fetch/", module + "image/", module + "runtime/"}},
		{"what is true needs no network", []string{"verify"}, nil, []string{"net/http", module + "fetch/", module + "image/", module + "runtime/"}},
		{"getting bytes knows no registry", []string{"fetch"}, nil, []string{registryLibrary + "/", module + "image/", module + "runtime/"}},
		{"a report is a function of its input", []string{"image/report"}, nil, []string{"net", "net/http", module + "image"}},
		{"a document is a function of its input", []string{"image/attest"}, nil, []string{"net", "net/http", "os/exec", module + "image", registryLibrary + "/"}},
		{"shipping bytes does not fetch them", []string{"image"}, []string{"image/flow", "image/demo", "image/bench"}, []string{module + "fetch/"}},
		{"using bytes needs nothing that ships them", []string{"runtime"}, nil, []string{module + "image/", module + "fetch/hubtest", "github.com/magefile/mage/", registryLibrary + "/"}},
		{"the model's code serves nobody", []string{"runtime/cuda", "runtime/kernels", "runtime/plan", "runtime/ref", "runtime/qwen"}, nil, []string{"net/http"}},
		{"the service knows no model", []string{"runtime/server"}, nil, []string{module + "fetch/", module + "verify/svdq/", module + "runtime/cuda", module + "runtime/models", module + "runtime/compute"}},
		{"verbs know no demo", []string{"image/flow"}, nil, []string{module + "image/demo", module + "image/bench", module + "fetch/hubtest"}},
	}
	for _, w := range walls {
		for _, p := range g.own(w.folders...) {
			if slices.Contains(g.own(w.except...), p) {
				continue
			}
			for reached := range g.reach(p) {
				require.False(t, behind(reached, w.not), "%s: %s reaches %s", w.why, p, reached)
			}
		}
	}
}

// behind reports whether an import path is one of those walled off.
func behind(path string, not []string) bool {
	return slices.ContainsFunc(not, func(n string) bool {
		tree, is := strings.CutSuffix(n, "/")
		return path == tree || is && strings.HasPrefix(path, n)
	})
}

// TestOneImporter keeps libraries behind the one room that is theirs.
func TestOneImporter(t *testing.T) {
	g := imports(t)
	for library, rooms := range map[string][]string{
		"github.com/schollz/progressbar/v3":              {module + "fetch/progress"},
		"github.com/goccy/go-yaml":                       {module + "manifests"},
		"github.com/ebitengine/purego":                   {module + "runtime/cuda", module + "runtime/cuda/cudatest"},
		"github.com/CycloneDX/cyclonedx-go":              {module + "image/attest"},
		"github.com/prometheus/client_golang/prometheus": {module + "runtime/server"},
		"github.com/google/licensecheck":                 {module + "image/attest"},
	} {
		var importers []string
		for p, direct := range g {
			if strings.HasPrefix(p, module) && slices.Contains(direct, library) {
				importers = append(importers, p)
			}
		}
		slices.Sort(importers)
		require.Equal(t, rooms, importers, library)
	}
}

// TestTopLevel keeps the tree's first page short.
func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	known := []string{
		"LICENSE", "README.md", "fetch", "go.mod", "go.sum", "image", "magefile.go", "magefile_test.go", "manifests", "out", "runtime", "verify",
		"workflows_test.go",
		"mage_output_file.go", // while a test of another package compiles the magefile
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			require.Contains(t, known, e.Name())
		}
	}
}

// TestPackageComments: every package says what it is for.
func TestPackageComments(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{if not .Doc}}{{.ImportPath}}{{end}}", "./...").Output()
	require.NoError(t, err)
	undocumented := slices.DeleteFunc(strings.Fields(string(out)), func(p string) bool { return p+"/" == module })
	require.Empty(t, undocumented)
}

// runTarget runs a target of the compiled magefile.
func runTarget(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	c := exec.Command(magetest.Compile(t, "."), args...)
	c.Stdout, c.Stderr = &o, &e
	if err := c.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return o.String(), e.String(), c.ProcessState.ExitCode()
}

// TestTargetsAreInTheReadme: the list that mage prints is the README's table.
func TestTargetsAreInTheReadme(t *testing.T) {
	stdout, stderr, code := runTarget(t, "-l")
	require.Zero(t, code, stderr)
	_, list, ok := strings.Cut(stdout, "Targets:\n")
	require.True(t, ok, stdout)
	var want []string
	for _, line := range strings.Split(strings.TrimSpace(list), "\n") {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		want = append(want, "| `"+name+"` | "+strings.TrimSpace(text)+" |")
	}
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var got []string
	for _, line := range strings.Split(string(readme), "\n") {
		if strings.HasPrefix(line, "| `") && strings.Count(line, "|") == 3 {
			got = append(got, line)
		}
	}
	require.Equal(t, want, got)
}

// TestOneTargetForReal runs a target as a user does, through the compiled magefile.
func TestOneTargetForReal(t *testing.T) {
	t.Setenv("HF_HOME", t.TempDir())
	t.Setenv("CI", "true")
	dir := t.TempDir()
	data, err := os.ReadFile(filepath.Join("manifests", "demo.yaml"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine.yaml"), data, 0o644))
	_, stderr, code := runTarget(t, "build", "-model="+filepath.Join(dir, "mine.yaml"))
	require.Equal(t, 3, code, stderr)
	require.Contains(t, stderr, "mine.lock")
	require.Contains(t, stderr, "hint: run the lock target")
}
