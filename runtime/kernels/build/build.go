// Package build compiles the kernels, .cu files of package kernels, to PTX: the text that
// NVIDIA's driver compiles for the device that it finds. The PTX is committed, so that only
// who changes a kernel needs a compiler.
//
// Compiling PTX takes the driver seconds at a program's first start. Where NVIDIA's assembler
// is at hand (ptxas, of CUDA's toolkit; PyPI's nvidia-cuda-nvcc has it), the PTX becomes
// machine code as well, for the architectures that a device of today most likely has. Its
// files are named by the sum of the PTX: what was made of other PTX is not taken, and the
// driver compiles.
//
// The compiler is Debian's clang, with a header of our own in place of CUDA's. What it
// writes depends on its version, which is recorded beside the PTX, as are the sums of the
// sources: a kernel that was changed and not compiled fails a test that needs no compiler.
package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

const (
	// Compiler is the program, and Package the Debian package that has it.
	Compiler = "clang++-19"
	Package  = "clang-19"

	// Folder holds the PTX, in the folder of the sources.
	Folder = "ptx"
	// VersionFile says which version of the compiler wrote it, and SourcesFile from what.
	VersionFile = "clang.txt"
	SourcesFile = "sources.txt"

	// defaultTarget is Ampere, the oldest that has bfloat16 and asynchronous copies. A file
	// name such as gemm.sm_90a.cu says another one.
	defaultTarget = "sm_80"
)

// flags are the compiler's.
var flags = []string{
	"-x", "cuda", "--cuda-device-only", "-nocudainc", "-nocudalib", "-std=c++17", "-O3", "-Wall", "-Werror", "-S",
}

// Options say what to do.
type Options struct {
	// Dir is the folder of the sources.
	Dir string
	// Check changes nothing: what is compiled anew must be what is there.
	Check bool
	// Out is where a line for each file goes.
	Out io.Writer
}

// Run compiles every source. With Options.Check it compiles into a temporary folder and
// fails, with kind fault.Invalid, if something differs; where the compiler has another
// version than the one recorded it says so, and holds only the sums against the sources.
// An error of kind fault.Resource is about a compiler that is not there.
func Run(ctx context.Context, o Options) error {
	have, err := version(ctx)
	if err != nil {
		return err
	}
	if !o.Check {
		if err := compile(ctx, o, filepath.Join(o.Dir, Folder), have); err != nil {
			return err
		}
		return assemble(ctx, o)
	}
	if err := CheckSources(o.Dir); err != nil {
		return err
	}
	if err := reportCode(o); err != nil {
		return err
	}
	recorded, err := os.ReadFile(filepath.Join(o.Dir, Folder, VersionFile))
	if err != nil {
		return fmt.Errorf("reading which compiler wrote the PTX: %w", err)
	}
	if want := strings.TrimSpace(string(recorded)); have != want {
		fmt.Fprintf(o.Out, "%s is %s, the PTX was written by %s: only the sources' sums were checked\n", Compiler, have, want)
		return nil
	}
	return check(ctx, o, have)
}

// check compiles into a temporary folder and compares.
func check(ctx context.Context, o Options, version string) error {
	dir, err := os.MkdirTemp("", "ptx")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := compile(ctx, o, dir, version); err != nil {
		return err
	}
	want, err := contents(dir)
	if err != nil {
		return err
	}
	have, err := contents(filepath.Join(o.Dir, Folder))
	if err != nil {
		return err
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			return stale(name, "no source makes it")
		}
	}
	for name, text := range want {
		if !bytes.Equal(have[name], text) {
			return stale(name, fmt.Sprintf("it has %d bytes, the compiler writes other %d", len(have[name]), len(text)))
		}
	}
	return nil
}

func stale(name, why string) error {
	return fault.Wrap(fault.Invalid, "run the kernels target", fmt.Errorf("checking %s/%s: %s", Folder, name, why))
}

