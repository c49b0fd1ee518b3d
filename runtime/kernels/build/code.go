package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels/cubin"
)

const (
	// Assembler is the program that makes machine code.
	Assembler = "ptxas"
	// CodeFolder holds machine code, in the folder of the sources.
	CodeFolder = "cubin"
	// AssemblerFile says which version of the assembler wrote it.
	AssemblerFile = "ptxas.txt"
)

// architectures are those that PTX of a target becomes machine code for. Code for 8.0 runs
// on all devices of compute capability 8.x (CUDA C++ Programming Guide, Binary
// Compatibility).
var architectures = map[string][]string{"sm_80": {"sm_80", "sm_90"}, "sm_90a": {"sm_90a"}}

// code is a file of machine code, and what it is made of.
type code struct{ name, ptx, architecture string }

// wanted are the files that the PTX becomes.
func wanted(dir string) ([]code, error) {
	files, err := filepath.Glob(filepath.Join(dir, Folder, "*.ptx"))
	if err != nil {
		return nil, err
	}
	var all []code
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		module, target, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f), ".ptx"), ".")
		for _, a := range architectures[target] {
			all = append(all, code{cubin.Name(module, a, text), f, a})
		}
	}
	return all, nil
}

// assemble makes the machine code that is not there, and removes what belongs to no PTX.
// Without an assembler it makes none, and says so.
func assemble(ctx context.Context, o Options) error {
	all, err := wanted(o.Dir)
	if err != nil {
		return err
	}
	dir := filepath.Join(o.Dir, CodeFolder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	keep := map[string]bool{AssemblerFile: true, "cubin.go": true, "cubin_test.go": true}
	for _, c := range all {
		keep[c.name] = true
	}
	if err := removeOthers(dir, keep); err != nil {
		return err
	}
	for _, c := range all {
		if err := assembleOne(ctx, dir, c); errors.Is(err, exec.ErrNotFound) {
			return reportCode(o)
		} else if err != nil {
			return err
		}
	}
	version, err := exec.CommandContext(ctx, Assembler, "--version").Output()
	if err != nil {
		return nil // nothing was made
	}
	lines := strings.Split(strings.TrimSpace(string(version)), "\n")
	return os.WriteFile(filepath.Join(dir, AssemblerFile), []byte(lines[len(lines)-1]+"\n"), 0o644)
}

// assembleOne makes one file, unless it is there.
func assembleOne(ctx context.Context, dir string, c code) error {
	to := filepath.Join(dir, c.name)
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	out, err := exec.CommandContext(ctx, Assembler, "-arch="+c.architecture, c.ptx, "-o", to).CombinedOutput()
	if err != nil {
		return fault.Wrap(fault.Invalid, "", fmt.Errorf("assembling %s for %s: %w\n%s", c.ptx, c.architecture, err, out))
	}
	return nil
}

// reportCode says which machine code is missing. That is no error: a start takes longer.
func reportCode(o Options) error {
	all, err := wanted(o.Dir)
	if err != nil {
		return err
	}
	for _, c := range all {
		if _, err := os.Stat(filepath.Join(o.Dir, CodeFolder, c.name)); err != nil {
			fmt.Fprintf(o.Out, "%s is not there: the driver will compile %s at a first start; with %s in PATH the kernels target makes it\n",
				c.name, filepath.Base(c.ptx), Assembler)
		}
	}
	return nil
}
