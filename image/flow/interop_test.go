package flow_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/base/basetest"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/flow/magetest"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

// widen lets the Hub serve the model at the demo's width, where checkpoints are so large
// that they are cut into parts.
func (w *world) widen() *world {
	w.t.Helper()
	base, err := modelsettest.Base(modelsettest.Demo())
	require.NoError(w.t, err)
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Demo())
	require.NoError(w.t, err)
	w.add("Qwen/Qwen-Image-Edit", base)
	w.add("nunchaku-ai/nunchaku-qwen-image-edit", checkpoints)
	return w
}

// withBase gives the world a Debian mirror, so that its images have a base layer.
func (w *world) withBase() *world {
	w.t.Helper()
	m, err := basetest.Start()
	require.NoError(w.t, err)
	w.t.Cleanup(func() { m.Close() })
	w.opts.Mirrors, w.opts.BaseOptional = []string{m.URL()}, false
	return w
}

// TestInteropRegistryAndBack: the image goes to a registry of others, is pulled by a tool
// of others and unpacked by GNU tar: all digests and all model bytes are what they were.
func TestInteropRegistryAndBack(t *testing.T) {
	interoptest.Require(t, "docker-registry", "skopeo", "tar")
	w, r := newWorld(t).widen().withBase(), registrytest.Start(t, registrytest.Options{})
	j := w.job()
	built, err := flow.Make(t.Context(), j)
	require.NoError(t, err)
	require.Contains(t, built.Base, "libc6")
	ref := []string{r.Host + "/team/model:1"}
	before, err := flow.Doctor(t.Context(), j, ref)
	require.NoError(t, err, "%v", before)
	plan, err := flow.PlanFor(t.Context(), j, ref, nil)
	require.NoError(t, err)
	require.Equal(t, built.Bytes, plan.Targets[0].Bytes[push.ToSend])
	_, err = flow.Publish(t.Context(), j, ref, "")
	require.NoError(t, err)
	plan, err = flow.PlanFor(t.Context(), j, ref, nil)
	require.NoError(t, err)
	require.Equal(t, built.Bytes, plan.Targets[0].Bytes[push.Present])

	layout := pull(t, "docker://"+r.Host+"/team/model:1", "--src-tls-verify=false")
	requireSame(t, built, layout)
	requireWideModel(t, unpackLayers(t, layout, built))

	again, err := flow.Publish(t.Context(), j, []string{r.Host + "/team/model:2"}, "")
	require.NoError(t, err)
	require.Zero(t, again.Targets[0].Sent)
	require.Zero(t, again.Targets[0].SentBytes)
	require.Equal(t, built.Digest, again.Digest)

	exported, err := flow.Export(t.Context(), j, filepath.Join(w.dir, "full"))
	require.NoError(t, err)
	requireSame(t, exported, pull(t, "oci:"+exported.Layout))
}

// pull copies an image into an OCI layout of its own, as it is.
func pull(t *testing.T, from string, flags ...string) (layout string) {
	t.Helper()
	layout = filepath.Join(t.TempDir(), "layout")
	args := append([]string{"--insecure-policy", "copy", "--quiet", "--preserve-digests"}, flags...)
	interoptest.Run(t, "skopeo", append(args, from, "oci:"+layout+":pulled")...)
	return layout
}

// readBlob reads a blob of a layout and holds it against its digest.
func readBlob(t *testing.T, layout, digest string, into any) {
	t.Helper()
	f, err := os.Open(blobPath(layout, digest))
	require.NoError(t, err)
	defer f.Close()
	sum := sha256.New()
	r := io.TeeReader(f, sum)
	if into != nil {
		require.NoError(t, json.NewDecoder(r).Decode(into))
	}
	_, err = io.Copy(io.Discard, r)
	require.NoError(t, err)
	require.Equal(t, digest, fmt.Sprintf("sha256:%x", sum.Sum(nil)))
}

