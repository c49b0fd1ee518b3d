// Package magetest compiles the magefile for tests, as go tool mage does before it runs a
// target.
//
// mage writes its generated main file into the magefile's own folder for the time of the
// compilation. Tests of several packages run side by side, so they take turns.
package magetest

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/magefile/mage/mage"
)

// Compile compiles the magefile in the folder root and returns the path of the program,
// which takes a target and its flags. The test fails with mage's own words.
func Compile(t testing.TB, root string) string {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	defer takeTurn(t, root)()
	program := filepath.Join(t.TempDir(), "targets")
	var out bytes.Buffer
	code := mage.Invoke(mage.Invocation{
		Dir: root, WorkDir: root, CompileOut: program, Stdout: &out, Stderr: &out, GoCmd: "go", CacheDir: t.TempDir(),
	})
	if code != 0 {
		t.Fatalf("compiling the magefile in %s: mage exits with %d\n%s", root, code, &out)
	}
	return program
}

// takeTurn waits until no other test compiles in root; the result ends the turn. The lock is
// on a file that the go command itself never locks, as it does go.mod.
func takeTurn(t testing.TB, root string) (done func()) {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "magefile.go"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("waiting for other tests to compile the magefile: %v", err)
	}
	return func() { f.Close() }
}
