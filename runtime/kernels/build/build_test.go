package build

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/kernels/cubin"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// The PTX that is committed was compiled from the sources that are.
func TestSourcesWereCompiled(t *testing.T) { require.NoError(t, CheckSources("..")) }

// TestInteropPTX: compiling again gives the PTX that is committed, byte for byte.
func TestInteropPTX(t *testing.T) {
	interoptest.Require(t)
	var out bytes.Buffer
	require.NoError(t, Run(context.Background(), Options{Dir: "..", Check: true, Out: &out}))
	t.Log(out.String())
}

// TestInteropBuild: a kernel becomes PTX, and every way in which that can be stale is seen.
func TestInteropBuild(t *testing.T) {
	interoptest.Require(t)
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, Folder), 0o755))
	run := func(check bool) (string, error) {
		var out bytes.Buffer
		err := Run(context.Background(), Options{Dir: dir, Check: check, Out: &out})
		return out.String(), err
	}
	header := "#define KERNEL extern \"C\" __attribute__((global)) void\n"
	write("k.cuh", header)
	write("one.cu", "#include \"k.cuh\"\nKERNEL one(int* p) { *p = 1; } // a comment\n")
	write("two.sm_90a.cu", "#include \"k.cuh\"\nKERNEL two(int* p) { *p = 2; }\n")
	out, err := run(false)
	require.NoError(t, err)
	require.Contains(t, out, "one.sm_80.ptx: ")
	require.Contains(t, out, "two.sm_90a.ptx: ")
	text, err := os.ReadFile(filepath.Join(dir, Folder, "two.sm_90a.ptx"))
	require.NoError(t, err)
	require.Contains(t, string(text), ".target sm_90a")
	require.NotContains(t, string(text), "//")
	_, err = run(true)
	require.NoError(t, err)

	// Machine code is made where there is an assembler, by the sum of the PTX, once.
	require.Contains(t, out, "with ptxas in PATH the kernels target makes it")
	fakeAssembler(t)
	_, err = run(false)
	require.NoError(t, err)
	made, err := contents(filepath.Join(dir, CodeFolder))
	require.NoError(t, err)
	require.Len(t, made, 4, "one.sm_80, one.sm_90, two.sm_90a and the version")
	require.Equal(t, "Build fake_1\n", string(made[AssemblerFile]))
	require.Equal(t, "-arch=sm_90a\n", string(made[cubin.Name("two", "sm_90a", text)]))
	out, err = run(true)
	require.NoError(t, err)
	require.NotContains(t, out, "ptxas")

	stale := func(want string) {
		t.Helper()
		_, err := run(true)
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Equal(t, "run the kernels target", fault.HintOf(err))
	}
	write("ptx/one.sm_80.ptx", "nonsense\n")
	stale("checking ptx/one.sm_80.ptx: it has 9 bytes")
	write("ptx/three.sm_80.ptx", "")
	stale("checking ptx/three.sm_80.ptx: no source makes it")
	write("k.cuh", header+"\n")
	stale("checking ptx/sources.txt: it lacks ")
	write("ptx/clang.txt", "1.2.3\n")
	write("k.cuh", header)
	out, err = run(true)
	require.NoError(t, err)
	require.Contains(t, out, "the PTX was written by 1.2.3: only the sources' sums were checked")

	_, err = run(false)
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, "ptx/three.sm_80.ptx"))
	require.NoError(t, os.Remove(filepath.Join(dir, "two.sm_90a.cu")))
	stale("it has sources that are gone")
	write("one.cu", "KERNEL one")
	_, err = run(false)
	require.ErrorContains(t, err, "compiling "+filepath.Join(dir, "one.cu"))
	require.ErrorContains(t, err, "error:")
}

// fakeAssembler puts a program in PATH that writes what it is asked for.
func fakeAssembler(t *testing.T) {
	t.Helper()
	bin := t.TempDir()
	script := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo ptxas; echo Build fake_1; else echo $1 > $4; fi\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, Assembler), []byte(script), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func TestParseVersion(t *testing.T) {
	v, err := parseVersion("Debian clang version 19.1.7 (3~deb12u1)\nTarget: x86_64-pc-linux-gnu\n")
	require.NoError(t, err)
	require.Equal(t, "19.1.7", v)
	_, err = parseVersion("gcc 12")
	require.EqualError(t, err, `reading the version of clang++-19: it says "gcc 12"`)
}

func TestNoCompiler(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := Run(context.Background(), Options{Dir: ".."})
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.Equal(t, "install Debian's package clang-19", fault.HintOf(err))
}

func TestNames(t *testing.T) {
	require.Equal(t, "gemm.sm_80.ptx", ptxName("a/gemm.cu"))
	require.Equal(t, "gemm.sm_90a.ptx", ptxName("a/gemm.sm_90a.cu"))
}

func TestSlim(t *testing.T) {
	require.Equal(t, ".version 7.0\n\tret;\n", string(slim([]byte("//\n// head\n\n.version 7.0 // x\n\tret;                                    // end\n"))))
}
