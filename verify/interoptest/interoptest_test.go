package interoptest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// probe records how a test ended, instead of ending.
type probe struct {
	testing.TB
	skipped, failed bool
}

func (p *probe) Helper()               {}
func (p *probe) Skipf(string, ...any)  { p.skipped = true; panic(p) }
func (p *probe) Fatalf(string, ...any) { p.failed = true; panic(p) }

// watch runs f, which may end its test, on a probe.
func watch(t *testing.T, f func(p *probe)) (out *probe) {
	out = &probe{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(out) {
			panic(r)
		}
	}()
	f(out)
	return out
}

func TestRequire(t *testing.T) {
	t.Setenv(interoptest.Env, "")
	require.True(t, watch(t, func(p *probe) { interoptest.Require(p, "no such program") }).skipped)
	t.Setenv(interoptest.Env, "1")
	missing := watch(t, func(p *probe) { interoptest.Require(p, "go", "no such program") })
	require.True(t, missing.failed, "a missing program is no reason to skip")
	require.False(t, missing.skipped)
	require.Equal(t, probe{TB: t}, *watch(t, func(p *probe) { interoptest.Require(p, "go") }))
}

func TestRun(t *testing.T) {
	require.True(t, strings.HasPrefix(interoptest.Run(t, "go", "version"), "go version"))
	require.True(t, watch(t, func(p *probe) { interoptest.Run(p, "go", "no such command") }).failed)
}

func TestRoot(t *testing.T) {
	root := interoptest.Root(t)
	t.Chdir(root)
	require.FileExists(t, "go.mod")
	require.Equal(t, root, interoptest.Root(t))
}

// TestInteropPython: every environment holds what its list says and is made once, and a
// script sees nothing of the user's.
func TestInteropPython(t *testing.T) {
	t.Setenv("HF_TOKEN", "secret")
	for _, name := range []string{interoptest.Requirements, interoptest.OlderHub0, interoptest.OlderHub1, interoptest.CycloneDX, interoptest.Tokenizers, interoptest.Pictures, interoptest.Schemathesis} {
		python := interoptest.PythonWith(t, name)
		require.Equal(t, python, interoptest.PythonWith(t, name))
		list, err := os.ReadFile(name)
		require.NoError(t, err)
		frozen := strings.ToLower(strings.ReplaceAll(interoptest.Run(t, python, "-m", "pip", "freeze"), "-", "_"))
		for line := range strings.Lines(string(list)) {
			if want := strings.TrimSpace(line); want != "" && !strings.HasPrefix(want, "#") {
				require.Contains(t, frozen, strings.ToLower(strings.ReplaceAll(want, "-", "_"))+"\n")
			}
		}
	}
	code := "import os, sys; print(sys.argv[1], os.environ.get('HF_TOKEN'), os.environ['X'], os.environ['HOME'] != sys.argv[2])"
	out := interoptest.Output(t, interoptest.Script(t, code, []string{"a b", os.Getenv("HOME")}, "X=y"))
	require.Equal(t, "a b None y True\n", out)
}
