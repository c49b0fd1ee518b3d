// Package interoptest is what tests against parts that others wrote have in common: they
// run only where they are asked for, and there a part that is missing is a failure and
// no reason to skip.
//
//	func TestInteropTar(t *testing.T) {
//		interoptest.Require(t, "tar")
//		out := interoptest.Run(t, "tar", "--list", "--file="+layer)
//
// The tests are those of the repository whose names begin with TestInterop; the target
// interop runs them all. Programs come from the system and lie on PATH. Python libraries
// come from a list of pinned versions, requirements.txt beside this file, and live in a
// virtual environment below out/ that all packages share; older versions have lists and
// environments of their own. See PythonWith.
//
// Only tests import this package. It does not use testify, whose assertions on HTTP would
// bring the network into this floor.
package interoptest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Env is the environment variable that asks for the tests, by the value 1.
const Env = "PLIMSOLL_INTEROP"

// Require skips the test unless interop tests are asked for, and fails it at once where
// one of the programs is not on PATH.
func Require(t testing.TB, programs ...string) {
	t.Helper()
	if os.Getenv(Env) != "1" {
		t.Skipf("%s=1 is not set: this test needs parts that others wrote %v", Env, programs)
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("looking for a program that interop needs: %v", err)
		}
	}
}

// Run runs a program and returns its standard output; the test fails with its standard
// error if the program does.
func Run(t testing.TB, program string, args ...string) string {
	t.Helper()
	return Output(t, exec.CommandContext(t.Context(), program, args...))
}

// Output is Run for a prepared command.
func Output(t testing.TB, c *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	if c.Stderr == nil {
		c.Stderr = &stderr
	}
	out, err := c.Output()
	if err != nil {
		t.Fatalf("running %s: %v\n%s\n%s", strings.Join(c.Args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// Root is the root folder of the module.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("looking for the module's root: no go.mod in this folder or above")
		}
	}
}
