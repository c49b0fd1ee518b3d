package pack_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/pack"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// interopNames are as long as they can be on either side of the header's limits. A file
// system takes at most 255 bytes for one element.
func interopNames() []string {
	names := []string{"short", "app/models/Qwen--Qwen-Image-Edit/model.safetensors", "app/-dash", "app/ü ' \" $(x) *", "app/line\nbreak"}
	for _, n := range []int{99, 100, 101, 155, 256, 257, 511, 512, 513, 1500} {
		names = append(names, longPath(n))
	}
	return names
}

// longPath is a path of n bytes with elements of 200 at most.
func longPath(n int) string {
	element := strings.Repeat("x", 200) + "/"
	path := strings.Repeat(element, n/len(element)+1)
	return path[:n-1] + "y"
}

// writeLayer writes the layer of one part.
func writeLayer(t *testing.T, path string, p pack.Part, file []byte) {
	t.Helper()
	layer, err := pack.Prefix(p)
	require.NoError(t, err)
	layer = append(append(layer, file[p.Offset:p.Offset+p.Length]...), make([]byte, pack.SuffixLen(p.Length))...)
	require.EqualValues(t, p.LayerSize(), len(layer))
	require.NoError(t, os.WriteFile(path, layer, 0o644))
}

// gnuTar runs GNU tar without a word of warning from it.
func gnuTar(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "tar", args...)
	c.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out := interoptest.Output(t, c)
	require.Empty(t, stderr.String(), args)
	return out
}

// TestInteropGNUTarNames: GNU tar lists and extracts a layer, and writes the same bytes
// from what it extracted.
func TestInteropGNUTarNames(t *testing.T) {
	interoptest.Require(t, "tar")
	for i, name := range interopNames() {
		dir := t.TempDir()
		layer, root := filepath.Join(dir, "layer.tar"), filepath.Join(dir, "root")
		require.NoError(t, os.Mkdir(root, 0o755))
		content := bytes.Repeat([]byte("weights "), i*97)
		parts, err := pack.Parts(name, int64(len(content)), 0)
		require.NoError(t, err)
		writeLayer(t, layer, parts[0], content)

		list := gnuTar(t, "--list", "--verbose", "--numeric-owner", "--quoting-style=literal", "--file="+layer)
		require.Equal(t, fmt.Sprintf("-rw-r--r-- 0/0 %15d 1970-01-01 00:00 %s\n", len(content), name), list)
		gnuTar(t, "--extract", "--no-same-owner", "--directory="+root, "--file="+layer)
		got, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.Equal(t, string(content), string(got))

		want, err := os.ReadFile(layer)
		require.NoError(t, err)
		written := gnuTar(t, append(dialect(root), name)...)
		require.True(t, string(want) == written, "GNU tar writes other bytes for %q", name)
	}
}

// dialect are the options that make GNU tar write what package pack writes.
func dialect(root string) []string {
	return []string{"--create", "--file=-", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner",
		"--mtime=@0", "--mode=0644", "--blocking-factor=1", "--directory=" + root, "--"}
}

// TestInteropGNUTarParts: the parts of a file, extracted into one folder, are the file.
func TestInteropGNUTarParts(t *testing.T) {
	interoptest.Require(t, "tar")
	dir := t.TempDir()
	file := make([]byte, 5<<20+12345)
	for i := range file {
		file[i] = byte(i * i >> 7)
	}
	name := longPath(120)
	parts, err := pack.Parts(name, int64(len(file)), pack.MinPartSize)
	require.NoError(t, err)
	require.Len(t, parts, 6)
	var joined []byte
	for _, p := range parts {
		layer := filepath.Join(dir, "layer.tar")
		writeLayer(t, layer, p, file)
		gnuTar(t, "--extract", "--no-same-owner", "--directory="+dir, "--file="+layer)
		data, err := os.ReadFile(filepath.Join(dir, pack.PartName(name, p.Index, p.Count)))
		require.NoError(t, err)
		joined = append(joined, data...)
	}
	require.True(t, bytes.Equal(file, joined))
}

// TestInteropGNUTarLargeFile: sizes over 8 GiB are understood, and written in the same
// way. The files are holes: neither disk nor time is needed for them.
func TestInteropGNUTarLargeFile(t *testing.T) {
	interoptest.Require(t, "tar")
	for _, size := range []int64{1<<33 - 1, 1 << 33, 9_462_349_824, 12_654_443_144} {
		dir := t.TempDir()
		parts, err := pack.Parts("app/big", size, 0)
		require.NoError(t, err)
		prefix, err := pack.Prefix(parts[0])
		require.NoError(t, err)
		layer := filepath.Join(dir, "layer.tar")
		require.NoError(t, os.WriteFile(layer, prefix, 0o644))
		require.NoError(t, os.Truncate(layer, parts[0].LayerSize()))
		list := gnuTar(t, "--list", "--verbose", "--numeric-owner", "--file="+layer)
		require.Equal(t, fmt.Sprintf("-rw-r--r-- 0/0 %15d 1970-01-01 00:00 app/big\n", size), list)

		require.NoError(t, os.Mkdir(filepath.Join(dir, "app"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "app/big"), nil, 0o644))
		require.NoError(t, os.Truncate(filepath.Join(dir, "app/big"), size))
		require.Equal(t, prefix, gnuTarHead(t, dir, "app/big", len(prefix)))
	}
}

// gnuTarHead returns the first n bytes of what GNU tar writes for a file.
func gnuTarHead(t *testing.T, root, name string, n int) []byte {
	t.Helper()
	c := exec.CommandContext(t.Context(), "tar", append(dialect(root), name)...)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	head := make([]byte, n)
	_, err = io.ReadFull(out, head)
	require.NoError(t, err)
	require.NoError(t, out.Close())
	require.Error(t, c.Wait(), "it is cut off by the closed pipe")
	return head
}
