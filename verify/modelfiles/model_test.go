package modelfiles_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
	"github.com/plimsoll-oci/plimsoll/verify/modelset/modelsettest"
)

const (
	index  = "base/model_index.json"
	config = "base/text_encoder/config.json"
	vae    = "base/vae/diffusion_pytorch_model.safetensors"
	fast   = "checkpoints/svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors"
	plain  = "checkpoints/svdq-int4_r128-qwen-image-edit.safetensors"
)

// model is a whole slim model in memory: what a description says, and the bytes.
type model struct {
	*manifests.ModelConfig
	bytes map[string][]byte
}

// newModel makes the published model at tiny width, with two checkpoints for its
// transformer.
func newModel(t testing.TB) *model {
	t.Helper()
	m := &model{bytes: map[string][]byte{}, ModelConfig: &manifests.ModelConfig{
		SchemaVersion: manifests.ModelConfigVersion, Name: "tiny", Title: "Tiny", Variant: "default", ModelsDir: "/app/models",
		Sources: []manifests.ModelSource{
			{Name: "base", Title: "Base Model", Role: manifests.RoleBase, Repo: "o/base", Commit: "c", License: "MIT", Path: "base"},
			{Name: "checkpoints", Title: "Checkpoints", Role: manifests.RoleCheckpoints, Repo: "o/checkpoints", Commit: "c", License: "MIT", Path: "checkpoints"},
		},
	}}
	base, err := modelsettest.Base(modelsettest.Tiny())
	require.NoError(t, err)
	checkpoints, err := modelsettest.Checkpoints(modelsettest.Tiny())
	require.NoError(t, err)
	for _, name := range slices.Sorted(maps.Keys(base)) {
		if !strings.HasPrefix(name, "transformer/") && strings.Contains(name, "/") || name == path.Base(index) {
			m.add(t, "base", name, base[name])
		}
	}
	for _, p := range []string{fast, plain} {
		m.add(t, "checkpoints", path.Base(p), checkpoints[path.Base(p)])
		m.Checkpoints = append(m.Checkpoints, manifests.ModelCheckpoint{Path: p, Checkpoint: manifests.Checkpoint{
			Name: strings.TrimSuffix(path.Base(p), ".safetensors"), Source: "checkpoints", File: path.Base(p), Precision: "int4", Rank: 128, Steps: 8, TrueCFGScale: 1,
		}})
	}
	m.Checkpoints[0].Scheduler = manifests.Scheduler{BaseShift: math.Log(3), MaxShift: math.Log(3), BaseSeqLen: 256, MaxSeqLen: 8192}
	m.Checkpoints[1].Steps, m.Checkpoints[1].TrueCFGScale = 50, 4
	m.Checkpoints[1].Scheduler = manifests.Scheduler{BaseShift: 0.5, MaxShift: 0.9, BaseSeqLen: 256, MaxSeqLen: 8192, ShiftTerminal: 0.02}
	_, err = manifests.DecodeModelConfig(m.Encode())
	require.NoError(t, err)
	return m
}

func (m *model) add(t testing.TB, source, name string, f modelsettest.File) {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(f.Content, 0, f.Content.Size()))
	require.NoError(t, err)
	m.Files = append(m.Files, manifests.ModelFile{Path: source + "/" + name, Source: source})
	m.set(source+"/"+name, data)
}

// file is the description's entry, to be changed in place.
func (m *model) file(path string) *manifests.ModelFile {
	i := slices.IndexFunc(m.Files, func(f manifests.ModelFile) bool { return f.Path == path })
	return &m.Files[i]
}

// set gives a file other bytes, and describes them.
func (m *model) set(path string, data []byte) {
	sum := sha256.Sum256(data)
	f := m.file(path)
	f.Size, f.SHA256 = int64(len(data)), hex.EncodeToString(sum[:])
	m.bytes[path] = data
}

// replace replaces words in a document, and describes the result.
func (m *model) replace(t testing.TB, path, old, new string) {
	t.Helper()
	require.Contains(t, string(m.bytes[path]), old)
	m.set(path, bytes.Replace(m.bytes[path], []byte(old), []byte(new), 1))
}

// write writes the files below dir, those with parts in their parts.
func (m *model) write(t testing.TB, dir string) {
	t.Helper()
	for _, f := range m.Files {
		data := m.bytes[f.Path]
		for i, name := range f.PartPaths() {
			part := data
			if len(f.Parts) > 0 {
				part, data = data[:f.Parts[i]], data[f.Parts[i]:]
			}
			require.NoError(t, os.MkdirAll(filepath.Join(dir, path.Dir(name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), part, 0o644))
		}
	}
}

// stream is a Place whose files can be read once from the start, as from a network. It
// counts bytes and opened files.
type stream struct {
	*model
	read   atomic.Int64
	open   atomic.Int64
	around verify.Findings
	wrap   func(io.Reader) io.Reader
}

func (s *stream) Open(_ context.Context, file manifests.ModelFile) (*modelfiles.Content, verify.Findings, error) {
	data, ok := s.bytes[file.Path]
	if !ok {
		return nil, nil, &fs.PathError{Op: "open", Path: file.Path, Err: fs.ErrInvalid}
	}
	s.open.Add(1)
	var r io.Reader = bytes.NewReader(data)
	if s.wrap != nil {
		r = s.wrap(r)
	}
	return &modelfiles.Content{
		ReadCloser: &counted{Reader: r, read: &s.read, open: &s.open}, Parts: 1,
		Around: func() verify.Findings { return s.around },
	}, nil, nil
}

// counted is a file that was opened.
type counted struct {
	io.Reader
	read, open *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func (c *counted) Close() error { c.open.Add(-1); return nil }

// check verifies the model out of a place.
func (m *model) check(t testing.TB, place modelfiles.Place, o modelfiles.Options) *modelfiles.Report {
	t.Helper()
	r, err := modelfiles.Verify(t.Context(), m.ModelConfig, place, o)
	require.NoError(t, err)
	return r
}

// codes lists "path: code" of every error.
func codes(r *modelfiles.Report) []string {
	var out []string
	for _, f := range r.Findings() {
		if f.Severity == verify.Error {
			out = append(out, f.Object+": "+f.Code)
		}
	}
	return out
}