// CheckSources holds the sources against the sums that were recorded when they were
// compiled. It needs no compiler. An error is of kind fault.Invalid.
func CheckSources(dir string) error {
	have, err := sums(dir)
	if err != nil {
		return err
	}
	want, err := os.ReadFile(filepath.Join(dir, Folder, SourcesFile))
	if err != nil {
		return fmt.Errorf("reading what the PTX was compiled from: %w", err)
	}
	recorded := strings.Split(string(want), "\n")
	for line := range strings.Lines(have) {
		if !slices.Contains(recorded, strings.TrimSuffix(line, "\n")) {
			return stale(SourcesFile, "it lacks "+strings.TrimSpace(line))
		}
	}
	if have != string(want) {
		return stale(SourcesFile, "it has sources that are gone")
	}
	return nil
}

// version is the compiler's.
func version(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, Compiler, "--version").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fault.Wrap(fault.Resource, "install Debian's package "+Package, fmt.Errorf("compiling kernels: %w", err))
	}
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w", Compiler, err)
	}
	return parseVersion(string(out))
}

var versionForm = regexp.MustCompile(`clang version ([0-9]+\.[0-9]+\.[0-9]+)`)

func parseVersion(text string) (string, error) {
	m := versionForm.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("reading the version of %s: it says %q", Compiler, text)
	}
	return m[1], nil
}

// compile compiles every source into a folder.
func compile(ctx context.Context, o Options, to, version string) error {
	sources, err := filepath.Glob(filepath.Join(o.Dir, "*.cu"))
	if err != nil || len(sources) == 0 {
		return fmt.Errorf("looking for kernels in %s: %d files, %w", o.Dir, len(sources), err)
	}
	list, err := sums(o.Dir)
	if err != nil {
		return err
	}
	made := map[string]bool{VersionFile: true, SourcesFile: true}
	for _, s := range sources {
		text, err := compileOne(ctx, s)
		if err != nil {
			return err
		}
		name := ptxName(s)
		made[name] = true
		if err := os.WriteFile(filepath.Join(to, name), text, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(o.Out, "%s: %d bytes\n", name, len(text))
	}
	if err := os.WriteFile(filepath.Join(to, VersionFile), []byte(version+"\n"), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(to, SourcesFile), []byte(list), 0o644); err != nil {
		return err
	}
	return removeOthers(to, made)
}

// removeOthers removes PTX of sources that are gone.
func removeOthers(dir string, made map[string]bool) error {
	have, err := contents(dir)
	if err != nil {
		return err
	}
	for name := range have {
		if !made[name] {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// target is what a source is compiled for.
func target(source string) string {
	if _, t, ok := strings.Cut(strings.TrimSuffix(filepath.Base(source), ".cu"), "."); ok {
		return t
	}
	return defaultTarget
}

// ptxName is gemm.sm_80.ptx for gemm.cu.
func ptxName(source string) string {
	name, _, _ := strings.Cut(filepath.Base(source), ".")
	return name + "." + target(source) + ".ptx"
}

func compileOne(ctx context.Context, source string) ([]byte, error) {
	args := append(slices.Clone(flags), "--cuda-gpu-arch="+target(source), filepath.Base(source), "-o", "-")
	c := exec.CommandContext(ctx, Compiler, args...)
	c.Dir = filepath.Dir(source) // so that no path gets into the text
	// A CUDA that clang finds beside a ptxas in PATH would change what it writes.
	c.Env = append(os.Environ(), "PATH=")
	var out, messages bytes.Buffer
	c.Stdout, c.Stderr = &out, &messages
	if err := c.Run(); err != nil {
		return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("compiling %s: %w\n%s", source, err, messages.Bytes()))
	}
	return slim(out.Bytes()), nil
}

// slim leaves comments and empty lines out: a third of the text. There are no strings in it
// that a comment could begin in.
func slim(text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		line, _, _ = bytes.Cut(line, []byte("//"))
		if line = bytes.TrimRight(line, " \t\n"); len(line) > 0 {
			out = append(append(out, line...), '\n')
		}
	}
	return out
}

// sums are the sources' sums, a line each, as sha256sum writes them.
func sums(dir string) (string, error) {
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".cu" && ext != ".cuh" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(data), e.Name())
	}
	return b.String(), nil
}

// contents are the files of a folder.
func contents(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files[e.Name()] = data
	}
	return files, nil
}
