package flow_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// shipped is a whole image, with Debian's libraries and the runtime, in a registry of others
// and in an exported layout. Its checkpoints are in parts.
type shipped struct {
	*world
	ref, layout string
	built       *flow.BuildResult
}

func ship(t *testing.T) *shipped {
	t.Helper()
	s := &shipped{world: newWorld(t).widen()}
	s.opts.Mirrors, s.opts.BaseOptional = nil, false
	r := registrytest.Start(t, registrytest.Options{})
	s.ref, s.layout = r.Host+"/team/model:1", filepath.Join(s.dir, "full")
	j := s.job()
	var err error
	s.built, err = flow.Make(t.Context(), j)
	require.NoError(t, err)
	_, err = flow.Publish(t.Context(), j, []string{s.ref}, "")
	require.NoError(t, err)
	_, err = flow.Export(t.Context(), j, s.layout)
	require.NoError(t, err)
	return s
}

// TestInteropContainers lets the tools of others carry, unpack and run one image.
func TestInteropContainers(t *testing.T) {
	interoptest.Require(t, "docker-registry", "skopeo", "umoci", "podman", "runc", "containerd", "ctr")
	s := ship(t)
	for name, by := range map[string]func(*testing.T, *shipped){
		"schemas":    func(t *testing.T, s *shipped) { requireSchemas(t, s.layout) },
		"skopeo":     carryBySkopeo,
		"umoci":      runByUmoci,
		"podman":     runByPodman,
		"containerd": runByContainerd,
		"air gap":    crossAirGap,
	} {
		t.Run(name, func(t *testing.T) { by(t, s) })
	}
}

// carryBySkopeo: from registry to layout to registry no digest changes, and neither place
// needs a byte of what was carried.
func carryBySkopeo(t *testing.T, s *shipped) {
	layout := pull(t, "docker://"+s.ref, "--src-tls-verify=false")
	requireSame(t, s.built, layout)
	to := strings.Replace(s.ref, "/team/", "/carried/", 1)
	interoptest.Run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false", "oci:"+layout+":pulled", "docker://"+to)
	again, err := flow.Publish(t.Context(), s.job(), []string{to}, "")
	require.NoError(t, err)
	require.Equal(t, s.built.Digest, again.Digest)
	require.Zero(t, again.Targets[0].SentBytes)
	checked, err := flow.VerifyIn(t.Context(), s.job(), flow.VerifyOptions{In: "docker://" + to})
	require.NoError(t, err)
	require.Equal(t, s.built.Digest, checked.Image)
}

// crossAirGap: a machine with neither cache nor model nor lock sends an export on, moves a tag
// to it without a byte, and moves it back.
func crossAirGap(t *testing.T, s *shipped) {
	inside := registrytest.Start(t, registrytest.Options{})
	old := inside.Host + "/team/model:old"
	interoptest.Run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false", "oci:"+pull(t, "docker://"+s.ref, "--src-tls-verify=false"), "docker://"+old)
	lightning := s.opts
	lightning.Variant = "lightning"
	j, err := flow.New(lightning)
	require.NoError(t, err)
	defer j.Close()
	_, err = flow.Make(t.Context(), j)
	require.NoError(t, err)
	carried, err := flow.Export(t.Context(), j, filepath.Join(t.TempDir(), "carried"))
	require.NoError(t, err)

	empty := flow.Options{Root: root, Out: t.TempDir(), Getenv: func(k string) string { return map[string]string{"HF_HOME": filepath.Join(s.dir, "nothing")}[k] }}
	publish := func(o flow.PublishOptions) (r *flow.PublishResult) {
		require.NoError(t, flow.DoInCache(empty, io.Discard, false, func(j *flow.Job) (_ flow.Result, err error) {
			r, err = flow.PublishTo(t.Context(), j, o)
			return r, err
		}))
		return r
	}
	fresh := []string{inside.Host + "/team/model:new"}
	plan := publish(flow.PublishOptions{From: carried.Layout, Targets: fresh, DryRun: true}).Plans[0]
	require.Positive(t, plan.Bytes[push.ToSend])
	require.Positive(t, plan.Bytes[push.Present], "the two images share layers")
	require.Zero(t, plan.Bytes[push.ToFetch])
	sent := publish(flow.PublishOptions{From: carried.Layout, Targets: fresh})
	require.Equal(t, carried.Digest, sent.Digest)
	require.Equal(t, plan.Bytes[push.ToSend], sent.Targets[0].SentBytes, "what the dry run said")

	uploads := inside.Requests("PATCH")
	for _, digest := range []string{carried.Digest, s.built.Digest, carried.Digest} {
		moved := publish(flow.PublishOptions{Targets: []string{inside.Host + "/team/model@" + digest}, Tag: "prod"})
		require.Equal(t, digest, moved.Digest)
		require.Equal(t, digest, strings.TrimSpace(interoptest.Run(t, "skopeo", "inspect", "--tls-verify=false", "--format={{.Digest}}", "docker://"+inside.Host+"/team/model:prod")))
	}
	inside.Stop()
	require.Equal(t, uploads, inside.Requests("PATCH"))
}

