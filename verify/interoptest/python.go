package interoptest

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Lists of Python packages, each pinned with all that it needs. Requirements is the one
// for all tests; the others hold what cannot live beside it.
const (
	Requirements = "requirements.txt"
	// OlderHub0 and OlderHub1 hold the Hub's own client of older majors.
	OlderHub0 = "huggingface_hub-0.txt"
	OlderHub1 = "huggingface_hub-1.txt"
	// CycloneDX holds readers of SBOMs.
	CycloneDX = "cyclonedx.txt"
	// Tokenizers holds the tokenizers library and the published tokenizer of Qwen.
	Tokenizers = "tokenizers.txt"
	// Pictures holds Pillow and the image processor of Qwen2-VL that is built on it.
	Pictures = "pictures.txt"
	// Schemathesis holds a tester of HTTP services by their OpenAPI documents.
	Schemathesis = "schemathesis.txt"
)

//go:embed *.txt
var lists embed.FS

// abandoned is the age of an unfinished environment that nobody is making any more.
const abandoned = time.Hour

// Python is PythonWith for the list Requirements.
func Python(t testing.TB) string { return PythonWith(t, Requirements) }

// PythonWith returns the interpreter of the virtual environment out/interop/venv-KEY, which
// holds exactly the packages of the list. It is made when it is not there, which takes
// seconds to a minute and the package index that pip is configured for; KEY names list and
// interpreter, so that a change of either makes a new one. Python3 must be on PATH, with
// its venv module.
//
// An environment gets its name by a rename when it is whole. Two processes may make the
// same one at once: then one of the two is thrown away.
func PythonWith(t testing.TB, list string) string {
	t.Helper()
	Require(t, "python3")
	requirements, err := lists.ReadFile(list)
	if err != nil {
		t.Fatalf("reading list of Python packages: %v", err)
	}
	dir := filepath.Join(Root(t), "out", "interop")
	version := Run(t, "python3", "-c", "import sys; print(sys.executable, sys.version)")
	key := fmt.Sprintf("%.6x", sha256.Sum256([]byte(version+string(requirements))))
	venv := filepath.Join(dir, "venv-"+key)
	python := filepath.Join(venv, "bin", "python")
	if _, err := os.Stat(python); err == nil {
		return python
	}
	if err := makeVenv(t, dir, venv, requirements); err != nil {
		t.Fatalf("making the Python environment %s: %v", venv, err)
	}
	return python
}

// makeVenv makes the environment under another name and renames it.
func makeVenv(t testing.TB, dir, venv string, requirements []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	sweep(dir)
	tmp, err := os.MkdirTemp(dir, "making-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	list, unfinished := filepath.Join(tmp, "requirements.txt"), filepath.Join(tmp, "venv")
	if err := os.WriteFile(list, requirements, 0o644); err != nil {
		return err
	}
	Run(t, "python3", "-m", "venv", unfinished)
	pip := exec.CommandContext(t.Context(), filepath.Join(unfinished, "bin", "python"),
		"-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--requirement="+list)
	Output(t, pip)
	err = os.Rename(unfinished, venv)
	if _, there := os.Stat(venv); there == nil {
		return nil // ours, or that of whoever was faster
	}
	return err
}

// sweep removes what a killed run left unfinished.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, "making-*"))
	for _, path := range left {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.RemoveAll(path)
		}
	}
}

// Script prepares a run of Python code, with arguments in sys.argv[1:], that cannot see the
// user's settings, caches and tokens of the Hub: its HOME is a folder of the test's own.
// Variables of the form NAME=value are added to its environment.
func Script(t testing.TB, code string, args []string, env ...string) *exec.Cmd {
	t.Helper()
	return ScriptWith(t, Requirements, code, args, env...)
}

// ScriptWith is Script in the environment of a list.
func ScriptWith(t testing.TB, list, code string, args []string, env ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), PythonWith(t, list), append([]string{"-c", code}, args...)...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "HF_") && !strings.HasPrefix(v, "HOME=") && !strings.HasPrefix(v, "PYTHON") {
			c.Env = append(c.Env, v)
		}
	}
	c.Env = append(append(c.Env, "HOME="+t.TempDir()), env...)
	return c
}
