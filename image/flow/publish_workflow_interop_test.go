package flow_test

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// TestInteropPublishWorkflow: the image is streamed and published under the commit, the
// report holds it against its budget, and only then the tag moves.
func TestInteropPublishWorkflow(t *testing.T) {
	interoptest.Require(t, "bash")
	mirror, err := basetest.Start()
	require.NoError(t, err)
	t.Cleanup(func() { mirror.Close() })
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	r := newRunner(t, "publish.yml", "HF_ENDPOINT="+startRealNames(t), "PLIMSOLL_DEBIAN_MIRROR="+mirror.URL(), "GITHUB_SHA=abc",
		"IMAGE="+strings.TrimPrefix(s.URL, "http://")+"/you/qwen-image-edit", "TAG=latest", "VARIANT=", "AGAINST=")
	run := func(step string, env ...string) {
		t.Helper()
		out, err := r.step(step, env...)
		require.NoError(t, err, out)
	}
	r.steps["Make the lock"] = "go tool mage lock"
	run("Make the lock", "CI=false")
	const report = "Report, and hold the image against its budget"
	for _, step := range []string{"The lock", "Publish under the commit", report, "Move the tag"} {
		run(step)
	}
	require.Contains(t, r.read("summary"), "not checked: -against names no published image")
	run(report, "AGAINST=latest")
	require.Regexp(t, `(?m)^\| Growth.* \| 0\.00 kB \|`, r.read("summary"))

	manifest := filepath.Join(r.dir, "manifests", "qwen-image-edit.yaml")
	data, err := os.ReadFile(manifest)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(manifest, []byte(strings.Replace(string(data), "outside: 25 MB", "outside: 1 MB", 1)), 0o644))
	out, err := r.step(report)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, fault.Budget.ExitCode(), exit.ExitCode(), out)
	require.Contains(t, out, "most of it is runtime layer")
	require.Contains(t, r.read("summary"), "over its limit")
}
