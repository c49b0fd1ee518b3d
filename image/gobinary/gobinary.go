// Package gobinary builds a Go program so that its bytes are a function of its source and
// of the Go toolchain that its go.mod names, whatever the machine is set to.
//
// Three things could let the machine in, and each is closed. Paths, version control state
// and build IDs are kept out by flags (-trimpath, -buildvcs=false, -buildid=). The
// environment is made anew: what decides about code (GOFLAGS, GOAMD64, GOEXPERIMENT, ...)
// has fixed values, the user's go env file is off, and only what says where to find things
// passes. The compiler is exactly the one of go.mod's toolchain line; another local
// version downloads it, verified by the checksum database.
//
// The program is linux/amd64 for the first amd64 level (GOAMD64=v1), without cgo.
// Modules come as go.sum has them (-mod=readonly).
//
// Licenses collects the licence texts of everything that is linked in, because an image
// that carries the program has to carry them too. Source is a sum of the source itself.
//
// All functions are safe for concurrent use.
package gobinary

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Options says what to build.
type Options struct {
	// Dir is the root of the module, the folder with go.mod.
	Dir string
	// Package is the main package as go build takes it, such as "./runtime".
	Package string
	// Out is the file to write; its folder is created. Licenses does not use it.
	Out string
	// Version becomes the value of the string variable main.version; "" leaves it alone.
	// Letters, digits and .+_- are allowed.
	Version string
}

// Info describes a program that was built.
type Info struct {
	// SHA256 is the sha256 of the file in hex.
	SHA256 string
	// Size is its size in bytes.
	Size int64
	// GoVersion is the toolchain that built it, such as "go1.26.8".
	GoVersion string
}

// versionText is what may become part of a linker flag.
var versionText = regexp.MustCompile(`^[A-Za-z0-9.+_-]*$`)

// Build builds the program and moves it to o.Out when it is complete, with mode 0755. Two
// builds of the same source give the same bytes, in any folder and any environment. It
// needs the go command in PATH; modules that are not in the module cache are downloaded.
//
// Errors carry the end of the compiler's output. They are of kind Resource where there is
// no go command, of kind Usage for a malformed option or go.mod.
func Build(ctx context.Context, o Options) (Info, error) {
	if !versionText.MatchString(o.Version) {
		return Info{}, fault.Wrap(fault.Usage, "", fmt.Errorf("building %s: the version is %q, %s is expected", o.Package, o.Version, versionText))
	}
	g, err := newCommand(ctx, o.Dir)
	if err != nil {
		return Info{}, fmt.Errorf("building %s: %w", o.Package, err)
	}
	tmp, err := tempFile(o.Out)
	if err != nil {
		return Info{}, fmt.Errorf("building %s: %w", o.Package, err)
	}
	defer os.Remove(tmp)
	if _, err := g.run(ctx, append(o.buildFlags(), "-o", tmp, o.Package)...); err != nil {
		return Info{}, fmt.Errorf("building %s: %w", o.Package, err)
	}
	info, err := finish(tmp, o.Out)
	if err != nil {
		return Info{}, fmt.Errorf("building %s: %w", o.Package, err)
	}
	info.GoVersion = g.toolchain
	return info, nil
}

// buildFlags are the arguments before the package: no paths of this machine, no state of
// version control, no build ID, no symbol table and debug information.
func (o Options) buildFlags() []string {
	ldflags := "-s -w -buildid="
	if o.Version != "" {
		ldflags += " -X main.version=" + o.Version
	}
	return []string{"build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=" + ldflags}
}

// tempFile makes an empty file beside out.
func tempFile(out string) (string, error) {
	dir, err := filepath.Abs(filepath.Dir(out))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(out)+".*.tmp")
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// finish takes size and sum of a built file and gives it its name.
func finish(tmp, out string) (Info, error) {
	f, err := os.Open(tmp)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return Info{}, err
	}
	if err := f.Chmod(0o755); err != nil {
		return Info{}, err
	}
	if err := f.Sync(); err != nil {
		return Info{}, err
	}
	return Info{SHA256: hex.EncodeToString(sum.Sum(nil)), Size: size}, os.Rename(tmp, out)
}