func blobPath(layout, digest string) string {
	return filepath.Join(layout, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

// requireSame compares the layout's only image with the one that was built, by the digest
// of everything in it.
func requireSame(t *testing.T, built *flow.BuildResult, layout string) {
	t.Helper()
	var index v1.IndexManifest
	data, err := os.ReadFile(filepath.Join(layout, "index.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &index))
	require.Len(t, index.Manifests, 1)
	require.Equal(t, built.Digest, index.Manifests[0].Digest.String())
	var m v1.Manifest
	readBlob(t, layout, built.Digest, &m)
	readBlob(t, layout, m.Config.Digest.String(), &v1.ConfigFile{})
	require.Len(t, m.Layers, len(built.Layers))
	for i, l := range m.Layers {
		require.Equal(t, built.Layers[i].Digest, l.Digest.String())
		require.Equal(t, built.Layers[i].Size, l.Size)
		readBlob(t, layout, l.Digest.String(), nil)
	}
}

// unpackLayers lets GNU tar unpack all layers of a pulled image into one folder.
func unpackLayers(t *testing.T, layout string, built *flow.BuildResult) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, l := range built.Layers {
		interoptest.Run(t, "tar", "--extract", "--no-same-owner", "--directory="+dir, "--file="+blobPath(layout, l.Digest))
	}
	return dir
}

// openParts opens a file of an unpacked image, whether it lies there whole or in parts.
func openParts(t *testing.T, root string, f manifests.ModelFile) io.Reader {
	t.Helper()
	path := filepath.Join(root, manifests.ModelsDir, f.Path)
	names := []string{path}
	if n := len(f.Parts); n > 0 {
		names = nil
		for i := range n {
			names = append(names, pack.PartName(path, i, n))
		}
	}
	var out []io.Reader
	for _, name := range names {
		file, err := os.Open(name)
		require.NoError(t, err)
		t.Cleanup(func() { file.Close() })
		out = append(out, file)
	}
	return io.MultiReader(out...)
}

// modelConfig reads what an unpacked image says about its model.
func modelConfig(t *testing.T, root string) *manifests.ModelConfig {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, manifests.ModelConfigPath))
	require.NoError(t, err)
	var c manifests.ModelConfig
	require.NoError(t, json.Unmarshal(data, &c))
	return &c
}

// requireWideModel compares every model file of an unpacked image with what the Hub serves
// since widen.
func requireWideModel(t *testing.T, root string) {
	t.Helper()
	upstream, err := modelsettest.Base(modelsettest.Demo())
	require.NoError(t, err)
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Demo())
	require.NoError(t, err)
	maps.Copy(upstream, checkpoints)
	parts := 0
	for _, f := range modelConfig(t, root).Files {
		_, name, _ := strings.Cut(f.Path, "/")
		require.Contains(t, upstream, name)
		want := upstream[name].Content
		requireEqualBytes(t, io.NewSectionReader(want, 0, want.Size()), openParts(t, root, f), f.Path)
		parts += len(f.Parts)
	}
	require.Equal(t, 4, parts, "both checkpoints are in two parts")
}

// requireEqualBytes compares two streams to their ends.
func requireEqualBytes(t *testing.T, want, got io.Reader, name string) {
	t.Helper()
	a, b := sha256.New(), sha256.New()
	sizeA, err := io.Copy(a, want)
	require.NoError(t, err)
	sizeB, err := io.Copy(b, got)
	require.NoError(t, err)
	require.Equal(t, sizeA, sizeB, name)
	require.Equal(t, a.Sum(nil), b.Sum(nil), name)
}

// TestInteropGuardedRegistry works as a user does with a registry that wants TLS and a
// password: the authority comes from SSL_CERT_FILE, the password from a credential helper or
// from the docker configuration itself.
func TestInteropGuardedRegistry(t *testing.T) {
	interoptest.Require(t, "docker-registry", "skopeo")
	w, r := newWorld(t).withBase(), registrytest.Start(t, registrytest.Options{Auth: true, TLS: true})
	built, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	magefile, ref := magetest.Compile(t, root), r.Host+"/team/model:1"
	mage := func(l registrytest.Login, ca, target string, flags ...string) (output string, code int) {
		c := exec.Command(magefile, append([]string{target, "-model=" + w.opts.Model}, flags...)...)
		c.Dir = root
		c.Env = append(os.Environ(), "HF_ENDPOINT="+w.hub.URL(), "HF_HOME="+w.env["HF_HOME"], "PLIMSOLL_OUT="+w.opts.Out, "CI=true", "SSL_CERT_FILE="+ca)
		c.Env = append(c.Env, l.Env()...)
		return finish(t, c)
	}
	wrong := registrytest.NewLogin(t, r.Host, registrytest.User, "wrong-password")
	file := registrytest.NewLoginFile(t, r.Host, registrytest.User, registrytest.Password)
	onTarget := "-target=" + ref
	for _, c := range [][]string{{"publish", onTarget}, {"plan", onTarget}, {"doctor", onTarget}, {"verify", "-in=docker://" + ref}, {"publish", onTarget, "-tag=2"}} {
		output, code := mage(wrong, r.CA, c[0], c[1:]...)
		require.Equal(t, fault.Registry.ExitCode(), code, "%v: %s", c, output)
		require.Contains(t, output, "hint: log in", c)
		require.NotContains(t, output, "wrong-password", c)
		output, code = mage(file, os.DevNull, c[0], c[1:]...)
		require.Equal(t, fault.Registry.ExitCode(), code, "%v: %s", c, output)
		require.Contains(t, output, "hint: set SSL_CERT_FILE", c)
	}
	for _, l := range []registrytest.Login{registrytest.NewLogin(t, r.Host, registrytest.User, registrytest.Password), file} {
		for _, c := range []struct {
			args []string
			says string
		}{
			{[]string{"doctor", onTarget}, "✓ push: granted"},
			{[]string{"publish", onTarget}, built.Digest},
			{[]string{"plan", onTarget}, "0 B to send, 0 B to fetch first"},
			{[]string{"verify", "-in=docker://" + ref}, built.Digest},
			{[]string{"publish", "-target=" + r.Host + "/team/model@" + built.Digest, "-tag=promoted"}, built.Digest},
		} {
			output, code := mage(l, r.CA, c.args[0], c.args[1:]...)
			require.Zero(t, code, "%v: %s", c.args, output)
			require.Contains(t, output, c.says, c.args)
		}
	}
	requireSame(t, built, pull(t, "docker://"+r.Host+"/team/model:promoted", "--src-cert-dir="+filepath.Dir(r.CA), "--src-creds="+registrytest.User+":"+registrytest.Password))
}

// finish runs a command to its end and returns what it printed, and its exit code.
func finish(t *testing.T, c *exec.Cmd) (output string, code int) {
	t.Helper()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return out.String(), c.ProcessState.ExitCode()
}
