package flow_test

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/image/flow/magetest"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// realCommit is the commit of the base repository that the real manifest pins.
const realCommit = "ac7f9318f633fc4b5778c59367c8128225f1e3de"

// exampleForm finds the README's examples: indented lines that call mage.
var exampleForm = regexp.MustCompile(`(?m)^    ((?:CI=true )?go tool mage .*)$`)

// TestReadmeExamplesAreInTheScripts: every example of the README is run by a script.
func TestReadmeExamplesAreInTheScripts(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	var scripts strings.Builder
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		scripts.Write(data)
	}
	examples := exampleForm.FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, examples)
	elsewhere := []string{"mage demo", "mage test"} // the demo is a test of its own; the tests are these
	for _, e := range examples {
		line := strings.TrimPrefix(strings.TrimPrefix(e[1], "CI=true "), "go tool ")
		line = strings.ReplaceAll(line, "ghcr.io/you", "$REGISTRY")
		line = strings.ReplaceAll(line, "OWNER/NAME", "nunchaku-ai/nunchaku-qwen-image-edit")
		if !slices.Contains(elsewhere, line) {
			require.Contains(t, scripts.String(), "\n"+line+"\n", "the README's example is in no script")
		}
	}
}

// TestScripts runs the targets as a user does: the compiled magefile, in a copy of the
// source, against a Hub, a Debian mirror and a registry on this machine.
func TestScripts(t *testing.T) {
	magefile := magetest.Compile(t, root)
	hub := startRealNames(t)
	mirror, err := basetest.Start()
	require.NoError(t, err)
	t.Cleanup(func() { mirror.Close() })
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			blobs := filepath.Join(e.WorkDir, "registry")
			if err := os.Mkdir(blobs, 0o755); err != nil {
				return err
			}
			s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs))))
			e.Defer(s.Close)
			for k, v := range map[string]string{
				"HUB": hub, "HF_ENDPOINT": hub, "HF_HOME": filepath.Join(e.WorkDir, "hf"), "PLIMSOLL_DEBIAN_MIRROR": mirror.URL(),
				"REGISTRY": strings.TrimPrefix(s.URL, "http://"), "NOBODY": strings.TrimPrefix(nobody(t), "http://"),
				"MAGEFILE": magefile, "GOFLAGS": "-trimpath", "CI": "",
			} {
				e.Setenv(k, v)
			}
			for _, k := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB"} {
				out, err := exec.Command("go", "env", k).Output()
				if err != nil {
					return err
				}
				e.Setenv(k, strings.TrimSpace(string(out)))
			}
			return copySource(e.WorkDir)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"mage": runTarget, "code": checkCode, "link": link, "spoil": spoilModel},
	})
}

// runTarget runs the compiled magefile with a target and its flags.
func runTarget(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(ts.Getenv("MAGEFILE"), args...)
	if exit, ok := err.(*exec.ExitError); ok {
		ts.Setenv("CODE", strconv.Itoa(exit.ExitCode()))
	}
	if err != nil && !neg {
		ts.Fatalf("mage %v: %v", args, err)
	}
	if err == nil && neg {
		ts.Fatalf("mage %v succeeded", args)
	}
}

// checkCode compares the exit code of the last target that failed.
func checkCode(ts *testscript.TestScript, _ bool, args []string) {
	if got := ts.Getenv("CODE"); got != args[0] {
		ts.Fatalf("exit code is %s, want %s", got, args[0])
	}
}

// link makes a symbolic link to the one file or folder that a pattern matches.
func link(ts *testscript.TestScript, _ bool, args []string) {
	found, err := filepath.Glob(ts.MkAbs(args[1]))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("%s matches %v, want one", args[1], found)
	}
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o755))
	ts.Check(os.Symlink(found[0], ts.MkAbs(args[0])))
}

// spoilModel changes one byte, as a bad disk would, in the largest file that a pattern
// matches, the image's program left aside.
func spoilModel(ts *testscript.TestScript, _ bool, args []string) {
	const program = 3 << 20 // it is larger than the small model's files
	found, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	var path string
	var most int64
	for _, f := range found {
		info, err := os.Stat(f)
		ts.Check(err)
		if info.Size() > most && info.Size() < program {
			path, most = f, info.Size()
		}
	}
	ts.Check(flip(path, most/2))
}

// startRealNames serves the real repositories at tiny width.
func startRealNames(t *testing.T) string {
	t.Helper()
	hub := hubtest.New()
	base, err := modelsettest.Base(modelsettest.Tiny())
	require.NoError(t, err)
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(t, err)
	for _, r := range []hubtest.Repo{
		{Name: "Qwen/Qwen-Image-Edit", License: "apache-2.0", Commit: realCommit, Files: served(base)},
		{Name: "nunchaku-ai/nunchaku-qwen-image-edit", License: "apache-2.0", Files: served(checkpoints)},
	} {
		_, err := hub.Add(r)
		require.NoError(t, err)
	}
	url, err := hub.Start()
	require.NoError(t, err)
	t.Cleanup(func() { hub.Close() })
	return url
}

func served(files map[string]modelsettest.File) map[string]hubtest.File {
	out := map[string]hubtest.File{}
	for path, f := range files {
		out[path] = hubtest.File{Content: f.Content, LFS: f.LFS}
	}
	return out
}

// copySource copies what a target needs of the source: the module, without tests' data.
func copySource(dir string) error {
	for _, name := range []string{"go.mod", "go.sum", "LICENSE"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{"manifests", "verify", "fetch", "runtime"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(root, name))); err != nil {
			return err
		}
	}
	return nil
}