// runByUmoci unpacks the exported layout and runs its program in a chroot, on the image's
// own loader and libraries and as the image's user.
func runByUmoci(t *testing.T, s *shipped) {
	bundle := filepath.Join(t.TempDir(), "bundle")
	interoptest.Run(t, "umoci", "unpack", "--image="+s.layout+":"+strings.TrimSpace(interoptest.Run(t, "umoci", "ls", "--layout="+s.layout)), bundle)
	rootfs := filepath.Join(bundle, "rootfs")
	requireWideModel(t, rootfs)
	inside := func(args ...string) string {
		c := exec.CommandContext(t.Context(), "/"+image.RuntimePath, args...)
		c.Dir, c.Env = "/", []string{"PATH=/usr/bin"}
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: rootfs, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		return interoptest.Output(t, c)
	}
	require.Contains(t, inside("version"), fmt.Sprintf("pack format %d", pack.Version))
	requireVerified(t, inside("verify"))
}

// requireVerified checks what the image's own verify says.
func requireVerified(t *testing.T, said string) {
	t.Helper()
	require.NotContains(t, said, "✗")
	require.Regexp(t, `(?m)^✓ Base Model found`, said)
	require.Regexp(t, `(?m)^✓ svdq-int4_r128-qwen-image-edit\.safetensors: .* MB \(qwen-image int4 rank 128, .*2 parts\)`, said)
	require.Contains(t, said, "Found 2/2 Nunchaku Models")
}

// podman runs podman with a storage of the test's own.
type podman []string

func newPodman(t *testing.T) podman {
	dir := shortDir(t) // podman takes no runroot of more than 50 characters
	p := podman{"podman", "--root=" + filepath.Join(dir, "root"), "--runroot=" + filepath.Join(dir, "run"), "--runtime=runc", "--cgroup-manager=cgroupfs"}
	t.Cleanup(func() {
		c := p.command("system", "reset", "--force") // its mounts go before the folder does
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("removing podman's storage: %v\n%s", err, out)
		}
	})
	return p
}

func (p podman) command(args ...string) *exec.Cmd {
	return exec.Command(p[0], append(p[1:len(p):len(p)], args...)...)
}

