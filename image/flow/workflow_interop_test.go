package flow_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/image/flow/magetest"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// runner runs a workflow's scripts as GitHub's runners do, in a clone of the source: bash, a
// file for outputs, one for the summary. GitHub itself is not here: gh records what it is
// asked for.
type runner struct {
	t     *testing.T
	dir   string
	env   []string
	steps map[string]string
}

// newRunner reads a workflow of one job.
func newRunner(t *testing.T, workflow string, env ...string) *runner {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, ".github", "workflows", workflow))
	require.NoError(t, err)
	var document struct {
		Jobs map[string]struct {
			Steps []struct{ Name, Run string }
		}
	}
	require.NoError(t, yaml.Unmarshal(data, &document))
	r := &runner{t: t, dir: filepath.Join(t.TempDir(), "clone"), steps: map[string]string{}}
	for _, job := range document.Jobs {
		for _, s := range job.Steps {
			r.steps[s.Name] = s.Run
		}
	}
	require.NoError(t, os.MkdirAll(r.dir, 0o755))
	require.NoError(t, copySource(r.dir))
	r.env = append(os.Environ(), append([]string{
		"PATH=" + r.programs() + ":" + os.Getenv("PATH"), "MODEL=qwen-image-edit", "CI=true", "GITHUB_REF_NAME=main", "RUNNER_TEMP=" + r.path("temp"),
		"GITHUB_OUTPUT=" + r.path("output"), "GITHUB_STEP_SUMMARY=" + r.path("summary"), "ASKED=" + r.path("asked"),
		"HF_HOME=" + r.path("hf"), "PLIMSOLL_OUT=" + r.path("out"), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
	}, env...)...)
	require.NoError(t, os.MkdirAll(r.path("temp"), 0o755))
	return r
}

// path is a place beside the clone.
func (r *runner) path(name string) string { return filepath.Join(filepath.Dir(r.dir), name) }

// programs is a folder with a go whose mage is the compiled magefile, and a gh that records.
func (r *runner) programs() string {
	r.t.Helper()
	golang, err := exec.LookPath("go")
	require.NoError(r.t, err)
	magefile, err := filepath.Abs(magetest.Compile(r.t, root))
	require.NoError(r.t, err)
	dir := r.path("bin")
	require.NoError(r.t, os.MkdirAll(dir, 0o755))
	for name, script := range map[string]string{
		"go": fmt.Sprintf("if [ \"$1 $2\" = 'tool mage' ]; then shift 2; exec %q \"$@\"; fi\nexec %q \"$@\"\n", magefile, golang),
		"gh": "printf '%s ' \"$@\" >> \"$ASKED\"; echo >> \"$ASKED\"\n",
	} {
		require.NoError(r.t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755))
	}
	return dir
}

// git runs git in the clone.
func (r *runner) git(args ...string) string {
	r.t.Helper()
	c := exec.CommandContext(r.t.Context(), "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
	c.Dir, c.Env = r.dir, r.env
	return interoptest.Output(r.t, c)
}

// step runs one step and returns what it said.
func (r *runner) step(name string, env ...string) (string, error) {
	r.t.Helper()
	require.NotEmpty(r.t, r.steps[name], name)
	c := exec.CommandContext(r.t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", r.steps[name])
	c.Dir, c.Env = r.dir, append(r.env, env...)
	out, err := c.CombinedOutput()
	return string(out), err
}

// read returns a file of the runner's and begins it anew.
func (r *runner) read(name string) string {
	r.t.Helper()
	data, err := os.ReadFile(r.path(name))
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(r.path(name), nil, 0o644))
	return string(data)
}

// TestInteropLockRefresh: the first run makes a lock and opens a change, one with nothing
// new opens none, and one with a moved pin says what that means.
func TestInteropLockRefresh(t *testing.T) {
	interoptest.Require(t, "bash", "git")
	hub := hubtest.New()
	base, err := modelsettest.Base(modelsettest.Tiny())
	require.NoError(t, err)
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(t, err)
	add := func(name, commit string, files map[string]hubtest.File) {
		_, err := hub.Add(hubtest.Repo{Name: name, Commit: commit, License: "apache-2.0", Files: files})
		require.NoError(t, err)
	}
	add("Qwen/Qwen-Image-Edit", realCommit, served(base))
	add("nunchaku-ai/nunchaku-qwen-image-edit", "", served(checkpoints))
	url, err := hub.Start()
	require.NoError(t, err)
	t.Cleanup(func() { hub.Close() })
	mirror, err := basetest.Start()
	require.NoError(t, err)
	t.Cleanup(func() { mirror.Close() })

	r := newRunner(t, "lock-refresh.yml", "HF_ENDPOINT="+url, "PLIMSOLL_DEBIAN_MIRROR="+mirror.URL())
	r.git("init", "--quiet", "--initial-branch=main")
	r.git("add", ".")
	r.git("commit", "--quiet", "--message=source")
	r.git("init", "--quiet", "--bare", r.path("origin"))
	r.git("remote", "add", "origin", r.path("origin"))
	run := func(steps ...string) {
		t.Helper()
		for _, s := range steps {
			out, err := r.step(s, map[bool]string{true: "CI=false", false: "CI=true"}[s == "Refresh the lock"])
			require.NoError(t, err, out)
		}
	}

	run("Refresh the lock", "Say what changed", "Open a change")
	require.Equal(t, "changed=true\n", r.read("output"))
	require.Contains(t, r.read("summary"), "The first lock of this model.")
	require.Contains(t, r.read("asked"), "pr create --head lock-refresh/qwen-image-edit --base main")
	require.Contains(t, r.git("--git-dir="+r.path("origin"), "show", "--stat", "lock-refresh/qwen-image-edit"), "manifests/qwen-image-edit.lock")

	run("Refresh the lock")
	require.Equal(t, "changed=false\n", r.read("output"))
	require.Contains(t, r.read("summary"), "up to date")

	files := served(checkpoints)
	for path := range files {
		if strings.HasSuffix(path, "r128-qwen-image-edit.safetensors") {
			files[path] = files[strings.Replace(path, ".safetensors", "-lightningv1.0-8steps.safetensors", 1)]
		}
	}
	add("nunchaku-ai/nunchaku-qwen-image-edit", "", files)
	run("Refresh the lock", "Say what changed", "Open a change")
	require.Equal(t, "changed=true\n", r.read("output"))
	require.Regexp(t, "(?m)^\\| changed \\| `app/models/nunchaku-qwen-image-edit/svdq-(int4|fp4)_r128-qwen-image-edit.safetensors` \\|", r.read("summary"))
}

// TestInteropPublishNeedsALock: the first run says what is to be done first.
func TestInteropPublishNeedsALock(t *testing.T) {
	interoptest.Require(t, "bash")
	r := newRunner(t, "publish.yml")
	out, err := r.step("The lock")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.ExitCode())
	require.Contains(t, out, "run the lock-refresh workflow once")
}
