package demo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/demo"
)

// childEnv makes the test binary run the demo instead, so that it can be killed.
const childEnv = "PLIMSOLL_DEMO_CHILD"

func TestMain(m *testing.M) {
	if out := os.Getenv(childEnv); out != "" {
		if err := demo.Run(context.Background(), options(out, os.Stdout)); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// options are those of a machine that reaches no Debian mirror: the tests need no network,
// and the image's program runs on this machine's libraries. With a base the demo is run by
// the interop target.
func options(out string, w io.Writer) demo.Options {
	return demo.Options{Root: "../..", Out: out, Stdout: w, Stderr: os.Stderr, Mirrors: []string{"http://127.0.0.1:9"}}
}

// digestForm finds the image's digest in what the demo prints.
var digestForm = regexp.MustCompile(`(?m)^digest +(sha256:[0-9a-f]{64})$`)

// TestTwoFoldersOneDigest: two demos in two folders build one image, leave nothing
// running, and the image carries less than 25 MB beside the model.
func TestTwoFoldersOneDigest(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var digests []string
	for range 2 {
		var out bytes.Buffer
		dir := t.TempDir()
		err := demo.Run(t.Context(), options(dir, &out))
		require.NoError(t, err)
		for _, m := range digestForm.FindAllStringSubmatch(out.String(), -1) {
			digests = append(digests, m[1])
		}
		require.FileExists(t, filepath.Join(dir, "demo", "index.json"))
		require.FileExists(t, filepath.Join(dir, "demo-report.html"))
		require.NotContains(t, out.String(), "Layers, in bytes")
		log, err := os.ReadFile(filepath.Join(dir, "demo.txt"))
		require.NoError(t, err)
		require.Contains(t, string(log), "Layers, in bytes", "what is left out stands in the log")
		require.Contains(t, string(log), "Found 2/2 Nunchaku Models")
		require.Contains(t, out.String(), "plan: every upstream file")
		require.Contains(t, out.String(), "built without a base layer", "the report says what is missing")
	}
	require.Len(t, digests, 6, "build, publish and export, twice")
	for _, d := range digests {
		require.Equal(t, digests[0], d)
	}
}

// TestKilledDemoGoesOn: the demo's process group is killed while it fetches and while it
// publishes; the next run ends well.
func TestKilledDemoGoesOn(t *testing.T) {
	out := t.TempDir()
	for _, at := range []string{"== lock", "== build"} {
		killAfter(t, out, at)
	}
	var text bytes.Buffer
	require.NoError(t, demo.Run(t.Context(), options(out, &text)))
	require.Contains(t, text.String(), "Storage report")
}

// killAfter starts the demo and kills its whole process group as soon as it prints the
// mark: the verb that follows has just begun.
func killAfter(t *testing.T, out, mark string) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childEnv+"="+out)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	seen := &waitWriter{mark: mark, found: make(chan struct{})}
	c.Stdout = seen
	require.NoError(t, c.Start())
	select {
	case <-seen.found:
	case <-time.After(time.Minute):
		t.Fatalf("the demo never printed %q", mark)
	}
	require.NoError(t, syscall.Kill(-c.Process.Pid, syscall.SIGKILL))
	var exit *exec.ExitError
	require.True(t, errors.As(c.Wait(), &exit), "the demo ended before it could be killed")
}

// waitWriter tells when a text has been written.
type waitWriter struct {
	mark  string
	text  strings.Builder
	found chan struct{}
	done  bool
}

func (w *waitWriter) Write(p []byte) (int, error) {
	w.text.Write(p)
	if !w.done && strings.Contains(w.text.String(), w.mark) {
		w.done = true
		close(w.found)
	}
	return len(p), nil
}

// maxOutside is the headline's promise: everything in the image that is no model file.
const maxOutside = 25_000_000

// TestInteropDemoWithBase: with Debian's real libraries the image's program runs by the
// image's own loader, and base, runtime and configuration stay under 25 MB.
func TestInteropDemoWithBase(t *testing.T) {
	if os.Getenv("PLIMSOLL_INTEROP") == "" {
		t.Skip("run by the interop target: needs a Debian mirror")
	}
	var out bytes.Buffer
	dir := t.TempDir()
	o := options(dir, &out)
	o.Mirrors = nil
	require.NoError(t, demo.Run(t.Context(), o))
	require.Regexp(t, `base +Debian trixie: base-files [^ ]+, libc6 `, out.String())
	require.NotContains(t, out.String(), "built without a base")
	img, err := image.Open(filepath.Join(dir, "demo"), nil)
	require.NoError(t, err)
	m, err := img.Manifest()
	require.NoError(t, err)
	var outside int64
	for _, d := range m.Layers {
		if d.Annotations[image.AnnotationKind] != string(image.KindModel) {
			outside += d.Size
		}
	}
	t.Logf("outside the model files: %d bytes", outside)
	require.Less(t, outside, int64(maxOutside))
}
