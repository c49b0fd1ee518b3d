package flow_test

import (
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/flow"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/packing"
)

// TestVerifyFindsDamage: every way of spoiling a cached file is found and named.
func TestVerifyFindsDamage(t *testing.T) {
	w := newWorld(t)
	_, err := flow.Make(t.Context(), w.job())
	require.NoError(t, err)
	blob := w.largestBlob()
	spoil := map[string]struct {
		do   func() error
		text string
	}{
		"flipped":   {func() error { return flip(blob, 4096) }, "sha256 is"},
		"truncated": {func() error { return os.Truncate(blob, 1000) }, "short"},
		"missing":   {func() error { return os.Remove(blob) }, "missing"},
	}
	for _, name := range []string{"flipped", "truncated", "missing"} {
		require.NoError(t, spoil[name].do())
		j := w.job()
		r, err := flow.Verify(t.Context(), j, false)
		require.NoError(t, err)
		err = r.Findings.Err()
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
		require.ErrorContains(t, err, spoil[name].text, name)
	}
	j := w.job()
	_, err = flow.Fetch(t.Context(), j)
	require.NoError(t, err, "fetch repairs")
	r, err := flow.Verify(t.Context(), j, true)
	require.NoError(t, err)
	require.NoError(t, r.Findings.Err())
}

// largestBlob is the path of the largest cached file.
func (w *world) largestBlob() (path string) {
	w.t.Helper()
	var most int64
	blobs, err := filepath.Glob(filepath.Join(w.dir, "hf", "hub", "models--*", "blobs", "*"))
	require.NoError(w.t, err)
	for _, b := range blobs {
		info, err := os.Stat(b)
		require.NoError(w.t, err)
		if info.Size() > most {
			path, most = b, info.Size()
		}
	}
	return path
}

func flip(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 1
	_, err = f.WriteAt(b, at)
	return err
}

// TestWrongBytesNeverArrive: a Hub that sends other bytes of the right size is found out
// by the sums, both are named, and nothing bears the file's name.
func TestWrongBytesNeverArrive(t *testing.T) {
	w := newWorld(t)
	_, err := flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	w.hub.Inject(hubtest.Fault{Kind: hubtest.CDN, File: "svdq-int4_r128-qwen-image-edit.safetensors", Effect: hubtest.Garble(1000)})
	_, err = flow.Fetch(t.Context(), w.job())
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
	require.Regexp(t, `sha256 is [0-9a-f]{64}, lock says [0-9a-f]{64}`, err.Error())
	l, err := manifests.LoadLock(filepath.Join(w.dir, "demo.lock"))
	require.NoError(t, err)
	for _, f := range l.Files {
		if f.Path == "svdq-int4_r128-qwen-image-edit.safetensors" {
			require.NoFileExists(t, filepath.Join(w.dir, "hf", "hub", "models--nunchaku-ai--nunchaku-qwen-image-edit", "blobs", f.SHA256))
		}
	}
}

// TestNotWhatItsNameSays: files that are published whole and are still not what the model
// needs are found by verify, before an image is built.
func TestNotWhatItsNameSays(t *testing.T) {
	const name = "svdq-int4_r128-qwen-image-edit.safetensors"
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(t, err)
	cases := map[string]struct {
		content hubtest.Content
		text    string
	}{
		"not safetensors": {hubtest.Bytes([]byte("version https://git-lfs.github.com/spec/v1\n")), "safetensors"},
		"another rank":    {checkpoints["svdq-int4_r32-qwen-image-edit.safetensors"].Content, "rank"},
		"another format":  {checkpoints["svdq-fp4_r128-qwen-image-edit.safetensors"].Content, "nvfp4"},
	}
	for title, c := range cases {
		t.Run(title, func(t *testing.T) {
			w := newWorld(t)
			files := served(checkpoints)
			files[name] = hubtest.File{Content: c.content, LFS: true}
			_, err := w.hub.Add(hubtest.Repo{Name: "nunchaku-ai/nunchaku-qwen-image-edit", Files: files})
			require.NoError(t, err)
			_, err = flow.Make(t.Context(), w.job())
			require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
			require.ErrorContains(t, err, name)
			require.ErrorContains(t, err, c.text)
			require.NoDirExists(t, filepath.Join(w.dir, "out", "demo"))
		})
	}
}

