package flow_test

import (
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/image/report/diff"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// TestInteropDiffIsContainerds: what a diff says that a pull costs is what containerd
// fetches and unpacks, to the byte and to the layer.
func TestInteropDiffIsContainerds(t *testing.T) {
	interoptest.Require(t, "containerd", "ctr")
	low := layerOf(t, true, map[string]string{"low": strings.Repeat("abc", 1000)})
	archive, err := low.Uncompressed()
	require.NoError(t, err)
	tar, err := gzipped(archive)
	require.NoError(t, err)
	again := zipped(t, tar, gzip.BestSpeed)
	other := layerOf(t, true, map[string]string{"low": "another"})
	middle := layerOf(t, true, map[string]string{"middle": strings.Repeat("def", 2000)})
	top, newTop := layerOf(t, false, map[string]string{"top": "1"}), layerOf(t, false, map[string]string{"top": "2"})
	cases := map[string][2][]v1.Layer{
		"top changed":      {{low, middle, top}, {low, middle, newTop}},
		"low changed":      {{low, middle, top}, {other, middle, top}},
		"middle went":      {{low, middle, top}, {low, top}},
		"order changed":    {{low, middle, top}, {middle, low, top}},
		"recompressed":     {{low, middle, top}, {again, middle, newTop}},
		"nothing in short": {{low}, {middle, newTop}},
		"the same":         {{low, middle}, {low, middle}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			host, sent := countedRegistry(t)
			ctr := startContainerd(t)
			for tag, layers := range map[string][]v1.Layer{"a": c[0], "b": c[1]} {
				write(t, host+"/them/image:"+tag, docker(t, layers...))
			}
			ctr(t, "images", "pull", "--plain-http", host+"/them/image:a")
			before := snapshots(t, ctr)
			sent.Store(0)
			ctr(t, "images", "pull", "--plain-http", host+"/them/image:b")
			r, err := flow.Diff(t.Context(), "docker://"+host+"/them/image:a", "docker://"+host+"/them/image:b", flow.DiffOptions{})
			require.NoError(t, err)
			read := r.A.Bytes - layerBytes(t, c[0]) + r.B.Bytes - layerBytes(t, c[1]) // by the diff itself
			require.Equal(t, sent.Load()-read, r.Pull.Download.Bytes, r.Text())
			require.Equal(t, snapshots(t, ctr)-before, r.Pull.Unpack.New.Count.Count+r.Pull.Unpack.Again.Count.Count, r.Text())
		})
	}
}

// gzipped reads what gzip packed.
func gzipped(r io.Reader) ([]byte, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func layerBytes(t *testing.T, layers []v1.Layer) (sum int64) {
	t.Helper()
	for _, l := range layers {
		size, err := l.Size()
		require.NoError(t, err)
		sum += size
	}
	return sum
}

// snapshots counts what a node has unpacked.
func snapshots(t *testing.T, ctr func(*testing.T, ...string) string) int {
	t.Helper()
	list := ctr(t, "snapshots", "ls")
	return strings.Count(list, "sha256:") - strings.Count(list, " sha256:")
}

// TestInteropDiffForeign compares images that other tools made, in the forms that they
// write: umoci's gzip layers, buildah's, skopeo's zstd and Docker's types in a registry.
func TestInteropDiffForeign(t *testing.T) {
	interoptest.Require(t, "umoci", "buildah", "skopeo", "docker-registry")
	dir := t.TempDir()
	run := func(program string, args ...string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), program, args...)
		c.Dir = dir
		interoptest.Output(t, c)
	}
	for file, text := range map[string]string{"one": "first", "two": "second", "big": strings.Repeat("weights ", 1<<17)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	run("umoci", "init", "--layout=u")
	run("umoci", "new", "--image=u:a")
	run("umoci", "insert", "--image=u:a", "big", "/srv/big")
	run("umoci", "insert", "--image=u:a", "one", "/etc/one")
	run("umoci", "tag", "--image=u:a", "b")
	run("umoci", "insert", "--image=u:b", "two", "/etc/one")
	run("umoci", "insert", "--image=u:b", "--whiteout", "/srv/big")
	buildah := func(args ...string) {
		t.Helper()
		run("buildah", append([]string{"--storage-driver=vfs", "--root=" + filepath.Join(dir, "store"), "--runroot=" + filepath.Join(dir, "run")}, args...)...)
	}
	buildah("from", "--name=work", "scratch")
	buildah("copy", "work", "one", "/etc/one")
	buildah("commit", "--quiet", "work", "oci:bl:x")

	compare := func(a, b string, o flow.DiffOptions) *diff.Report {
		t.Helper()
		r, err := flow.Diff(t.Context(), a, b, o)
		require.NoError(t, err)
		require.Equal(t, r.B.Bytes, r.Blobs.Shared.Bytes+r.Blobs.Added.Bytes)
		return r
	}
	place := func(name string) string { return "oci:" + filepath.Join(dir, name) }
	r := compare(place("u:a"), place("u:b"), flow.DiffOptions{Files: true})
	require.Equal(t, 2, r.Blobs.Shared.Count)
	require.Equal(t, 2, r.Pull.Unpack.New.Count.Count)
	require.Equal(t, []string{"changed etc/one", "removed srv/big"}, changes(r))
	r = compare(place("u:a"), place("bl:x"), flow.DiffOptions{Files: true})
	require.Equal(t, []string{"removed srv/big"}, changes(r), "two tools, one file")

	run("skopeo", "copy", "--quiet", "--dest-compress-format=zstd", "--dest-compress", "oci:u:b", "oci:z:b")
	r = compare(place("u:b"), place("z:b"), flow.DiffOptions{Files: true})
	require.Empty(t, r.Files.Changes)
	require.Zero(t, r.Pull.Unpack.New.Count.Count+r.Pull.Unpack.Again.Count.Count, "zstd instead of gzip is nothing new to a node")
	require.Positive(t, r.Blobs.Added.Bytes)

	host := registrytest.Start(t, registrytest.Options{}).Host
	run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--format=v2s2", "oci:u:a", "docker://"+host+"/them/image:1")
	r = compare(place("u:b"), "docker://"+host+"/them/image:1", flow.DiffOptions{})
	require.Equal(t, 2, r.Blobs.Shared.Count, "Docker's types around the same blobs")
	require.Equal(t, 2, r.Pull.Unpack.Kept.Count.Count)
	require.Nil(t, r.Files)
}

// changes lists the files that differ.
func changes(r *diff.Report) (out []string) {
	for _, c := range r.Files.Changes {
		out = append(out, string(c.Status)+" "+c.Path)
	}
	return out
}