// run runs the image as a careful platform does: nothing can be written, no right is left.
func (p podman) run(t *testing.T, ref string, flags []string, args ...string) (output string, code int) {
	t.Helper()
	all := append([]string{"run", "--rm", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges",
		"--network=none", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"}, flags...)
	return finish(t, p.command(append(append(all, ref), args...)...))
}

// runByPodman: the image verifies itself with no rights and nothing to write to; a byte that
// was changed under it is found, named, and shows in the exit code; so is a part that is not
// there.
func runByPodman(t *testing.T, s *shipped) {
	p := newPodman(t)
	interoptest.Output(t, p.command("pull", "--quiet", "--tls-verify=false", s.ref))
	user := interoptest.Output(t, p.command("image", "inspect", "--format={{.Config.User}} {{.Digest}}", s.ref))
	require.Equal(t, image.User+" "+s.built.Digest, strings.TrimSpace(user))

	output, code := p.run(t, s.ref, nil, "verify")
	require.Zero(t, code, output)
	requireVerified(t, output)
	output, code = p.run(t, s.ref, nil, "config", "-json")
	require.Zero(t, code, output)

	inImage, bad := s.spoiledPart(t)
	output, code = p.run(t, s.ref, []string{"--volume=" + bad + ":" + inImage + ":ro"}, "verify")
	require.Equal(t, fault.Invalid.ExitCode(), code, output)
	require.Regexp(t, `(?m)^✗ svdq-int4_r128-qwen-image-edit\.safetensors: .*sha256`, output)
	require.Regexp(t, `(?m)^✓ svdq-int4_r128-qwen-image-edit-lightningv1\.0-8steps\.safetensors`, output)
	require.Contains(t, output, "Found 1/2 Nunchaku Models")

	output, code = p.run(t, s.ref, []string{"--volume=" + t.TempDir() + ":/" + manifests.ModelsDir + ":ro"}, "verify")
	require.Equal(t, fault.Invalid.ExitCode(), code, output)
	require.Contains(t, output, "Found 0/2 Nunchaku Models")
}

// spoiledPart is the second part of a checkpoint with one byte changed, and its place in the
// image.
func (s *shipped) spoiledPart(t *testing.T) (inImage, path string) {
	t.Helper()
	for _, l := range s.built.Layers {
		if strings.HasSuffix(l.Title, "svdq-int4_r128-qwen-image-edit.safetensors.part-01-of-02") {
			inImage, path = "/"+l.Title, filepath.Join(t.TempDir(), "part")
			out, err := exec.Command("tar", "--extract", "--to-stdout", "--file="+blobPath(s.layout, l.Digest)).Output()
			require.NoError(t, err)
			out[len(out)/2]++
			require.NoError(t, os.WriteFile(path, out, 0o644))
			return inImage, path
		}
	}
	t.Fatalf("the image has no second part: %v", s.built.Layers)
	return "", ""
}

// runByContainerd: containerd, which nodes of Kubernetes run, pulls, unpacks and runs the
// image; what it has unpacked is what the Hub served.
func runByContainerd(t *testing.T, s *shipped) {
	ctr := startContainerd(t)
	ctr(t, "images", "pull", "--plain-http", s.ref)
	require.Contains(t, ctr(t, "images", "ls", "name=="+s.ref), s.built.Digest)
	require.Contains(t, ctr(t, "images", "check"), "complete")
	mount := t.TempDir()
	ctr(t, "images", "mount", s.ref, mount)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(mount, 0)) }) // when its files are closed again
	requireWideModel(t, mount)
	requireModes(t, mount)
	requireVerified(t, ctr(t, "run", "--rm", "--read-only", s.ref, "verifier", "/"+image.RuntimePath, "verify"))
}

// requireModes: everybody may read what is in the image, and nobody but root may write it.
func requireModes(t *testing.T, root string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 || d.Name() == "tmp" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		require.Zero(t, info.Mode().Perm()&0o022, path)
		require.EqualValues(t, 0o444, info.Mode().Perm()&0o444, path)
		require.Zero(t, info.Sys().(*syscall.Stat_t).Uid, path)
		return nil
	}))
}

// shortDir is a folder of the test's own with a short path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ship")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// startContainerd starts a containerd with folders and a socket of the test's own, and
// returns its client.
func startContainerd(t *testing.T) func(t *testing.T, args ...string) string {
	t.Helper()
	dir := shortDir(t) // the path of a socket has at most 107 characters
	socket := filepath.Join(dir, "s")
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, socket+".ttrpc")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600))
	c := exec.Command("containerd", "--config="+filepath.Join(dir, "config.toml"))
	booted := &lineWaiter{text: "containerd successfully booted", found: make(chan struct{})}
	c.Stderr, c.WaitDelay = booted, 10*time.Second
	require.NoError(t, c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	select {
	case <-booted.found:
	case err := <-ended:
		ended <- err
		t.Fatalf("starting containerd: %v\n%s", err, &booted.said)
	}
	return func(t *testing.T, args ...string) string {
		t.Helper()
		return interoptest.Run(t, "ctr", append([]string{"--address=" + socket}, args...)...)
	}
}

// lineWaiter keeps what a program says and closes found when a text comes.
type lineWaiter struct {
	text  string
	found chan struct{}
	said  bytes.Buffer
}

func (w *lineWaiter) Write(p []byte) (int, error) {
	w.said.Write(p)
	if w.text != "" && strings.Contains(w.said.String(), w.text) {
		w.text = ""
		close(w.found)
	}
	return len(p), nil
}