func TestFullDisk(t *testing.T) {
	small := filepath.Join(t.TempDir(), "small")
	require.NoError(t, os.Mkdir(small, 0o755))
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting a small file system needs root: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(small, syscall.MNT_DETACH)) })
	w := newWorld(t)
	_, err := flow.Lock(t.Context(), w.job(), false)
	require.NoError(t, err)
	w.env["HF_HOME"] = small
	_, err = flow.Fetch(t.Context(), w.job())
	require.Equal(t, fault.Resource, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, small)
}

// TestLargeDownloadAsks: a person at a terminal is asked before the first gigabyte.
func TestLargeDownloadAsks(t *testing.T) {
	const size = 1_100_000_000
	for _, answer := range []string{"n\n", "", "what\n"} {
		w := newWorld(t)
		_, err := w.hub.Add(hubtest.Repo{Name: "owner/big", Files: map[string]hubtest.File{
			"w.bin": {Content: hubtest.Noise(1, size), LFS: true, SHA256: strings.Repeat("0", 64)},
		}})
		require.NoError(t, err)
		w.opts.Model = filepath.Join(w.dir, "big.yaml")
		require.NoError(t, os.WriteFile(w.opts.Model, []byte(bigModel), 0o644))
		w.opts.Stdin = strings.NewReader(answer)
		_, err = flow.Fetch(t.Context(), w.job())
		require.Equal(t, fault.Usage, fault.KindOf(err))
		require.Contains(t, w.stderr.String(), "Download 1.1 GB to")
		require.Zero(t, w.hub.Sent("w.bin"))
	}
}

// overlay is a content with some bytes replaced.
type overlay struct {
	hubtest.Content
	at    int64
	bytes []byte
}

func (o overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.Content.ReadAt(p, off)
	for i := range o.bytes {
		if at := o.at + int64(i) - off; at >= 0 && at < int64(n) {
			p[at] = o.bytes[i]
		}
	}
	return n, err
}

// TestDeepFindsWrongValues: a checkpoint in parts whose names, shapes and sums are right and
// whose scales cannot be, or whose weight lies in another order than the format's, is found
// by -deep alone, wherever it lies, and as an error each time.
func TestDeepFindsWrongValues(t *testing.T) {
	const name = "svdq-int4_r128-qwen-image-edit.safetensors"
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Demo())
	require.NoError(t, err)
	content := checkpoints[name].Content
	header, err := safetensors.Read(content, content.Size())
	require.NoError(t, err)
	read := func(name string) (at int64, data []byte) {
		tensor, ok := header.Tensor(name)
		require.True(t, ok)
		data, err := io.ReadAll(header.Section(content, tensor))
		require.NoError(t, err)
		return header.DataStart + tensor.Begin, data
	}
	const first, second = "transformer_blocks.0.attn.to_qkv.wscales", "transformer_blocks.2.txt_mlp.net.2.qweight"
	scales, _ := read(first)
	weight, tiled := read(second)
	plain := make([]byte, len(tiled))
	require.NoError(t, packing.UnpackNibbles(plain, tiled, 256, 1024))

	w := newWorld(t).widen()
	files := served(checkpoints)
	files[name] = hubtest.File{LFS: true, Content: overlay{overlay{content, scales, make([]byte, 64)}, weight, plain}}
	_, err = w.hub.Add(hubtest.Repo{Name: "nunchaku-ai/nunchaku-qwen-image-edit", Files: files})
	require.NoError(t, err)
	w.ship()
	for _, in := range w.places() {
		_, err = flow.VerifyIn(t.Context(), w.job(), flow.VerifyOptions{In: in})
		require.NoError(t, err, in)
		r, err := flow.VerifyIn(t.Context(), w.job(), flow.VerifyOptions{In: in, Deep: true})
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%s: %v", in, err)
		require.Len(t, r.Findings, 2, in)
		require.Contains(t, r.Findings[0].Message, first+" has 32 values of", in)
		require.Contains(t, r.Findings[1].Message, second+" lies in rows, not in tiles", in)
		for _, f := range r.Files {
			require.Equal(t, path.Ext(f.Path) == ".safetensors", f.Values != nil, "%s: %s", in, f.Path)
			require.Equal(t, path.Base(f.Path) != name, f.OK)
		}
	}
}
