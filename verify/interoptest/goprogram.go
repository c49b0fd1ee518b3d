package interoptest

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// GoProgram returns the path of a program that go install makes of a package at a version,
// such as "oras.land/oras/cmd/oras@v1.3.6": one that no Debian package has. It is made once,
// into out/interop, which takes Go's module proxy and up to some minutes; two processes may
// make the same one at a time.
func GoProgram(t testing.TB, packageAtVersion string) string {
	t.Helper()
	Require(t, "go")
	name, version, _ := strings.Cut(packageAtVersion, "@")
	dir := filepath.Join(Root(t), "out", "interop")
	program := filepath.Join(dir, path.Base(name)+"-"+version)
	if _, err := os.Stat(program); err == nil {
		return program
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp(dir, "making-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	c := exec.CommandContext(t.Context(), "go", "install", packageAtVersion)
	c.Env = append(os.Environ(), "GOBIN="+tmp, "GOFLAGS=", "CGO_ENABLED=0")
	Output(t, c)
	if err := os.Rename(filepath.Join(tmp, path.Base(name)), program); err != nil {
		t.Fatalf("installing %s: %v", packageAtVersion, err)
	}
	return program
}
